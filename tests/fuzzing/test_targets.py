"""Every parser over real files and a fixed series of changed ones: answers or one-line refusals."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fuzzing.__main__ import read_log
from tests.fuzzing.corpus import Corpus
from tests.fuzzing.mutators import change_json, change_safetensors, change_text, change_zip, series
from tests.fuzzing.outcomes import judge
from tests.fuzzing.targets import all_targets

ROOT = Path(__file__).resolve().parents[2]
# Modules that read text or JSON, and the targets that reach them.
READERS = {
    "benchmarks/bench.py": "bench",
    "benchmarks/environment.py": "processor",
    "benchmarks/inputs.py": "sizes onnx",
    "benchmarks/operations.py": "onnx",
    "benchmarks/probe/caches.py": "probe-cache",
    "benchmarks/probe/targets.py": "target",
    "benchmarks/raw_samples.py": "samples",
    "benchmarks/report.py": "report plan analysis",
    "compressor/archives.py": "program size-expression",
    "compressor/cards.py": "card",
    "compressor/checkpoints.py": "checkpoint safetensors checkpoint-keys",
    "compressor/loading.py": "program-preprocessing",
    "compressor/options.py": "numbers settings budget command",
    "compressor/recognition.py": "architecture",
    "compressor/locks.py": "lock",
    "compressor/runs.py": "journal",
    "compressor/snapshots.py": "snapshot",
    "compressor/standings.py": "journal",
    "compressor/unpacking.py": "program checkpoint golden",
    "compressor/vetting.py": "program size-expression",
    "export/golden.py": "golden",
    "export/manifest.py": "manifest",
    "export/preprocessing.py": "preprocessing labels",
    "export/weights.py": "student",
}
# What reads only what this very command, a library or the system has written.
OWN_WORDS = {
    "benchmarks/deep.py", "benchmarks/dispatch.py", "benchmarks/energy.py", "benchmarks/fresh.py",
    "benchmarks/profilers.py", "benchmarks/schema.py", "benchmarks/starts.py",
    "benchmarks/surroundings.py", "benchmarks/workers.py", "compressor/documents.py",
    "export/calibration.py", "export/divergence.py", "export/onnx_files.py", "export/outputs.py",
    "export/programs.py", "export/quantisation.py", "export/triton.py", "export/signatures.py",
    "compressor/__init__.py",  # only names what reads
    "export/delivery.py",  # a report that its manifest vouches for
    # Facts of a snapshot or a journal, which have a hash of themselves.
    "compressor/building/deployables.py", "compressor/building/targets.py", "compressor/cutters.py",
    "compressor/distillation.py", "compressor/gradual.py", "compressor/logbook.py",
}  # fmt: skip
READS = re.compile(
    r"json\.loads\(|json\.decode\(|msgspec\.convert\(|documents import|onnx\.load\(|np\.load\("
    r"|load_file\(|safe_open\(|torch\.load\(|ZipFile\(|read_text\(|int\(part\)|spec\.rpartition\(\":\"\)"
)


@pytest.mark.parametrize("name", all_targets())
def test_changed_inputs_are_taken_or_refused_in_one_line(
    name: str, corpus: Corpus, tmp_path: Path
) -> None:
    target = all_targets()[name]
    parse = target.open(corpus, tmp_path)
    for data in series(target.seeds(corpus), target.change, target.in_tests, seed=0):
        finding = judge(parse, data)
        assert finding is None, f"{finding.key}: {data[:300]!r}\n{finding.trace}"


@pytest.mark.parametrize(
    "name",
    ["manifest", "card", "program-preprocessing", "preprocessing", "labels", "report", "plan",
     "analysis", "samples", "bench", "probe-cache", "checkpoint-keys", "program", "checkpoint",
     "safetensors", "student", "golden", "onnx", "numbers", "settings", "precisions", "recipe"],
)  # fmt: skip
def test_files_as_they_were_written_are_taken(name: str, corpus: Corpus, tmp_path: Path) -> None:
    target = all_targets()[name]
    parse = target.open(corpus, tmp_path)
    for data in target.seeds(corpus):
        parse(data)


def test_every_module_that_reads_has_a_target() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for package in ("compressor", "export", "benchmarks")
        for path in (ROOT / package).rglob("*.py")
        if "studies" not in path.parts and READS.search(path.read_text(encoding="utf-8"))
    }
    assert found - OWN_WORDS <= set(READERS)
    named = {name for names in READERS.values() for name in names.split()}
    assert named <= set(all_targets())


@pytest.mark.parametrize("change", [change_text, change_json, change_zip, change_safetensors])
def test_equal_seeds_give_equal_changes_and_other_seeds_others(change, corpus: Corpus) -> None:  # type: ignore[no-untyped-def]
    seeds = [b'{"a": [1, "b"]}', corpus.read("small.safetensors")]
    one, same, other = (series(seeds, change, 20, seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert one[:2] == seeds


def test_a_log_of_libfuzzer_is_read() -> None:
    log = (
        "#2\tINITED cov: 10 ft: 11 corp: 1/1b\nFINDING KeyError in a.py:b\n"
        "FINDING KeyError in a.py:b\n#900\tNEW    cov: 31 ft: 47 corp: 9/1b\n"
        "stat::number_of_executed_units: 1203\n"
    )
    found = read_log("it", log, 0)
    assert (found.executions, found.edges, found.features) == (1203, 31, 47)
    assert found.findings == ("FINDING KeyError in a.py:b",)
    assert "ended with status -6" in str(read_log("it", log, -6))
