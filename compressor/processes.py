"""Processes: several of them as one run, under a launcher such as ``torchrun``.

Comes in: numbers that each process found.  Goes out: the same numbers everywhere.  The first
process writes; the others only train, and together they train as one would: every batch is shared
out, and what is a mean over the batch is one over the shares of all.  Knows nothing of what the
numbers mean.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from accelerate.state import PartialState
from accelerate.utils import broadcast_object_list, gather, reduce
from torch import Tensor
from torch.overrides import TorchFunctionMode

from compressor.errors import SurroundingsError
from compressor.types import Scores

Told = TypeVar("Told")


def process_count() -> int:
    """How many processes a launcher started for this run; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process writes files and speaks."""
    return int(os.environ.get("RANK", "0")) == 0


def own_device(device: str) -> str:
    """ "cpu", or the CUDA device of this process among those of its machine."""
    if process_count() == 1 or not device.startswith("cuda"):
        return device
    place = int(os.environ.get("LOCAL_RANK", "0"))
    if place >= torch.cuda.device_count():
        raise SurroundingsError(
            f"{place + 1} processes on one machine want as many GPUs, and it has "
            f"{torch.cuda.device_count()}; start fewer, or give --device cpu"
        )
    return f"cuda:{place}"


def share_of(values: Tensor) -> Tensor:
    """The rows of a whole batch that this process learns from; every process has as many, and what
    cannot be shared out evenly is left out.

    Raises SurroundingsError where there are fewer rows than processes.
    """
    processes = process_count()
    if processes == 1:
        return values
    if len(values) < processes:
        raise SurroundingsError(
            f"{processes} processes share {len(values)} images out: start fewer, or give more"
        )
    rows = len(values) // processes * processes
    return values[int(os.environ["RANK"]) : rows : processes]


def batch_mean(values: Tensor) -> Tensor:
    """The mean of a number over the shares of one batch, with its gradient; where the run is one
    process, as given.  Every process must call it, in the same order."""
    if process_count() == 1:
        return values
    summed: Tensor = _Summed.apply(values)
    return summed / process_count()


def all_shares(values: Tensor) -> Tensor:
    """The rows of every process, one share behind the other, without gradient."""
    if process_count() == 1:
        return values
    found: Tensor = gather(values.detach().contiguous())
    return found


def own_share(values: Tensor) -> Tensor:
    """Of the rows of every process, as ``all_shares`` gives them, those of this one."""
    if process_count() == 1:
        return values
    return values.chunk(process_count())[int(os.environ["RANK"])]


class _Summed(torch.autograd.Function):
    """The sum over all processes; each one's loss depends on every one's values, so that gradients
    are summed as well."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.detach().clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        total = slopes[0].clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total


class WholeBatchNorm(TorchFunctionMode):
    """While it is entered, batch norms that train take their statistics from all processes' shares.

    The function of ``nn.SyncBatchNorm``, which knows CUDA alone.  With one process nothing changes.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        training = func is torch.ops.aten.batch_norm.default and args[5]
        if training and process_count() > 1:
            return _batch_norm(*args[:5], momentum=args[6], eps=args[7])
        return func(*args, **(kwargs or {}))


def _batch_norm(
    values: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    *,
    momentum: float,
    eps: float,
) -> Tensor:
    """Of values (n, channels, ...); running statistics move as those of ``aten.batch_norm``."""
    wide = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    over = [place for place in range(values.ndim) if place != 1]
    shape = [-1 if place == 1 else 1 for place in range(values.ndim)]
    mean = batch_mean(wide.mean(over))
    centred = wide - mean.view(shape)
    variance = batch_mean(centred.square().mean(over))
    count = values.numel() // values.shape[1] * process_count()
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            unbiased = variance * count / max(count - 1, 1)
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    scale = (variance + eps).rsqrt()
    scale = scale if weight is None else scale * weight
    found = centred * scale.view(shape)
    return (found if bias is None else found + bias.view(shape)).to(values.dtype)


def average(values: torch.Tensor, device: str) -> torch.Tensor:
    """The mean over all processes, float64, on ``device``; where there is one, as given."""
    if process_count() == 1:
        return values
    _join(device)
    there = values.double().to(device)
    found: torch.Tensor = reduce(there, "mean")
    return found


def agree_on(scores: Scores, device: str) -> Scores:
    """The mean of every score over all processes, so that all of them remove the same units."""
    if process_count() == 1:
        return scores
    widths = [len(values) for values in scores.values]
    flat = torch.tensor([value for group in scores.values for value in group], dtype=torch.float64)
    parts = average(flat, device).split(widths)
    return replace(scores, values=tuple(tuple(part.tolist()) for part in parts))


def told_by_first(find: Callable[[], Told], device: str) -> Told:
    """What the first process finds, everywhere; the others do not look."""
    if process_count() == 1:
        return find()
    _join(device)
    held = [find() if is_first() else None]
    broadcast_object_list(held, from_process=0)
    found: Told = held[0]  # type: ignore[assignment]
    return found


def wait(device: str) -> None:
    """Until all processes are here."""
    if process_count() > 1:
        _join(device)
        wait_for_all()


def wait_for_all() -> None:
    """The same for those who have met before, wherever they compute."""
    if process_count() > 1:
        PartialState().wait_for_everyone()


def leave() -> None:
    """Give up the connection to the others: a process that ends with it open may be aborted."""
    if process_count() > 1 and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _join(device: str) -> None:
    PartialState(cpu=device == "cpu")
