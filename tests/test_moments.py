"""Least squares: against torch's own solver, streamed or by rows, and what cannot be solved."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from compressor.moments import Equations, Moments, Rows, fit, no_equations


def problem(rows: int, groups: int = 2, inputs: int = 5, outputs: int = 3) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(groups, rows, inputs, generator=generator)
    matrix = torch.randn(groups, inputs, outputs, generator=generator)
    noise = 0.1 * torch.randn(groups, rows, outputs, generator=generator)
    return x, x @ matrix + noise, torch.zeros_like(matrix).double(), matrix.double()


def streamed(start: Equations, x: Tensor, y: Tensor) -> Equations:
    for rows, answers in zip(x.split(7, dim=1), y.split(7, dim=1), strict=True):
        start = start.plus(rows, answers)
    return start


def test_both_forms_solve_the_same_and_as_torch_does() -> None:
    x, y, start, _ = problem(60)
    many = streamed(no_equations(start, rows=60), x, y)
    few = streamed(no_equations(start, rows=1), x, y)
    assert isinstance(many, Moments)
    assert isinstance(few, Rows)
    found = [equations.solution(1e-9, start) for equations in (many, few)]
    exact = torch.linalg.lstsq(x.double(), y.double()).solution
    for one in found:
        assert one is not None
        torch.testing.assert_close(one, exact, rtol=1e-3, atol=1e-4)
        error = float((x.double() @ one - y).square().sum())
        assert many.error(one) == pytest.approx(error, rel=1e-4)
        assert few.error(one) == pytest.approx(error, rel=1e-4)


def test_a_large_ridge_stays_near_the_start() -> None:
    x, y, start, _ = problem(60)
    found = streamed(no_equations(start, 60), x, y).solution(1e6, start + 1.0)
    assert found is not None
    torch.testing.assert_close(found, start + 1.0, rtol=0, atol=1e-4)


def test_joined_equations_are_those_of_all_rows() -> None:
    x, y, start, matrix = problem(60)
    for rows in (60, 1):
        parts = [
            no_equations(start, rows).plus(a, b)
            for a, b in zip(x.chunk(2, 1), y.chunk(2, 1), strict=True)
        ]
        whole = no_equations(start, rows).plus(x, y)
        assert parts[0].joined(parts[1]).error(matrix) == pytest.approx(
            whole.error(matrix), rel=1e-4
        )


def test_a_fit_that_rows_held_out_do_not_confirm_keeps_the_start() -> None:
    x, y, _, matrix = problem(6)  # six rows of noise for fifteen numbers
    new_x, _, _, _ = problem(200)
    used = no_equations(matrix, 6).plus(x, y)
    held_out = no_equations(matrix, 6).plus(new_x, new_x @ matrix.float())
    found = fit(used, held_out, matrix)
    assert found.ridge is None
    assert torch.equal(found.matrix, matrix)


def test_what_has_no_finite_solution_keeps_the_start() -> None:
    x, y, start, _ = problem(60)
    x[0, 0, 0] = float("inf")
    for rows in (60, 1):
        equations = no_equations(start, rows).plus(x, y)
        assert fit(equations, equations, start).ridge is None
