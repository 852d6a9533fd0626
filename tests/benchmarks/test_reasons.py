"""The sentences say what the numbers do."""

from __future__ import annotations

import json
from dataclasses import replace

from benchmarks.attribution import explain
from benchmarks.explanations import explanation_row, layers_row
from benchmarks.kernels import Kernel
from benchmarks.operations import Operation
from benchmarks.profiles import Profile
from benchmarks.reasons import describe
from benchmarks.workloads import Workload

ORT = Workload(runtime="onnxruntime")


def chain(
    macs: int, width: int, implementation: str, seconds: float, *, call: float, mean: bool = False
) -> Profile:
    operations = (
        Operation(
            name="conv",
            operator="Conv",
            inputs=("x",),
            outputs=("a",),
            weight="layer1.conv.weight",
            macs=macs,
            bytes_moved=100,
            in_width=width,
            out_width=width,
            over_space=mean,
        ),
    )
    kernel = Kernel(
        name="conv",
        operator="Conv",
        implementation=implementation,
        covers=("conv",),
        converts=False,
        seconds=seconds,
    )
    return Profile(
        operations=operations, kernels=(kernel,), call_s=call, profiled_call_s=call, rounds=33
    )


def text(teacher: Profile, student: Profile, workload: Workload = ORT) -> str:
    return "\n".join(describe(explain(teacher, student), workload))


TEACHER = chain(1000, 64, "nchwc.Conv", 0.9e-3, call=1e-3)
SLOW = chain(500, 45, "Conv", 0.7e-3, call=0.75e-3)


def test_first_sentence_has_both_ratios_what_is_missing_and_where() -> None:
    first = describe(explain(TEACHER, SLOW), ORT)[0]
    assert first == (
        "ONNX Runtime, batch 1, 1 thread: MACs 2.00x fewer, time 1.33x less. Had the time fallen "
        "as the MACs did, a call would take 0.500 ms; it takes 0.750 ms, so 0.250 ms are missing, "
        "100 % of them in layer1.conv."
    )


def test_lost_kernel_and_its_width_are_named_with_the_way_out() -> None:
    told = text(TEACHER, SLOW)
    assert "another kernel (1 x nchwc.Conv -> Conv); most in layer1.conv (45 -> 45 wide" in told
    assert "1 of the student's are not (widths 45)" in told
    assert "--multiple-of 4 at least" in told
    assert "means of the middle half of 33 interleaved rounds" in told
    openvino = replace(ORT, runtime="openvino")
    assert "means of 33 interleaved rounds" in text(TEACHER, SLOW, openvino)


def test_aligned_width_and_other_runtimes_get_no_advice_about_steps() -> None:
    aligned = chain(500, 48, "Conv", 0.7e-3, call=0.75e-3)
    assert "multiple" not in text(TEACHER, aligned)
    assert "multiple" not in text(TEACHER, SLOW, replace(ORT, runtime="openvino"))


def test_nothing_missing_is_said_and_not_explained() -> None:
    told = describe(explain(TEACHER, chain(500, 32, "nchwc.Conv", 0.45e-3, call=0.51e-3)), ORT)
    assert told[0].endswith("the time fell as the MACs did, and nothing is missing.")
    assert len(told) == 2


def test_faster_than_the_macs_is_said_as_such() -> None:
    told = text(TEACHER, chain(500, 32, "nchwc.Conv", 0.2e-3, call=0.25e-3))
    assert "0.250 ms faster than the MACs let expect (0.500 ms)" in told
    assert "\nLess 0.250 ms (100 %) in kernels that compute more MACs per second" in told


def test_profiler_that_lengthens_kernels_is_named() -> None:
    told = text(TEACHER, chain(500, 45, "Conv", 0.9e-3, call=0.75e-3))
    assert "since the profiler lengthens kernels, of which the student has 1" in told


def test_busy_machine_and_time_outside_of_kernels_are_said() -> None:
    assert "busy" not in text(TEACHER, SLOW)
    assert "outside of kernels (handing" not in text(TEACHER, SLOW)
    told = text(replace(TEACHER, contention=1.5, call_s=3e-3), SLOW)
    assert "took 1.50 times the process's own processor time" in told
    assert "Up to 70 % of a call passes outside of kernels" in told


def test_mean_over_space_is_advised_against_in_onnx_runtime_alone() -> None:
    student = chain(500, 48, "Conv", 0.7e-3, call=0.75e-3, mean=True)
    assert "a GlobalAveragePool, which computes the same" in text(TEACHER, student)
    assert "GlobalAveragePool" not in text(TEACHER, student, replace(ORT, runtime="openvino"))


def test_rows_are_plain_and_hold_the_numbers_of_the_sentences() -> None:
    found = explain(TEACHER, SLOW)
    told, listed = json.loads(json.dumps([explanation_row(found, ORT), layers_row(found, ORT)]))
    assert told["macs_speedup"] == 2.0
    assert round(told["missing_ms"], 6) == 0.25
    assert round(sum(one["ms"] for one in told["causes"]), 6) == 0.25
    (row,) = listed["rows"]
    assert (row["name"], row["macs_left"], row["student"]["in_width"]) == ("layer1.conv", 0.5, 45)
    assert round(row["time_left"], 4) == round(7 / 9, 4)


def in_integers(macs: int, width: int, *, float32: bool = False) -> Profile:
    one = chain(macs, width, "QLinearConv", 0.9e-3, call=1e-3)
    (working,) = one.kernels
    working = replace(working, computes_in="float32" if float32 else "int8")
    converting = replace(
        working, name="q", operator="QuantizeLinear", converts=True, seconds=0.02e-3
    )
    return replace(one, kernels=(working, converting))


INT8 = replace(ORT, stored="int8")


def test_lower_precision_is_named_with_its_types_and_conversions() -> None:
    told = describe(explain(in_integers(1000, 64), in_integers(500, 48)), INT8)
    assert told[0].startswith("ONNX Runtime, batch 1, int8, 1 thread: MACs 2.00x fewer")
    assert (
        "Layers that multiply, by the type they compute in: 1 in int8 in the student, as many in "
        "the teacher."
    ) in told
    assert (
        "Conversions between types that run on their own: QuantizeLinear 1 in the teacher "
        "(20 \N{MICRO SIGN}s) and 1 in the student (20 \N{MICRO SIGN}s)."
    ) in told
    assert "Layers that multiply" not in text(TEACHER, SLOW)


def test_precision_in_which_nothing_computes_is_said() -> None:
    told = text(in_integers(1000, 64), in_integers(500, 48, float32=True), INT8)
    assert "1 in float32 in the student, 1 in int8 in the teacher." in told
    assert "None computes in int8" in told


def test_integer_convolutions_on_another_path_are_counted_in_onnx_runtime_alone() -> None:
    told = text(in_integers(1000, 64), in_integers(500, 45), INT8)
    assert "1 of the teacher's 1 are such, 0 of the student's 1" in told
    assert "--target onnxruntime:int8" in told
    assert "as a matrix product" not in text(in_integers(1000, 64), in_integers(500, 44), INT8)
    openvino = replace(INT8, runtime="openvino")
    assert "matrix product" not in text(in_integers(1000, 64), in_integers(500, 45), openvino)


def test_kernels_without_a_layer_are_told_where_they_weigh() -> None:
    lost = replace(SLOW.kernels[0], name="odd", covers=(), seconds=0.3e-3)
    told = text(TEACHER, replace(SLOW, kernels=(*SLOW.kernels, lost)))
    assert "Up to 30 % of the kernels' time belongs to no layer" in told
    assert "belongs to no layer" not in text(TEACHER, SLOW)
