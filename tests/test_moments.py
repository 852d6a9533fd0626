"""Least squares: against torch's own solver, streamed or by rows, and what cannot be solved."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from compressor.moments import RIDGES, Affine, Equations, Moments, Rows, fit, no_equations


def problem(
    rows: int, groups: int = 2, inputs: int = 5, outputs: int = 3
) -> tuple[Tensor, Tensor, Affine]:
    """Rows, answers, and what they were made by."""
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(groups, rows, inputs, generator=generator)
    matrix = torch.randn(groups, inputs, outputs, generator=generator)
    offset = torch.randn(groups, 1, outputs, generator=generator)
    noise = 0.1 * torch.randn(groups, rows, outputs, generator=generator)
    made_by = Affine(matrix=matrix.double(), offset=offset.double())
    return x, x @ matrix + offset + noise, made_by


def zero(like: Affine, *, with_offset: bool = True) -> Affine:
    offset = torch.zeros_like(like.offset) if with_offset and like.offset is not None else None
    return Affine(matrix=torch.zeros_like(like.matrix), offset=offset)


def streamed(start: Equations, x: Tensor, y: Tensor) -> Equations:
    for rows, answers in zip(x.split(7, dim=1), y.split(7, dim=1), strict=True):
        start = start.plus(rows, answers)
    return start


def solved(equations: Equations, ridge: float, start: Affine) -> Affine:
    found = next(equations.solutions((ridge,), start))
    assert found is not None
    return found


@pytest.mark.parametrize("with_offset", [True, False])
def test_both_forms_solve_the_same_and_as_torch_does(with_offset: bool) -> None:
    x, y, made_by = problem(60)
    start = zero(made_by, with_offset=with_offset)
    many = streamed(no_equations(start, rows=60), x, y)
    few = streamed(no_equations(start, rows=1), x, y)
    assert isinstance(many, Moments)
    assert isinstance(few, Rows)
    ones = x.new_ones(2, 60, 1)
    rows = torch.cat([x, ones], dim=2) if with_offset else x
    exact = torch.linalg.lstsq(rows.double(), y.double()).solution
    for equations in (many, few):
        one = solved(equations, 1e-9, start)
        torch.testing.assert_close(one.matrix, exact[:, :5], rtol=1e-3, atol=1e-4)
        if with_offset:
            torch.testing.assert_close(one.offset, exact[:, 5:], rtol=1e-3, atol=1e-4)
        error = float((one.of(x) - y).square().sum())
        assert many.error(one) == pytest.approx(error, rel=1e-4)
        assert few.error(one) == pytest.approx(error, rel=1e-4)


@pytest.mark.parametrize("rows", [60, 1])
@pytest.mark.parametrize("far", [0.0, 1e3, 1e5])
def test_what_is_far_from_zero_is_solved_as_well(rows: int, far: float) -> None:
    """A mean of 1e5 deviations leaves float32 values of two digits: the best of those."""
    x, y, made_by = problem(60)
    x = (x + far * torch.tensor([1.0, -1.0, 2.0, 1.0, 0.0])).contiguous()
    start = zero(made_by)
    equations = streamed(no_equations(start, rows), x, y)
    found = fit(equations, equations, start)
    exact = torch.linalg.lstsq(
        x.double() - x.double().mean(1, keepdim=True), y.double() - y.double().mean(1, keepdim=True)
    ).solution
    assert found.ridge == RIDGES[0]
    torch.testing.assert_close(found.affine.matrix, exact, rtol=1e-2, atol=1e-2)
    least = float((found.affine.of(x) - y).square().sum())
    assert equations.error(found.affine) == pytest.approx(least, rel=1e-2)


def test_a_large_ridge_stays_near_the_start() -> None:
    x, y, made_by = problem(60)
    start = Affine(matrix=torch.ones_like(made_by.matrix), offset=made_by.offset)
    found = solved(streamed(no_equations(start, 60), x, y), 1e6, start)
    torch.testing.assert_close(found.matrix, start.matrix, rtol=0, atol=1e-4)


def test_joined_equations_are_those_of_all_rows() -> None:
    x, y, made_by = problem(60)
    for rows in (60, 1):
        parts = [
            no_equations(made_by, rows).plus(a, b)
            for a, b in zip(x.chunk(2, 1), y.chunk(2, 1), strict=True)
        ]
        whole = no_equations(made_by, rows).plus(x, y)
        assert parts[0].joined(parts[1]).error(made_by) == pytest.approx(
            whole.error(made_by), rel=1e-4
        )


def test_a_fit_that_rows_held_out_do_not_confirm_keeps_the_start() -> None:
    x, y, made_by = problem(6)  # six rows of noise for fifteen numbers
    new_x, _, _ = problem(200)
    used = no_equations(made_by, 6).plus(x, y)
    held_out = no_equations(made_by, 6).plus(new_x, made_by.of(new_x).float())
    found = fit(used, held_out, made_by)
    assert found.ridge is None
    assert found.affine is made_by


def test_what_has_no_finite_solution_keeps_the_start() -> None:
    x, y, made_by = problem(60)
    x[0, 0, 0] = float("inf")
    for rows in (60, 1):
        equations = no_equations(made_by, rows).plus(x, y)
        assert fit(equations, equations, made_by).ridge is None
