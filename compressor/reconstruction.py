"""Reconstruction: linear layers of a student refitted in closed form to the teacher's outputs.

Comes in: a student, its teacher, inputs.  Goes out: a new student.  Both run side by side in
network order, all pieces of the inputs through one node before the next.  Every convolution or
matrix product whose input is no longer the teacher's gets the weights that best map the *student's*
input to the *teacher's* output, by ridge least squares near the weights it inherited (the idea of
channel-pruning reconstruction, He et al. 2017, with the student's own inputs, so that errors do not
pile up).  Where the output is added to a value that both networks know already, a residual stream,
the target also makes up for what that value has lost.  Needs no labels and no gradients.

A batch norm behind a refitted layer is *restated*: it computes the same function as before, with
the running statistics that the student really has, so that evaluating, re-estimating and training
start from one function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from compressor.equations import LinearLayer, find_layer, pick_places
from compressor.graphs import Graph
from compressor.moments import WIDE, Affine, Fitted, fit, no_equations
from compressor.objectives import kept_rows
from compressor.stepping import Stepper, alive_bytes
from compressor.successors import Way, is_own_norm, statistics_of, way_from

PIECE = 64  # inputs that step together
HELD_SHARE = 0.2  # of the pieces chooses the ridge of every layer
FEWEST_ROWS, ROWS_PER_INPUT = 50_000, 10  # of a layer's equations, where there are as many
MOST_WIDE_ROWS = 4096  # of a layer too wide for moments: what is solved has their number squared
SMALLEST_GAIN = 1e-3  # of the largest: what a batch norm shuts off is not fitted through it

aten = torch.ops.aten


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstructed:
    """``kept_as_they_were``: layers that no refitting improved on rows held out."""

    graph: Graph
    fitted: tuple[str, ...]
    kept_as_they_were: tuple[str, ...]


def reconstruct(
    student: Graph,
    teacher: Graph,
    inputs: Tensor,
    *,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> Reconstructed:
    """Refit every linear layer whose input differs from the teacher's; arguments stay as they are.

    ``inputs`` (n, ...), at least two.  Memory grows with n times the values alive at one node
    (``inputs_within`` says how many fit), and with the square of the widest layer's inputs.
    """
    refitted = student.copy().eval()
    fewest = min(len(inputs), math.ceil(1 / HELD_SHARE))
    pieces = inputs.tensor_split(max(fewest, math.ceil(len(inputs) / PIECE)))
    sides = Sides(teacher, refitted, pieces, torch.Generator().manual_seed(seed))
    fitted: list[str] = []
    kept: list[str] = []
    with torch.no_grad():
        for done, node in enumerate(sides.teacher_nodes):
            twin = sides.advance(node)
            layer = find_layer(twin) if twin is not None else None
            if layer is not None and sides.differ(layer.value):
                (fitted if _refit(sides, layer) else kept).append(layer.weight)
            elif twin is not None and twin.target is aten.batch_norm.default:
                _restate(sides, twin)
            sides.step(node, twin)
            progress(done / len(sides.teacher_nodes))
    return Reconstructed(graph=refitted, fitted=tuple(fitted), kept_as_they_were=tuple(kept))


def inputs_within(memory: int, student: Graph, teacher: Graph, inputs: Tensor) -> Tensor:
    """As many inputs as ``reconstruct`` may hold in so many bytes, two at least."""
    most = memory // max(1, alive_bytes(student) + alive_bytes(teacher))
    return inputs[: max(2, most)]


class Sides:
    """Teacher and student, every piece of the inputs at the same node."""

    def __init__(
        self,
        teacher: Graph,
        student: Graph,
        pieces: tuple[Tensor, ...],
        generator: torch.Generator,
    ) -> None:
        self.student, self.generator = student, generator
        self.tensors = student.tensors
        self._above = [Stepper(teacher, (piece,)) for piece in pieces]
        self._below = [Stepper(student, (piece,)) for piece in pieces]
        self._pending = iter(self._below[0].nodes)
        self._names = {node.name for node in self._below[0].nodes}
        self.teacher_nodes = self._above[0].nodes
        self.held_out = max(1, round(HELD_SHARE * len(pieces)))  # pieces at the end

    def advance(self, node: fx.Node) -> fx.Node | None:
        """Step the teacher over ``node``, the student up to its twin, which is returned.

        None where the student has none: tables of places that were written anew.
        """
        for above in self._above:
            above.step(node)
        if node.name not in self._names:
            return None
        twin = next(self._pending)
        while twin.name != node.name:  # sizes computed in the student alone
            for below in self._below:
                below.step(twin)
            twin = next(self._pending)
        return twin

    def step(self, node: fx.Node, twin: fx.Node | None) -> None:
        for above, below in zip(self._above, self._below, strict=True):
            if twin is not None:
                below.step(twin)
                below.release(twin)
            above.release(node)

    def wanted(self, name: str) -> list[Tensor]:
        """The teacher's value of a node on the student's rows, piece by piece."""
        kept: Mapping[int, Any] = self.student.kept.get(name, {})
        return [kept_rows(above.values[name], kept) for above in self._above]

    def own(self, name: str) -> list[Tensor]:
        return [below.values[name] for below in self._below]

    def known(self, name: str) -> bool:
        """Whether both networks have a node's value at hand."""
        return name in self._above[0].values and name in self._below[0].values

    def differ(self, name: str) -> bool:
        """Whether the student lacks rows of a node, or its values are not the teacher's."""
        if self.student.kept.get(name) or not self.known(name):
            return True
        pairs = zip(self.wanted(name), self.own(name), strict=True)
        return not all(torch.equal(a, b) for a, b in pairs)


# -- layers --------------------------------------------------------------------------------------


def _refit(sides: Sides, layer: LinearLayer) -> bool:
    """Solve for the layer's weight and offset; false where nothing better was found."""
    tensors = sides.tensors
    weight = tensors[layer.weight]
    way = way_from(layer)
    movable = layer.bias is not None or way.norm is not None
    matrix = layer.form.matrix(weight).double()
    offset = matrix.new_zeros(len(matrix), 1, matrix.shape[2])
    if layer.bias is not None:
        offset = tensors[layer.bias].double().reshape(offset.shape)
    start = Affine(matrix=matrix, offset=offset if movable else None)
    found = _solve(sides, layer, way, start)
    if found.ridge is None:
        return False
    best = found.affine
    weight.copy_(layer.form.weight(best.matrix, weight.shape))  # the run holds this very tensor
    if best.offset is not None:
        offsets = best.offset.reshape(-1)
        if layer.bias is not None:
            tensors[layer.bias].copy_(offsets)
        elif way.norm is not None:
            statistics_of(way.norm, tensors).mean.sub_(offsets.to(weight.dtype))
    return True


def _solve(sides: Sides, layer: LinearLayer, way: Way, start: Affine) -> Fitted:
    shape = sides.tensors[layer.weight].shape
    targets = _targets(sides, layer, way)
    width = start.matrix.shape[1]
    wanted = max(FEWEST_ROWS, ROWS_PER_INPUT * width) if width <= WIDE else MOST_WIDE_ROWS
    there = sum(len(target) * layer.form.places(target) for target in targets)
    used = held_out = no_equations(start, rows=min(wanted, there))
    pieces = list(zip(sides.own(layer.value), targets, strict=True))
    for place, (value, target) in enumerate(pieces):
        picked = pick_places(layer.form, target, -(-wanted // len(pieces)), sides.generator)
        rows = layer.form.rows(value, shape, picked)
        answers = layer.form.answers(target, picked)
        if place < len(pieces) - sides.held_out:
            used = used.plus(rows, answers)
        else:
            held_out = held_out.plus(rows, answers)
    return fit(used, held_out, start)


def _targets(sides: Sides, layer: LinearLayer, way: Way) -> list[Tensor]:
    """What the layer should give: the teacher's output, and what is missing beside it."""
    wanted = sides.wanted(layer.node.name)
    if way.beside is None or not sides.known(way.beside.name):
        return wanted
    gain = None if way.norm is None else statistics_of(way.norm, sides.tensors).slope
    found = []
    beside = zip(sides.wanted(way.beside.name), sides.own(way.beside.name), strict=True)
    for target, (theirs, ours) in zip(wanted, beside, strict=True):
        if theirs.shape != ours.shape or theirs.shape != target.shape:
            return wanted
        lost = theirs - ours
        found.append(target + (lost if gain is None else _through(lost, gain)))
    return found


def _through(lost: Tensor, gain: Tensor) -> Tensor:
    """What must enter a batch norm so that ``lost`` comes out."""
    open_ = gain.abs() > SMALLEST_GAIN * gain.abs().max()
    factor = torch.where(open_, 1 / gain, torch.zeros_like(gain))
    return lost * factor.to(lost.dtype).view(1, -1, *(1,) * (lost.ndim - 2))


# -- batch norms -----------------------------------------------------------------------------------


def _restate(sides: Sides, norm: fx.Node) -> None:
    """The same function, said with the statistics of the student's own values.

    gain (x - m) / s + offset = gain' (x - m') / s' + offset', with m', s' as measured.
    """
    given = norm.args[0]
    if not is_own_norm(norm) or not isinstance(given, fx.Node) or not sides.differ(given.name):
        return
    values = [value.transpose(0, 1).flatten(1).double() for value in sides.own(given.name)]
    count = sum(value.shape[1] for value in values)
    mean = torch.stack([value.sum(dim=1) for value in values]).sum(dim=0) / count
    apart = [(value - mean[:, None]).square().sum(dim=1) for value in values]
    variance = torch.stack(apart).sum(dim=0) / count
    if not bool((mean.isfinite() & variance.isfinite()).all()):
        return
    known = statistics_of(norm, sides.tensors)
    slope = known.slope
    known.offset.add_((slope * (mean - known.mean)).to(known.offset.dtype))
    known.mean.copy_(mean)
    known.variance.copy_(variance)
    known.gain.copy_(slope * known.deviation)
