"""Parsers of JSON files, and what is done at once with what they give."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import torch
from rich.console import Console
from torch import nn

from benchmarks import lineup, markdown, raw_samples
from benchmarks.bench import against, read_document
from benchmarks.probe.caches import cache_file, read_measured
from benchmarks.report import open_run, render, render_lineup
from benchmarks.tables import notes, tables
from benchmarks.verdict import caveats, judge, verdict
from compressor.cards import card_path, encode_card, read_card
from compressor.checkpoints import _as_float32, _unwrap, spellings
from compressor.documents import parse_as
from compressor.errors import InputError, SurroundingsError
from compressor.fitting import fill, fit
from compressor.loading import published_of
from compressor.locks import LOCK_FILE, held, require_idle
from compressor.planning import keep_mask, rows_of, spans
from compressor.preprocessing import choose
from compressor.recognition import find_architecture
from compressor.runs import JOURNAL, _key
from compressor.runs import open_run as continue_run
from compressor.staircases import Hold, Layer, choose_widths, expected_seconds
from compressor.standings import read_standing
from compressor.types import Analysis, Plan
from export.manifest import MANIFEST_FILE, check_manifest, read_manifest, write_manifest
from export.preprocessing import (
    LABELS_FILE,
    PREPROCESSING_FILE,
    read_preprocessing,
    write_preprocessing,
)
from tests.fuzzing.corpus import ENVIRONMENT, SAMPLES, STAIRCASE, Corpus
from tests.fuzzing.mutators import change_json
from tests.fuzzing.outcomes import Parser
from tests.fuzzing.targets import Target

REPORTS = ("run/report.json", "full-report.json")
KEPT = ("report.json", "plan.json", "analysis.json", SAMPLES)
Opened = Callable[[Corpus, Path], Parser]


def open_manifest(corpus: Corpus, scratch: Path) -> Parser:
    (scratch / "onnx").mkdir()
    (scratch / "onnx" / "student.onnx").write_bytes(b"model")
    (scratch / "labels.json").write_text("[]")
    write_manifest(scratch, ("compressor", "build"), 0, {"python": "3.11"})
    file = scratch / MANIFEST_FILE

    def parse(data: bytes) -> None:
        file.write_bytes(data)
        check_manifest(scratch)
        found = read_manifest(scratch)
        assert read_manifest(scratch) == found

    return parse


def open_journal(corpus: Corpus, scratch: Path) -> Parser:
    inputs = json.loads(corpus.read(f"run/{JOURNAL}"))["inputs"]

    def parse(data: bytes) -> None:
        file = scratch / JOURNAL
        file.write_bytes(data)
        with contextlib.suppress(InputError):
            continue_run(scratch, inputs)
        file.write_bytes(vouched_for(data))
        run = continue_run(scratch, inputs)
        run.seen()
        for stage in run.done:
            run.finished(stage)
            run.mark(stage)
        facts = run.done.get("phases", {}).get("result", {}).get("standing")
        if facts is not None:
            # There are no values beside it: refused after its facts were read.
            read_standing(scratch, facts, None)  # type: ignore[arg-type]

    return parse


def open_lock(corpus: Corpus, scratch: Path) -> Parser:
    """A lock that somebody left behind."""

    def parse(data: bytes) -> None:
        lock = scratch / LOCK_FILE
        lock.write_bytes(data)
        with contextlib.suppress(SurroundingsError):  # somebody may hold it
            require_idle(scratch)
        lock.write_bytes(data)
        with contextlib.suppress(SurroundingsError), held(lock, "fuzz"):
            pass

    return parse


def lock_seeds(corpus: Corpus) -> list[bytes]:
    lock = corpus.folder / LOCK_FILE
    with held(lock, "compressor build --out run"):
        return [lock.read_bytes()]


def vouched_for(data: bytes) -> bytes:
    """A journal with the hash of what it says, as somebody who edits it would give it."""
    try:
        content = json.loads(data)
        if not isinstance(content, dict):
            return data
        content.pop("sha256", None)
        content["sha256"] = _key(content)
        return json.dumps(content).encode()
    except (ValueError, RecursionError):
        return data


def open_card(corpus: Corpus, scratch: Path) -> Parser:
    weights = scratch / "small.pt"

    def parse(data: bytes) -> None:
        card_path(weights).write_bytes(data)
        card = read_card(weights)
        if card is not None:
            card_path(weights).write_bytes(encode_card(card))
            assert read_card(weights) == card
            for channels in (1, 3):
                for size in (None, (16, 16), (24, 32)):
                    choose(card.preprocessing, channels=channels, image_size=size)

    return parse


def open_extra(corpus: Corpus, scratch: Path) -> Parser:
    def parse(data: bytes) -> None:
        found = published_of(Path("x.pt2"), data.decode("utf-8", "replace"))
        if found is not None:
            choose(found, channels=3, image_size=(16, 16))

    return parse


def open_preprocessing(name: str) -> Opened:
    def opened(corpus: Corpus, scratch: Path) -> Parser:
        for file in (PREPROCESSING_FILE, LABELS_FILE):
            shutil.copyfile(corpus.run / file, scratch / file)

        def parse(data: bytes) -> None:
            (scratch / name).write_bytes(data)
            found, labels = read_preprocessing(scratch)
            choose(found, channels=3, image_size=(24, 32))
            write_preprocessing(scratch, found, labels)
            again, same = read_preprocessing(scratch)
            assert (again, same) == (found, labels)

        return parse

    return opened


def open_file_of_run(name: str, also: Callable[[Corpus, bytes], None] | None = None) -> Opened:
    """A finished run with one file replaced: verdict, page, Markdown, CSV and a comparison."""

    def opened(corpus: Corpus, scratch: Path) -> Parser:
        (scratch / "benchmarks").mkdir()
        for file in KEPT:
            shutil.copyfile(corpus.run / file, scratch / file)
        if name != "report.json":
            shutil.copyfile(corpus.folder / "full-report.json", scratch / "report.json")

        def parse(data: bytes) -> None:
            (scratch / name).write_bytes(data)
            if also is not None:
                also(corpus, data)
            _show(scratch)

        return parse

    return opened


def _show(folder: Path) -> None:
    run = open_run(folder)
    verdict(run.report)
    judge(run.report)
    caveats(run.report)
    render(run)
    markdown.render(run.report)
    raw_samples.to_csv(run.samples)
    twice = [lineup.Contestant(name=name, report=run.report) for name in ("a", "b")]
    render_lineup(lineup.line_up(twice))


def keep_by(corpus: Corpus, data: bytes) -> None:
    """The plan itself, against the network it was made for."""
    try:
        plan = parse_as(data, Plan)
    except ValueError:
        return
    analysis = msgspec.json.decode(corpus.read("run/analysis.json"), type=Analysis)
    mask = keep_mask(analysis, plan)
    assert mask.sum() == 1 + sum(group.width for group in plan.groups)
    for group in plan.groups:
        assert len(rows_of(spans(rows_of(group.kept)))) == group.width


def open_bench(corpus: Corpus, scratch: Path) -> Parser:
    file = scratch / "before.json"
    now = json.loads(corpus.read("bench.json"))

    def parse(data: bytes) -> None:
        file.write_bytes(data)
        before = read_document(file)
        shown = against(now, before, "before.json")
        notes(shown)
        terminal = Console(file=io.StringIO(), width=80)
        for table in tables(shown):
            terminal.print(table)

    return parse


def open_cache(corpus: Corpus, scratch: Path) -> Parser:
    file = cache_file(ENVIRONMENT, scratch)
    layer = Layer(where="x", operator=STAIRCASE, holds=(Hold(group=0, side="inputs", rows=16),))

    def parse(data: bytes) -> None:
        file.write_bytes(data)
        known = read_measured(ENVIRONMENT, scratch)
        choose_widths((layer,), (16,), known.staircases)
        expected_seconds((layer,), known.staircases, (0.5,))
        [look.copies for look in known.looks]

    return parse


def open_keys(corpus: Corpus, scratch: Path) -> Parser:
    """Names and nesting of a checkpoint: a list of sizes stands for a tensor of ones."""
    small = find_architecture(f"{corpus.folder / 'net.py'}:small")
    path = Path("small.pt")

    def tensors(value: object) -> object:
        if isinstance(value, dict):
            return {name: tensors(one) for name, one in value.items()}
        if isinstance(value, list) and all(isinstance(n, int) and 0 <= n <= 64 for n in value[:4]):
            return torch.ones([int(n) for n in value[:4]])
        return value

    def parse(data: bytes) -> None:
        try:
            content = tensors(json.loads(data))
        except (ValueError, RecursionError):
            return
        found, _, _ = _unwrap(path, content, depth=0)
        named, _ = _as_float32(path, found)
        assert sum(1 for _ in spellings(named)) < 10_000
        fitted = fit(small, named)
        fitted.differences()
        if fitted.fits:
            fill(fitted)

    return parse


def key_seeds(corpus: Corpus) -> list[bytes]:
    namespace: dict[str, object] = {}
    exec((corpus.folder / "net.py").read_text(), namespace)
    module: nn.Module = namespace["small"]()  # type: ignore[operator]
    shapes = {name: list(value.shape) for name, value in module.state_dict().items()}
    wrapped = {f"module._orig_mod.{name}": shape for name, shape in shapes.items()}
    found = (shapes, {"state_dict": wrapped, "epoch": 3, "ema": shapes}, {"model": {"net": shapes}})
    return [json.dumps(one).encode() for one in found]


def _json(
    name: str, opened: Opened, *files: str, seeds: object = None, in_tests: int = 120
) -> Target:
    return Target(
        name=name,
        open=opened,
        seeds=seeds or (lambda corpus: [corpus.read(file) for file in files]),  # type: ignore[arg-type]
        change=change_json,
        in_tests=in_tests,
    )


TARGETS = (
    _json("manifest", open_manifest, "run/manifest.json"),
    _json("journal", open_journal, "run/journal.json"),
    _json("lock", open_lock, seeds=lock_seeds),
    _json("card", open_card, "small.pt.json"),
    _json("program-preprocessing", open_extra, "extra-preprocessing.json"),
    _json("preprocessing", open_preprocessing(PREPROCESSING_FILE), f"run/{PREPROCESSING_FILE}"),
    _json("labels", open_preprocessing(LABELS_FILE), f"run/{LABELS_FILE}"),
    _json("report", open_file_of_run("report.json"), *REPORTS, in_tests=40),
    _json("plan", open_file_of_run("plan.json", keep_by), "run/plan.json", in_tests=25),
    _json("analysis", open_file_of_run("analysis.json"), "run/analysis.json", in_tests=25),
    _json("samples", open_file_of_run(SAMPLES), f"run/{SAMPLES}", in_tests=15),
    _json("bench", open_bench, "bench.json", in_tests=60),
    _json("probe-cache", open_cache, "cache.json"),
    _json("checkpoint-keys", open_keys, seeds=key_seeds, in_tests=80),
)
