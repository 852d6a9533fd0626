"""Pages in a real browser: no complaint, nothing loaded, and every number is the report's.

Every number of a page stands in an element that names the entry it shows (``data-key``), and every
text of a file in one that names the text (``data-text``).  The browser parses and draws the page;
then each is looked up in the run's files.  What is left of the page must hold no number but those
of `WORDS_WITH_NUMBERS` and the axes.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.lineup import FILE, Contestant, line_up
from benchmarks.report import RunData, render, render_lineup
from compressor.types import KeptUnits
from tests.benchmarks import browser
from tests.benchmarks.origins import compute, look_up, quote, write
from tests.benchmarks.reports import full_report, sample_file
from tests.benchmarks.strictness import mistakes
from tests.teachers import write_teacher

pytestmark = pytest.mark.slow

# Names, and statements about the method, which are the same on every page.
WORDS_WITH_NUMBERS = (
    r"95 % interval", r"29 for p90, 299 for p99", r"slowest 0\.5 %",
    r"\btop-\d+\b", r"\bp9[09]\b", r"\b(float|int|fp|bf|bfloat)\d+\b", r"\bsha256\b",
)  # fmt: skip

# Numbers and texts with their origin, then every other text; axes and names (headings, marks and
# what a report calls its parts) apart.
COLLECT = """
(() => {
  const numbers = [...document.querySelectorAll('[data-key]')].map(one => ({
    keys: one.dataset.key.split(' '), by: one.dataset.by || 'value', form: one.dataset.form,
    value: Number(one.dataset.value ?? one.value), text: one.textContent, tag: one.localName,
  }));
  const texts = [...document.querySelectorAll('[data-text]')].map(one => (
    {key: one.dataset.text, by: one.dataset.by || 'words', text: one.textContent}));
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const left = [];
  while (walker.nextNode()) {
    const inside = walker.currentNode.parentElement;
    if (!inside.closest('[data-key], [data-text], .tick')) left.push(walker.currentNode.data);
  }
  const hidden = [...document.querySelectorAll('*')].flatMap(one => [...one.attributes])
    .filter(one => ['title', 'alt', 'aria-label', 'placeholder'].includes(one.name));
  return {numbers, texts, left, hidden: hidden.map(one => one.value), title: document.title};
})()
"""
# No element outside of a scrolling table may be wider than the page.
OVERFLOWING = """
[...document.querySelectorAll('main *')].filter(one =>
  !one.closest('.scroll, svg, .hint') && one.getBoundingClientRect().right > innerWidth + 1
).map(one => one.outerHTML.slice(0, 200))
"""
SIZES = {"phone": (390, 844), "desktop": (1100, 900)}


@dataclass(frozen=True)
class Case:
    page: str
    files: Mapping[str, Any]


def everything(run: RunData) -> RunData:
    """A run whose report has every optional key."""
    report = full_report()
    return replace(run, report=report, samples={report["benchmarks"][0]["samples"]: sample_file()})


def many_groups(run: RunData) -> RunData:
    assert run.plan is not None
    groups = tuple(
        KeptUnits(group=n, name=f"block{n // 75}.layer{n}.conv", units=64, kept=((0, 16 + n % 9),))
        for n in range(300)
    )
    return replace(run, plan=replace(run.plan, groups=groups))


def untold(run: RunData) -> RunData:
    """Accuracy unknown, the proof failed, nothing measured."""
    report = copy.deepcopy(dict(run.report))
    report["teacher"] |= {"metrics": None, "trained": False, "sha256": None}
    report["student"] |= {"metrics": None}
    report["proof"] |= {"passed": False, "first_wrong": "conv_3 (net.py:12)", "inexact_groups": 1}
    report["benchmarks"] = []
    return replace(run, report=report)


def slower(run: RunData) -> RunData:
    report = full_report()
    report["benchmarks"][0] |= {"speedup": 0.5, "interval": [0.4, 0.8], "verdict": "slower"}
    report["benchmarks"][1] |= {"interval": None, "verdict": "invalid", "status": "INVALID"}
    report["throughput"] = report["load"] = report["energy"]["joules"] = None
    report["energy"]["reason"] = "not measurable here"
    return replace(run, report=report)


def sparse(run: RunData) -> RunData:
    report = copy.deepcopy(dict(run.report))
    report |= {"proof": None, "benchmarks": []}
    report["budget"] = {"sparsity": 0.9, "of": "weights", "achieved": 0.9004}
    report["student"] |= {"parameters": 330_000, "macs": 12_000_000, "nonzero_parameters": 33_210}
    return RunData(report=report, analysis=None, plan=None, samples={})


RUNS = {one.__name__: one for one in (everything, many_groups, untold, slower, sparse)}


def case_of(name: str, run: RunData) -> Case:
    if name == "lineup":
        reports = [full_report(), full_report(), full_report()]
        reports[1]["student"] |= {"parameters": 70_000, "metrics": {"top1": 0.871}}
        reports[1]["data"]["evaluated"] = reports[0]["data"]["evaluated"] = 539
        del reports[2]["benchmarks"][3:]
        runs = [Contestant(name=f"run-{n}", report=one) for n, one in enumerate(reports)]
        document = msgspec.to_builtins(line_up(runs))
        return Case(page=render_lineup(document), files={FILE: document})
    found = RUNS[name](run)
    files = {
        "report.json": found.report,
        "plan.json": msgspec.to_builtins(found.plan),
        "analysis.json": msgspec.to_builtins(found.analysis),
    }
    # As a reader would have them: through JSON.
    return Case(page=render(found), files=json.loads(json.dumps(files)))


@pytest.mark.parametrize("name", [*RUNS, "lineup"])
def test_every_number_is_that_of_the_files(
    name: str, run: RunData, tab: browser.Page, tmp_path: Path
) -> None:
    check_numbers(case_of(name, run), tab, tmp_path)


def test_every_number_of_a_run_just_built_is_that_of_its_files(
    tab: browser.Page, tmp_path: Path
) -> None:
    """From a network to the page in its folder; accuracy, speed and layers as they were found."""
    from compressor import building
    from compressor.loading import load
    from compressor.types import Budget
    from tests.test_builds import NETWORK

    write_teacher(tmp_path, NETWORK, "small")
    folder = building.build(
        load(tmp_path / "small.pt", f"{tmp_path / 'net.py'}:small", image_size=16),
        data="digits",
        budget=Budget(sparsity=0.5, multiple_of=1),
        out=tmp_path / "run",
        length=None,
        sample=64,
        threads=1,
        bench_seconds=0.5,
    )
    names = ("report.json", "plan.json", "analysis.json")
    files = {name: json.loads((folder / name).read_bytes()) for name in names}
    assert mistakes(files["report.json"]) == []
    check_numbers(Case(page=(folder / "report.html").read_text(), files=files), tab, tmp_path)
    assert tab.complaints() == []
    assert tab.requests() == [(tmp_path / "page.html").resolve().as_uri()]


def check_numbers(case: Case, tab: browser.Page, tmp_path: Path) -> None:
    """Open the page and look every number of it up."""
    (tmp_path / "page.html").write_text(case.page, encoding="utf-8")
    tab.open(tmp_path / "page.html")
    found = tab.evaluate(COLLECT)
    assert len(found["numbers"]) > 15
    for one in found["numbers"]:
        values = [look_up(key, case.files) for key in one["keys"]]
        assert one["value"] == pytest.approx(compute(one["by"], values), rel=1e-12), one
        assert one["text"] == write(one["form"], one["value"]), one
        assert one["tag"] in ("data", "tspan"), one
    for one in found["texts"]:
        assert one["text"] == quote(one["by"], look_up(one["key"], case.files))
    left = " ".join(found["left"])
    for words in WORDS_WITH_NUMBERS:
        left = re.sub(words, "", left)
    for name_of in names(case.files):
        left = left.replace(name_of, "")
    assert re.findall(r"\S*\d\S*", left) == []
    assert found["hidden"] == []


def names(files: Mapping[str, Any]) -> list[str]:
    """What the files call things; a name may hold digits and is no figure.  Longest first."""
    report = files.get("report.json") or {}
    found = {report.get("teacher", {}).get("name", "")}
    found |= {row["name"] for one in report.get("layers") or () for row in one["rows"]}
    plan = files.get("plan.json")
    for group in plan["groups"] if plan else ():
        parts = group["name"].split(".")
        found |= {".".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
    found |= {"package-0", *(run["name"] for run in (files.get(FILE) or {}).get("runs", ()))}
    return sorted(found - {""}, key=len, reverse=True)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [*RUNS, "lineup"])
def test_a_page_is_drawn_whole_without_a_complaint(
    name: str, size: str, dark: bool, run: RunData, tab: browser.Page, tmp_path: Path
) -> None:
    file = tmp_path / "page.html"
    file.write_text(case_of(name, run).page, encoding="utf-8")
    tab.resize(*SIZES[size], phone=size == "phone", dark=dark)
    tab.open(file)
    assert tab.complaints() == []
    assert tab.requests() == [file.resolve().as_uri()]
    assert tab.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    assert tab.evaluate(OVERFLOWING) == []
    paper, ink = (
        tab.evaluate(f"getComputedStyle(document.body).{name}.match(/\\d+/g).map(Number)")
        for name in ("backgroundColor", "color")
    )
    assert (sum(paper) < sum(ink)) == dark
    for bar in tab.evaluate(
        "[...document.querySelectorAll('.kept, .curve, circle')].map(one => "
        "[one.getBoundingClientRect().width, one.getBoundingClientRect().height])"
    ):
        assert max(bar) > 0  # a picture that was not understood has no size


SCRIPTS = (
    "<script>document.title = 'taken'</script>",
    '"><img src=x onerror="document.title = \'taken\'">',
    "</style></title></svg><svg onload=\"document.title = 'taken'\">",
    "' onmouseover='document.title = 1' x='",
    "{{ 7 * 7 }}${7 * 7}",
)


def poisoned(value: Any, payload: str) -> Any:
    """The same value with every text that is not a word of the format replaced."""
    words = {
        "onnxruntime", "openvino", "torch", "cpu", "cuda", "float32", "bfloat16", "int8", "fp32",
        "fp16", "faster", "slower", "no measurable difference", "VALID", "NOISY", "params",
        "teacher", "student", "top-1", "wall",
    }  # fmt: skip
    if isinstance(value, str):
        file = value.startswith(("benchmarks/", "onnx/"))
        return value if value in words else f"{value}{payload}" if file else payload
    if isinstance(value, dict):
        return {key: poisoned(one, payload) for key, one in value.items()}
    return [poisoned(one, payload) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("payload", SCRIPTS)
def test_nothing_from_a_file_runs_or_becomes_markup(
    payload: str, run: RunData, tab: browser.Page, tmp_path: Path
) -> None:
    assert run.plan is not None
    assert run.analysis is not None
    report = poisoned(full_report(), payload)
    report["environment"][payload] = {payload: payload}
    report["seconds"][payload] = 1.0
    report["student"]["metrics"][payload] = report["teacher"]["metrics"][payload] = 0.5
    report["energy"]["joules"] = {name: {payload: 1.0} for name in report["energy"]["joules"]}
    bad = RunData(
        report=report,
        plan=replace(
            run.plan,
            criterion=payload,
            groups=tuple(replace(one, name=payload) for one in run.plan.groups),
        ),
        analysis=replace(
            run.analysis,
            frozen=tuple(
                replace(one, where=payload, op=payload, reason=payload, source=payload)
                for one in run.analysis.frozen
            ),
        ),
        samples={},
    )
    compared = [Contestant(name=payload, report=report), Contestant(name="b", report=report)]
    for page in (render(bad), render_lineup(line_up(compared))):
        file = tmp_path / "page.html"
        file.write_text(page, encoding="utf-8")
        tab.open(file)
        assert tab.complaints() == []  # a script that the page's policy stopped would complain
        assert tab.requests() == [file.resolve().as_uri()]
        assert "taken" not in tab.evaluate("document.title").replace(payload, "")
        assert tab.evaluate("document.querySelectorAll('script, img, iframe, a').length") == 0
        handlers = "[...document.querySelectorAll('*')].flatMap(one => one.getAttributeNames())"
        assert [one for one in tab.evaluate(handlers) if one.startswith("on")] == []
        assert payload in tab.evaluate("document.body.textContent")
