"""Networks with layers of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressor.graphs import Graph
from tests.zoo import Specimen

aten = torch.ops.aten


class Bag(nn.Module):
    """Sums of looked-up rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.last = nn.EmbeddingBag(11, 12, mode="sum"), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.rows(x))


class FromTheRight(nn.Module):
    """A weight on the right of a product."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.last = nn.Parameter(torch.randn(6, 12)), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(x @ self.weight))


class TwoInAGroup(nn.Module):
    """Groups of two channels; two channels with a slope each; no bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.grouped = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 24, 1, groups=8)
        self.two, self.slopes = nn.Conv2d(24, 2, 1), nn.PReLU(2)
        self.last = nn.Conv2d(2, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.slopes(self.two(torch.tanh(self.grouped(self.first(x))))))


class Upward(nn.Module):
    """A transposed convolution over one picture: its first dimension is no batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv = nn.Linear(6, 16), nn.ConvTranspose1d(16, 8, 1)
        self.last = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.conv(torch.tanh(self.first(x)).mean(0).mT)).sum(0) + x.sum()


class TwoGroupsUpward(nn.Module):
    """A transposed convolution of two groups, with a bias over both."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.up = nn.Conv2d(3, 16, 1), nn.ConvTranspose2d(16, 12, 2, 2, groups=2)
        self.last = nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.up(torch.tanh(self.first(x)))))


class OverBoth(nn.Module):
    """A layer norm with gains over tokens and units."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(6, 16), nn.LayerNorm((5, 16))
        self.last = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(torch.tanh(self.first(x))))


class NormedAgain(nn.Module):
    """Directions and lengths of a weight that is no parameter itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 16), nn.Linear(12, 4)
        self.directions = nn.Parameter(torch.randn(12, 16))
        self.lengths = nn.Parameter(torch.rand(12, 1) + 1)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch._weight_norm(self.directions.sigmoid(), self.lengths, 0)
        return self.last(torch.tanh(F.linear(torch.tanh(self.first(x)), weight)))


class WithoutBias(nn.Module):
    """A recurrent layer without biases."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.last = (
            nn.LSTM(6, 10, num_layers=2, bias=False, batch_first=True),
            (nn.Linear(10, 4)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.lstm(x)[0].sum(1))


class Viewing(nn.Module):
    """A buffer that shows some rows of a parameter, and one that shows columns of another."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 12)
        self.last = nn.Linear(12, 4)
        self.register_buffer("rows", self.second.weight.detach()[2:8])
        self.register_buffer("columns", self.last.weight.detach()[:, 4:])

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x))
        y = torch.tanh(self.second(x) + F.pad(F.linear(x, self.rows), (2, 4)))
        return self.last(y) + F.linear(y[..., 4:], self.columns)


class Lengths(nn.Module):
    """A weight over its norms, taken by the operator that weight norm is made of.

    With 0.1 added: a row of zeros is divided by its length, and no gate undoes that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first, self.weight = nn.Linear(6, 10), nn.Parameter(torch.randn(8, 10))
        self.last = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight / (torch.norm_except_dim(self.weight, 2, 0) + 0.1)
        return self.last(F.linear(torch.sigmoid(self.first(x)), weight))


class LengthsAlone(nn.Module):
    """The same, where a removed row has no length to divide by: it is not a number, nor is what
    reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.last = nn.Parameter(torch.randn(8, 6)), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight / torch.norm_except_dim(self.weight, 2, 0)
        return self.last(F.linear(x, weight))


class Projected(nn.Module):
    """A recurrent layer whose state is projected."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 10, proj_size=7, batch_first=True)
        self.last = nn.Linear(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.lstm(x)[0].sum(1))


class WithoutBatch(nn.Module):
    """A convolution over one picture: its first dimension is no batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv = nn.Linear(6, 16), nn.Conv1d(16, 8, 1)
        self.last = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.conv(torch.tanh(self.first(x)).mean(0).mT)).sum(0) + x.sum()


class MadeOfOne(nn.Module):
    """A weight made of one column: its rows are the first dimension of all that happens."""

    def __init__(self) -> None:
        super().__init__()
        self.column, self.last = nn.Parameter(torch.randn(12, 1)), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(F.linear(x, self.column.expand(12, 6).sin())))


class OfTwo(nn.Module):
    """A weight that is the product of two."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Parameter(torch.randn(12, 5)), nn.Parameter(torch.randn(5, 6))
        self.last = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(F.linear(x, self.left @ self.right)))


class Counted(nn.Module):
    """A weight whose rows meet numbers that have no units."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.last = nn.Parameter(torch.randn(12, 6)), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(F.linear(x, self.weight * torch.arange(12.0)[:, None])))


class Blocks(nn.Module):
    """A list of operands, given to an operator that no rule is known for."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(8, 3))
        self.last = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(F.linear(x, torch.block_diag(self.left, self.right))))


class OneOrTwo(nn.Module):
    """Two units, and a kernel of more than one place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.two = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 2, 1)
        self.last = nn.Conv2d(2, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.two(torch.tanh(self.first(x)))))


class Divided(nn.Module):
    """What is divided by a stored tensor is read by a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 4)
        self.lengths = nn.Parameter(torch.ones(16))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x)) / self.lengths.unsqueeze(0)
        return self.last(F.layer_norm(y, (16,)))


class SummedTwice(nn.Module):
    """A sum over the units of two layers at once, which are nowhere zero."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(6, 7)
        self.last = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        y, z = self.first(x).sigmoid(), self.second(x).sigmoid()
        return self.last((y[..., None] * z[..., None, :]).sum((-2, -1)))


class Renumbered(nn.Module):
    """Places counted from the end, sizes left open, and an argument that is not given."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 16), nn.Linear(15, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))[..., -15:]
        y = y.permute(2, 0, 1).reshape(-1, 5).exp().unflatten(0, (15, -1)).permute(1, 2, 0)
        return self.last(F.scaled_dot_product_attention(y, y, y, is_causal=True))


def in_one_memory(graph: Graph) -> Graph:
    """The buffers of ``Viewing`` as what they show; capture copies them apart."""
    rows = graph.tensors["second.weight"].detach()[2:8]
    columns = graph.tensors["last.weight"].detach()[:, 4:]
    tensors = {**graph.tensors, "rows": rows, "columns": columns}
    return graph.rebuild(graph.program.graph, tensors)


CHANGED: Mapping[str, Callable[[Graph], Graph]] = {"viewing": in_one_memory}

ATTACKS: Mapping[str, Specimen] = {
    "made_of_one": Specimen(MadeOfOne, (5, 6)),
    "of_two": Specimen(OfTwo, (5, 6)),
    "counted": Specimen(Counted, (5, 6)),
    "blocks": Specimen(Blocks, (5, 6)),
    "one_or_two": Specimen(OneOrTwo, (3, 6, 6)),
    "divided": Specimen(Divided, (5, 6), exact=False),
    "summed_twice": Specimen(SummedTwice, (5, 6)),
    "renumbered": Specimen(Renumbered, (5, 6)),
    "bag": Specimen(Bag, (6,), tokens=11),
    "from_the_right": Specimen(FromTheRight, (5, 6)),
    "two_in_a_group": Specimen(TwoInAGroup, (3, 6, 6)),
    "upward": Specimen(Upward, (5, 6)),
    "two_groups_upward": Specimen(TwoGroupsUpward, (3, 6, 6)),
    "over_both": Specimen(OverBoth, (5, 6), exact=False),
    "normed_again": Specimen(NormedAgain, (5, 6), exact=False),
    "without_bias": Specimen(WithoutBias, (5, 6)),
    "viewing": Specimen(Viewing, (5, 6)),
    "lengths": Specimen(Lengths, (5, 6)),
    "lengths_alone": Specimen(LengthsAlone, (5, 6)),
    "projected": Specimen(Projected, (5, 6)),
    "without_batch": Specimen(WithoutBatch, (5, 6)),
}
