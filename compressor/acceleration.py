"""Which precision and memory layout trains fastest here: measured, not assumed.

In: a student, its teacher and one batch.  Out: a choice with the sentence that explains it, and the
Accelerator that runs it.  Knows nothing of losses, accuracy or schedules; time comes from the
caller's clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from torch import Tensor

from compressor.evaluation import device_of, evaluating, logits_of
from compressor.graphs import Graph
from compressor.memory import fitted

MixedPrecision = Literal["no", "bf16"]
Clock = Callable[[], float]

# Half the digits are given up only for a gain that is plainly there.
_WORTH_BF16 = 1.2
# Of two choices of the same precision the simpler one stays unless the other gains this much.
_WORTH_LAYOUT = 1.03
_HOPELESS = 2.0  # times slower on the small batch: not measured further
_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceleration:
    """How a run computes.  ``images_per_s`` and ``note`` tell where the choice comes from.

    ``part_size``: how many images' values are in memory at once; None: the whole batch's.
    """

    mixed_precision: MixedPrecision = "no"
    channels_last: bool = False
    images_per_s: float | None = None
    note: str = ""
    part_size: int | None = None

    @property
    def name(self) -> str:
        precision = "bf16" if self.mixed_precision == "bf16" else "float32"
        return f"{precision} channels-last" if self.channels_last else precision

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format


PLAIN = Acceleration()
CANDIDATES = (
    PLAIN,
    Acceleration(channels_last=True),
    Acceleration(mixed_precision="bf16", channels_last=True),
)


def choose(
    student: Graph,
    teacher: Graph | None,
    pixels: Tensor,
    *,
    seconds: float,
    clock: Clock,
    candidates: tuple[Acceleration, ...] = CANDIDATES,
) -> Acceleration:
    """The fastest candidate on this processor, within about ``seconds``.

    Measures a teacher's answer and a student's training step on ``pixels`` (n, channels, height,
    width), where the student lives; neither network is changed.  A small part of the batch comes
    first, so that a hopeless candidate costs little; a batch that does not fit in memory is halved.
    A candidate the network cannot run in (a ``view`` that needs contiguous values) is rejected, and
    the note says so.
    """
    begin, rejected = clock(), []
    runs: dict[str, Callable[[Tensor], float]] = {}
    rates: dict[str, float] = {}
    small = pixels[: max(2, len(pixels) // 16)]
    for candidate in candidates:
        if candidate.mixed_precision == "bf16" and not _computes_bf16(device_of(student)):
            rejected.append("bf16 not tried: this processor has no instructions for it")
        elif runs and clock() - begin > seconds / 2:
            rejected.append(f"{candidate.name} not tried: the others took the time")
        else:
            try:
                run = _timed_step(student, teacher, candidate, clock)
                run(small)  # the first call allocates and plans
                rates[candidate.name] = len(small) / run(small)
                runs[candidate.name] = run
            except RuntimeError as error:
                reason = _first_line(error)
                rejected.append(f"{candidate.name} cannot run this network ({reason})")
    if not runs:
        return Acceleration(note="; ".join([*rejected, "trained in plain float32"]))
    limit = max(rates.values()) / _HOPELESS
    best = {name: math.inf for name, rate in rates.items() if rate >= limit}
    expected = sum(len(pixels) / rates[name] for name in best)
    for turn in range(_ROUNDS + 1):  # in turns, so that a busy moment meets all; the first warms up
        if len(best) == 1 or clock() - begin + expected > seconds:
            break
        round_begin = clock()
        for name in best:
            taken, fits = _timed(runs[name], pixels)
            if fits < len(pixels):  # times for other numbers of images do not compare
                pixels, best = pixels[:fits], dict.fromkeys(best, math.inf)
            best[name] = min(best[name], taken) if turn else best[name]
        expected = clock() - round_begin
    rates |= {name: len(pixels) / taken for name, taken in best.items() if taken < math.inf}
    offered = {c.name: c for c in candidates if c.name in best}
    return decide(offered, rates, rejected)


def _timed(run: Callable[[Tensor], float], pixels: Tensor) -> tuple[float, int]:
    """Seconds of one step, and on how many of the images: fewer where memory does not suffice."""
    return fitted(lambda size: run(pixels[:size]), len(pixels), "training")


def decide(
    offered: dict[str, Acceleration], rates: dict[str, float], rejected: list[str]
) -> Acceleration:
    """The simplest candidate that no other beats by what makes its own price worth paying."""
    chosen = next(iter(offered.values()))
    for candidate in offered.values():
        dearer = candidate.mixed_precision != chosen.mixed_precision
        worth = _WORTH_BF16 if dearer else _WORTH_LAYOUT
        if rates[candidate.name] > worth * rates[chosen.name]:
            chosen = candidate
    measured = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
    note = f"{chosen.name} chosen; measured images/s: {measured}"
    return Acceleration(
        mixed_precision=chosen.mixed_precision,
        channels_last=chosen.channels_last,
        images_per_s=rates[chosen.name],
        note="; ".join([note, *rejected]),
    )


def _timed_step(
    student: Graph, teacher: Graph | None, how: Acceleration, clock: Clock
) -> Callable[[Tensor], float]:
    """A function that times one teacher's answer and one student's step without an update."""
    learner = student.copy().train()
    reference = teacher.copy().eval() if teacher is not None else None
    device = device_of(student)
    for graph in (learner, reference):
        if graph is not None:
            graph.to(memory_format=how.memory_format)
    enabled = how.mixed_precision == "bf16"

    def run(pixels: Tensor) -> float:
        inputs = pixels.to(device=device, memory_format=how.memory_format)
        start = clock()
        with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
            if reference is not None:
                with evaluating(reference):
                    logits_of(reference(inputs))
            loss = logits_of(learner(inputs)).float().square().mean()
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        for parameter in learner.parameters():
            parameter.grad = None
        return max(clock() - start, 1e-9)

    return run


def _computes_bf16(device: torch.device) -> bool:
    """Whether there are instructions for it: without them a trial alone costs many seconds."""
    if device.type == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return device.type != "cuda" or torch.cuda.is_bf16_supported()


def _first_line(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")[:120] if str(error).strip() else "failed"


def make_accelerator(how: Acceleration, device: str | None = None) -> Accelerator:
    """The Accelerator of one run.  ``device``: "cpu", or None for the best there is.

    accelerate keeps one precision and device per process; a run that wants others starts afresh,
    except under a launcher with several processes, whose choice stands.
    """
    state = AcceleratorState._shared_state
    alone = not state or PartialState().num_processes == 1
    if state and alone:
        AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(mixed_precision=how.mixed_precision if alone else None, cpu=device == "cpu")
