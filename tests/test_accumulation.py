"""A batch in parts: the gradient is that of the whole, and training goes on in short memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor import distillation, memory
from compressor.accumulation import InParts, PartNorms
from compressor.console import Console
from compressor.distillation import Distilled, Progress, distill, learn
from compressor.errors import SurroundingsError
from compressor.features import Observed
from compressor.graphs import Graph, capture
from compressor.keeping import KEEP_NOTHING, Keeper
from compressor.objectives import Signals, logit_objective, with_features
from compressor.pacing import Epochs
from compressor.representations import cross_correlation_loss, representation_objective
from compressor.self_distillation import SELF_DISTILLATIONS
from compressor.training import Trainer
from tests.interruptions import finished
from tests.test_distillation import FAST, same, some_data, values
from tests.test_loop import one_thread

CPU = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes. Error code 12"
ERRORS = (RuntimeError(CPU), torch.OutOfMemoryError("CUDA out of memory. Tried"), MemoryError())


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is really full here, and looking for what could be freed takes its time."""
    monkeypatch.setattr(memory, "free", lambda: None)


def network(*, norm: bool = False, dropout: float = 0.0) -> Graph:
    torch.manual_seed(0)
    return capture(
        nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.BatchNorm2d(6) if norm else nn.Identity(),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(24, 8),
            nn.Linear(8, 2),
        ).eval(),
        (torch.zeros(2, 1, 6, 6),),
    ).double()


class Short(nn.Module):
    """A network whose memory holds ``limit`` samples: with gradients, or in the backward pass."""

    def __init__(self, module: nn.Module, limit: int, error: Exception, *, late: bool = False):
        super().__init__()
        self.module, self.limit, self.error, self.late = module, limit, error, late
        self.sizes: list[int] = []

    def forward(self, pixels: Tensor) -> Any:
        training = torch.is_grad_enabled()
        large = training and len(pixels) > self.limit
        self.sizes.append(len(pixels))
        if large and not self.late:
            raise self.error
        logits, values = self.module(pixels)
        if large:
            logits.register_hook(self._refuse)
        return logits, values

    def _refuse(self, slope: Tensor) -> None:
        raise self.error


Loss = Callable[[Any, Tensor, Tensor], Tensor]


def cross_entropy(network: Any, pixels: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(network(pixels)[0], labels)


def correlation(network: Any, pixels: Tensor, labels: Tensor) -> Tensor:
    """Looks at the batch as a whole, and at values inside."""
    logits, (value,) = network(pixels)
    fixed = torch.randn(len(pixels), 8, generator=torch.Generator().manual_seed(1)).double()
    return functional.cross_entropy(logits, labels) + cross_correlation_loss(value, fixed)


def asked_twice(network: Any, pixels: Tensor, labels: Tensor) -> Tensor:
    first, _ = network(pixels)
    second, _ = network(pixels[:8].flip(-1))
    return functional.cross_entropy(first, labels) + second.square().mean()


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randn(33, 1, 6, 6, generator=generator, dtype=torch.float64)
    return pixels, torch.arange(33) % 2


def observed(graph: Graph) -> Observed:
    (linear, _) = (
        node.name
        for node in graph.program.graph.nodes
        if node.target == torch.ops.aten.linear.default
    )
    return Observed(graph.train(), (linear,))


def gradients(module: nn.Module, loss: Loss, *, parts: InParts | None = None) -> dict[str, Tensor]:
    for parameter in module.parameters():
        parameter.grad = None
    loss(module if parts is None else parts, *batch()).backward()
    if parts is not None:
        parts.backward()
    return {name.removeprefix("module."): p.grad for name, p in module.named_parameters()}  # type: ignore[misc]


@pytest.mark.parametrize("loss", [cross_entropy, correlation, asked_twice])
@pytest.mark.parametrize("limit", [1, 5, 16, 33])
@pytest.mark.parametrize("late", [False, True], ids=["forward", "backward"])
def test_the_gradient_is_that_of_the_whole_batch_whatever_the_loss_looks_at(
    loss: Loss, limit: int, late: bool
) -> None:
    module = observed(network())
    expected = gradients(module, loss)
    short = Short(module, limit, ERRORS[0], late=late)
    parts = InParts(short)
    for _ in range(2):  # the second time it is known what fits
        found = gradients(short, loss, parts=parts)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-12)
    assert (parts.size is None) == (limit == 33)
    assert (parts.note == "") == (limit == 33)


@pytest.mark.parametrize("loss", [cross_entropy, correlation, asked_twice])
def test_what_fits_is_computed_once_and_to_the_last_bit_as_without_parts(loss: Loss) -> None:
    module = observed(network(norm=True))
    expected = gradients(module, loss)
    short = Short(module, 99, ERRORS[0])
    found = gradients(short, loss, parts=InParts(short, smallest=2))
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert short.sizes[0] == 33
    assert len(short.sizes) == (2 if loss is asked_twice else 1)


@pytest.mark.parametrize("error", ERRORS, ids=["torch", "cuda", "python"])
def test_parts_are_halved_until_they_fit_and_stay_so(error: Exception) -> None:
    short = Short(observed(network()), 9, error)
    parts = InParts(short)
    gradients(short, cross_entropy, parts=parts)
    assert parts.size == 8
    assert max(short.sizes[:3]) == 33
    short.sizes.clear()
    gradients(short, cross_entropy, parts=parts)
    assert short.sizes == [7, 7, 7, 6, 6] * 2  # alike, without gradients and with
    assert parts.note.startswith(
        "out of memory on a batch of 33 images: computed in parts of 8, gradients accumulated"
    )


def test_a_batch_norm_is_never_given_one_image_alone() -> None:
    short = Short(observed(network(norm=True)), 2, ERRORS[0])
    parts = InParts(short, smallest=2)
    short.limit = 3  # 33 = 3 + 2 * 15
    gradients(short, cross_entropy, parts=parts)
    assert parts.size == 2
    assert min(short.sizes) == 2
    assert "batch norms take their statistics from each part" in parts.note


@pytest.mark.parametrize(("smallest", "limit"), [(1, 0), (2, 1)])
def test_where_the_smallest_does_not_fit_it_is_one_line(smallest: int, limit: int) -> None:
    short = Short(observed(network()), limit, ERRORS[0])
    with pytest.raises(SurroundingsError, match="out of memory in training") as refused:
        gradients(short, cross_entropy, parts=InParts(short, smallest=smallest))
    assert "\n" not in str(refused.value)


def test_other_errors_pass() -> None:
    short = Short(observed(network()), 9, RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes"):
        gradients(short, cross_entropy, parts=InParts(short))


def test_without_gradients_answers_are_those_of_the_whole_batch() -> None:
    module = observed(network())
    pixels, _ = batch()
    with torch.no_grad():
        logits, values = module(pixels)
        found, others = InParts(module, 5)(pixels)
    torch.testing.assert_close(found, logits)
    torch.testing.assert_close(others, values)


def test_dropout_is_the_same_in_both_forwards() -> None:
    module = observed(network(dropout=0.5))
    parts = InParts(module, 11)
    torch.manual_seed(3)
    found = gradients(module, cross_entropy, parts=parts)
    after = torch.rand(1)
    torch.manual_seed(3)  # one after the other, with gradients at once
    pixels, labels = batch()
    for parameter in module.parameters():
        parameter.grad = None
    logits = torch.cat([module(part)[0] for part in pixels.tensor_split(3)])
    functional.cross_entropy(logits, labels).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(found[name], parameter.grad)
    assert torch.equal(after, torch.rand(1))  # the second forward has drawn nothing


def test_running_statistics_follow_as_fast_as_with_a_whole_batch() -> None:
    """Of equal parts the mean is that of the whole, but for the order in which they came."""
    graph = network(norm=True)
    pixels = batch()[0][:11].repeat(3, 1, 1, 1)
    whole, parted = observed(graph.copy()), observed(graph.copy())
    cross_entropy(whole, pixels, torch.arange(33) % 2).backward()
    parts = InParts(parted, 11, smallest=2)
    cross_entropy(parts, pixels, torch.arange(33) % 2).backward()
    parts.backward()
    for name, value in whole.graph.named_buffers():
        found = parted.graph.get_buffer(name)
        torch.testing.assert_close(found, value, rtol=2e-3, atol=1e-6)  # unbiased over 11, not 33


def test_only_batch_norms_that_train_are_moved_otherwise() -> None:
    values, mean, variance = torch.randn(8, 3), torch.zeros(3), torch.ones(3)
    for training, moved in ((False, 0.0), (True, 0.5)):
        with PartNorms(lambda momentum: 0.5):
            torch.ops.aten.batch_norm.default(
                values, None, None, mean, variance, training, 0.1, 1e-5, False
            )
        torch.testing.assert_close(mean, moved * values.mean(dim=0))


# -- whole trainings ----------------------------------------------------------------------------


def short_of_memory(monkeypatch: pytest.MonkeyPatch, limit: int) -> list[int]:
    """Every training from now on has memory for so many samples; the sizes that were asked for."""
    sizes: list[int] = []
    forward = Observed.forward

    def limited(self: Observed, pixels: Tensor) -> Any:
        if torch.is_grad_enabled():
            sizes.append(len(pixels))
            if len(pixels) > limit:
                raise RuntimeError(CPU)
        return forward(self, pixels)

    monkeypatch.setattr(Observed, "forward", limited)
    return sizes


def trained(
    student: Graph,
    objective: Any = None,
    observed: tuple[str, ...] = (),
    keeper: Keeper = KEEP_NOTHING,
) -> Distilled:
    return distill(
        student.float(),
        network(norm=True).float(),
        some_data(),
        length=Epochs(3),
        objective=objective,
        observed=observed,
        optimisation=FAST,
        batch_size=32,
        generator=torch.Generator().manual_seed(3),
        keeper=keeper,
    )


def linear_of(graph: Graph) -> str:
    return next(
        node.name
        for node in graph.program.graph.nodes
        if node.target == torch.ops.aten.linear.default
    )


@pytest.mark.parametrize(
    "objective",
    [
        logit_objective(),
        with_features(logit_objective()),
        representation_objective(cross_correlation_loss),
    ],
    ids=["logits", "features", "correlations"],
)
def test_a_student_learns_what_it_would_with_more_memory(
    objective: Callable[[Signals], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = (linear_of(network()),)
    whole = trained(network(), objective, nodes)
    sizes = short_of_memory(monkeypatch, 10)
    parted = trained(network(), objective, nodes)
    assert max(sizes[3:]) <= 10
    assert parted.acceleration.part_size == 8
    assert any("computed in parts of 8" in note for note in parted.notes)
    assert not any("parts" in note for note in whole.notes)
    for one, other in zip(whole.graph.parameters(), parted.graph.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    assert len(parted.history) == len(whole.history)


@pytest.mark.parametrize("name", SELF_DISTILLATIONS)
@pytest.mark.parametrize("late", [False, True], ids=["forward", "backward"])
def test_lessons_that_remember_are_none_the_wiser(
    name: str, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> Distilled:
        return learn(
            network().float(),
            some_data(),
            SELF_DISTILLATIONS[name](3),
            length=Epochs(3),
            optimisation=FAST,
            batch_size=32,
            generator=torch.Generator().manual_seed(3),
        )

    whole = run()
    if late:
        in_parts = Trainer._in_parts

        def short(self: Trainer) -> InParts | None:
            found = in_parts(self)
            assert found is not None
            found.module = Short(found.module, 20, RuntimeError(CPU), late=True)
            return found

        monkeypatch.setattr(Trainer, "_in_parts", short)
    else:
        short_of_memory(monkeypatch, 20)
    parted = run()
    assert any("out of memory" in note for note in parted.notes)
    for one, other in zip(whole.graph.parameters(), parted.graph.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_what_fitted_is_passed_on_and_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    first = trained(network(norm=True))
    assert first.acceleration.part_size is None
    sizes = short_of_memory(monkeypatch, 10)
    second = distill(
        network(norm=True).float(),
        None,
        some_data(),
        length=Epochs(1),
        batch_size=32,
        acceleration=distillation.replace(first.acceleration, part_size=8),
    )
    assert max(sizes) == 8
    assert not any("out of memory" in note for note in second.notes)  # told where it was found


def test_a_run_that_is_continued_knows_what_fitted_and_gives_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sizes = short_of_memory(monkeypatch, 10)

    def work(keeper: Keeper) -> Distilled:
        return trained(network(norm=True, dropout=0.2), keeper=keeper)

    with one_thread():
        torch.manual_seed(11)
        whole = work(KEEP_NOTHING)
        sizes.clear()
        torch.manual_seed(11)
        again, kills = finished(work, tmp_path / "kept")
    assert kills >= 2
    assert [size for size in sizes if size > 10] == [32, 16]  # tried in the first life alone
    assert again.acceleration.part_size == 8
    assert again.notes == whole.notes
    assert any("out of memory on a batch of 32 images" in note for note in again.notes)
    assert same(values(again.graph), values(whole.graph))


def test_it_is_said_while_it_happens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short_of_memory(monkeypatch, 10)
    seen: list[Progress] = []
    console = Console()

    def progress(now: Progress) -> None:
        seen.append(now)
        console.training(now)

    distill(
        network().float(), None, some_data(), length=Epochs(12), batch_size=32, progress=progress
    )
    assert all("computed in parts of 8" in one.note for one in seen)
    assert capsys.readouterr().out.count("out of memory on a batch of 32 images") == 1
