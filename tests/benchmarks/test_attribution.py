"""The pieces are the whole, each under the cause that was made up for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.attribution import Explanation, explain
from benchmarks.kernels import Kernel
from benchmarks.operations import Operation
from benchmarks.profiles import Profile

MS = 1e-3


def network(
    *layers: tuple[int, str, float, float, float],
    outside: float = 0.0,
    executed: dict[str, int] | None = None,
    moved: dict[str, int] | None = None,
) -> Profile:
    """(macs, implementation, main, beside, converting) seconds; layers are l0, l1, ..."""
    operations, kernels = [], []
    for place, (macs, implementation, main, beside, convert) in enumerate(layers):
        name = f"l{place}"
        for suffix, operator, cost in (("", "Conv", macs), ("_act", "Relu", 0)):
            operations.append(
                Operation(
                    name=name + suffix,
                    operator=operator,
                    inputs=(),
                    outputs=(),
                    weight=None,
                    macs=cost,
                    bytes_moved=(moved or {}).get(name, 1),
                    in_width=7,
                    out_width=9,
                )
            )
        fused = (name, f"{name}_act")
        for kind, covers, seconds in (
            (implementation, fused if not beside else fused[:1], main),
            ("Relu", fused[1:], beside),
            ("Reorder", fused[:1], convert),
        ):
            if seconds:
                kernels.append(
                    Kernel(
                        name=f"{name}{kind}",
                        operator=kind,
                        implementation=kind,
                        covers=covers,
                        converts=kind == "Reorder",
                        seconds=seconds,
                        executed_macs=(executed or {}).get(name),
                    )
                )
    total = sum(one.seconds for one in kernels) + outside
    return Profile(
        operations=tuple(operations),
        kernels=tuple(kernels),
        call_s=total,
        profiled_call_s=total,
        rounds=20,
    )


def causes(found: Explanation) -> dict[str, float]:
    return {cause: round(seconds / MS, 9) for cause, seconds in found.by_cause()}


def test_time_that_fell_as_the_macs_did_leaves_nothing() -> None:
    found = explain(
        network((100, "A", 4 * MS, 0, 0), (100, "A", 2 * MS, 0, 0)),
        network((50, "A", 2 * MS, 0, 0), (50, "A", 1 * MS, 0, 0)),
    )
    assert found.missing_s == pytest.approx(0)
    assert causes(found) == {}


def test_each_cause_gets_what_it_costs() -> None:
    found = explain(
        network((100, "nchwc.Conv", 4 * MS, 0, 0), outside=1 * MS),
        network((50, "Conv", 3 * MS, 0.5 * MS, 0.25 * MS), outside=1 * MS),
    )
    assert causes(found) == {
        "other kernel": 1.0,
        "on its own": 0.5,
        "conversions": 0.25,
        "outside kernels": 0.5,
    }
    assert found.expected_s == pytest.approx(2.5 * MS)
    assert found.missing_s == pytest.approx(2.25 * MS)


def test_activation_inside_a_kernel_does_not_make_it_another() -> None:
    found = explain(network((100, "FusedConv", 4 * MS, 0, 0)), network((50, "Conv", 3 * MS, 0, 0)))
    assert "other kernel" not in causes(found)


def test_kernel_that_computes_slower_than_others_is_told_so() -> None:
    found = explain(
        network((100, "A", 1 * MS, 0, 0), (100, "A", 1 * MS, 0, 0), moved={"l1": 100}),
        network((50, "A", 1 * MS, 0, 0), (50, "A", 0.5 * MS, 0, 0), moved={"l1": 50}),
    )
    assert causes(found) == {"same kernel": 0.5}


def test_padding_is_what_a_kernel_computes_beyond_its_width() -> None:
    found = explain(
        network((100, "A", 4 * MS, 0, 0), executed={"l0": 100}),
        network((50, "A", 3 * MS, 0, 0), executed={"l0": 75}),
    )
    assert causes(found) == {"padding": 1.0}


def test_layer_that_was_cut_less_than_the_whole_is_told_so() -> None:
    found = explain(
        network((100, "A", 4 * MS, 0, 0), (300, "A", 4 * MS, 0, 0)),
        network((100, "A", 4 * MS, 0, 0), (100, "A", 4 / 3 * MS, 0, 0)),
    )
    # r = 1/2: the first layer keeps 4 instead of 2 ms, the second has 4/3 in place of 2
    assert causes(found) == {"cut less": round(2 - 2 / 3, 9)}
    assert dict(found.by_layer()) == pytest.approx({"l0": 2 * MS, "l1": -2 / 3 * MS})


def test_layer_at_the_best_rate_of_bytes_is_bound_by_memory() -> None:
    found = explain(
        network((10_000, "A", 1 * MS, 0, 0), (100, "A", 1 * MS, 0, 0), moved={"l1": 10_000}),
        network((5_000, "A", 0.5 * MS, 0, 0), (50, "A", 1 * MS, 0, 0), moved={"l1": 10_000}),
    )
    assert causes(found) == {"memory": 0.5}


def test_short_kernels_are_called_short() -> None:
    found = explain(network((100, "A", 8e-6, 0, 0)), network((50, "A", 8e-6, 0, 0)))
    assert causes(found) == {"small kernel": round(4e-6 / MS, 9)}


def test_layer_of_one_side_has_no_partner() -> None:
    found = explain(
        network((100, "A", 4 * MS, 0, 0)),
        network((50, "A", 2 * MS, 0, 0), (0, "B", 1 * MS, 0, 0)),
    )
    assert causes(found) == {"no partner": 1.0}


side = st.lists(
    st.tuples(
        st.integers(1, 1000),
        st.sampled_from(("A", "B", "nchwc.Conv", "FusedConv")),
        st.floats(1e-6, 1e-2),
        st.floats(0, 1e-3),
        st.floats(0, 1e-3),
    ),
    min_size=1,
    max_size=5,
)


@given(side, side, st.floats(-1e-3, 1e-2), st.floats(-1e-3, 1e-2))
def test_pieces_always_sum_to_what_is_missing(
    before: list[tuple[int, str, float, float, float]],
    after: list[tuple[int, str, float, float, float]],
    first: float,
    second: float,
) -> None:
    found = explain(network(*before, outside=first), network(*after, outside=second))
    assert sum(one.seconds for one in found.pieces) == pytest.approx(found.missing_s, abs=1e-9)
    assert sum(s for _, s in found.by_cause()) == pytest.approx(found.missing_s, abs=1e-9)


def test_networks_that_multiply_nothing_are_refused() -> None:
    idle = network((0, "A", 1 * MS, 0, 0))
    with pytest.raises(ValueError, match="no multiply-accumulates"):
        explain(idle, idle)


def test_conversions_of_type_are_counted_by_kind_and_types_by_layer() -> None:
    def side(macs: int, kinds: tuple[str, ...], computes_in: str) -> Profile:
        one = network((macs, "QLinearConv", 1 * MS, 0, 0))
        working = replace(one.kernels[0], computes_in=computes_in)
        converting = tuple(
            replace(working, name=f"k{n}", operator=kind, converts=True, seconds=0.1 * MS)
            for n, kind in enumerate(kinds)
        )
        return replace(one, kernels=(working, *converting))

    found = explain(
        side(100, ("QuantizeLinear",), "int8"),
        side(
            50, ("QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "Transpose"), "float32"
        ),
    )
    told = {one.kind: (one.teacher, one.student, one.student_s) for one in found.conversions}
    assert told == {
        "QuantizeLinear": (1, 1, pytest.approx(0.1 * MS)),
        "DequantizeLinear": (0, 2, pytest.approx(0.2 * MS)),
    }
    assert found.types.teacher == (("int8", 1),)
    assert found.types.student == (("float32", 1),)


def test_kernel_that_nobody_can_place_is_told_as_such() -> None:
    whole = network((100, "A", 4 * MS, 0, 0))
    lost = replace(whole.kernels[0], name="odd", covers=(), seconds=1 * MS)
    found = explain(whole, replace(whole, kernels=(*whole.kernels, lost)))
    assert (found.teacher_unplaced_s, found.student_unplaced_s) == (0, 1 * MS)
