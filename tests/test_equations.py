"""Layers as equations: rows times matrix are the layer's own answers, in every form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compressor.equations import find_layer
from compressor.graphs import capture
from compressor.stepping import Stepper


class Addmm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(6, 5)), nn.Parameter(torch.randn(5))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x, self.weight)


class Multiplied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 5))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


LAYERS = {
    "linear": (lambda: nn.Linear(6, 5), (6,)),
    "linear_of_sequences": (lambda: nn.Linear(6, 5), (7, 6)),
    "addmm": (Addmm, (6,)),
    "matmul": (Multiplied, (6,)),
    "matmul_of_sequences": (Multiplied, (7, 6)),
    "conv": (lambda: nn.Conv2d(6, 8, 3, stride=2, padding=1), (6, 9, 7)),
    "conv_dilated": (lambda: nn.Conv2d(6, 8, (3, 2), dilation=(2, 1), bias=False), (6, 9, 7)),
    "conv_grouped": (lambda: nn.Conv2d(6, 8, 3, groups=2), (6, 9, 7)),
    "conv_depthwise": (lambda: nn.Conv2d(6, 6, 3, groups=6), (6, 9, 7)),
    "conv1d": (lambda: nn.Conv1d(6, 4, 3, stride=2), (6, 9)),
    "conv3d": (lambda: nn.Conv3d(6, 4, (1, 3, 2), padding=(0, 1, 0)), (6, 3, 5, 4)),
    "transposed": (lambda: nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1), (6, 5, 4)),
    "transposed_grouped": (
        lambda: nn.ConvTranspose2d(6, 4, (4, 2), 2, (3, 0), (1, 0), groups=2),
        (6, 5, 4),
    ),
    "transposed_dilated": (lambda: nn.ConvTranspose1d(6, 4, 3, 2, dilation=2), (6, 5)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_rows_times_matrix_are_the_answers(name: str) -> None:
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    module = make().double().eval()
    x = torch.randn(4, *shape, dtype=torch.float64)
    graph = capture(module, (x,))
    run = Stepper(graph, (x,))
    found = 0
    with torch.no_grad():
        for node in run.nodes:
            output = run.step(node)
            layer = find_layer(node)
            if layer is None:
                continue
            found += 1
            weight = graph.tensors[layer.weight]
            picked = torch.randperm(layer.form.places(output))[:5]
            rows = layer.form.rows(run.values[layer.value], weight.shape, picked)
            matrix = layer.form.matrix(weight)
            answers = layer.form.answers(output, picked)
            if layer.bias is not None:
                offset = graph.tensors[layer.bias].reshape(layer.form.groups, 1, -1)
                answers = answers - offset
            torch.testing.assert_close(rows @ matrix, answers)
            assert torch.equal(layer.form.weight(matrix, weight.shape), weight)
            taps = layer.form.taps(weight.shape)
            last = layer.form.place(weight.shape[layer.summed] - 1, weight.shape)
            assert (last + 1) * taps == matrix.shape[1]
    assert found == 1


def test_a_weight_that_something_else_reads_is_no_layer_of_its_own() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) + self.layer.weight.sum()

    graph = capture(Tied().eval(), (torch.randn(2, 4),))
    assert all(find_layer(node) is None for node in graph.program.graph.nodes)
