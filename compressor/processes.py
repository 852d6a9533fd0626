"""Processes: several of them as one run, under a launcher such as ``torchrun``.

Comes in: numbers that each process found.  Goes out: the same numbers everywhere.  The first
process writes; the others only train.  Knows nothing of what the numbers mean.
"""

from __future__ import annotations

import os
from dataclasses import replace

import torch
from accelerate.state import PartialState
from accelerate.utils import reduce

from compressor.errors import SurroundingsError
from compressor.types import Scores


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


def wait(device: str) -> None:
    """Until all processes are here."""
    if process_count() > 1:
        _join(device)
        PartialState().wait_for_everyone()


def _join(device: str) -> None:
    PartialState(cpu=device == "cpu")
