"""Partners: the way from the inputs, then weights, then names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.operations import Operation, read_operations
from benchmarks.partners import match
from tests.benchmarks.lowered_files import NETWORKS, SHAPES, write_pair


def operation(
    name: str, operator: str, inputs: str = "", output: str = "", weight: str | None = None
) -> Operation:
    return Operation(
        name=name,
        operator=operator,
        inputs=tuple(inputs.split()),
        outputs=tuple(output.split()),
        weight=weight,
        macs=0,
        bytes_moved=0,
        in_width=None,
        out_width=None,
    )


def test_numbers_that_exporters_give_do_not_decide() -> None:
    teacher = (
        operation("Conv_1", "Conv", "x", "v1", "one.weight"),
        operation("Mul_2", "Mul", "v1", "v2"),
        operation("Conv_3", "Conv", "v2", "v3", "two.weight"),
        operation("Mul_4", "Mul", "v3", "v4"),
    )
    student = (
        operation("Conv_3", "Conv", "x", "w1", "one.weight"),
        operation("Mul_4", "Mul", "w1", "w2"),
        operation("Conv_5", "Conv", "w2", "w3", "two.weight"),
        operation("Mul_6", "Mul", "w3", "w4"),
    )
    assert match(teacher, student) == {
        "Conv_3": "Conv_1", "Mul_4": "Mul_2", "Conv_5": "Conv_3", "Mul_6": "Mul_4",
    }  # fmt: skip


def test_branches_that_read_the_same_are_told_by_their_weights_else_by_their_order() -> None:
    teacher = (
        operation("a", "Conv", "x", "a", "left.weight"),
        operation("b", "Conv", "x", "b", "right.weight"),
        operation("r", "Relu", "x", "r"),
        operation("s", "Relu", "x", "s"),
        operation("sum", "Add", "a b", "y"),
    )
    student = (
        operation("p", "Conv", "x", "p", "right.weight"),
        operation("q", "Conv", "x", "q", "left.weight"),
        operation("t", "Relu", "x", "t"),
        operation("u", "Relu", "x", "u"),
        operation("plus", "Add", "q p", "y"),
    )
    assert match(teacher, student) == {"p": "b", "q": "a", "t": "r", "u": "s", "plus": "sum"}


def test_where_a_way_is_broken_the_next_weight_takes_it_up() -> None:
    teacher = (
        operation("c1", "Conv", "x", "a", "one.weight"),
        operation("odd", "Identity", "a", "b"),
        operation("c2", "Conv", "b", "c", "two.weight"),
        operation("r2", "Relu", "c", "d"),
    )
    student = (
        operation("k1", "Conv", "x", "a", "one.weight"),
        operation("k2", "Conv", "a", "c", "two.weight"),
        operation("m2", "Relu", "c", "d"),
    )
    assert match(teacher, student) == {"k1": "c1", "k2": "c2", "m2": "r2"}


def test_names_come_last_and_want_the_same_operator() -> None:
    one = operation("c1", "Conv")
    assert match((one,), (one,)) == {"c1": "c1"}
    assert match((one,), (replace(one, operator="Gemm"),)) == {}


def test_weight_that_several_share_matches_nobody() -> None:
    shared = tuple(operation(name, "Conv", weight="w.weight") for name in "ab")
    assert match(shared, tuple(replace(one, name=one.name * 2) for one in shared)) == {}


@pytest.mark.parametrize("shift", [1, 4])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_files_of_one_program_match_whole_whatever_their_nodes_are_called(
    kind: str, precision: str, shift: int, tmp_path: Path
) -> None:
    pair = write_pair(tmp_path, kind, precision, (16, 12))
    teacher, student = (read_operations(path, SHAPES[kind]) for path in pair)
    many = len(teacher)
    kept = precision == "int8"  # whose dequantised weights go no way
    called = tuple(replace(one, name=f"node_{n}") for n, one in enumerate(teacher))
    renamed = tuple(
        replace(one, name=f"node_{(n + shift) % many}", weight=one.weight if kept else None)
        for n, one in enumerate(student)
    )
    assert match(called, renamed) == {
        f"node_{(n + shift) % many}": f"node_{n}" for n in range(many)
    }


def test_paths_of_a_file_are_read(pair: tuple[Path, Path]) -> None:
    teacher, student = (read_operations(path, (3, 8, 8)) for path in pair)
    assert match(teacher, student) == {one.name: one.name for one in student}
