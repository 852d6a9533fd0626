"""Accumulation: a batch that does not fit in memory is learned from in parts, and stays a batch.

Comes in: the network of a training run, batches.  Goes out: its answers to the whole batch, and the
gradient of whatever loss is made of them, accumulated part by part.  Knows nothing of losses,
lessons or optimisers.

The loss is cut off from the network at its answers: they are computed part by part without keeping
what is inside, the loss is that of the whole batch, and then every part is computed once more and
given its share of the answers' gradient (Gao et al., "Scaling Deep Contrastive Learning Batch Size
under Memory Limited Setup", 2021, arXiv 2101.06983).  So objectives that look at a whole batch, and
lessons that remember what was said, are none the wiser; the price is a second forward.

What differs from a whole batch: batch norms that train take their statistics from a part, in both
forwards alike; running statistics follow as fast as they would.  In the one step in which memory
runs out, they also saw the attempt that failed, and where that was in the backward pass, the
answers are those of the attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from compressor.keeping import Snapshot, noise, restore_noise
from compressor.memory import fitted

Answers = tuple[Tensor, tuple[Tensor, ...]]  # logits, values of the observed nodes


class InParts(nn.Module):
    """A network that answers to a batch as a whole, or in parts where it does not fit in memory.

    ``size``: images of a part; None: the whole batch.  It only ever falls, to half and half again,
    not below ``smallest`` (a batch norm needs two).  A loss of the answers reaches the parameters
    in two steps: its own ``backward()``, then ``backward()`` here.
    """

    def __init__(self, module: nn.Module, size: int | None = None, *, smallest: int = 1) -> None:
        super().__init__()
        self.module = module
        self.size = size
        self.batch: int | None = None  # that did not fit
        self._smallest = smallest
        self._asked: list[_Asked] = []

    @property
    def note(self) -> str:
        """For the report; empty where every batch fitted as it was asked."""
        if self.batch is None:
            return ""
        told = (
            f"out of memory on a batch of {self.batch} images: computed in parts of {self.size}, "
            "gradients accumulated to those of the batch"
        )
        if self._smallest > 1:
            told += "; batch norms take their statistics from each part"
        return told

    def state(self) -> Snapshot:
        """What the next batch is computed in, and what is said of it."""
        return Snapshot(facts={"size": self.size, "batch": self.batch})

    def restore(self, kept: Snapshot) -> None:
        self.size, self.batch = kept.facts["size"], kept.facts["batch"]

    def forward(self, pixels: Tensor) -> Answers:
        if not torch.is_grad_enabled():
            found, size = fitted(partial(self._answers, pixels), self._size(pixels), "training")
            self._remember(pixels, size)
            return found.logits, found.values
        asked, size = fitted(
            partial(self._asked_for, pixels),
            self._size(pixels),
            "training",
            smallest=min(self._smallest, len(pixels)),
        )
        self._remember(pixels, size)
        self._asked.append(asked)
        return asked.leaves[0], asked.leaves[1:]

    def backward(self) -> None:
        """The answers' gradients become those of the parameters, which have none yet."""
        asked, self._asked = self._asked, []
        whole = max((len(one.pixels) for one in asked), default=0)
        if not asked:
            return
        _, size = fitted(
            partial(self._pull_all, asked),
            min(whole, self.size or whole),
            "training",
            smallest=min(self._smallest, whole),
        )
        self._remember(max((one.pixels for one in asked), key=len), size)

    def _size(self, pixels: Tensor) -> int:
        return min(len(pixels), self.size or len(pixels))

    def _remember(self, pixels: Tensor, size: int) -> None:
        if size < self._size(pixels):
            self.batch, self.size = len(pixels), size

    def _asked_for(self, pixels: Tensor, size: int) -> _Asked:
        """Answers cut off from the network: whole with what gradients need, parts without."""
        if size >= len(pixels):
            logits, values = self.module(pixels)
            return _Asked.of(pixels, (logits, *values), whole=True)
        with torch.no_grad():
            found = self._answers(pixels, size)
        return _Asked.of(pixels, (found.logits, *found.values), noise=found.noise)

    def _answers(self, pixels: Tensor, size: int) -> _Answered:
        """Part by part, without gradients."""
        parts = self._parts(pixels, size)
        if len(parts) == 1:
            logits, values = self.module(pixels)
            return _Answered(logits=logits, values=values, noise=())
        before, found = [], []
        with PartNorms(lambda momentum: 1.0 - (1.0 - momentum) ** (1.0 / len(parts))):
            for part in parts:
                before.append(noise(pixels.device))
                found.append(self.module(part))
        return _Answered(
            logits=torch.cat([logits for logits, _ in found]),
            values=tuple(
                torch.cat(same) for same in zip(*(values for _, values in found), strict=True)
            ),
            noise=tuple(before),
        )

    def _parts(self, pixels: Tensor, size: int) -> tuple[Tensor, ...]:
        """Alike to one image, so that none is left alone."""
        if size >= len(pixels):
            return (pixels,)
        most = max(1, len(pixels) // self._smallest)
        return torch.tensor_split(pixels, min(-(-len(pixels) // size), most))

    def _pull_all(self, asked: Sequence[_Asked], size: int) -> None:
        for parameter in self.module.parameters():
            parameter.grad = None  # of an attempt that failed
        for one in asked:
            slopes = one.slopes
            if one.outputs is not None and size >= len(one.pixels):
                _backward(one.outputs, slopes)
            else:
                one.outputs = None  # and all that it holds
                self._pull(one, slopes, size)

    def _pull(self, one: _Asked, slopes: Sequence[Tensor | None], size: int) -> None:
        parts = self._parts(one.pixels, size)
        cut = [[None] * len(parts) if s is None else torch.split(s, [*map(len, parts)])
               for s in slopes]  # fmt: skip
        for place, part in enumerate(parts):
            before = one.noise[place] if len(one.noise) == len(parts) else None
            with _same_noise(before, part.device), PartNorms(lambda momentum: 0.0):
                logits, values = self.module(part)
            _backward((logits, *values), [of_parts[place] for of_parts in cut])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answered:
    logits: Tensor
    values: tuple[Tensor, ...]
    noise: tuple[Snapshot, ...]  # torch's generators before each part; none where there is one


@dataclass(slots=True, kw_only=True)
class _Asked:
    """One batch: its answers as the loss sees them (``leaves``), and as they came, if whole."""

    pixels: Tensor
    leaves: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...] | None
    noise: tuple[Snapshot, ...]

    @classmethod
    def of(
        cls,
        pixels: Tensor,
        outputs: tuple[Tensor, ...],
        *,
        whole: bool = False,
        noise: tuple[Snapshot, ...] = (),
    ) -> _Asked:
        leaves = tuple(one.detach().requires_grad_(one.is_floating_point()) for one in outputs)
        return cls(pixels=pixels, leaves=leaves, outputs=outputs if whole else None, noise=noise)

    @property
    def slopes(self) -> list[Tensor | None]:
        return [leaf.grad for leaf in self.leaves]


def _backward(outputs: Sequence[Tensor], slopes: Sequence[Tensor | None]) -> None:
    """Answers that no loss looked at have no slope, values from before all parameters no way."""
    pairs = [(o, s) for o, s in zip(outputs, slopes, strict=True) if s is not None]
    ways = [(output, slope) for output, slope in pairs if output.requires_grad]
    if ways:
        torch.autograd.backward([output for output, _ in ways], [slope for _, slope in ways])


class PartNorms(TorchFunctionMode):
    """While it is entered, batch norms that train move their running statistics by another
    momentum than their own."""

    def __init__(self, momentum: Callable[[float], float]) -> None:
        super().__init__()
        self._momentum = momentum

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        # batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps, cudnn)
        if func is torch.ops.aten.batch_norm.default and args[5]:
            args = (*args[:6], self._momentum(args[6]), *args[7:])
        return func(*args, **(kwargs or {}))


@contextmanager
def _same_noise(kept: Snapshot | None, device: torch.device) -> Iterator[None]:
    """What is drawn inside is what was drawn from that state on, and nobody notices."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        if kept is not None:
            restore_noise(kept, device)
        yield
