"""Networks that draw random numbers in evaluation are refused; dropout that is off is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressor.analysis import analyze
from compressor.errors import CaptureError
from tests.rules.cases import Between, assert_cuts_are_proved
from tests.zoo import captured, randomised

aten = torch.ops.aten
INPUTS = (torch.randn(2, 5, 6),)


class Variational(nn.Module):
    """A sample around a mean, drawn in evaluation too."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.spread, self.last = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        spread = self.spread(x).exp()
        return self.last(self.mean(x) + spread * torch.randn_like(spread))


def test_a_refusal_names_the_operator_its_place_and_what_to_do() -> None:
    with pytest.raises(CaptureError) as told:
        captured(Variational(), INPUTS, "vae")
    text = str(told.value)
    assert text.startswith("vae draws random numbers when it is evaluated: aten.randn_like.default")
    assert "tests/test_chance.py:" in text
    assert text.endswith("draw them in training only, or take them as an input")
    assert "\n" not in text


@pytest.mark.parametrize(
    "middle",
    [
        lambda x: F.dropout(x, 0.5, training=True),
        lambda x: F.rrelu(x, training=True),
        lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.1),
        lambda x: x + x.clone().normal_(),
        lambda x: x * torch.bernoulli(x.sigmoid()),
        lambda x: x[:, torch.randperm(5)],
    ],
    ids=("dropout", "rrelu", "attention", "in_place", "bernoulli", "order"),
)
def test_what_draws_in_evaluation_is_refused(middle: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(CaptureError, match="draws random numbers"):
        captured(Between(middle), INPUTS)


@pytest.mark.parametrize(
    "middle",
    [
        lambda x: F.dropout(x, 0.5, training=False),
        lambda x: F.dropout(x, 0.0, training=True),
        lambda x: F.alpha_dropout(x, 0.5, training=False),
        lambda x: torch.native_dropout(x, 0.5, False)[0],
        lambda x: F.rrelu(x),
        lambda x: F.scaled_dot_product_attention(x, x, x),
    ],
    ids=("dropout", "dropout_of_nothing", "alpha_dropout", "native", "rrelu", "attention"),
)
def test_what_could_draw_and_does_not_is_captured(middle: Callable[[Tensor], Tensor]) -> None:
    graph = captured(randomised(lambda: Between(middle)), INPUTS)
    assert_cuts_are_proved(graph, analyze(graph))


class LayerDrop(nn.Module):
    """A number is drawn before each layer, as in Wav2Vec2, and looked at in training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x))
        drawn = torch.rand([])
        return self.last(x if self.training and drawn < 0.5 else torch.tanh(self.middle(x)))


def test_a_draw_that_nobody_reads_is_dropped() -> None:
    graph = captured(randomised(LayerDrop), INPUTS)
    assert not graph.program.graph.find_nodes(op="call_function", target=aten.rand.default)
    assert_cuts_are_proved(graph, analyze(graph))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 8, num_layers=2, dropout=0.5, batch_first=True)
        self.last = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.gru(x)[0])


def test_dropout_within_a_recurrent_layer_is_off_in_evaluation() -> None:
    graph = captured(randomised(Recurrent), INPUTS)
    assert_cuts_are_proved(graph, analyze(graph))
