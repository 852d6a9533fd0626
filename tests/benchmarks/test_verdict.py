"""The line a command prints, and what is said beside it."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.verdict import caveats, judge, verdict


def test_verdict_reads_as_one_sentence(report: dict[str, Any]) -> None:
    assert verdict(report) == (
        "3.3x fewer parameters, 2.40x faster at batch 1 in ONNX Runtime "
        "(95 % interval 2.30 to 2.50), top-1 92.7 % -> 91.2 %, proof passed"
    )
    assert judge(report).status == "VALID"
    assert caveats(report) == ()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"verdict": "slower", "speedup": 0.5, "interval": [0.4, 0.8]}, "2.00x slower"),
        ({"verdict": "slower", "speedup": 0.5, "interval": [0.4, 0.8]}, "interval 1.25 to 2.50"),
        ({"verdict": "no measurable difference"}, "no measurable difference in speed at batch 1"),
        ({"verdict": "invalid", "interval": None}, "no valid speed at batch 1"),
    ],
)
def test_speed_is_said_in_the_word_it_was_given(
    report: dict[str, Any], change: dict[str, Any], text: str
) -> None:
    report["benchmarks"][0].update(change)
    assert text in verdict(report)


def test_unknown_accuracy_is_said_plainly(report: dict[str, Any]) -> None:
    report["teacher"]["metrics"] = report["student"]["metrics"] = None
    assert "accuracy unknown (agrees with the teacher on 95.0 %)" in verdict(report)
    assert any("Accuracy is unknown" in str(one) for one in caveats(report))


def test_seen_test_images_and_untrained_teacher_are_said_plainly(report: dict[str, Any]) -> None:
    report["data"] = {"name": "photos", "seen_test_share": 1.0, "train_with_labels": False}
    report["teacher"]["trained"] = False
    said = " ".join(map(str, caveats(report)))
    assert "has seen all of the test images" in said
    assert "dense network was not trained" in said
    assert "used no labels" in said


def test_failed_proof_makes_the_report_invalid(report: dict[str, Any]) -> None:
    report["proof"]["passed"] = False
    assert judge(report).status == "INVALID"
    assert verdict(report).endswith("PROOF FAILED")


def test_absent_proof_claims_no_speedup(report: dict[str, Any]) -> None:
    report["proof"], report["benchmarks"] = None, []
    report["budget"] = {"sparsity": 0.9, "of": "weights", "achieved": 0.9}
    assert verdict(report).startswith("90.0 % of the weights zero, no speed-up claimed")
    assert any("no speed-up is claimed" in str(one) for one in caveats(report))


def test_noise_in_one_workload_makes_the_report_noisy_with_its_reason(
    report: dict[str, Any],
) -> None:
    report["benchmarks"][0] |= {"status": "NOISY", "reasons": ["contention"]}
    assert judge(report).status == "NOISY"
    assert [str(one) for one in judge(report).reasons] == ["ONNX Runtime, batch 1: contention"]
