"""Widths read off densities: the published tables, the law on chains, and what layers share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from compressor.analysis import analyze
from compressor.densities import plan_by_density
from compressor.densities import width_shares as shares_of
from compressor.errors import BudgetError, PlanError
from compressor.graphs import capture
from compressor.planning import empty_plan, keep_mask, rows_of, steps_of
from compressor.proof import prove
from compressor.removal import remove
from compressor.types import Analysis, Budget, Plan
from tests import zoo
from tests.test_planning import (
    STRUCTURES,
    analysis_of,
    attention,
    axis,
    brute_force,
    chain,
    concatenated,
    depthwise,
    frozen_axis,
    residual,
    scored,
    widths,
)


def width_shares(
    analysis: Analysis,
    densities: Mapping[str, float],
    *,
    keep_at_least: float = 0.0,
    smallest_group: int = 8,
    keep_whole: tuple[str, ...] = (),
) -> tuple[float, ...]:
    """Which widths a group may take does not depend on how much is to go; half stands for any."""
    budget = Budget(
        sparsity=0.5,
        keep_at_least=keep_at_least,
        smallest_group=smallest_group,
        keep_whole=keep_whole,
    )
    return shares_of(analysis, densities, steps_of(analysis, budget))


# -- the tables that the paper's authors publish -----------------------------------------------

VGG = (64, 64, 128, 128, *(256,) * 4, *(512,) * 8)
VGG_AT_79 = (40, 49, 111, 97, 225, 187, 224, 170, 356, 233, 220, 99, 111, 84, 297, 122)
STAGES = (64, 128, 256, 512)
RESNET_AT = {
    36: (58, 113, 216, 398),
    59: (54, 102, 184, 305),
    79: (49, 85, 140, 198),
}


class Vgg19(nn.Module):
    """VGG-19 with batch norm for pictures of 32 x 32, one linear layer at its end."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for place, (before, width) in enumerate(zip((3, *VGG), VGG, strict=False)):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            if place in (1, 3, 7, 11, 15):
                layers.append(nn.MaxPool2d(2))
        self.features, self.classifier = nn.Sequential(*layers), nn.Linear(VGG[-1], 100)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


@cache
def vgg19() -> Analysis:
    return analyze(capture(Vgg19().eval(), (torch.zeros(2, 3, 32, 32),)))


@cache
def resnet18() -> Analysis:
    """As the paper has it for small pictures: a stem of 3 x 3, no pooling behind it."""
    network = models.resnet18(num_classes=100)
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return analyze(capture(network.eval(), (torch.zeros(2, 3, 32, 32),)))


def parameters_of(analysis: Analysis) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Name -> elements, and the sizes of the dimensions that may be cut (output first)."""
    found = {}
    for term in analysis.costs:
        if term.of == "params":
            sizes = tuple(analysis.axes[number].size for number in term.axes)
            found[term.where] = (term.factor * math.prod(sizes), sizes)
    return found


def vgg_densities() -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """What the table implies for the convolutions, the classifier, and norms and biases."""
    kept = (3, *VGG_AT_79)
    whole = (3, *VGG)
    convolutions, vectors = {}, {}
    numbers = [i for i, layer in enumerate(Vgg19().features) if isinstance(layer, nn.Conv2d)]
    for place, number in enumerate(numbers, start=1):
        elements = 9 * whole[place] * whole[place - 1]
        nonzeros = 9 * kept[place] * kept[place - 1]
        convolutions[f"features.{number}.weight"] = nonzeros / elements
        for name in (f"{number}.bias", f"{number + 1}.weight", f"{number + 1}.bias"):
            vectors[f"features.{name}"] = kept[place] / whole[place]
    return convolutions, {"classifier.weight": kept[-1] / whole[-1]}, vectors


def test_vgg_table_follows_the_recursion_and_has_the_teachers_size() -> None:
    convolutions, _, _ = vgg_densities()
    sizes = [parameters_of(vgg19())[name][0] for name in convolutions]
    assert sum(sizes) == pytest.approx(20.02e6, rel=1e-3)
    nonzeros = [round(d * n) for d, n in zip(convolutions.values(), sizes, strict=True)]
    assert sum(nonzeros) / sum(sizes) == pytest.approx(0.207, abs=5e-4)
    assert chain_widths(nonzeros, 3) == VGG_AT_79


def test_vgg_densities_give_the_published_widths() -> None:
    """Exactly, where all parameters have the density that the table implies.

    Where the classifier's weight, norms and biases have none, the teacher's count in full.  The
    student has fewer of them (13 thousand in place of 51 and 6 in place of 16.5), so that its
    convolutions get what is left over: two units at most.
    """
    analysis = vgg19()
    scores = scored(analysis)
    convolutions, classifier, vectors = vgg_densities()
    shares = width_shares(analysis, convolutions)
    assert np.array(shares) * VGG == pytest.approx(VGG_AT_79, abs=1e-3)
    for densities, apart in (
        (convolutions | classifier | vectors, 0),
        (convolutions | classifier, 1),
        (convolutions, 2),
    ):
        found = np.array(widths(plan_by_density(analysis, densities, scores)))
        assert np.abs(found - VGG_AT_79).max() == apart


def resnet_densities(table: tuple[int, ...]) -> dict[str, float]:
    """What a table implies for every layer behind the stem."""
    kept = dict(zip(STAGES, table, strict=True))
    return {
        name: math.prod(kept[size] / size for size in sizes)
        for name, (_, sizes) in parameters_of(resnet18()).items()
        if len(sizes) == 2 or name == "fc.weight"
    }


def stage_of(name: str) -> int:
    """Stage of a group or parameter; the stem's units are those of the first stage's stream."""
    return int(name[5]) - 1 if name.startswith("layer") else 0


@pytest.mark.parametrize("table", RESNET_AT.values(), ids=RESNET_AT)
def test_resnet_densities_of_every_layer_give_the_published_widths(table: tuple[int, ...]) -> None:
    """Within one unit, which goes to what norms and the stem are smaller by in the student.

    The paper's student keeps a stem of 64 and so needs a projection that its teacher has not.
    Ours has the teacher's layers: the stem ends in the first stage's stream, of which the table
    says the width, and a density of 1 for its 1,728 weights changes nothing that can be seen.
    """
    analysis = resnet18()
    densities = resnet_densities(table)
    for given in (densities, densities | {"conv1.weight": 1.0}):
        made = plan_by_density(analysis, given, scored(analysis))
        assert len(made.groups) == 12
        for group in made.groups:
            assert abs(group.width - table[stage_of(group.name)]) <= 1


@pytest.mark.parametrize("table", RESNET_AT.values(), ids=RESNET_AT)
def test_resnet_stem_kept_whole_as_in_the_paper_is_made_up_for_inside(
    table: tuple[int, ...],
) -> None:
    """With 64 units in the first stream, what is inside its blocks keeps the blocks' size."""
    analysis = resnet18()
    densities = resnet_densities(table)
    made = plan_by_density(analysis, densities, scored(analysis), keep_whole=("conv1",))
    assert made.achieved == pytest.approx(made.budget.sparsity, abs=5e-4)
    for group in made.groups:
        if stage_of(group.name) == 0:
            inside = table[0] ** 2 / 64
            assert group.width == 64 if group.name == "conv1" else abs(group.width - inside) <= 1
        else:  # the transition reads the wider stream, which spreads what it says a little
            assert group.width == pytest.approx(table[stage_of(group.name)], rel=0.11)


@pytest.mark.parametrize("table", RESNET_AT.values(), ids=RESNET_AT)
def test_resnet_densities_of_whole_stages_give_stages_of_the_published_size(
    table: tuple[int, ...],
) -> None:
    """One density for a stage says less than the table, and something else.

    The first layers of a stage read the stream before it, which is kept better, and would need a
    higher density to have the table's width.  So streams come out narrower and what is inside
    blocks wider (at 79 % by up to 28 and 40 %); their products, the sizes of layers, agree.
    """
    analysis = resnet18()
    sizes = parameters_of(analysis)
    by_layer = resnet_densities(table)
    densities: dict[str, float] = {}
    for stage in range(4):
        names = [n for n in by_layer if n.startswith("layer") and stage_of(n) == stage]
        nonzeros = sum(by_layer[name] * sizes[name][0] for name in names)
        whole = sum(sizes[name][0] for name in names)
        densities |= dict.fromkeys(names, nonzeros / whole)
    densities["fc.weight"] = by_layer["fc.weight"]
    made = plan_by_density(analysis, densities, scored(analysis))
    assert made.achieved == pytest.approx(made.budget.sparsity, abs=1e-3)
    streams = ("conv1", "layer2.0.conv2", "layer3.0.conv2", "layer4.0.conv2")
    for stage, name in enumerate(streams):
        (stream,) = (group.width for group in made.groups if group.name == name)
        inside = [g.width for g in made.groups if g.name != name and stage_of(g.name) == stage]
        for width in inside:
            assert math.sqrt(stream * width) == pytest.approx(table[stage], rel=0.05)
            assert width == pytest.approx(table[stage], rel=0.41)


# -- the law on chains -------------------------------------------------------------------------


def chain_widths(nonzeros: list[int], inputs: int, taps: int = 9) -> tuple[int, ...]:
    """The paper's rule: from the first layer on, non-zeros over taps and the width before."""
    found: list[int] = []
    for count in nonzeros:
        found.append(round(count / (taps * (found[-1] if found else inputs))))
    return tuple(found)


def convolutions(whole: tuple[int, ...]) -> Analysis:
    """A chain of 3 x 3 convolutions without biases, and a classifier of ten classes."""
    axes = [frozen_axis(3)]
    for place, width in enumerate(whole):
        axes.append(axis(((1 + sum(whole[:place]), 1, width),)))
    weights = [(9, (place + 1, place), 1) for place in range(len(whole))]
    return analysis_of(whole, tuple(axes), (*weights, (10, (len(whole),), 1)))


@pytest.mark.parametrize("seed", range(20))
def test_on_a_chain_shares_are_the_recursions(seed: int) -> None:
    generator = np.random.default_rng(seed)
    whole = tuple(
        int(width) for width in generator.integers(16, 300, size=generator.integers(2, 9))
    )
    shares = generator.uniform(0.05, 1.0, size=len(whole))
    before = np.append(1.0, shares[:-1])
    densities = {f"layer{place}": share for place, share in enumerate(shares * before)}
    found = width_shares(convolutions(whole), densities)
    assert found == pytest.approx(shares.tolist(), rel=1e-4)


@pytest.mark.parametrize("seed", range(20))
def test_on_a_chain_widths_are_the_recursions(seed: int) -> None:
    generator = np.random.default_rng(seed)
    whole = tuple(
        int(width) for width in generator.integers(16, 300, size=generator.integers(2, 9))
    )
    kept = tuple(int(generator.integers(max(1, width // 10), width)) for width in whole)
    nonzeros = [9 * n * m for n, m in zip(kept, (3, *kept), strict=False)]
    sizes = [9 * n * m for n, m in zip(whole, (3, *whole), strict=False)]
    densities = {f"layer{i}": n / m for i, (n, m) in enumerate(zip(nonzeros, sizes, strict=True))}
    densities[f"layer{len(whole)}"] = kept[-1] / whole[-1]
    analysis = convolutions(whole)
    made = plan_by_density(analysis, densities, scored(analysis))
    assert widths(made) == kept == chain_widths(nonzeros, 3)
    assert made.achieved == made.budget.sparsity
    assert made.multiple_of == 1
    assert made.warnings == ()


def test_no_group_gets_more_units_than_it_has() -> None:
    """By the recursion the second layer would have five times its units."""
    analysis = chain()
    found = width_shares(analysis, {"layer0": 0.2, "layer1": 1.0})
    first, second = (size for size, _ in list(parameters_of(analysis).values())[:2])
    assert found == pytest.approx((0.2 ** (first / (first + second)), 1.0, 1.0), rel=1e-6)


def test_no_group_gets_less_than_its_floor_and_its_neighbour_makes_up_for_it() -> None:
    found = width_shares(chain(), {"layer0": 0.01, "layer1": 1e-4})
    assert found == pytest.approx((1 / 32, 1 / 64, 1.0), rel=1e-6)
    found = width_shares(chain(), {"layer1": 0.2}, keep_at_least=0.5)
    assert found == pytest.approx((0.5, 0.5, 1.0), rel=1e-6)
    found = width_shares(chain(), {"layer1": 0.2}, keep_whole=("group0",))
    assert found == pytest.approx((1.0, 0.2, 1.0), rel=1e-6)
    assert width_shares(chain(), {"layer1": 0.2}, smallest_group=33)[0] == 1.0


# -- what layers share -------------------------------------------------------------------------


def test_residual_stream_gets_one_width_that_is_nearest_to_all_its_layers() -> None:
    analysis = residual()
    generator = np.random.default_rng(3)
    names = [name for name, (_, sizes) in parameters_of(analysis).items() if sizes]
    densities = {name: float(generator.uniform(0.2, 0.5)) for name in names} | {"layer0": 0.6}
    del densities["layer1"]
    found = np.log(width_shares(analysis, densities))

    def distance(logs: Mapping[int, float]) -> float:
        at = [logs.get(group, float(found[group])) for group in range(5)]
        stem = 9 * 3 * 64 * (at[0] - math.log(densities["layer0"])) ** 2
        blocks = (
            9 * 64 * 32 * (at[0] + at[1 + b] - math.log(densities[f"layer{2 + 2 * b + end}"])) ** 2
            for b in range(4)
            for end in range(2)
        )
        return stem + sum(blocks)

    assert found.max() < -1e-3
    for group in range(5):
        for step in (-1e-3, 1e-3):
            assert distance({group: float(found[group]) + step}) > distance({})


def test_heads_and_their_width_multiply_and_open_products_are_split_evenly() -> None:
    found = width_shares(attention(), {"layer0": 0.18, "layer2": 0.2, "layer4": 0.5})
    assert found == pytest.approx((0.5, 0.6, 0.6, 0.4), rel=1e-6)


def test_branches_side_by_side_count_by_the_part_they_fill() -> None:
    densities = {"layer0": 0.25, "layer1": 0.5, "layer2": 0.3 * 0.25**0.5 * 0.5**0.5}
    assert width_shares(concatenated(), densities) == pytest.approx((0.25, 0.5, 0.3), rel=1e-6)


def test_branches_that_keep_the_same_share_are_told_exactly() -> None:
    found = width_shares(concatenated(), {"layer0": 0.4, "layer1": 0.4, "layer2": 0.12})
    assert found == pytest.approx((0.4, 0.4, 0.3), rel=1e-6)


def test_depthwise_weight_speaks_of_one_width() -> None:
    found = width_shares(depthwise(), {"layer1": 0.3})
    assert found == pytest.approx((0.3, 1.0), rel=1e-6)


def test_recurrence_reads_what_it_writes() -> None:
    both = axis(((1, 1, 32),))
    analysis = analysis_of((32,), (both, frozen_axis(5)), ((1, (0, 0), 1), (5, (0,), 1)))
    assert width_shares(analysis, {"layer0": 0.25}) == pytest.approx((0.5,), rel=1e-6)


def test_frozen_part_of_a_dimension_keeps_all() -> None:
    """A quarter of the units is frozen; the rest alone cannot make up for it, to first order."""
    part = axis(((0, 0, 8), (1, 1, 24)))
    analysis = analysis_of((24,), (part, frozen_axis(3)), ((9, (0, 1), 1),))
    assert width_shares(analysis, {"layer0": 0.5}) == pytest.approx((0.5 ** (4 / 3),), rel=1e-6)


def test_group_that_no_density_mentions_gives_way_last() -> None:
    """Here for zeros in a weight that cannot be cut."""
    axes = (axis(((1, 1, 32),)), axis(((33, 1, 64),)))
    analysis = analysis_of((32, 64), axes, ((2000, (), 1), (9, (0,), 1), (50, (1,), 1)))
    densities = {"layer0": 0.95, "layer1": 0.9}
    assert width_shares(analysis, densities) == pytest.approx((0.9, 1.0), rel=1e-6)
    assert widths(plan_by_density(analysis, densities, scored(analysis))) == (17, 64)
    densities["layer0"] = 0.5
    made = plan_by_density(analysis, densities, scored(analysis), keep_at_least=0.5)
    assert widths(made) == (17, 46)  # at the floor of 16 a unit too many would have gone


# -- the plan ----------------------------------------------------------------------------------


def drawn(analysis: Analysis, seed: int) -> dict[str, float]:
    """A density for every weight that can be cut along two dimensions, or is large in one."""
    generator = np.random.default_rng(seed)
    return {
        name: float(generator.uniform(0.1, 0.9))
        for name, (elements, sizes) in parameters_of(analysis).items()
        if len(sizes) > 1 or (sizes and elements > 4 * sizes[0])
    }


def nonzeros_of(analysis: Analysis, densities: Mapping[str, float]) -> int:
    sizes = parameters_of(analysis)
    return sum(round(densities.get(name, 1.0) * sizes[name][0]) for name in sizes)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("seed", range(4))
def test_student_has_as_many_parameters_as_the_teacher_has_nonzeros(
    structure: Callable[[], Analysis], seed: int
) -> None:
    analysis = structure()
    scores, densities = scored(analysis), drawn(analysis, seed)
    made = plan_by_density(analysis, densities, scores)
    wanted = nonzeros_of(analysis, densities)
    assert made.after == brute_force(analysis, keep_mask(analysis, made))
    assert made.budget.of == "params"
    assert made.budget.sparsity == pytest.approx(1 - wanted / made.before.params)
    assert made.achieved == 1 - made.after.params / made.before.params
    assert abs(made.after.params - wanted) <= 0.005 * made.before.params
    assert made.warnings == ()
    assert made.criterion == scores.criterion
    assert made == plan_by_density(analysis, densities, scores)
    for values, group in zip(scores.values, made.groups, strict=True):
        best = np.sort(np.argsort(-np.array(values), kind="stable")[: group.width])
        assert rows_of(group.kept).tolist() == best.tolist()


def test_widths_are_multiples_where_asked() -> None:
    analysis = residual()
    made = plan_by_density(analysis, drawn(analysis, 0), scored(analysis), multiple_of=4)
    assert made.multiple_of == 4
    assert all(width % 4 == 0 for width in widths(made))
    assert made.achieved == pytest.approx(made.budget.sparsity, abs=0.005)


@pytest.mark.parametrize("densities", [{}, {"layer0": 1.0, "layer2": 1.0}])
def test_dense_teacher_keeps_everything(densities: dict[str, float]) -> None:
    analysis = chain()
    made = plan_by_density(analysis, densities, scored(analysis))
    assert (made.groups, made.achieved) == (empty_plan(analysis).groups, 0.0)
    assert made.criterion == "random"


@pytest.mark.parametrize(
    "name",
    [
        "residual",
        "padded_shortcut",
        "concat",
        "shuffle",
        "depthwise",
        "grouped",
        "one_gate",
        "explicit_attention",
        "grouped_queries",
        "lstm",
        "tied",
    ],
)
def test_plans_of_the_zoo_are_removed_and_proved(name: str) -> None:
    graph, analysis = zoo.graph(name), zoo.analysis(name)
    densities = drawn(analysis, 1)
    made: Plan = plan_by_density(analysis, densities, zoo.scores(name), smallest_group=2)
    assert 0 < made.achieved < 1
    assert made.warnings or abs(made.achieved - made.budget.sparsity) <= 0.005
    proof = prove(graph, remove(graph, analysis, made), analysis, made)
    assert proof.passed
    assert proof.moved > 0


# -- what is refused ---------------------------------------------------------------------------


def test_unknown_names_are_refused() -> None:
    analysis = chain()
    with pytest.raises(PlanError, match=r"name 'conv1\.weight', which the analysis does not list"):
        plan_by_density(analysis, {"layer0": 0.5, "conv1.weight": 0.5}, scored(analysis))
    with pytest.raises(PlanError, match="name 'a' and 1 more, which"):
        width_shares(analysis, {"b": 0.5, "a": 0.5})


@pytest.mark.parametrize("density", [0.0, -0.5, 1.01, math.nan, math.inf])
def test_densities_that_are_no_shares_are_refused(density: float) -> None:
    analysis = chain()
    with pytest.raises(PlanError, match=r"of layer1 is not in \(0, 1\]; give") as caught:
        plan_by_density(analysis, {"layer1": density}, scored(analysis))
    assert "\n" not in str(caught.value)
    with pytest.raises(PlanError, match="of layer1"):
        width_shares(analysis, {"layer1": density})


def test_zeros_that_no_width_can_take_are_refused() -> None:
    analysis = chain()
    densities = dict.fromkeys(("layer0", "layer1", "layer2"), 0.05)
    with pytest.raises(BudgetError, match=r"out of reach: at most \d+\.\d % can go"):
        plan_by_density(analysis, densities, scored(analysis), keep_at_least=0.5)
    with pytest.raises(BudgetError, match="width multiple 0"):
        plan_by_density(analysis, densities, scored(analysis), multiple_of=0)
    with pytest.raises(BudgetError, match="--keep-whole grop1: fits no group"):
        width_shares(analysis, densities, keep_whole=("grop1",))
