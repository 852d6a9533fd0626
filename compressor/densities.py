"""Widths read off a weight-sparse teacher: from the densities of its weights to a plan.

In: ``Analysis``, the share of non-zero elements of each weight, ``Scores``.  Out: ``Plan``.  Knows
nothing of torch, weights or files.

"Prune Your Model Before Distill It" (Park and No, ECCV 2022, arXiv 2109.14960) gives every layer of
the student as many parameters as that layer of the pruned teacher has non-zeros.  On a chain of
``k`` x ``k`` convolutions that is ``n_l = nnz_l / (k^2 n_(l-1))``, from the input on.  Where layers
share units no choice of widths may fit all of them; the least squares here, which come to the same
on a chain, are this project's generalisation and not the paper's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy.optimize import lsq_linear

from compressor.costs import CostTable, cost_table, decode
from compressor.errors import PlanError
from compressor.expectations import Expectation
from compressor.planning import empty_plan, plan_by_keys, steps_of
from compressor.ranking import Floats, Gains, Keys
from compressor.types import Analysis, Axis, Budget, CostTerm, Plan, Scores
from compressor.widths import Steps

# The weight of "keep all" beside the smallest weight that has a density.  It decides where
# densities do not (a group that none of them mentions, two widths of which only the product is
# known), and nowhere else to more than rounding.
RIDGE = 1e-7

# What a group counts as where it keeps all: it gives way after every other.
HAIR = 1e-9


def plan_by_density(
    analysis: Analysis,
    densities: Mapping[str, float],
    scores: Scores,
    *,
    multiple_of: int = 1,
    keep_at_least: float = 0.0,
    smallest_group: int = 8,
    keep_whole: tuple[str, ...] = (),
    preferred: tuple[tuple[int, ...], ...] = (),
    tolerated: tuple[tuple[int, ...], ...] = (),
    expectation: Expectation | None = None,
) -> Plan:
    """The plan whose layers have, as nearly as widths allow, the sparse teacher's non-zeros.

    ``densities``: name of a parameter (``Member.parameter``, ``CostTerm.where``; of tied ones the
    name listed there) -> share of its elements that are non-zero, in (0, 1].  The other arguments
    are those of ``Budget``; ``expectation`` as in ``plan``.

    Groups keep the shares that ``width_shares`` gives, all of them raised to one power, chosen so
    that the student has as many parameters as the teacher has non-zeros (parameters without a
    density counted in full; the teacher's norms and biases too, which the student has fewer of).
    That total is the plan's budget, met as every budget is: to half a point where units allow,
    multiples relaxed first.  Groups whose share is one give way only when all others are at their
    floor.  Inside a group the units with the highest scores stay.  Where nothing is zero, all stay.

    Raises ``PlanError`` for names the analysis does not list, densities outside (0, 1] and scores
    that do not belong to ``analysis``; ``BudgetError`` for malformed arguments, and where what may
    be removed is less than what is zero.
    """
    budget = Budget(
        sparsity=_sparsity(analysis, densities),
        multiple_of=multiple_of,
        keep_at_least=keep_at_least,
        smallest_group=smallest_group,
        keep_whole=keep_whole,
        preferred=preferred,
        tolerated=tolerated,
    )
    if budget.sparsity <= 0:
        return replace(empty_plan(analysis), criterion=scores.criterion)
    shares = width_shares(analysis, densities, steps_of(analysis, budget))
    return plan_by_keys(analysis, scores, budget, _keys(shares), expectation)


def width_shares(
    analysis: Analysis, densities: Mapping[str, float], steps: Steps
) -> tuple[float, ...]:
    """The share of its units that each group should keep, before rounding and before the total.

    Weighted least squares over the logarithms ``x_g`` of the shares::

        min_x  sum_l p_l * (sum_g a_lg * x_g - log d_l)^2,   log(floor_g / units_g) <= x_g <= 0

    over weights ``l`` with a density ``d_l`` and ``p_l`` elements.  ``a_lg`` sums, over the
    dimensions of the weight, how many units of group ``g`` one element depends on, on average:

    - one group along a dimension: 1; two dimensions of one group (a recurrence): 2; a depthwise
      weight has one such dimension;
    - products (heads x head width): 1 for each factor, since the logarithms add up exactly;
    - concatenations, and dimensions of which a part is frozen (share 1): the part of the dimension
      that the group's units fill.  ``log(sum_j s_j r_j)`` is thus taken as ``sum_j s_j log r_j``,
      which is exact where all parts keep the same share, to first order around that, and never
      above the true value.

    Network inputs, class outputs, frozen dimensions and groups that stay whole have ``x = 0``.
    Shares that the densities leave open are pulled to 1 by a term of weight ``RIDGE`` (relative to
    the smallest ``p_l``), so that the answer is unique.  Errors are those of ``plan_by_density``.
    """
    terms = _terms(analysis, densities)
    free = steps.floors < steps.units
    logs = np.zeros(len(analysis.groups))
    if terms and free.any():
        sizes = np.array([_elements(analysis, term) for term in terms], dtype=np.float64)
        sizes /= sizes.min()
        rows = _coefficients(analysis, terms)[:, free] * np.sqrt(sizes)[:, None]
        wanted = np.log([densities[term.where] for term in terms]) * np.sqrt(sizes)
        count = int(free.sum())
        found = lsq_linear(
            np.vstack([rows, math.sqrt(RIDGE) * np.eye(count)]),
            np.concatenate([wanted, np.zeros(count)]),
            bounds=(np.log(steps.floors[free] / steps.units[free]), 0.0),
            method="bvls",
            tol=1e-16,  # the default ends before it has seen what RIDGE decides
            max_iter=10 * count,
        )
        logs[free] = found.x
    return tuple(np.exp(logs).tolist())


def _coefficients(analysis: Analysis, terms: list[CostTerm]) -> Floats:
    """How many units of each group an element depends on, on average; (terms, groups)."""
    table = cost_table(analysis)
    found: dict[int, Floats] = {}
    for number in {axis for term in terms for axis in term.axes}:
        found[number] = _units_per_element(table, analysis.axes[number])
    none = np.zeros(len(analysis.groups))
    return np.stack([sum((found[number] for number in term.axes), none) for term in terms])


def _units_per_element(table: CostTable, axis: Axis) -> Floats:
    units = decode(axis)
    groups = np.searchsorted(table.offsets, units[units > 0], "right") - 1
    counts = np.bincount(groups, minlength=table.offsets.size - 1)
    return np.asarray(counts / axis.size, dtype=np.float64)


def _keys(shares: tuple[float, ...]) -> Keys:
    """The power of its group's share at which a unit's turn to go has come.

    A group of ``n`` units with share ``r`` keeps ``n r^t``, rounded, at the power ``t``: what goes
    below the threshold ``t`` is what that rounding leaves out.
    """

    def keys(values: tuple[Floats, ...], gains: Gains) -> tuple[Floats, ...]:
        found = []
        for group, share in zip(values, shares, strict=True):
            left = (np.arange(group.size, 0, -1) - 0.5) / group.size
            found.append(np.log(left) / min(math.log(share), -HAIR))
        return tuple(found)

    return keys


def _sparsity(analysis: Analysis, densities: Mapping[str, float]) -> float:
    """Share of all parameters that are zero."""
    zeros = 0
    for term in _terms(analysis, densities):
        elements = _elements(analysis, term)
        zeros += elements - round(densities[term.where] * elements)
    whole = analysis.model.parameters
    # Written as ``widths.share`` is, so that a student with this very number of parameters meets
    # it to the last bit.
    return 1 - (whole - zeros) / whole if whole else 0.0


def _elements(analysis: Analysis, term: CostTerm) -> int:
    return term.factor * math.prod(analysis.axes[number].size for number in term.axes)


def _terms(analysis: Analysis, densities: Mapping[str, float]) -> list[CostTerm]:
    """The parameters that have a density.  Raises ``PlanError`` for what cannot be one."""
    terms = [term for term in analysis.costs if term.of == "params"]
    unknown = sorted(set(densities) - {term.where for term in terms})
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise PlanError(
            f"densities name {unknown[0]!r}{more}, which the analysis does not list as a "
            "parameter; take the names in its costs, the first one where weights are tied"
        )
    for name, density in densities.items():
        if not 0 < density <= 1:
            raise PlanError(
                f"density {density} of {name} is not in (0, 1]; give the share of its elements "
                "that are non-zero, and leave out a weight that has none"
            )
    return [term for term in terms if term.where in densities]
