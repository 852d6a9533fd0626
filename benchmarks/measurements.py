"""One workload as several processes measured it, and the file of its raw samples.

Comes in: sittings.  Goes out: a Measurement, or JSON by columns.  Knows nothing of what
the numbers say.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import msgspec

from benchmarks.sampling import SUBJECTS, Sample, Sitting
from benchmarks.surroundings import Surroundings
from benchmarks.workloads import Workload

FORMAT = 2  # 2: several processes, surroundings


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """All samples of one workload."""

    sittings: tuple[Sitting, ...]  # one per process
    surroundings: tuple[Surroundings, ...]  # of each
    ran_by: dict[str, str]  # subject -> what ran it, as the runtime says
    stopped: Literal["narrow enough", "time spent"]
    seconds: float  # wall time of all processes, their start included

    @property
    def samples(self) -> tuple[Sample, ...]:
        return tuple(one for sitting in self.sittings for one in sitting.samples)

    @property
    def rounds(self) -> int:
        return sum(sitting.rounds for sitting in self.sittings)


def encode_samples(found: Measurement, workload: Workload, seed: int) -> bytes:
    """Every raw sample as JSON, by columns (``subject`` counts through ``subjects``)."""
    samples = found.samples
    return msgspec.json.encode(
        {
            "format": FORMAT,
            "workload": workload.facts,
            "seed": seed,
            "rounds": [sitting.rounds for sitting in found.sittings],
            "calls_per_block": [sitting.calls_per_block for sitting in found.sittings],
            "warmup_calls": [sitting.warmup_calls for sitting in found.sittings],
            "steady": [sitting.steady for sitting in found.sittings],
            "surroundings": [asdict(one) for one in found.surroundings],
            "ran_by": found.ran_by,
            "stopped": found.stopped,
            "seconds": found.seconds,
            "subjects": SUBJECTS,
            "samples": {
                "process": [one.process for one in samples],
                "subject": [SUBJECTS.index(one.subject) for one in samples],
                "round": [one.round for one in samples],
                "order": [one.order for one in samples],
                "wall_ns": [one.wall_ns for one in samples],
                "cpu_ns": [one.cpu_ns for one in samples],
            },
        }
    )
