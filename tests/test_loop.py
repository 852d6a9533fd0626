"""A training that is killed in its midst, again and again, is the one that never was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.amp import GradScaler

from compressor import distillation
from compressor.acceleration import Acceleration, make_accelerator
from compressor.analysis import analyze
from compressor.cutters import cut_units, cut_weights, masked_units, removed_units
from compressor.distillation import Distilled, learn
from compressor.errors import FolderError
from compressor.gradual import Gradual, prune_gradually
from compressor.graphs import Graph, capture
from compressor.keeping import KEEP_NOTHING, Keeper
from compressor.lessons import MakeLessons, taught_by
from compressor.objectives import Signals, logit_objective
from compressor.optimisation import MakeOptimiser, Optimisation, nesterov_sgd, relative_adamw
from compressor.pacing import Deadline, Epochs
from compressor.self_distillation import SELF_DISTILLATIONS, labels_only
from compressor.snapshots import read_snapshot, write_snapshot
from tests.interruptions import Deadly, Killed, finished
from tests.test_distillation import same, some_data, values
from tests.test_gradual import BUDGET, by_representation


def noisy_graph(seed: int) -> Graph:
    """Batch norms, whose statistics move at every step, and dropout, which draws."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, 2, 1),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 2),
    )
    return capture(network.eval(), (torch.zeros(2, 1, 6, 6),))


@contextmanager
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


LESSONS: dict[str, MakeLessons] = {
    "taught": taught_by(noisy_graph(7), logit_objective(alpha=0.5)),
    **{name: make(2) for name, make in SELF_DISTILLATIONS.items()},
    "labels": labels_only(SELF_DISTILLATIONS["dlb"](2)),
}
OPTIMISERS = {"sgd": nesterov_sgd(), "adamw": relative_adamw()}


def trained(
    keeper: Keeper, make: MakeLessons, optimiser: MakeOptimiser, **options: Any
) -> Distilled:
    torch.manual_seed(11)
    given: dict[str, Any] = {"length": Epochs(2), **options}
    return learn(
        noisy_graph(2),
        some_data(80),
        make,
        optimisation=Optimisation(learning_rate=0.05, make_optimiser=optimiser),
        generator=torch.Generator().manual_seed(3),
        batch_size=16,
        keeper=keeper,
        **given,
    )


def without_times(found: Distilled) -> str:
    """As text, in which what is no number equals itself."""
    history = tuple(replace(one, seconds=0.0) for one in found.history)
    return repr((history, found.notes, found.epochs, found.accuracy, found.acceleration))


@pytest.mark.parametrize(
    ("lessons", "optimiser"),
    [
        ("taught", "sgd"),
        ("taught", "adamw"),
        ("cs-kd", "sgd"),
        ("ps-kd", "adamw"),
        ("dlb", "sgd"),
        ("labels", "adamw"),
    ],
)
def test_a_training_killed_at_any_step_gives_the_same_bytes(
    lessons: str, optimiser: str, tmp_path: Path
) -> None:
    def work(keeper: Keeper) -> Distilled:
        return trained(keeper, LESSONS[lessons], OPTIMISERS[optimiser])

    with one_thread():
        whole = work(KEEP_NOTHING)
        again, kills = finished(work, tmp_path / "kept")
    assert kills >= 2
    assert same(values(again.graph), values(whole.graph))
    assert without_times(again) == without_times(whole)
    assert not same(values(whole.graph), values(noisy_graph(2)))


def test_returns_to_the_best_weights_are_remembered(tmp_path: Path) -> None:
    def broken(signals: Signals) -> Tensor:
        return signals.student_logits.sum() * float("nan")

    def work(keeper: Keeper) -> Distilled:
        return trained(
            keeper, taught_by(noisy_graph(7), broken), OPTIMISERS["sgd"], length=Epochs(7)
        )

    with one_thread():
        whole = work(KEEP_NOTHING)
        again, kills = finished(work, tmp_path / "kept")
    assert kills >= 2
    assert any("training stopped early" in note for note in whole.notes)
    assert without_times(again) == without_times(whole)


def test_how_a_loss_is_scaled_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first scales gradients are infinite, and a step is skipped."""

    def scaled(how: Acceleration, device: str | None) -> Accelerator:
        accelerator = make_accelerator(how, device)
        accelerator.scaler = GradScaler("cpu", init_scale=2.0**127)
        return accelerator

    def work(keeper: Keeper) -> Distilled:
        return trained(keeper, LESSONS["taught"], OPTIMISERS["sgd"])

    with one_thread():
        unscaled = work(KEEP_NOTHING)
        monkeypatch.setattr(distillation, "make_accelerator", scaled)
        whole = work(KEEP_NOTHING)
        again, kills = finished(work, tmp_path / "kept")
    assert kills >= 2
    assert not same(values(whole.graph), values(unscaled.graph))
    assert same(values(again.graph), values(whole.graph))


def test_a_training_goes_on_with_as_many_processes_as_it_began_with(tmp_path: Path) -> None:
    def work(keeper: Keeper) -> Distilled:
        return trained(keeper, LESSONS["dlb"], OPTIMISERS["sgd"])

    with pytest.raises(Killed):
        work(Deadly(tmp_path / "kept"))
    file = tmp_path / "kept.safetensors"
    found = read_snapshot(file)
    found.facts["trainer"]["last"]["processes"] = 2
    write_snapshot(file, found)
    with pytest.raises(FolderError, match=r"begun by 2 processes .* not with 1; start it so"):
        work(Deadly(tmp_path / "kept"))


def test_a_deadline_counts_what_was_used_and_not_what_lies_between(tmp_path: Path) -> None:
    ticks = count()

    def clock() -> float:
        return float(next(ticks))

    def work(keeper: Keeper) -> Distilled:
        next(ticks)
        for _ in range(1000):  # a night passes
            next(ticks)
        return trained(
            keeper, LESSONS["taught"], OPTIMISERS["sgd"], length=Deadline(100.0), clock=clock
        )

    whole = work(KEEP_NOTHING)
    again, kills = finished(work, tmp_path / "kept")
    assert kills >= 3
    assert 85 <= again.seconds <= 110
    assert again.epochs > 0.7 * whole.epochs  # keeping looks at the clock too
    assert [one.images for one in again.history] == [again.history[0].images] * len(again.history)


def test_after_the_last_validation_nothing_is_trained_again(tmp_path: Path) -> None:
    steps = 10 + 1  # of two epochs, and the end
    with pytest.raises(Killed):
        trained(Deadly(tmp_path / "kept", steps), LESSONS["taught"], OPTIMISERS["sgd"])
    asked: list[int] = []

    class Counting(Deadly):
        def keep(self, *given: Any, **options: Any) -> None:
            asked.append(1)

    found = trained(Counting(tmp_path / "kept"), LESSONS["taught"], OPTIMISERS["sgd"])
    assert len(asked) == 1  # at the end, and after no step
    whole = trained(KEEP_NOTHING, LESSONS["taught"], OPTIMISERS["sgd"])
    assert without_times(found) == without_times(whole)


# -- pruning while training ----------------------------------------------------------------------

CUTTERS: dict[str, Callable[[Graph], Any]] = {
    "weights": lambda graph: cut_weights(0.6),
    "masked": lambda graph: cut_units(analyze(graph), BUDGET, masked_units),
    "removed": lambda graph: cut_units(analyze(graph), BUDGET, removed_units),
}


@pytest.mark.parametrize("form", CUTTERS)
def test_pruning_while_training_goes_on_in_the_midst_of_a_stretch(
    form: str, tmp_path: Path
) -> None:
    teacher = noisy_graph(4)
    teach, observed = by_representation(teacher)

    def work(keeper: Keeper) -> Gradual[Any]:
        torch.manual_seed(11)
        return prune_gradually(
            teacher,
            some_data(80),
            CUTTERS[form](teacher),
            teach,
            steps=3,
            length=Epochs(6),
            optimisation=Optimisation(learning_rate=0.05),
            observed=observed,
            judge=teacher,
            batch_size=16,
            generator=torch.Generator().manual_seed(3),
            keeper=keeper,
        )

    with one_thread():
        whole = work(KEEP_NOTHING)
        again, kills = finished(work, tmp_path / "kept")
    assert kills >= 6
    assert same(values(again.graph), values(whole.graph))
    assert same(values(again.whole), values(whole.whole))
    assert again.gone.state().facts == whole.gone.state().facts
    assert again.notes == whole.notes
    assert [replace(one, seconds=0.0) for one in again.history] == [
        replace(one, seconds=0.0) for one in whole.history
    ]
