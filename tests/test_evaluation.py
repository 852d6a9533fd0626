"""Logits, accuracy and agreement."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compressor.data import Images, normalise
from compressor.errors import DataError, InputError, SurroundingsError
from compressor.evaluation import accuracy, agreement, class_count, evaluate, logits_of
from compressor.graphs import Graph, capture
from compressor.types import Preprocessing

PREPROCESSING = Preprocessing(crop=(4, 4), mean=(0.5,), std=(0.25,))


def small_graph() -> Graph:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Dropout())
    return capture(network.eval(), (torch.zeros(2, 1, 4, 4),))


def some_images(count: int) -> Images:
    pixels = torch.randint(0, 256, (count, 1, 4, 4), generator=torch.Generator().manual_seed(1))
    return Images(pixels=pixels.to(torch.uint8), labels=torch.arange(count) % 3)


def test_logits_do_not_depend_on_the_batch_size() -> None:
    graph, images = small_graph(), some_images(7)
    whole = evaluate(graph, images, PREPROCESSING, 7)
    assert torch.allclose(evaluate(graph, images, PREPROCESSING, 3), whole, atol=1e-6)
    assert torch.allclose(whole, graph(normalise(images.pixels, PREPROCESSING)), atol=1e-6)


def test_a_training_graph_is_evaluated_as_in_use_and_goes_on_training() -> None:
    graph, images = small_graph(), some_images(4)
    expected = evaluate(graph, images, PREPROCESSING)
    before = {name: value.clone() for name, value in graph.state_dict().items()}
    graph.train()
    assert torch.equal(evaluate(graph, images, PREPROCESSING), expected)
    assert graph.training
    assert all(torch.equal(value, before[name]) for name, value in graph.state_dict().items())


def test_no_images_is_an_error_that_says_what_to_give() -> None:
    with pytest.raises(DataError, match="give a folder"):
        evaluate(small_graph(), some_images(0), PREPROCESSING)


def test_accuracy_and_agreement_are_shares() -> None:
    logits = torch.eye(4)
    assert accuracy(logits, torch.tensor([0, 1, 0, 0])) == 0.5
    assert agreement(logits, logits.roll(1, 0)) == 0.0
    assert agreement(logits, 2 * logits) == 1.0


def test_answers_to_different_images_are_not_compared() -> None:
    with pytest.raises(DataError, match=r"3 answers .* with 2"):
        agreement(torch.zeros(3, 2), torch.zeros(2, 2))


@pytest.mark.parametrize(
    "output", [torch.ones(1), {"aux": torch.zeros(1), "logits": torch.ones(1)}, (torch.ones(1),)]
)
def test_logits_are_found_in_what_networks_return(output: object) -> None:
    found = logits_of(output)
    assert isinstance(found, Tensor)
    assert float(found) == 1.0


def test_a_network_without_logits_says_so() -> None:
    with pytest.raises(InputError, match="returns str"):
        logits_of("cat")


def test_a_batch_that_does_not_fit_is_halved_from_there_on(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, images = small_graph(), some_images(23)
    expected = evaluate(graph, images, PREPROCESSING, 23)
    sizes: list[int] = []
    forward = Graph.forward

    def short(self: Graph, pixels: Tensor) -> Tensor:
        sizes.append(len(pixels))
        if len(pixels) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        found: Tensor = forward(self, pixels)
        return found

    monkeypatch.setattr(Graph, "forward", short)
    torch.testing.assert_close(evaluate(graph, images, PREPROCESSING, 16), expected)
    assert sizes == [16, 8, 4, 4, 4, 4, 4, 3]
    assert not graph.training
    monkeypatch.setattr(Graph, "forward", lambda *_: torch.empty(1 << 60))
    with pytest.raises(SurroundingsError, match="out of memory in evaluation"):
        evaluate(graph, images, PREPROCESSING)


def test_of_maps_the_classes_come_last_and_places_are_compared() -> None:
    maps = torch.zeros(1, 3, 2, 5)
    maps[:, 1] = 1.0
    other = maps.clone()
    other[0, 2, 0, 0] = 2.0
    assert logits_of(maps).shape == (1, 2, 5, 3)
    assert agreement(logits_of(maps), logits_of({"logits": other})) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("last", "count"),
    [
        (nn.Flatten(), 12),
        (nn.Identity(), 3),
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 1)), 1),
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 1), nn.Flatten(0)), None),
    ],
)
def test_classes_are_counted_where_logits_have_them(last: nn.Module, count: int | None) -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 3), last)
    assert class_count(capture(network.eval(), (torch.zeros(2, 1, 4, 4),))) == count
