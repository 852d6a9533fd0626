"""Parts of a page: what has no place there, what is said instead."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.blocks import Block, Fold, Pictures, Section, Stack, Table
from benchmarks.entries import Entry, entry
from benchmarks.figures import Phrase
from benchmarks.formatting import TIMES
from benchmarks.markdown import render
from benchmarks.sections import (
    files,
    footprint,
    heading,
    layers,
    networks,
    proof,
    repeating,
    service,
    speed,
    tradeoff,
)
from benchmarks.sections.tradeoff import letters
from tests.benchmarks.reports import full_report, small_report


def tables(found: Section | None) -> list[Table]:
    def inside(blocks: tuple[Block, ...]) -> Iterator[Table]:
        for one in blocks:
            if isinstance(one, Table):
                yield one
            elif isinstance(one, Fold):
                yield from inside(one.blocks)

    assert found is not None
    return list(inside(found.blocks))


def words(found: object) -> str:
    """All that is said, in one string."""
    if isinstance(found, Section | Fold):
        return " ".join(map(words, (getattr(found, "summary", ""), *found.blocks)))
    if isinstance(found, Stack):
        return " ".join(map(words, found.lines))
    if isinstance(found, tuple):
        return " ".join(map(words, found))
    if isinstance(found, Phrase | str):
        return str(found)
    told = (getattr(found, name, "") for name in ("said", "rows", "items", "pairs", "columns"))
    return " ".join(map(words, told)) if hasattr(found, "shape") else str(found)


def changed(*path: Any, value: Any) -> Entry:
    report = copy.deepcopy(full_report())
    place: Any = report
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return entry(report)


def test_accuracy_belongs_to_the_file_of_the_same_precision() -> None:
    (table,) = tables(tradeoff.tradeoff(entry(full_report())))
    found = {(str(row[1]), words(row[2])): str(row[4]) for row in table.rows}
    assert found["student", "ONNX Runtime, batch 1 int8, 2 threads"] == "88.4 %"
    assert found["teacher", "ONNX Runtime, batch 1 int8, 2 threads"] == "92.1 %"
    assert found["student", "OpenVINO, batch 1 float32, 2 threads"] == "91.2 %"
    assert not [setting for _, setting in found if "bfloat16" in setting]  # nobody measured it
    assert not [setting for _, setting in found if "batch 8" in setting]
    assert "not measured are not shown" in words(tradeoff.tradeoff(entry(full_report())))


@pytest.mark.parametrize(
    "report",
    [
        changed("student", "metrics", value=None),
        changed("benchmarks", value=[]),
        entry(small_report()),  # its files have no accuracy
    ],
    ids=["no accuracy", "no speed", "no accuracy of files"],
)
def test_without_accuracy_or_speed_there_is_no_picture_of_both(report: Entry) -> None:
    assert tradeoff.tradeoff(report) is None


def test_invalid_measurements_are_not_drawn_against_accuracy() -> None:
    (table,) = tables(tradeoff.tradeoff(changed("benchmarks", 0, "status", value="INVALID")))
    assert "float32, 2 threads" in words(table)
    assert "ONNX Runtime, batch 1 float32" not in words(table)


def test_marks_never_run_out() -> None:
    found = [letters(number) for number in range(26 * 27)]
    assert found[:2] == ["A", "B"]
    assert (found[25], found[26], found[-1]) == ("Z", "AA", "ZZ")
    assert len(set(found)) == len(found)


def test_latency_by_batch_is_drawn_for_settings_of_several_batches() -> None:
    blocks = speed.speed(entry(full_report()), {}).blocks
    (found,) = (one for one in blocks if isinstance(one, Pictures))
    assert [str(one.caption) for one in found.pictures] == [
        "ONNX Runtime, float32, 2 threads",
        "OpenVINO, float32, 2 threads",
    ]


def test_unmeasured_settings_are_told_with_their_reason() -> None:
    found = words(speed.speed(entry(full_report()), {}))
    assert "Not measured: torch on cuda, batch 1, because torch finds no CUDA device." in found


def test_what_lasted_and_went_on_is_told_of_every_setting() -> None:
    found = words(speed.speed(entry(full_report()), {}))
    assert found.count("5 fresh processes, 120 rounds") == 8
    assert "others kept 0.150 cores busy" in found


@pytest.mark.parametrize("key", ["throughput", "load"])
@pytest.mark.parametrize("absent", [True, False])
def test_parts_that_were_not_measured_are_left_out(key: str, absent: bool) -> None:
    report = full_report() | {key: None}
    if absent:
        del report[key]
    assert getattr(service, key)(entry(report)) is None


def test_a_rate_that_was_given_up_is_in_the_table_and_not_in_the_curve() -> None:
    section = service.load(entry(full_report()))
    told = words(section)
    assert "given up: the queue only grew" in told
    assert section is not None
    (picture,) = (one for one in section.blocks if one.shape == "picture")
    assert str(getattr(picture, "drawing", "")).count("<circle") == 3 + 5


def test_reasons_stand_where_nothing_could_be_measured() -> None:
    report = full_report()
    report["energy"] |= {"joules": None, "reason": "there is no energy counter"}
    report["memory"] |= {"arena": None, "no_arena": None, "reason": "no peak is told"}
    found = words(footprint.footprint(entry(report)))
    assert "Energy: there is no energy counter." in found
    assert "Memory: no peak is told." in found
    assert "not measured, because the system kept 40% of the file's pages." in found
    for key in ("energy", "memory", "cold_start"):
        del report[key]
    assert footprint.footprint(entry(report)) is None


def test_layers_of_one_side_and_unexplained_workloads_are_told() -> None:
    report = full_report()
    report["layers"][0]["rows"][0]["student"] = None
    report["layers"][0]["rows"][0] |= {"macs_left": None, "time_left": None}
    found = words(layers.layers(entry(report)))
    assert "not explained, because openvino is not installed" in found
    assert "260 \N{EN DASH}" in found
    assert layers.layers(entry(small_report())) is None


def test_files_that_are_not_advised_say_why() -> None:
    found = words(files.files(entry(full_report())))
    assert "not advised: loses 2.80 points of top-1" in found
    assert "onnx/student-int8.onnx: not advised, it loses 2.8 points" in found
    assert "calibrated by percentile on 256 images (training images)" in found
    assert "4 nodes stay in float32" in found
    assert "loses 0.600 points of top-1" in found


def test_failed_proof_names_the_first_wrong_node() -> None:
    report = changed("proof", "passed", value=False).value
    report["proof"]["first_wrong"] = "conv_3 (net.py:12)"
    assert "the first wrong node is conv_3 (net.py:12)" in words(proof.proof(entry(report)))


def test_a_student_that_grew_says_so() -> None:
    found = networks.networks(changed("student", "macs", value=15_000_000), None)
    assert "25.0 % more" in words(found)


def test_environment_leaves_out_what_is_unknown() -> None:
    found = words(repeating.repeating(entry(full_report())))
    assert "governor" not in found
    assert "virtual machine yes" in found
    assert "peak memory bytes 1.05 GB" in found


def test_verdict_becomes_a_sentence() -> None:
    said = str(heading.heading(entry(full_report())).verdict)
    assert said.startswith("3.3")
    assert said.endswith("proof passed.")
    report = small_report() | {"benchmarks": []}
    report["student"]["parameters"] = report["teacher"]["parameters"]
    assert str(heading.heading(entry(report)).verdict).startswith("No fewer parameters, speed not")


def test_further_reasons_for_doubt_are_told_on_request() -> None:
    report = full_report()
    for row in report["benchmarks"]:
        row |= {"status": "NOISY", "reasons": [f"contention in {row['runtime']}"]}
    found = heading.heading(entry(report))
    assert len(found.shown) == 2
    assert (*found.shown, *found.further) == found.judgement.reasons
    assert len(found.judgement.short) == 3
    assert str(found.judgement.short[-1]).startswith("6 further settings are not VALID")


def test_the_command_is_one_that_a_shell_takes() -> None:
    words_given = ["compressor", "build", "--teacher", "my nets/it's.pt", "--mean", "0.5 0.5"]
    found = repeating.command(changed("command", value=words_given))
    assert shlex.split(str(found)) == words_given
    assert str(repeating.command(changed("command", value="python -m it"))) == "python -m it"
    assert not repeating.command(changed("command", value=[]))


def test_a_breakdown_that_the_verdict_contradicts_says_so() -> None:
    def told(*path: Any, value: Any) -> str:
        report = changed(*path, value=value)
        del report.value["explanation"][1:]
        return f"{words(layers.layers(report))} {render(report.value)}"

    agreeing = told("explanation", 0, "time_speedup", value=2.4)
    assert "verdict: " not in agreeing
    assert "outside the verdict's interval" not in agreeing
    other = told("explanation", 0, "time_speedup", value=3.43)
    assert f"3.43{TIMES} (verdict: 2.40{TIMES})" in other
    assert (
        f"their ratio of 3.43{TIMES} lies outside the verdict's interval (2.31 to 2.50): they tell "
        "where time goes, not how much faster the student is."
    ) in other
    assert "verdict: " in told("benchmarks", 0, "interval", value=[1.0, 1.1])
    assert "verdict: " not in told("benchmarks", 0, "interval", value=None)
    assert "verdict: " not in told("benchmarks", 0, "verdict", value="invalid")


def test_one_explanation_is_shown_and_the_others_are_in_a_table_and_on_request() -> None:
    section = layers.layers(entry(full_report()))
    assert section is not None
    folds = [one for one in section.blocks if isinstance(one, Fold)]
    told = [str(one.summary) for one in folds]
    assert [one for one in told if one.startswith("ONNX Runtime, batch 1, int8, 2 threads: ")]
    (overview, *_) = tables(section)
    assert [words(row[0]) for row in overview.rows] == [
        "ONNX Runtime, batch 1 float32, 2 threads",
        "ONNX Runtime, batch 1 int8, 2 threads",
    ]
    assert [str(row[4]) for row in overview.rows] == [
        "other kernel (0.210 ms)", "conversions (0.300 ms)",
    ]  # fmt: skip
    shown = words(Section(title="", blocks=tuple(b for b in section.blocks if b not in folds)))
    assert "MACs 3.00x fewer, time 2.40x less" in shown
    assert "int8, 2 threads: MACs" not in shown
    assert "QuantizeLinear 14, 0.110 ms 15, 0.120 ms" in words(section)
