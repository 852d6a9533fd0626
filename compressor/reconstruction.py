"""Reconstruction: layers that lost inputs are refitted in closed form to the teacher's outputs.

Comes in: a student, its teacher, one batch of inputs.  Goes out: a new student.  Both run side by
side in network order; every linear layer or convolution that reads a cut dimension gets the weights
that best map the *student's* inputs to the *teacher's* outputs, by ridge least squares towards the
weights it inherited (the idea of channel-pruning reconstruction, He et al. 2017, with the student's
own inputs, so that errors do not pile up).  Needs no labels and no gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from compressor.graphs import Graph
from compressor.stepping import Stepper

RIDGE = 1e-3  # of the second moment of each input
FEWEST_ROWS = 20_000  # samples of a layer's input, at least (where there are as many)
ROWS_PER_INPUT = 4  # and at least so many per fitted weight of one output

aten = torch.ops.aten


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstructed:
    """``unsolved``: layers whose equations had no finite solution, left as they were."""

    graph: Graph
    fitted: tuple[str, ...]
    unsolved: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """A dense layer with a weight of its own that reads a cut dimension; ``sliding``: of a
    convolution, what ``unfold`` needs."""

    value: str
    weight: str
    bias: str | None
    sliding: dict[str, Any] | None


def reconstruct(student: Graph, teacher: Graph, inputs: Tensor, *, seed: int = 0) -> Reconstructed:
    """Refit every reader of a cut dimension, in network order; the arguments stay as they are.

    ``inputs`` (n, ...) are held as one batch, so memory grows with n times the widest activations.
    """
    refitted = student.copy().eval()
    tensors = refitted.tensors
    generator = torch.Generator().manual_seed(seed)
    fitted: list[str] = []
    unsolved: list[str] = []
    with torch.no_grad():
        above, below = Stepper(teacher, (inputs,)), Stepper(refitted, (inputs,))
        pending = iter(below.nodes)
        for node in above.nodes:
            wanted = above.step(node)
            twin = next(pending)
            while twin.name != node.name:  # sizes computed in the student alone
                below.step(twin)
                twin = next(pending)
            layer = _find_layer(refitted, twin)
            if layer is not None:
                target = _kept_part(refitted, twin, wanted)
                solved = _fit(layer, below.values[layer.value], tensors, target, generator)
                (fitted if solved else unsolved).append(layer.weight)
            below.step(twin)
            above.release(node)
            below.release(twin)
    return Reconstructed(graph=refitted, fitted=tuple(fitted), unsolved=tuple(unsolved))


def _find_layer(graph: Graph, node: fx.Node) -> _Layer | None:
    if node.target not in (aten.linear.default, aten.conv2d.default):
        return None
    value, weight, bias, *rest = (*node.args, None)[: max(3, len(node.args))]
    if not isinstance(value, fx.Node) or not isinstance(weight, fx.Node):
        return None
    if weight.op != "get_attr" or len(weight.users) != 1:
        return None
    sliding = None
    summed = len(value.meta["shape"]) - 1
    if node.target is aten.conv2d.default:
        given = dict(zip(("stride", "padding", "dilation", "groups"), rest, strict=False))
        if given.pop("groups", 1) != 1:
            return None
        sliding = given
        summed = 1
    if summed not in graph.kept.get(value.name, {}):
        return None
    return _Layer(
        value=value.name,
        weight=str(weight.target),
        bias=str(bias.target) if isinstance(bias, fx.Node) else None,
        sliding=sliding,
    )


def _kept_part(graph: Graph, node: fx.Node, value: Tensor) -> Tensor:
    """The teacher's value on the rows that the student's node has."""
    for dim, rows in graph.kept.get(node.name, {}).items():
        value = value.index_select(dim, torch.tensor(rows, device=value.device))
    return value


def _fit(
    layer: _Layer,
    value: Tensor,
    tensors: dict[str, Tensor],
    target: Tensor,
    generator: torch.Generator,
) -> bool:
    """Solve for the layer's weight (and bias); false: its equations have no finite solution."""
    weight = tensors[layer.weight]
    if layer.sliding is None:
        x, y = _linear_equations(value, target, weight.shape[1], generator)
    else:
        x, y = _sliding_equations(value, target, weight, layer.sliding, generator)
    start = weight.reshape(len(weight), -1).T.double()
    if layer.bias is not None:
        x = torch.cat([x, x.new_ones(len(x), 1)], dim=1)
        start = torch.cat([start, tensors[layer.bias].double()[None]])
    solution = _ridge(x, y, start)
    if solution is None:
        return False
    if layer.bias is not None:
        tensors[layer.bias].copy_(solution[-1])
        solution = solution[:-1]
    weight.copy_(solution.T.reshape(weight.shape))  # the run sees it: it holds this very tensor
    return True


def _ridge(x: Tensor, y: Tensor, start: Tensor) -> Tensor | None:
    """argmin |x w - y|^2 + |w - start|^2 weighted by a share of each input's second moment.

    (rows, inputs), (rows, outputs), (inputs, outputs); None where there is no finite solution.
    """
    moment, mixed = (x.T @ x).double(), (x.T @ y).double()
    ridge = RIDGE * moment.diagonal() + 1e-9 * moment.diagonal().mean() + 1e-30
    factor, failed = torch.linalg.cholesky_ex(moment + torch.diag(ridge))
    if int(failed):
        return None
    solution = torch.cholesky_solve(mixed + ridge[:, None] * start, factor)
    return solution if bool(solution.isfinite().all()) else None


def _linear_equations(
    value: Tensor, target: Tensor, width: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Sampled rows of the input (rows, inputs) and of the wanted output (rows, outputs)."""
    x, y = value.reshape(-1, width), target.reshape(-1, target.shape[-1])
    rows = _draw(len(x), max(FEWEST_ROWS, ROWS_PER_INPUT * width), generator)
    return x[rows], y[rows]


def _sliding_equations(
    value: Tensor,
    target: Tensor,
    weight: Tensor,
    sliding: dict[str, Any],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """The same for a convolution: a row is what lies under the kernel at one place."""
    places = target.shape[2] * target.shape[3]
    wanted = max(FEWEST_ROWS, ROWS_PER_INPUT * weight[0].numel())
    xs, ys = [], []
    for picture, answer in zip(value, target, strict=True):
        rows = _draw(places, -(-wanted // len(value)), generator)
        columns = F.unfold(picture[None], tuple(weight.shape[2:]), **sliding)[0]
        xs.append(columns[:, rows].T)
        ys.append(answer.reshape(len(answer), -1)[:, rows].T)
    return torch.cat(xs), torch.cat(ys)


def _draw(count: int, wanted: int, generator: torch.Generator) -> Tensor:
    if count <= wanted:
        return torch.arange(count)
    return torch.randperm(count, generator=generator)[:wanted]
