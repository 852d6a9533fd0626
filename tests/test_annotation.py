"""Annotation: primes stand for free sizes, fit their ranges and can be told from every other."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor.annotation import Sizes, repeated
from compressor.errors import CaptureError
from compressor.graphs import Graph, capture
from tests import zoo
from tests.zoo import NAMES


def fixed_sizes(graph: Graph) -> set[int]:
    shapes = [node.meta["shape"] for node in graph.program.graph.nodes]
    sizes = {s for shape in shapes if isinstance(shape, tuple) for s in shape if type(s) is int}
    return sizes - graph.sizes.symbolic.keys()


@pytest.mark.parametrize("name", NAMES)
def test_primes_divide_no_fixed_size(name: str) -> None:
    graph = zoo.graph(name)
    stored = {size for tensor in graph.tensors.values() for size in tensor.shape}
    assert all(size % hint for hint in graph.sizes.hints for size in stored | fixed_sizes(graph))
    assert next(iter(graph.sizes.hints.values())) == 1


class Bounded(nn.Module):
    """A table of eight places, so no more than eight tokens; one class token before them."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.first = nn.Embedding(11, 12), nn.Parameter(torch.randn(1, 1, 12))
        self.places, self.head = nn.Parameter(torch.randn(1, 8, 12)), nn.Linear(12, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens) + self.places[:, : tokens.shape[1]]
        return self.head(torch.cat((self.first.expand(tokens.shape[0], -1, -1), x), dim=1))


def test_a_length_that_a_table_bounds_has_a_prime_within_it() -> None:
    graph = capture(Bounded(), (torch.randint(11, (2, 5)),))
    assert graph.sizes.hints == {13: 1, 5: 5}, "with 7, a length and one would be a table of eight"
    tokens = torch.randint(11, (3, 8))
    assert graph(tokens).shape == (3, 9, 4)
    joined = next(n for n in graph.program.graph.nodes if "cat" in str(n.target))
    assert joined.meta["shape"] == (13, 6, 12)
    assert graph.sizes.in_one_sample(6) == 6


class Wide(nn.Module):
    """Widths that many primes divide."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        pairs = itertools.pairwise(widths)
        self.layers = nn.Sequential(*(nn.Linear(a, b) for a, b in pairs))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def test_another_prime_is_taken_where_widths_hold_one() -> None:
    graph = capture(Wide(13 * 17, 2 * 19, 23), (torch.randn(2, 13 * 17),))
    assert graph.batch_hint == 29


def test_a_network_whose_widths_leave_no_prime_is_refused() -> None:
    primes = [p for p in range(3, 104) if all(p % q for q in range(2, p))]
    widths = [int(np.prod(primes[i : i + 3])) for i in range(0, len(primes), 3)]
    network = Wide(2, 2)
    network.tables = nn.ParameterList(torch.zeros(1).expand(width) for width in widths)
    network.forward = lambda x: network.layers(x) + sum(t.mean() for t in network.tables)
    with pytest.raises(CaptureError, match=r"Wide: no prime up to 103 .* fix that size"):
        capture(network, (torch.randn(2, 2),))


def test_sizes_count_for_one_sample_at_the_captured_length() -> None:
    sizes = Sizes(hints={13: 1, 17: 6}, symbolic={13: 1, 17: 6, 18: 7, 156: 12})
    assert [sizes.in_one_sample(s) for s in (13, 17, 18, 156, 12, 0)] == [1, 6, 7, 12, 12, 0]
    assert sizes.in_one_sample(13 * 9) == 9, "batch x heads, three heads gone"


@pytest.mark.parametrize("before", [1, 2, 6])
def test_rows_repeat_wherever_a_free_size_stands_between_others(before: int) -> None:
    inner = np.arange(24 // before)

    def rows(free: int) -> np.ndarray:
        outer = np.arange(before)[:, None, None] * 100
        return np.broadcast_to(outer + inner, (before, free, len(inner))).reshape(-1)

    known = rows(13)
    assert np.array_equal(known[repeated(known, {13: 2})], rows(2))
    assert np.array_equal(known[repeated(known, {17: 2})], known)
