"""Looking ahead: what a weight or unit of a fresh network will be worth to self-distillation.

Comes in: a graph with its initial weights, lessons.  Goes out: scores of single weights or units,
and how far they differ from what labels alone would choose.

    theta_0, theta_1, ..., theta_K    K plain gradient steps on the lessons' loss L, batch norms in
                                      train mode; theta_0 are the given weights
    Delta = dL(theta_K) / dm          on a lesson of its own; m = 1 multiplies theta_0
    score = mean over lessons of |Delta|

EPSD: Chen et al., AAAI 2024, arXiv 2402.00084.  Its code is not public and its full text was not at
hand: this is assembled from its published summaries and from the code of ProsPr (Alizadeh et al.,
ICLR 2022), whose meta-gradient it is with L in place of the cross-entropy.  K = 3 and the learning
rate of 0.1 are ProsPr's; EPSD's own are not known.  With K = 0 this is SNIP.  Scores of units are a
structured adaptation.  Knows nothing of budgets or of training to the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from compressor.augmentation import Augmentation
from compressor.data import ImageData, augmentation_for
from compressor.errors import OptionError
from compressor.evaluation import device_of, logits_of
from compressor.graphs import Graph
from compressor.lessons import Lesson, Network
from compressor.passes import Passes
from compressor.scoring import Batches, Criterion, all_slices, reading_slices
from compressor.self_distillation import MakeSelfTaught, Terms, labels_only
from compressor.sparsity import densities, keep_dearest, prunable_weights
from compressor.types import Analysis, Plan, Scores

aten = torch.ops.aten
Floats = NDArray[np.float64]
Tensors = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What is looked at: the first ``steps`` lessons are learned, the others show what matters."""

    lessons: tuple[Lesson, ...]
    make: MakeSelfTaught
    steps: int = 3
    learning_rate: float = 0.1

    def __post_init__(self) -> None:
        if self.steps < 0 or len(self.lessons) <= self.steps:
            raise OptionError(
                f"a look ahead of {self.steps} steps with {len(self.lessons)} batches: give 0 or "
                "more steps, and at least one batch more than steps"
            )
        if not self.learning_rate > 0:
            raise OptionError(
                f"a look ahead at a learning rate of {self.learning_rate:g}: give more than 0"
            )

    @property
    def without_distillation(self) -> Preview:
        """The same batches, steps and learning rate with labels alone: ProsPr."""
        return replace(self, make=labels_only(self.make))


def draw_preview(
    data: ImageData,
    make: MakeSelfTaught,
    *,
    size: int,
    generator: Generator,
    steps: int = 3,
    learning_rate: float = 0.1,
    batches: int = 1,
    augment: Augmentation | None = None,
) -> Preview:
    """Lessons of ``size`` images, drawn once: as many as there are steps, and ``batches`` more.

    ``augment``: None takes what suits the data.  Raises DataError where labels are missing.
    """
    augment = augment or augmentation_for(data)
    passes = Passes(len(data.train), size, generator)
    stream = make(lambda graph: graph).draw(data, passes, augment)
    lessons = tuple(islice(stream, max(steps, 0) + batches))
    return Preview(lessons=lessons, make=make, steps=steps, learning_rate=learning_rate)


# -- saliencies --------------------------------------------------------------------------------

# For each further lesson, Delta of every parameter by name, tied ones under every name.
Saliency = Callable[[Graph, Preview], Iterator[Tensors]]


def first_order(graph: Graph, preview: Preview) -> Iterator[Tensors]:
    """``theta_0 * dL / dtheta_K``: the steps' own gradients are taken as given."""
    ahead = _Ahead(graph, preview)
    start = ahead.start
    end = ahead.walk(start, keep_graph=False)
    for slopes in ahead.slopes(end, of=end):
        yield ahead.every_name({name: start[name].detach() * slopes[name] for name in start})


def full(graph: Graph, preview: Preview) -> Iterator[Tensors]:
    """The derivative through the steps: second order, all of them in memory at once."""
    ahead = _Ahead(graph, preview)
    start = ahead.start
    gates = {name: torch.ones_like(value).requires_grad_() for name, value in start.items()}
    with sdpa_kernel(SDPBackend.MATH):  # others have no second derivative
        end = ahead.walk({name: gates[name] * start[name] for name in start}, keep_graph=True)
        found = [ahead.every_name(slopes) for slopes in ahead.slopes(end, of=gates)]
    yield from found


class _Ahead:
    """A copy of the graph that is asked with tensors in place of its parameters."""

    def __init__(self, graph: Graph, preview: Preview) -> None:
        self._preview = preview
        self._copy = graph.copy().train()
        self._device = device_of(graph)
        self._lessons = tuple(
            tuple(None if part is None else part.to(self._device) for part in lesson)
            for lesson in preview.lessons
        )
        self._lessons_of = preview.make(lambda other: other.copy().to(self._device))

    @property
    def start(self) -> Tensors:
        """theta_0, each parameter once: biases and norms take the steps too."""
        named = self._copy.named_parameters()
        return {n: p.detach().requires_grad_() for n, p in named if p.is_floating_point()}

    def walk(self, tensors: Tensors, *, keep_graph: bool) -> Tensors:
        """theta_K from theta_0."""
        steps, rate = self._preview.steps, self._preview.learning_rate
        for place in range(steps):
            loss = self.terms(tensors, place).total
            # What the next lesson, or all that show what matters, will ask of the step before.
            after = place + 1
            coming = self._lessons[after : after + 1] if after < steps else self._lessons[steps:]
            with _own_noise(self._device, steps + place):
                self._lessons_of.foresee(self._network(tensors), coming)
            slopes = torch.autograd.grad(
                loss, list(tensors.values()), create_graph=keep_graph, materialize_grads=True
            )
            pairs = zip(tensors.items(), slopes, strict=True)
            tensors = {name: value - rate * slope for (name, value), slope in pairs}
        return tensors

    def slopes(self, end: Tensors, *, of: Tensors) -> Iterator[Tensors]:
        """Gradients of the loss at theta_K with respect to ``of``, lesson by lesson."""
        for terms in self.shown(end):
            yield _gradients(terms.total, of)

    def shown(self, end: Tensors) -> Iterator[Terms]:
        """The loss of each further lesson at theta_K.  Raises OptionError where it is no number."""
        for place in range(self._preview.steps, len(self._lessons)):
            terms = self.terms(end, place)
            if not math.isfinite(float(terms.total.detach())):
                raise OptionError(
                    f"the loss is not finite after a look ahead of {self._preview.steps} steps at "
                    f"a learning rate of {self._preview.learning_rate:g}: give a smaller one"
                )
            yield terms

    def terms(self, tensors: Tensors, place: int) -> Terms:
        with _own_noise(self._device, place):
            return self._lessons_of.terms(self._network(tensors), self._lessons[place])

    def every_name(self, values: Tensors) -> Tensors:
        """Under all names that tied parameters have."""
        first = {id(parameter): name for name, parameter in self._copy.named_parameters()}
        named = self._copy.named_parameters(remove_duplicate=False)
        return {n: values[first[id(p)]] for n, p in named if first[id(p)] in values}

    def _network(self, tensors: Tensors) -> Network:
        def answer(pixels: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
            return logits_of(functional_call(self._copy, tensors, (pixels,))), ()

        return answer


def _gradients(loss: Tensor, of: Tensors) -> Tensors:
    found = torch.autograd.grad(loss, list(of.values()), retain_graph=True, materialize_grads=True)
    return dict(zip(of, found, strict=True))


@contextmanager
def _own_noise(device: torch.device, seed: int) -> Iterator[None]:
    """Dropout draws the same here whatever was drawn before, and nobody notices."""
    on_cuda = device.type == "cuda"
    with torch.random.fork_rng([device] if on_cuda else []):
        torch.default_generator.manual_seed(seed)
        if on_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


# -- scores ------------------------------------------------------------------------------------


def weight_scores(graph: Graph, preview: Preview, saliency: Saliency = first_order) -> Tensors:
    """``|Delta|`` of every prunable weight as a share of their sum: the paper's scores."""
    names = prunable_weights(graph)
    scores = {name: torch.zeros_like(weight.detach()) for name, weight in names.items()}
    for found in saliency(graph, preview):
        for name, score in scores.items():
            score += found[name].abs()
    total = sum(float(score.double().sum()) for score in scores.values())
    return {name: score / max(total, 1e-30) for name, score in scores.items()}


def layer_densities(scores: Mapping[str, Tensor], density: float) -> dict[str, float]:
    """What share of each weight one ranking of single weights keeps: widths can be read off it."""
    whole = {name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()}
    return densities(keep_dearest(scores, density, whole))


def unit_changes(preview: Preview, saliency: Saliency = first_order) -> Criterion:
    """``|sum of Delta over the slices that read the unit|``: how the loss changes when it goes.

    A gate behind the batch norm has this derivative; in front of it the sum is zero by scale
    invariance.  The lessons are the preview's: batches are not looked at.
    """

    def criterion(graph: Graph, analysis: Analysis, batches: Batches | None = None) -> Scores:
        slices = reading_slices(graph)
        found = (np.abs(slices.sums(deltas)) for deltas in saliency(graph, preview))
        return slices.scores("look ahead", analysis, _mean(found))

    criterion.__name__ = "unit_changes"
    return criterion


def unit_magnitudes(preview: Preview, saliency: Saliency = first_order) -> Criterion:
    """``sum of |Delta| over all slices of the unit``: nothing cancels; nearer to the paper."""

    def criterion(graph: Graph, analysis: Analysis, batches: Batches | None = None) -> Scores:
        slices = all_slices(graph)
        found = (
            slices.sums({name: deltas[name].abs() for name in slices.names})
            for deltas in saliency(graph, preview)
        )
        return slices.scores("look ahead, magnitudes", analysis, _mean(found))

    criterion.__name__ = "unit_magnitudes"
    return criterion


def _mean(values: Iterator[Floats]) -> Floats:
    return np.mean(np.stack(list(values)), axis=0)


# -- diagnosis ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Whether self-distillation had a say.

    ``added_gradient``: norm of the gradient of what it adds to the cross-entropy, relative to that
    of the cross-entropy's, at theta_K over prunable weights.  ``overlap``: of what is kept with it
    and what is kept without, the share that is kept by both.

    Fresh networks answer nearly alike to everything, so there may be little to distil: where the
    first is near 0 and the second near 1, these are ProsPr's scores (SNIP's without steps).  Nor
    does a small overlap alone show a say: compare it with that of two previews of other batches.
    ResNet-18 at 32 x 32 on digits, batches of 64, 2 further lessons, a tenth of the weights kept,
    one seed, cs-kd: without steps 0.12 and 0.92, after 3 steps 0.19 and 0.44; labels alone with
    other batches overlap 0.48 and 0.43.
    """

    added_gradient: float
    overlap: float


def diagnose(
    graph: Graph, preview: Preview, kept: Mapping[str, Tensor], by_labels: Mapping[str, Tensor]
) -> Diagnosis:
    """Compare what the preview's scores keep with what those ``without_distillation`` do: booleans
    by name, of weights (a ``WeightMask``) or of units."""
    return Diagnosis(
        added_gradient=added_gradient(graph, preview), overlap=overlap(kept, by_labels)
    )


def added_gradient(graph: Graph, preview: Preview) -> float:
    """As ``Diagnosis`` says; the norms are summed over the further lessons."""
    ahead = _Ahead(graph, preview)
    end = ahead.walk(ahead.start, keep_graph=False)
    weights = {name: end[name] for name in prunable_weights(graph) if name in end}
    added = labels = 0.0
    for terms in ahead.shown(end):
        labels += _norm(_gradients(terms.labels, weights))
        if terms.added.requires_grad:
            added += _norm(_gradients(terms.added, weights))
    return added / max(labels, 1e-30)


def overlap(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """Jaccard's: kept by both, as a share of what is kept by either."""
    both = sum(int((a[name] & b[name]).sum()) for name in a)
    either = sum(int((a[name] | b[name]).sum()) for name in a)
    return both / max(1, either)


def kept_units(plan: Plan) -> dict[str, Tensor]:
    """Which units of every group a plan keeps, by the group's number."""
    found = {}
    for group in plan.groups:
        kept = torch.zeros(group.units, dtype=torch.bool)
        for start, stop in group.kept:
            kept[start:stop] = True
        found[str(group.group)] = kept
    return found


def _norm(gradients: Tensors) -> float:
    return math.sqrt(sum(float(g.detach().double().square().sum()) for g in gradients.values()))


def reset_batch_norm(graph: Graph) -> Graph:
    """A new graph whose running statistics are as in a fresh network: mean 0, variance 1."""
    fresh = graph.copy()
    tensors = fresh.tensors
    for node in fresh.program.graph.find_nodes(op="call_function", target=aten.batch_norm.default):
        mean, variance = node.args[3:5]
        if node.meta.get("follows_mode") and mean is not None and variance is not None:
            tensors[str(mean.target)].zero_()
            tensors[str(variance.target)].fill_(1.0)
    return fresh
