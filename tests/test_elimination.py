"""The order in which units go: costs by brute force, copies first, blocks alike."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from compressor import elimination
from compressor.elimination import Regression, eliminate


def regression(units: int = 6, each: int = 2, outputs: int = 3) -> tuple[Regression, Tensor]:
    generator = torch.Generator().manual_seed(3)
    mixing = torch.randn(units * each, units * each, generator=generator, dtype=torch.float64)
    x = torch.randn(4000, units * each, generator=generator, dtype=torch.float64) @ mixing
    x = x - x.mean(dim=0)
    matrix = torch.randn(1, units * each, outputs, generator=generator, dtype=torch.float64)
    columns = torch.arange(units * each).reshape(units, each)
    return Regression(variance=(x.T @ x)[None] / 4000, matrix=matrix, columns=columns), x


def refitted_error(one: Regression, x: Tensor, gone: list[int]) -> float:
    """Of the best layer without these units, as a share of the outputs' variance."""
    wanted = x @ one.matrix[0]
    left = [column for unit, row in enumerate(one.columns.tolist()) for column in row
            if unit not in gone]  # fmt: skip
    if not left:
        return 1.0
    solution = torch.linalg.lstsq(x[:, left], wanted).solution
    return float((x[:, left] @ solution - wanted).square().sum() / wanted.square().sum())


def test_errors_are_those_of_layers_refitted_by_brute_force() -> None:
    one, x = regression()
    found = eliminate([one])
    assert sorted(found.order.tolist()) == list(range(6))
    for count in range(1, 7):
        expected = refitted_error(one, x, found.order[:count].tolist())
        assert found.errors[count - 1] == np.float64(expected).round(12) or np.isclose(
            found.errors[count - 1], expected, rtol=0.05, atol=5e-3
        )
    first = min(range(6), key=lambda unit: refitted_error(one, x, [unit]))
    assert found.order[0] == first


def test_a_copy_goes_first_and_costs_nothing() -> None:
    one, x = regression(each=1)
    x[:, 4] = x[:, 1]
    found = eliminate([Regression(variance=(x.T @ x)[None] / 4000, matrix=one.matrix,
                                  columns=one.columns)])  # fmt: skip
    assert found.order[0] in (1, 4)
    assert found.errors[0] < 2e-3


def test_the_regression_stays_as_it_is_and_groups_are_summed() -> None:
    one, _ = regression()
    before = one.matrix.clone(), one.variance.clone()
    twice = Regression(variance=one.variance.repeat(2, 1, 1), matrix=one.matrix.repeat(2, 1, 1),
                       columns=one.columns)  # fmt: skip
    np.testing.assert_allclose(eliminate([twice]).errors, eliminate([one]).errors)
    np.testing.assert_allclose(eliminate([one, one]).errors, eliminate([one]).errors)
    assert torch.equal(one.matrix, before[0])
    assert torch.equal(one.variance, before[1])


def test_inputs_known_only_by_themselves_are_not_refitted() -> None:
    one, _ = regression(each=1)
    own = one.variance.diagonal(dim1=-2, dim2=-1)
    found = eliminate([Regression(variance=own, matrix=one.matrix, columns=one.columns)])
    costs = (own[0][:, None] * one.matrix[0].square()).sum(dim=1)
    assert found.order.tolist() == torch.argsort(costs).tolist()
    np.testing.assert_allclose(found.errors[-1], 1.0)


def test_of_many_units_several_go_at_once(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    one, _ = regression(units=12, each=1)
    monkeypatch.setattr(elimination, "AT_ONCE", 4)
    found = eliminate([one])
    assert sorted(found.order.tolist()) == list(range(12))
    assert (np.diff(found.errors) >= 0).all()
