"""Partners, and cells that both sides' kernels keep apart."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.kernels import Kernel
from benchmarks.layers import pair_layers, unplaced
from benchmarks.operations import Operation
from benchmarks.profiles import Profile


def operation(name: str, operator: str, macs: int = 0, weight: str | None = None) -> Operation:
    return Operation(
        name=name,
        operator=operator,
        inputs=(),
        outputs=(),
        weight=weight,
        macs=macs,
        bytes_moved=10,
        in_width=4,
        out_width=4,
    )


def kernel(covers: str, seconds: float, implementation: str = "Conv") -> Kernel:
    return Kernel(
        name=covers,
        operator=implementation,
        implementation=implementation,
        covers=tuple(covers.split()),
        converts=implementation == "Reorder",
        seconds=seconds,
    )


OPERATIONS = (
    operation("c1", "Conv", 100, "stem.conv.weight"),
    operation("r1", "Relu"),
    operation("c2", "Conv", 100, "head.conv.weight"),
)


def profile(operations: tuple[Operation, ...], *kernels: Kernel) -> Profile:
    total = sum(one.seconds for one in kernels)
    return Profile(
        operations=operations, kernels=kernels, call_s=total, profiled_call_s=total, rounds=10
    )


def test_what_one_side_fuses_is_one_layer_on_both() -> None:
    fused = profile(OPERATIONS, kernel("c1 r1", 3.0, "nchwc.Conv"), kernel("c2", 2.0))
    loose = profile(
        OPERATIONS,
        kernel("c1", 1.0),
        kernel("r1", 0.5, "Relu"),
        kernel("c2", 0.25, "Reorder"),
        kernel("c2", 1.0),
    )
    first, second = pair_layers(fused, loose)
    assert (first.name, second.name) == ("stem.conv", "head.conv")
    assert first.teacher is not None
    assert first.student is not None
    assert (first.teacher.main_s, first.teacher.beside_s) == (3.0, 0.0)
    assert (first.student.main_s, first.student.beside_s) == (1.0, 0.5)
    assert first.student.beside == ("Relu",)
    assert second.student is not None
    assert (second.student.main_s, second.student.convert_s) == (1.0, 0.25)
    assert second.student.seconds == 1.25


def test_other_names_are_matched_by_weights_and_the_rest_stands_alone() -> None:
    renamed = tuple(replace(one, name=f"other_{one.name}") for one in OPERATIONS)
    layers = pair_layers(
        profile(OPERATIONS, kernel("c1", 1.0), kernel("r1", 1.0, "Relu")),
        profile(renamed, kernel("other_c1", 1.0), kernel("other_r1", 1.0, "Relu")),
    )
    alone = [(one.name, one.teacher is None, one.student is None) for one in layers]
    assert alone == [("stem.conv", False, False), ("r1", False, True), ("other_r1", True, False)]


def test_every_second_of_a_kernel_is_in_a_layer_or_unplaced() -> None:
    one = profile(OPERATIONS, kernel("c1 r1", 3.0), kernel("c2", 2.0), kernel("", 0.5))
    placed = sum(layer.teacher.seconds for layer in pair_layers(one, one) if layer.teacher)
    assert placed + unplaced(one) == one.kernels_s


def test_conversions_of_the_file_join_no_layers_and_cost_the_one_they_serve() -> None:
    operations = (
        operation("c1", "Conv", 100, "stem.conv.weight_quantized"),
        operation("q", "QuantizeLinear"),
        operation("dq", "DequantizeLinear"),
        operation("c2", "Conv", 100, "head.conv.weight_quantized"),
    )
    taken_in = profile(operations, kernel("c1 q dq", 1.0), kernel("c2 dq", 1.0))
    alone = replace(kernel("c2 q dq", 0.5, "QuantizeLinear"), converts=True)
    left = profile(operations, kernel("c1", 1.0), alone, kernel("c2", 1.0))
    first, second = pair_layers(taken_in, left)
    assert (first.name, second.name) == ("stem.conv", "head.conv")
    assert second.teacher is not None
    assert second.student is not None
    assert (second.teacher.convert_s, second.student.convert_s) == (0.0, 0.5)
    assert second.student.conversions == ("QuantizeLinear",)
