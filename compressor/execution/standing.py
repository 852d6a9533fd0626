"""Where a run stands, and what all phases do: cut and prove, measure, write down.

Comes in: graphs, plans.  Goes out: a ``Standing``.  Knows nothing of phases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import msgspec

from compressor.data import ImageData
from compressor.distillation import Distilled
from compressor.errors import ProofError
from compressor.evaluation import placed
from compressor.expectations import Expectation
from compressor.graphs import Graph
from compressor.judging import Judge, Stage
from compressor.keeping import KEEP_NOTHING, Keeper
from compressor.pacing import Deadline, Epochs
from compressor.proof import prove
from compressor.removal import remove
from compressor.samples import placed_batches
from compressor.scoring import Batch
from compressor.sparsity import WeightMask
from compressor.types import Analysis, Budget, Plan, Proof
from compressor.watching import Listener, Stopwatch

Length = Deadline | Epochs | None
Record = Mapping[str, Any]


class Training(Protocol):
    """What comes back from one."""

    @property
    def seconds(self) -> float: ...


Trained = TypeVar("Trained", bound=Training)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What all phases of a run have in common."""

    graph: Graph  # dense, as it came
    fresh: Callable[[], Graph]  # the dense network as its code initialises it
    analysis: Analysis
    data: ImageData
    sample: tuple[Batch, ...]  # of training images, for scoring and repair
    budget: Budget
    expectation: Expectation | None = None  # of the target's time; None: there is no target
    seed: int
    device: str
    judge: Judge
    listener: Listener
    watch: Stopwatch
    keeper: Keeper = KEEP_NOTHING  # of the run, or of the phase that is carried out

    def placed(self, graph: Graph) -> Graph:
        """The graph on the run's device; a copy where that is another one."""
        return placed(graph, self.device)

    def placed_sample(self) -> list[Batch]:
        return placed_batches(self.sample, self.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a run stands after ``done`` of its phases.

    ``pruned``: a network that was pruned, of full shapes or the student's, to teach the student.
    ``mask``: its living weights.  ``phases`` are entries of ``report.json``.
    """

    student: Graph
    pruned: Graph | None = None
    mask: WeightMask | None = None
    plan: Plan | None = None
    proof: Proof | None = None
    done: int = 0
    stages: tuple[Stage, ...] = ()
    phases: tuple[Record, ...] = ()
    notes: tuple[str, ...] = ()


def cut(standing: Standing, site: Site, graph: Graph, plan: Plan) -> Standing:
    """The student that the plan makes of ``graph``, proved.  Raises ProofError."""
    with site.watch.timed("removal"):
        site.listener.stage("remove")
        student = remove(graph, site.analysis, plan)
    with site.watch.timed("proof"):
        site.listener.stage("prove")
        proof = prove(graph, student, site.analysis, plan)
    if not proof.passed:
        raise ProofError(
            f"the student differs from the masked teacher, first at {proof.first_wrong}; nothing "
            "was exported. This is a defect: please report the network"
        )
    after = replace(standing, plan=plan, proof=proof)
    return measured(after, site, "removed", student)


def measured(standing: Standing, site: Site, name: str, student: Graph, *notes: str) -> Standing:
    return replace(
        standing,
        student=student,
        stages=(*standing.stages, site.judge.stage(name, student)),
        notes=(*standing.notes, *notes),
    )


def training_record(found: Distilled) -> Record:
    """What the report says of one training."""
    return {
        "seconds": round(found.seconds, 3),
        "epochs": round(found.epochs, 2),
        "images_per_s": round(found.images_per_s, 1),
        "validation": msgspec.to_builtins(found.history),
    }


def trained(site: Site, heading: str, training: Callable[[], Trained]) -> Trained:
    """What ``training`` gives; one that this process has only gone on with counts whole."""
    before = site.watch.seconds.get("training", 0.0)
    with site.watch.timed("training"):
        site.listener.stage(heading)
        found = training()
    here = site.watch.seconds["training"] - before
    site.watch.add("training", max(0.0, found.seconds - here))
    return found


def on_cpu(graph: Graph) -> Graph:
    moved: Graph = graph.to("cpu")
    return moved
