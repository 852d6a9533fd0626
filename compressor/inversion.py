"""Inversion: pictures made from what a network remembers of the ones it was trained on.

Comes in: a graph, its preprocessing, how many pictures.  Goes out: uint8 pictures (n, channels,
height, width) over which every batch norm sees about the mean and variance it has stored.  Knows
nothing of students, budgets or files.

The manner is DeepInversion's (Yin et al. 2020, arXiv 1912.08795): gradient steps on the pixels.
Other than there: the start is procedural pictures in place of white noise, the distance between
stored and seen statistics is that of two Gaussians (Kullback-Leibler), which has no unit, so all
layers count alike, and there are tens of steps in place of thousands.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor, fx
from torch.nn import functional as F

from compressor.data import ImageData, normalise
from compressor.evaluation import device_of, logits_of
from compressor.graphs import Graph
from compressor.synthetic import paint
from compressor.types import Preprocessing

STEPS, FEWEST_STEPS = 40, 20
FEWEST_PICTURES = 16
MOST_MACS = 4e12  # forward, over all pictures and steps: about 5 minutes of one core
BATCH, LARGE_BATCH, LARGE_IMAGE = 128, 24, 96  # at once, by pixels of a side; ResNet-50: 4.7 GiB

_STEP = 5.0  # grey levels, at first
_SMALLEST_STEP = 0.05  # of the first
_ANSWER_WEIGHT = 0.002  # at 0.02 and ResNet-56 the statistics end three times as far off
_ROUGHNESS_WEIGHT = 0.02

_BATCH_NORM = torch.ops.aten.batch_norm.default
# batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps, cudnn)
_INPUT, _MEAN, _VARIANCE, _TRAINING, _EPSILON = 0, 3, 4, 5, 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How many pictures are worked on, in how many steps each."""

    pictures: int
    steps: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """Mean and variance (channels,) of a batch norm's input."""

    mean: Tensor
    variance: Tensor  # with the layer's epsilon

    def distance(self, stored: Statistics) -> Tensor:
        """KL(seen | stored) of Gaussians, in nats, averaged over channels."""
        share = self.variance / stored.variance
        moved = (self.mean - stored.mean).square() / stored.variance
        return 0.5 * (share - share.log() - 1 + moved).mean()


def effort(macs: int, most: int) -> Effort:
    """What fits into ``MOST_MACS`` at ``macs`` for a picture: fewer steps, then fewer pictures."""
    affordable = MOST_MACS / max(macs, 1)
    steps = max(FEWEST_STEPS, min(STEPS, int(affordable / most)))
    pictures = min(most, int(affordable / steps))
    return Effort(pictures=pictures if pictures >= FEWEST_PICTURES else 0, steps=steps)


def statistics_distance(graph: Graph, pixels: Tensor, preprocessing: Preprocessing) -> float:
    """Mean distance of the batch norms' inputs over ``pixels`` (uint8) from what is stored."""
    with torch.no_grad():
        inputs = normalise(pixels, preprocessing).to(device_of(graph))
        return float(_Memory(graph).distance(inputs)[0])


def ignore(done_share: float) -> None:
    """For callers who do not watch."""


def invert(
    graph: Graph,
    preprocessing: Preprocessing,
    count: int,
    generator: Generator,
    *,
    steps: int = STEPS,
    progress: Callable[[float], None] = ignore,
) -> Tensor:
    """``count`` pictures synthesised from the network's batch norms: uint8 (n, c, height, width).

    They start as procedural ones, and stay these where no batch norm has stored statistics.  Each
    batch is matched as a whole, and every class is asked for about equally often.
    """
    seed = int(torch.randint(2**31, (1,), generator=generator))
    start = paint(count, preprocessing.crop, len(preprocessing.mean), seed)
    if not count or not _batch_norms(graph):
        return start
    memory = _Memory(graph)
    most = LARGE_BATCH if max(preprocessing.crop) >= LARGE_IMAGE else BATCH
    parts = start.chunk(math.ceil(count / most))
    done = 0
    made = []
    for part in parts:

        def tell(share: float, before: int = done, size: int = len(part)) -> None:
            progress((before + share * size) / count)

        made.append(_sharpen(memory, part, preprocessing, generator, steps, tell))
        done += len(part)
    return torch.cat(made)


def synthesise(
    data: ImageData,
    graph: Graph,
    macs: int,
    generator: Generator,
    progress: Callable[[float], None] = ignore,
) -> ImageData:
    """``data`` with as many of its pictures as is affordable replaced by synthesised ones.

    ``macs``: of one picture.  Training and validation pictures are replaced in proportion; the last
    note says what was done.
    """
    train, held = data.train.pixels, data.validation.pixels
    able = effort(macs, len(train) + len(held))
    whole = f"{len(train) + len(held)} pictures"
    if not _batch_norms(graph):
        return _noted(data, f"{whole} are procedural: no batch norm stores statistics")
    if not able.pictures:
        return _noted(data, f"{whole} are procedural: at {macs:,} MACs others take too long")
    made = invert(
        graph, data.preprocessing, able.pictures, generator, steps=able.steps, progress=progress
    )
    first = round(len(made) * len(train) / (len(train) + len(held)))
    told = f"{len(made)} pictures synthesised from the teacher's batch-norm statistics"
    rest = len(train) + len(held) - len(made)
    return _noted(
        replace(
            data,
            train=replace(data.train, pixels=torch.cat([made[:first], train[first:]])),
            foremost=first,
            validation=replace(
                data.validation,
                pixels=torch.cat([made[first:], held[len(made) - first :]]),
            ),
        ),
        f"{told}, {able.steps} steps each" + (f", and {rest} procedural ones" if rest else ""),
    )


def _noted(data: ImageData, note: str) -> ImageData:
    return replace(data, notes=(*data.notes, note))


def _batch_norms(graph: Graph) -> list[fx.Node]:
    """Those that normalise by stored statistics: there is something to invert."""
    found = graph.program.graph.find_nodes(op="call_function", target=_BATCH_NORM)
    stored = [node for node in found if node.args[_MEAN] is not None]
    return [n for n in stored if n.meta.get("follows_mode") or not n.args[_TRAINING]]


class _Memory:
    """A graph's stored statistics, and how far those of inputs are from them."""

    def __init__(self, graph: Graph) -> None:
        working = graph.copy().eval()
        for parameter in working.parameters():
            parameter.requires_grad_(False)
        nodes = _batch_norms(working)
        tensors = working.tensors
        self._epsilons = [float(node.args[_EPSILON]) for node in nodes]  # type: ignore[arg-type]
        self._stored = [
            Statistics(
                tensors[node.args[_MEAN].target],  # type: ignore[union-attr, index]
                tensors[node.args[_VARIANCE].target] + epsilon,  # type: ignore[union-attr, index]
            )
            for node, epsilon in zip(nodes, self._epsilons, strict=True)
        ]
        self._forward = working.observe([str(node.args[_INPUT]) for node in nodes])
        self.device = device_of(working)

    def distance(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean over the batch norms, and the network's answers."""
        output, values = self._forward(inputs)
        total = torch.zeros((), device=inputs.device)
        for value, stored, epsilon in zip(values, self._stored, self._epsilons, strict=True):
            over = [dim for dim in range(value.ndim) if dim != 1]
            variance, mean = torch.var_mean(value, dim=over, correction=0)
            total = total + Statistics(mean, variance + epsilon).distance(stored)
        return total / max(len(values), 1), logits_of(output)


def _sharpen(
    memory: _Memory,
    start: Tensor,
    preprocessing: Preprocessing,
    generator: Generator,
    steps: int,
    progress: Callable[[float], None],
) -> Tensor:
    """One batch of uint8 pictures, moved until its statistics are the stored ones."""
    pixels = start.to(memory.device, torch.float32).requires_grad_(True)
    optimiser = torch.optim.Adam([pixels], lr=_STEP, betas=(0.9, 0.99))
    classes: Tensor | None = None
    for step in range(steps):
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / steps)
        optimiser.param_groups[0]["lr"] = _STEP * max(cosine, _SMALLEST_STEP)
        inputs = normalise(_move(pixels, generator), preprocessing)
        loss, answers = memory.distance(inputs)
        if answers.ndim == 2 and answers.shape[1] > 1:
            if classes is None:
                classes = _draw(len(pixels), answers.shape[1], generator).to(memory.device)
            loss = loss + _ANSWER_WEIGHT * F.cross_entropy(answers, classes)
        loss = loss + _ROUGHNESS_WEIGHT * _roughness(inputs)
        (slope,) = torch.autograd.grad(loss, pixels)
        # A network that overflows somewhere says nothing there; its picture stays.
        pixels.grad = slope.nan_to_num(0.0, 0.0, 0.0)
        optimiser.step()
        with torch.no_grad():
            pixels.clamp_(0.0, 255.0)
        progress((step + 1) / steps)
    return pixels.detach().round().to("cpu", torch.uint8)


def _move(pixels: Tensor, generator: Generator) -> Tensor:
    """The batch shifted around by up to a sixteenth of the side, and mirrored every other time.

    Without it, patterns fit the places where a network's strides fall.
    """
    most = max(1, min(pixels.shape[2:]) // 16)
    down, across = (torch.randint(-most, most + 1, (2,), generator=generator)).tolist()
    moved = pixels.roll((down, across), (2, 3))
    return moved.flip(3) if torch.rand((), generator=generator) < 0.5 else moved


def _draw(count: int, classes: int, generator: Generator) -> Tensor:
    """int64 (count,): every class as often as any other, up to one."""
    rounds = math.ceil(count / classes)
    drawn = [torch.randperm(classes, generator=generator) for _ in range(rounds)]
    return torch.cat(drawn)[:count]


def _roughness(inputs: Tensor) -> Tensor:
    """Mean squared difference of neighbours (total variation, squared)."""
    across = inputs[..., 1:] - inputs[..., :-1]
    down = inputs[..., 1:, :] - inputs[..., :-1, :]
    return across.square().mean() + down.square().mean()
