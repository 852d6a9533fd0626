"""Names from files in pages, Markdown, tables and on the terminal: shown as typed, never obeyed.

Pages are opened in a real browser, which tells of every dialog, complaint and request.
"""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from markdown_it import MarkdownIt

from benchmarks import markdown, raw_samples, tables
from benchmarks.lineup import Contestant, line_up
from benchmarks.report import RunData, render, render_lineup
from compressor.analysis import analyze
from compressor.console import Console
from compressor.drawing import render as draw
from compressor.explanation import explain
from compressor.flow import thin
from compressor.labelling import label
from compressor.tables.text import visible
from compressor.types import Analysis, Budget, Costs, Frozen, KeptUnits, ModelFacts, Plan
from tests import zoo
from tests.benchmarks import browser
from tests.benchmarks.reports import full_report, sample_file
from tests.benchmarks.test_pages import poisoned

TAKEN = "window.taken=1;alert(1)"
PAYLOADS = {
    "script": f"<script>{TAKEN}</script>",
    "end of a script": f"</script><script>{TAKEN}</script>",
    "end of an attribute": f'"><img src=x onerror="{TAKEN}">',
    "end of an attribute in single quotes": f"'><img src=x onerror='{TAKEN}'>",
    "handler": f"\" onmouseover=\"{TAKEN}\" onload=\"{TAKEN}\" x=\"",
    "end of everything": f"--></style></title></textarea></svg></g><svg onload=\"{TAKEN}\">",
    "picture": f"<svg><script>{TAKEN}</script></svg>",
    "markup inside of a picture": f"<svg><style><img src=x onerror={TAKEN}></style></svg>",
    "link": f"<a href=\"javascript:{TAKEN}\" id=\"here\">javascript:{TAKEN}</a>",
    "frame": f"<iframe srcdoc=\"<script>{TAKEN}</script>\"></iframe>",
    "request": "<img src=\"http://127.0.0.1:9/x\"><link rel=stylesheet href=//127.0.0.1:9/y>",
    "style": "</style><style>@import 'http://127.0.0.1:9/z'; body { display: none }</style>",
    "refresh": "<meta http-equiv=refresh content=\"0;url=http://127.0.0.1:9/\">",
    "base": "<base href=\"http://127.0.0.1:9/\">",
    "comment": f"<!--><script>{TAKEN}</script-->",
    "template": "{{ 7 * 7 }}{% raw %}${7*7}#{7*7}<%= 7*7 %>",
    "entities": f"&lt;script&gt;{TAKEN}&lt;/script&gt;&#60;img&#62;",
    "formula": "=cmd|' /C calc'!A1",
    "markup of Rich": "[red]x[/red][link=http://127.0.0.1:9/]y[/link]:smile:",
}  # fmt: skip

Value = TypeVar("Value")


# -- in a browser --------------------------------------------------------------------------------


def require_quiet(tab: browser.Page, page: str, payload: str, file: Path, scripts: int = 0) -> None:
    """No dialog, no complaint, no request, no element of the payload's; the text is there."""
    file.write_text(page, encoding="utf-8")
    tab.open(file)
    shown = tab.evaluate("document.body.textContent")
    assert " ".join(payload.split()) in " ".join(shown.split())
    assert tab.evaluate("window.taken === undefined")
    assert tab.evaluate(f"document.querySelectorAll('{STRANGE}').length") == 0
    assert tab.evaluate("document.querySelectorAll('script').length") == scripts
    attributes = "[...document.querySelectorAll('*')].flatMap(one => one.getAttributeNames())"
    assert [one for one in tab.evaluate(attributes) if one.startswith("on")] == []
    assert tab.complaints() == []
    assert tab.requests() == [file.resolve().as_uri()]
    dialogs = [one for one in tab.events if one.get("method") == "Page.javascriptDialogOpening"]
    assert dialogs == []


STRANGE = "img, iframe, a, link, base, object, embed, form, textarea, meta[http-equiv=refresh]"


def a_run() -> RunData:
    facts = ModelFacts(architecture="net", parameters=330_000, macs=12_000_000)
    costs = Costs(params=330_000, macs=12_000_000, channels=48)
    frozen = Frozen(where="layer", op="aten.odd.default", reason="no rule", parameters=5)
    return RunData(
        report=full_report(),
        analysis=Analysis(
            format=1, fingerprint="f", model=facts, groups=(), frozen=(frozen,),
            prunable_parameters=0.99, axes=(), costs=(),
        ),
        plan=Plan(
            format=1, fingerprint="f", budget=Budget(0.7), achieved=0.7, multiple_of=8,
            criterion="taylor",
            groups=(KeptUnits(group=0, name="stem", units=16, kept=((0, 4),)),),
            before=costs, after=costs,
        ),
        samples={},
    )  # fmt: skip


def poisoned_run(payload: str) -> RunData:
    run = a_run()
    report = poisoned(full_report(), payload)
    report["environment"][payload] = {payload: payload}
    report["seconds"][payload] = 1.0
    report["student"]["metrics"][payload] = report["teacher"]["metrics"][payload] = 0.5
    assert run.plan is not None
    assert run.analysis is not None
    (group,), (frozen,) = run.plan.groups, run.analysis.frozen
    return replace(
        run,
        report=report,
        plan=replace(run.plan, criterion=payload, groups=(replace(group, name=payload),)),
        analysis=replace(
            run.analysis,
            frozen=(replace(frozen, where=payload, op=payload, reason=payload, source=payload),),
        ),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", PAYLOADS)
def test_a_report_shows_payloads_as_text(name: str, tab: browser.Page, tmp_path: Path) -> None:
    payload = PAYLOADS[name]
    run = poisoned_run(payload)
    require_quiet(tab, render(run), payload, tmp_path / "page.html")
    compared = [
        Contestant(name=payload, report=run.report),
        Contestant(name="b", report=run.report),
    ]
    require_quiet(tab, render_lineup(line_up(compared)), payload, tmp_path / "page.html")


# Words that decide how something is drawn, not names.
WORDS = frozenset(("kind", "role"))


def with_names(value: Value, payload: str, key: str = "") -> Value:
    """The same value with every name followed by the payload."""
    found: Any = value
    if isinstance(value, str):
        found = value if key in WORDS else f"{value}{payload}"
    elif isinstance(value, tuple):
        found = tuple(with_names(one, payload, key) for one in value)
    elif is_dataclass(value) and not isinstance(value, type):
        changed = {
            one.name: with_names(getattr(value, one.name), payload, one.name)
            for one in fields(value)
        }
        found = replace(value, **changed)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", PAYLOADS)
def test_a_picture_of_a_network_shows_payloads_as_text(
    name: str, tab: browser.Page, tmp_path: Path
) -> None:
    """Its page has one script of its own, which reads attributes of the elements."""
    payload = PAYLOADS[name]
    graph = zoo.graph("residual")
    told = explain(graph, label(graph), analyze(graph))
    page = draw(with_names(told, payload), with_names(thin(graph, told.freezers), payload))
    require_quiet(tab, page, payload, tmp_path / "page.html", scripts=1)
    tab.evaluate("document.querySelectorAll('[data-g]').forEach(one => one.dispatchEvent("
                 "new MouseEvent('click', {bubbles: true})))")  # fmt: skip
    assert tab.evaluate("window.taken === undefined")
    assert tab.complaints() == []


@pytest.mark.slow
@pytest.mark.parametrize("name", PAYLOADS)
def test_markdown_that_a_site_makes_a_page_of_shows_payloads_as_text(
    name: str, tab: browser.Page, tmp_path: Path
) -> None:
    """With HTML admitted, as CommonMark has it, so that escaping alone is what holds."""
    payload = PAYLOADS[name]
    engine = MarkdownIt("commonmark", {"html": True}).enable("table")
    page = engine.render(markdown.render(poisoned_run(payload).report))
    require_quiet(tab, f"<!doctype html><meta charset=utf-8><body>{page}", payload,
                  tmp_path / "page.html")  # fmt: skip


@pytest.mark.slow
def test_the_browser_would_tell(tab: browser.Page, tmp_path: Path) -> None:
    """Without escaping every one of these is seen."""
    for name in ("end of an attribute", "picture", "link", "request", "style"):
        with pytest.raises(AssertionError):
            require_quiet(tab, f"<!doctype html><body>{PAYLOADS[name].replace('alert(1)', '')}",
                          PAYLOADS[name], tmp_path / "page.html")  # fmt: skip


# -- elsewhere -----------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_a_table_of_calls_is_a_formula(start: str) -> None:
    harm = f"{start}cmd|' /C calc'!A1"
    document = json.loads(json.dumps(sample_file()))
    document["workload"]["runtime"] = harm
    document["subjects"] = [harm for _ in document["subjects"]]
    told = raw_samples.to_csv({"a": document})
    rows = list(csv.DictReader(io.StringIO(told)))
    assert rows
    assert (
        {row["runtime"] for row in rows}
        == {row["subject"] for row in rows}
        == {f"'{visible(harm)}"}
    )


ODD = ("\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x9b2J", "\u202egnp.exe", "a\rb", "a\nb", "\x00",
       "\u2028x", "\x08\x08")  # fmt: skip


@pytest.mark.parametrize("name", [*ODD, *PAYLOADS.values()])
def test_the_terminal_shows_names_as_typed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.stage(name)
    console.note(name)
    console.sections([[name, name]])
    console.result(name, "VALID", [name], Path("x") / name.replace("\x00", ""))
    document = _document(name)
    console.tables(tables.tables(document), tables.notes(document))
    said = capsys.readouterr().out
    assert said.count(visible(name)) >= 6
    assert re.findall(r"[^\S\n ]|[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", said) == []
    assert visible(name).isprintable()


def _document(name: str) -> dict[str, Any]:
    times = {"median_ms": 1.0, "p90_ms": 1.0, "p99_ms": None}
    row = {"file": name, "runtime": "onnxruntime", "device": "cpu", "precision": "float32",
           "batch": 1, "threads": 1, "teacher": times, "student": times, "speedup": 1.0,
           "interval": [1.0, 1.0], "verdict": "faster", "status": "NOISY", "noise_floor": None,
           "reasons": [name]}  # fmt: skip
    return {"reference": "a", "files": [{"file": "a"}, {"file": name}], "rows": [row],
            "skipped": []}  # fmt: skip


def test_what_people_write_stays_as_it_is() -> None:
    for text in ("Zürich", "日本語", "naïve\u00a0café", "a\u2009b", "\u00d7", "[x]"):
        assert visible(text) == text
