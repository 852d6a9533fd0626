"""Numbers with their origin: pointers lead back, markup and text say the same."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from markupsafe import Markup, escape

from benchmarks.entries import Entry, entry
from benchmarks.figures import WAYS, Figure, cite, derive, joined, phrase, plain, show
from benchmarks.formatting import TIMES, UNKNOWN, share, significant
from tests.benchmarks.origins import compute, look_up, write
from tests.benchmarks.reports import full_report

ODD = {"a/b": {"~": [1, {" c%": 2.5}]}, "é<&>": {"x.y": 3}}


def leaves(found: Entry) -> list[Entry]:
    if isinstance(found.value, dict):
        return [leaf for _, one in found.items() for leaf in leaves(one)]
    if isinstance(found.value, list):
        return [leaf for one in found.each() for leaf in leaves(one)]
    return [found]


@pytest.mark.parametrize("document", [ODD, full_report()], ids=["odd names", "report"])
def test_every_pointer_leads_back_to_its_value(document: Any) -> None:
    found = leaves(entry(document))
    assert len(found) > 2
    for one in found:
        assert look_up(one.reference, {"report.json": document}) == one.value
        assert " " not in one.reference
    assert len({one.reference for one in found}) == len(found)


def test_an_absent_key_is_unknown_and_shown_as_a_dash() -> None:
    found = entry({"a": [1]})
    for absent in (found.get("b"), found.get("a", 5), found.get("a", "b"), found.get("b", "c")):
        assert not absent.known
        assert absent.each() == ()
        assert list(absent.items()) == []
        assert show(absent) == cite(absent) == UNKNOWN
    assert derive("quotient", found.get("a", 0), found.get("b"), form=significant) == UNKNOWN


def test_a_figure_says_where_it_is_from_in_a_page_and_in_a_picture() -> None:
    found = show(entry({"a b": {"c": 0.91234}}).get("a b", "c"), share)
    assert isinstance(found, Figure)
    for markup, attribute in ((found.__html__(), "value"), (str(found.svg), "data-value")):
        element = ElementTree.fromstring(markup)
        assert element.text == str(found) == "91.2 %"
        assert float(element.attrib[attribute]) == 0.91234
        assert element.attrib["data-key"] == "report.json#/a%20b/c"
        assert element.attrib["data-form"] == "share"


@pytest.mark.parametrize("by", sorted(WAYS))
def test_every_way_is_what_the_page_test_takes_it_for(by: str) -> None:
    values: dict[str, list[Any]] = {
        "length": [[4, 5, 6]],
        "width": [[[0, 3], [5, 9]]],
        "widths": [[[0, 3]], [[2, 4], [6, 7]]],
        "gone": [16, [[0, 3], [5, 9]]],
        "value": [7.5],
        "inverse": [7.5],
    }
    taken = values.get(by, [3.0, 8.0])
    entries = [Entry(one, path=(number,)) for number, one in enumerate(taken)]
    found = derive(by, *entries, form=significant)
    assert isinstance(found, Figure)
    assert found.value == pytest.approx(compute(by, taken))
    assert found.text == write(found.form, found.value)


def test_texts_are_escaped_in_markup_and_whole_in_text() -> None:
    bad = "<b>&\"'"
    told = joined([phrase(bad, cite(entry({"x": bad}).get("x"))), bad])
    assert str(told) == f"{bad}{bad}, {bad}"
    markup = Markup(told.__html__())
    assert "<b>" not in markup
    assert str(escape(bad)) in markup
    assert ElementTree.fromstring(f"<p>{markup}</p>").tag == "p"


def test_a_terminal_has_its_own_signs() -> None:
    assert plain(phrase(f"2.40{TIMES} faster, 92 % → 91 %")) == "2.40x faster, 92 % -> 91 %"
