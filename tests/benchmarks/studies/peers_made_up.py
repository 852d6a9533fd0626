"""Records of a study that nobody ran, for the figures and the page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.studies.answers import answers_of
from benchmarks.studies.peers_figures import Results
from benchmarks.studies.peers_records import (
    ARMS,
    NETWORKS,
    STAGES,
    Cell,
    Latency,
    Pair,
    Settings,
    TeacherRecord,
)

SETTINGS = Settings(
    data="cifar", epochs=2, train_images=1000, validation_images=100, sample=64, threads=1
)
IMAGES = 500
TOP1 = {"ours": 0.9, "ours-inner": 0.85, "tp-magnitude": 0.7, "tp-taylor": 0.95}


def made_up(
    *, seeds: int = 2, failed: Sequence[tuple[str, int]] = (), verdict: str = "slower"
) -> Results:
    """ResNet-20 at one half: group Taylor is the best after training, and the fastest."""
    network = NETWORKS[0]
    cells, pairs = [], []
    for seed in range(seeds):
        for arm in ARMS:
            words = "BudgetError: out of reach" if (arm.name, seed) in failed else ""
            cells.append(_cell(arm.name, seed, words))
            if arm.tool == "torch-pruning" and not arm.refits and not words:
                pairs += [_pair(ours, arm.name, seed, verdict) for ours in ("ours", "ours-inner")]
    teacher = TeacherRecord(
        network=network.name,
        key="k",
        sha256=None,
        macs=1000,
        params=1000,
        answers=answers_of(np.arange(IMAGES) < 0.96 * IMAGES),
    )
    return Results(
        networks=(network,),
        arms=ARMS,
        settings=SETTINGS,
        teachers=(teacher,),
        cells=tuple(cells),
        pairs=tuple(pairs),
    )


def _cell(arm: str, seed: int, failed: str) -> Cell:
    if failed:
        return Cell(network="resnet20", sparsity=0.5, seed=seed, arm=arm, key="k", failed=failed)
    shares = {"cut": 0.2, "repaired": 0.5, "trained": TOP1.get(arm, 0.9)}
    ours = arm.startswith("ours")
    return Cell(
        network="resnet20",
        sparsity=0.5,
        seed=seed,
        arm=arm,
        key="k",
        gone=0.5,
        macs=500,
        params=600,
        seconds={"prune": 9.0 if ours else 1.0, "repair": 2.0, "train": 30.0},
        stages={stage: answers_of(np.arange(IMAGES) < shares[stage] * IMAGES) for stage in STAGES},
        latency=latency("faster", 1.5),
    )


def latency(verdict: str, speedup: float) -> Latency:
    return Latency(
        speedup=speedup,
        interval=(0.9 * speedup, 1.1 * speedup),
        verdict=verdict,
        status="VALID",
        noise_floor=0.01,
    )


def _pair(first: str, second: str, seed: int, verdict: str) -> Pair:
    return Pair(
        network="resnet20",
        sparsity=0.5,
        seed=seed,
        first=first,
        second=second,
        key="k",
        latency=latency(verdict, 0.8),
    )
