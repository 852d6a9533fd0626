"""Stretches: how the length of a phase that prunes in steps is shared out over them.

Comes in: a length, a number of steps.  Goes out: what is due at each step, how long it trains
afterwards, and which part of the learning rate's course that is.  Knows nothing of networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from compressor.errors import OptionError
from compressor.optimisation import Course
from compressor.pacing import Deadline, Epochs

LAST_STRETCH = 0.3  # of the length, at the least, goes to the network as it will be
# N steps -> the share of the final sparsity after each, rising to 1.
Schedule = Callable[[int], tuple[float, ...]]


def cubic(steps: int) -> tuple[float, ...]:
    """``1 - (1 - t / N)^3``: much at first, while there is much to spare."""
    return tuple(1.0 - (1.0 - t / steps) ** 3 for t in range(1, steps + 1))


def linear(steps: int) -> tuple[float, ...]:
    """``t / N``: the same at every step."""
    return tuple(t / steps for t in range(1, steps + 1))


def split(length: Deadline | Epochs, steps: int) -> tuple[Deadline | Epochs, ...]:
    """The stretch after each step: all alike but the last, which has at least ``LAST_STRETCH``.

    Raises OptionError where there are fewer epochs than stretches.
    """
    if steps == 1:
        return (length,)
    if isinstance(length, Deadline):
        each = min(1.0 / steps, (1.0 - LAST_STRETCH) / (steps - 1)) * length.seconds
        last = length.seconds - each * (steps - 1)
        return (*[Deadline(each)] * (steps - 1), Deadline(last))
    rest = int(length.count * (1.0 - LAST_STRETCH) + 1e-9)  # 10 * 0.7 is a hair under 7
    epochs = min(rest // (steps - 1), length.count // steps)
    if epochs < 1:
        raise OptionError(
            f"{length.count} epochs do not hold {steps} steps of pruning, one epoch after each and "
            f"{100 * LAST_STRETCH:g} % of them after the last: give more epochs, or fewer steps"
        )
    return (*[Epochs(epochs)] * (steps - 1), Epochs(length.count - epochs * (steps - 1)))


def most_steps(length: Deadline | Epochs, steps: int) -> int:
    """As many of ``steps`` as the length has room for, at least one."""
    for count in range(steps, 1, -1):
        try:
            split(length, count)
        except OptionError:
            continue
        return count
    return 1


def require_rising(shares: tuple[float, ...]) -> tuple[float, ...]:
    """As given.  Raises OptionError where they do not rise to 1."""
    rising = all(a < b for a, b in zip((0.0, *shares), shares, strict=False))
    if not shares or not rising or abs(shares[-1] - 1.0) > 1e-9:
        raise OptionError(
            f"a schedule of {len(shares)} steps must rise from above 0 to 1, the final sparsity"
        )
    return shares


def part_of_course(course: Course, begin: float, end: float) -> Course:
    """One stretch of a course over the whole phase."""
    return lambda spent: course(begin + min(spent, 1.0) * (end - begin))


def _amount(length: Deadline | Epochs) -> float:
    return length.seconds if isinstance(length, Deadline) else float(length.count)


def share_of_length(stretches: Sequence[Deadline | Epochs], length: Deadline | Epochs) -> float:
    """What these stretches are of the whole length."""
    return sum(_amount(stretch) for stretch in stretches) / _amount(length)


def what_is_left(
    stretches: Sequence[Deadline | Epochs], length: Deadline | Epochs, spent: float
) -> Deadline | Epochs:
    """The next stretch; of a deadline its share of the seconds that are left."""
    if isinstance(length, Epochs):
        return stretches[0]
    share = _amount(stretches[0]) / sum(_amount(stretch) for stretch in stretches)
    return Deadline(max(share * (length.seconds - spent), 1e-3))  # late: cut, and train no more
