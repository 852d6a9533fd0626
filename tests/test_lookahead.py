"""Looking ahead: closed forms against autograd and finite differences, and who reads a unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call

from compressor.analysis import analyze
from compressor.data import ImageData
from compressor.errors import OptionError
from compressor.features import Observed
from compressor.graphs import Graph, capture
from compressor.lookahead import (
    Diagnosis,
    Preview,
    Saliency,
    added_gradient,
    diagnose,
    draw_preview,
    first_order,
    full,
    kept_units,
    layer_densities,
    overlap,
    reset_batch_norm,
    unit_changes,
    unit_magnitudes,
    weight_scores,
)
from compressor.objectives import label_loss
from compressor.planning import plan
from compressor.scoring import all_slices, reading_slices, score
from compressor.self_distillation import SELF_DISTILLATIONS, MakeSelfTaught, class_wise, labels_only
from compressor.sparsity import density_of, full_mask, keep_dearest, prunable_weights
from compressor.types import Analysis, Budget, Scores
from tests import zoo
from tests.test_distillation import same, some_data, values
from tests.test_distillation import small_graph as captured
from tests.zoo import ZOO

KINDS = tuple(SELF_DISTILLATIONS)


@cache
def small_graph() -> Graph:
    """A fresh toy network; shared, so never to be changed."""
    return captured(1)


@cache
def small_analysis() -> Analysis:
    return analyze(small_graph())


def looking(
    make: MakeSelfTaught | None = None,
    *,
    steps: int = 3,
    batches: int = 2,
    seed: int = 0,
    data: ImageData | None = None,
) -> Preview:
    """Lessons of 16 toy images."""
    return draw_preview(
        data or some_data(),
        make or class_wise(),
        size=16,
        generator=Generator().manual_seed(seed),
        steps=steps,
        batches=batches,
    )


def in_double(preview: Preview) -> Preview:
    lessons = tuple(
        tuple(p.double() if p is not None and p.is_floating_point() else p for p in lesson)
        for lesson in preview.lessons
    )
    return replace(preview, lessons=lessons)


def deltas(saliency: Saliency, graph: Graph, preview: Preview) -> list[dict[str, Tensor]]:
    return [{n: d.detach() for n, d in found.items()} for found in saliency(graph, preview)]


def close(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return all(torch.allclose(a[name], b[name], rtol=1e-9, atol=1e-14) for name in a)


# -- single weights ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("saliency", [first_order, full])
def test_without_steps_this_is_snip_on_the_lessons_loss(name: str, saliency: Saliency) -> None:
    graph, make = small_graph(), SELF_DISTILLATIONS[name](1)
    preview = looking(make, steps=0)
    working = graph.copy().train()
    network, lessons = Observed(working, ()), make(lambda other: other)
    expected = {n: torch.zeros_like(w) for n, w in prunable_weights(graph).items()}
    for lesson in preview.lessons:
        working.zero_grad()
        lessons.loss(network, lesson).backward()
        for key, weight in prunable_weights(working).items():
            assert weight.grad is not None
            expected[key] += (weight.detach() * weight.grad).abs()
    total = sum(float(value.sum()) for value in expected.values())
    found = weight_scores(graph, preview, saliency)
    assert list(found) == list(expected)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value / total, rtol=1e-4, atol=1e-9)


def by_hand(graph: Graph, preview: Preview, *, keep_graph: bool) -> list[dict[str, Tensor]]:
    """d loss / d m with a mask of ones that multiplies the initial weights, through SGD's steps."""
    working = graph.copy().train()
    start = {name: value.detach() for name, value in working.named_parameters()}
    ones = {name: torch.ones_like(value).requires_grad_() for name, value in start.items()}
    tensors = {name: ones[name] * start[name] for name in start}
    lessons = preview.make(lambda other: other)

    def loss_of(place: int) -> Tensor:
        return lessons.loss(
            lambda pixels: (functional_call(working, tensors, (pixels,)), ()),
            preview.lessons[place],
        )

    for place in range(preview.steps):
        slopes = torch.autograd.grad(
            loss_of(place), list(tensors.values()), create_graph=keep_graph
        )
        tensors = {
            name: value - preview.learning_rate * (slope if keep_graph else slope.detach())
            for (name, value), slope in zip(tensors.items(), slopes, strict=True)
        }
    found = []
    for place in range(preview.steps, len(preview.lessons)):
        slopes = torch.autograd.grad(loss_of(place), list(ones.values()), retain_graph=True)
        found.append(dict(zip(ones, slopes, strict=True)))
    return found


@pytest.mark.parametrize(("saliency", "keep_graph"), [(first_order, False), (full, True)])
def test_saliencies_are_the_derivative_with_respect_to_the_mask(
    saliency: Saliency, keep_graph: bool
) -> None:
    graph, preview = zoo.in_double(small_graph()), in_double(looking())
    found = deltas(saliency, graph, preview)
    expected = by_hand(graph, preview, keep_graph=keep_graph)
    assert len(found) == len(expected) == 2
    for a, b in zip(found, expected, strict=True):
        assert close(a, b)


def test_second_order_differs_once_there_are_steps() -> None:
    graph = zoo.in_double(small_graph())
    none, one = in_double(looking(steps=0)), in_double(looking(steps=1))
    assert close(deltas(first_order, graph, none)[0], deltas(full, graph, none)[0])
    assert not close(deltas(first_order, graph, one)[0], deltas(full, graph, one)[0])


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.head = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.bn(self.conv(x))).mean((2, 3)))


def test_full_agrees_with_finite_differences_of_the_mask() -> None:
    # Labels alone: what self-distillation compares with is held fixed when it is differentiated.
    torch.manual_seed(0)
    graph = zoo.in_double(capture(Tiny().eval(), (torch.zeros(2, 1, 6, 6),)))
    preview = in_double(looking(labels_only(class_wise()), steps=2, batches=1))
    found = deltas(full, graph, preview)[0]

    def loss_after(masked: Mapping[str, Tensor]) -> float:
        """The weights of a module of its own, trained by torch's optimiser."""
        network = Tiny().double().train()
        network.load_state_dict({**network.state_dict(), **masked})
        optimiser = torch.optim.SGD(network.parameters(), lr=preview.learning_rate)
        for pixels, labels, _ in preview.lessons[:2]:
            assert labels is not None
            optimiser.zero_grad()
            label_loss(network(pixels), labels).backward()
            optimiser.step()
        pixels, labels, _ = preview.lessons[2]
        assert labels is not None
        return float(label_loss(network(pixels), labels).detach())

    start = {name: value.detach() for name, value in graph.named_parameters()}
    width = 1e-5
    for name, value in start.items():
        for place in range(value.numel()):
            sides = []
            for sign in (1, -1):
                changed = value.clone()
                changed.view(-1)[place] *= 1 + sign * width
                sides.append(loss_after({**start, name: changed}))
            slope = (sides[0] - sides[1]) / (2 * width)
            assert float(found[name].view(-1)[place]) == pytest.approx(slope, rel=1e-4, abs=1e-8)


def test_scores_are_shares_that_make_a_mask() -> None:
    graph = small_graph()
    scores = weight_scores(graph, looking())
    assert sum(float(score.sum()) for score in scores.values()) == pytest.approx(1.0, rel=1e-5)
    assert all(bool((score >= 0).all()) for score in scores.values())
    mask = keep_dearest(scores, 0.25, full_mask(graph))
    assert density_of(mask) == pytest.approx(0.25, abs=0.01)
    shares = layer_densities(scores, 0.25)
    assert shares == {name: pytest.approx(float(m.float().mean())) for name, m in mask.items()}


class Tied(nn.Module):
    """A weight used twice, dropout, and a layer whose answer nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.twice = nn.Conv2d(1, 4, 3), nn.Linear(4, 4)
        self.again = nn.Linear(4, 4)
        self.again.weight = self.twice.weight
        self.drop, self.head, self.unused = nn.Dropout(), nn.Linear(4, 2), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x).relu().mean((2, 3))
        x = self.again(self.drop(self.twice(x).relu())).relu()
        return self.head(x), self.unused(x)


@pytest.mark.parametrize("saliency", [first_order, full])
def test_tied_unread_and_dropped_parts_are_scored_and_noise_is_the_same(saliency: Saliency) -> None:
    torch.manual_seed(0)
    graph, preview = capture(Tied().eval(), (torch.zeros(2, 1, 6, 6),)), looking()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    scores = weight_scores(graph, preview, saliency)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = weight_scores(graph, preview, saliency)
    assert all(torch.equal(scores[name], again[name]) for name in scores)
    assert float(scores["stem.weight"].sum()) > 0
    assert float(scores["unused.weight"].sum()) == 0
    for found in deltas(saliency, graph, preview):
        assert set(found) == {name for name, _ in graph.named_parameters(remove_duplicate=False)}
        assert torch.equal(found["twice.weight"], found["again.weight"])
        assert float(found["twice.weight"].abs().sum()) > 0


# -- units -------------------------------------------------------------------------------------


def test_a_gate_behind_the_batch_norm_has_the_slope_that_readers_and_gains_tell() -> None:
    graph = zoo.in_double(zoo.graph("chain")).train()
    inputs = ZOO["chain"].inputs(batch=8)[0].double()
    labels = torch.arange(8) % 5
    tensors = {name: value.detach() for name, value in graph.named_parameters()}
    gate = torch.ones(16, dtype=torch.float64, requires_grad=True)
    # The norm's output times the gate is the norm with gain and offset times the gate.
    norm = {name: tensors[name] * gate for name in ("bn1.weight", "bn1.bias")}
    gated = functional_call(graph, {**tensors, **norm}, (inputs,))
    (slope,) = torch.autograd.grad(label_loss(gated, labels), gate)
    leaves = {name: value.clone().requires_grad_() for name, value in tensors.items()}
    loss = label_loss(functional_call(graph, leaves, (inputs,)), labels)
    slopes = torch.autograd.grad(loss, list(leaves.values()))
    products = {n: tensors[n] * g for n, g in zip(leaves, slopes, strict=True)}
    gains = products["bn1.weight"] + products["bn1.bias"]
    readers = products["conv2.weight"].sum(dim=(0, 2, 3))
    writers = products["conv1.weight"].sum(dim=(1, 2, 3))
    assert float(slope.abs().max()) > 1e-4
    torch.testing.assert_close(gains, slope, rtol=0.0, atol=1e-8)
    torch.testing.assert_close(readers, slope, rtol=0.0, atol=1e-8)
    # Not quite nothing: the norm adds 1e-5 to the variance.
    assert float(writers.abs().max()) < 1e-3 * float(slope.abs().max())
    slices, group = reading_slices(graph), zoo.analysis("chain").groups[0]
    assert group.name == "conv1"
    sums = slices.sums(products)[slices.labelling.group_of == 0]
    np.testing.assert_allclose(sums, slope.numpy(), rtol=0.0, atol=1e-8)


def test_units_are_scored_by_their_readers_and_averaged_over_lessons() -> None:
    graph, preview = small_graph(), looking()
    analysis = small_analysis()
    found = score(graph, analysis, unit_changes(preview))
    assert [group.name for group in analysis.groups] == ["0", "3"]
    pairs = deltas(first_order, graph, preview)
    for reader, values_found in zip(("3.weight", "7.weight"), found.values, strict=True):
        sums = [pair[reader].double().transpose(0, 1).flatten(1).sum(dim=1) for pair in pairs]
        expected = torch.stack(sums).abs().mean(dim=0)
        np.testing.assert_allclose(values_found, expected.numpy(), rtol=1e-4, atol=1e-9)


def test_magnitudes_are_summed_over_all_that_goes_with_a_unit() -> None:
    graph, preview = small_graph(), looking()
    analysis = small_analysis()
    found = score(graph, analysis, unit_magnitudes(preview))
    pairs = deltas(first_order, graph, preview)
    expected = torch.zeros(6, dtype=torch.float64)
    for pair in pairs:
        sizes = {name: value.abs().double() for name, value in pair.items()}
        expected += sizes["0.weight"].sum(dim=(1, 2, 3)) + sizes["0.bias"]
        expected += sizes["1.weight"] + sizes["1.bias"] + sizes["3.weight"].sum(dim=(0, 2, 3))
    np.testing.assert_allclose(found.values[0], (expected / 2).numpy(), rtol=1e-4)
    assert set(all_slices(graph).names) == set(pairs[0]) - {"7.bias"}


@pytest.mark.parametrize("criterion", [unit_changes, unit_magnitudes])
def test_units_through_the_steps_are_an_option(criterion: Callable[..., object]) -> None:
    graph, preview = small_graph(), looking()
    analysis = small_analysis()
    found = [
        score(graph, analysis, criterion(preview, saliency))  # type: ignore[arg-type]
        for saliency in (first_order, full)
    ]
    assert len({one.values for one in found}) == 2
    assert all(np.isfinite(np.concatenate(one.values)).all() for one in found)


@pytest.mark.parametrize("name", ["residual", "depthwise", "squeeze_excite"])
def test_units_of_other_structures_are_scored(name: str) -> None:
    generator = Generator().manual_seed(0)
    lessons = tuple(
        (
            torch.randn(8, 3, 8, 8, generator=generator),
            torch.arange(8) % 5,
            torch.randn(8, 3, 8, 8, generator=generator),
        )
        for _ in range(3)
    )
    preview = Preview(lessons=lessons, make=class_wise(), steps=1)
    for saliency in (first_order, full):
        found = score(zoo.graph(name), zoo.analysis(name), unit_changes(preview, saliency))
        assert all(number > 0 for group in found.values for number in group)


# -- diagnosis ---------------------------------------------------------------------------------


def keeping(graph: Graph, density: float = 0.2) -> Callable[[Preview], Mapping[str, Tensor]]:
    return lambda preview: keep_dearest(weight_scores(graph, preview), density, full_mask(graph))


def diagnosed(
    graph: Graph, preview: Preview, keep: Callable[[Preview], Mapping[str, Tensor]]
) -> Diagnosis:
    return diagnose(graph, preview, keep(preview), keep(preview.without_distillation))


def test_a_mask_overlaps_wholly_with_itself_and_not_with_the_rest() -> None:
    graph = small_graph()
    mask = keeping(graph)(looking())
    assert overlap(mask, mask) == 1.0
    assert overlap(mask, {name: ~alive for name, alive in mask.items()}) == 0.0
    half = {"a": torch.tensor([True, True, False])}
    assert overlap(half, {"a": torch.tensor([False, True, True])}) == pytest.approx(1 / 3)


@pytest.mark.parametrize("name", KINDS)
def test_self_distillation_has_a_say_after_steps(name: str) -> None:
    graph = small_graph()
    preview = replace(looking(SELF_DISTILLATIONS[name](1), batches=4), learning_rate=0.5)
    found = diagnosed(graph, preview, keeping(graph))
    assert 0.01 < found.added_gradient < 10
    assert 0.3 < found.overlap < 1.0


def test_labels_alone_differ_from_labels_alone_in_nothing() -> None:
    graph = small_graph()
    found = diagnosed(graph, looking(labels_only(class_wise())), keeping(graph))
    assert found == Diagnosis(added_gradient=0.0, overlap=1.0)


def test_without_steps_a_past_that_is_one_hot_adds_nothing() -> None:
    graph = small_graph()
    preview = looking(SELF_DISTILLATIONS["ps-kd"](1), steps=0)
    assert added_gradient(graph, preview) < 1e-6


def test_kept_units_of_two_plans_are_compared() -> None:
    graph = small_graph()
    analysis, budget = small_analysis(), Budget(0.3, "channels", 1, 0.1, 2)

    def keep(preview: Preview) -> Mapping[str, Tensor]:
        return kept_units(plan(analysis, score(graph, analysis, unit_changes(preview)), budget))

    kept = keep(looking())
    assert sum(int(units.sum()) for units in kept.values()) == 8
    assert 0.0 < diagnosed(graph, looking(), keep).overlap <= 1.0


# -- what stays as it is -----------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_the_scored_graph_stays_as_it_is(name: str) -> None:
    graph = small_graph()
    before, preview = values(graph), looking(SELF_DISTILLATIONS[name](1))
    lessons = [part.clone() for lesson in preview.lessons for part in lesson if part is not None]
    weight_scores(graph, preview, full)
    diagnosed(graph, preview, keeping(graph))
    score(graph, small_analysis(), unit_changes(preview))
    assert same(values(graph), before)
    assert not graph.training
    assert all(parameter.grad is None for parameter in graph.parameters())
    after = [part for lesson in preview.lessons for part in lesson if part is not None]
    assert same(after, lessons)


@pytest.mark.parametrize("name", KINDS)
def test_scores_are_those_of_the_seed_however_often_they_are_asked(name: str) -> None:
    graph, make = small_graph(), SELF_DISTILLATIONS[name](1)

    def units(preview: Preview) -> Scores:
        return score(graph, small_analysis(), unit_changes(preview))

    preview = looking(make)
    assert units(preview) == units(preview) == units(looking(make))
    assert units(preview) != units(looking(make, seed=1))


def test_statistics_start_anew() -> None:
    graph = zoo.graph("residual")
    before = values(graph)
    fresh = reset_batch_norm(graph)
    assert same(values(graph), before)
    for name, value in fresh.tensors.items():
        expected = graph.tensors[name]
        if name.endswith("running_mean"):
            expected = torch.zeros_like(expected)
        if name.endswith("running_var"):
            expected = torch.ones_like(expected)
        assert torch.equal(value, expected)
    assert fresh.fingerprint == graph.fingerprint


def test_senseless_looks_ahead_are_refused() -> None:
    with pytest.raises(OptionError, match="at least one batch more"):
        looking(batches=0)
    with pytest.raises(OptionError, match="0 or more steps"):
        looking(steps=-1)
    with pytest.raises(OptionError, match="give more than 0"):
        replace(looking(), learning_rate=0.0)
    far = replace(looking(), learning_rate=1e30)
    with pytest.raises(OptionError, match="give a smaller one"):
        weight_scores(small_graph(), far)
