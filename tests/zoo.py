"""The zoo: small networks, one structure each, captured and analysed once a session.

Statistics, gains and parameters that start at zero are drawn from a seed, so that no law holds
because something is trivially zero or one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from compressor.analysis import analyze
from compressor.graphs import Graph, capture
from compressor.planning import plan
from compressor.removal import remove
from compressor.scoring import score
from compressor.types import Analysis, Budget, Plan, Scores
from tests import zoo_images, zoo_operators, zoo_packed, zoo_sequences, zoo_text

HALF = Budget(0.5, "params", 1, 0.1, 2)


@dataclass(frozen=True, slots=True)
class Specimen:
    """``exact``: no norm, mean or softmax runs over units that can be removed.

    ``masked``: a mask of the real tokens comes second; the first sample ends in two that are none.
    """

    network: type[nn.Module]
    input_shape: tuple[int, ...]  # without the batch
    tokens: int = 0  # inputs are whole numbers below this; 0 for real inputs
    exact: bool = True
    masked: bool = False

    def inputs(self, batch: int = 2, seed: int = 0) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        shape = (batch, *self.input_shape)
        if self.tokens:
            tokens = torch.randint(self.tokens, shape, generator=generator)
            mask = torch.ones_like(tokens)
            mask[0, -2:] = 0
            return (tokens, mask) if self.masked else (tokens,)
        return (torch.randn(shape, generator=generator),)

    def build(self, seed: int = 0) -> nn.Module:
        return randomised(self.network, seed).eval()


PICTURE = (3, 8, 8)
ZOO = {
    "chain": Specimen(zoo_images.Chain, PICTURE),
    "residual": Specimen(zoo_images.Residual, PICTURE),
    "padded_shortcut": Specimen(zoo_images.PaddedShortcut, PICTURE),
    "concat": Specimen(zoo_images.Concat, PICTURE),
    "split": Specimen(zoo_images.Split, PICTURE),
    "shuffle": Specimen(zoo_images.Shuffle, PICTURE),
    "depthwise": Specimen(zoo_images.Depthwise, PICTURE),
    "grouped": Specimen(zoo_images.Grouped, PICTURE),
    "flatten": Specimen(zoo_images.Flatten, PICTURE),
    "sigmoid_gate": Specimen(zoo_images.SigmoidGate, PICTURE),
    "squeeze_excite": Specimen(zoo_images.SqueezeExcite, PICTURE),
    "group_norm": Specimen(zoo_images.GroupNorm, PICTURE, exact=False),
    "transposed": Specimen(zoo_images.Transposed, PICTURE),
    "grouped_transposed": Specimen(zoo_images.GroupedTransposed, PICTURE),
    "pixel_shuffle": Specimen(zoo_images.PixelShuffle, PICTURE),
    "unknown": Specimen(zoo_images.Unknown, PICTURE),
    "tied": Specimen(zoo_sequences.Tied, (6,), tokens=11),
    "embedding": Specimen(zoo_sequences.Embedding, (6,), tokens=11),
    "attention": Specimen(zoo_sequences.Attention, (6, 5)),
    "heads_by_view": Specimen(zoo_sequences.HeadsByView, (5, 6)),
    "explicit_attention": Specimen(zoo_sequences.ExplicitAttention, (5, 6)),
    "grouped_queries": Specimen(zoo_sequences.GroupedQueries, (5, 6)),
    "native_grouped_queries": Specimen(zoo_sequences.NativeGroupedQueries, (5, 6)),
    "repeated_keys": Specimen(zoo_sequences.RepeatedKeys, (5, 6)),
    "einsum": Specimen(zoo_sequences.Einsum, (5, 6)),
    "lstm": Specimen(zoo_sequences.Lstm, (5, 6)),
    "gru": Specimen(zoo_sequences.Gru, (5, 6)),
    "gated_mlp": Specimen(zoo_sequences.GatedMlp, (5, 6)),
    "packed_heads": Specimen(zoo_packed.PackedHeads, (5, 6)),
    "packed_in_heads": Specimen(zoo_packed.PackedInHeads, (5, 6)),
    "packed_pair": Specimen(zoo_packed.PackedPair, (5, 6)),
    "packed_maps": Specimen(zoo_packed.PackedMaps, PICTURE),
    "masked_encoder": Specimen(zoo_text.MaskedEncoder, (6,), tokens=11, masked=True),
    "rotary_decoder": Specimen(zoo_text.RotaryDecoder, (6,), tokens=11, exact=False),
    "layer_norm": Specimen(zoo_sequences.LayerNormStream, (5, 6), exact=False),
    "interleaved_rotary": Specimen(zoo_operators.InterleavedRotary, (5, 6)),
    "every_second": Specimen(zoo_operators.EverySecond, PICTURE),
    "woven": Specimen(zoo_operators.Woven, (5, 6)),
    "reordered": Specimen(zoo_operators.Reordered, PICTURE),
    "rolled": Specimen(zoo_operators.Rolled, PICTURE),
    "one_gate": Specimen(zoo_operators.OneGate, PICTURE),
    "windows": Specimen(zoo_operators.Windows, PICTURE),
    "summed_scores": Specimen(zoo_operators.SummedScores, (5, 6)),
    "summed_thrice": Specimen(zoo_operators.SummedThrice, (5, 6)),
    "plain_recurrence": Specimen(zoo_operators.PlainRecurrence, (5, 6)),
    "repeated": Specimen(zoo_operators.Repeated, PICTURE),
    "token_mixing": Specimen(zoo_operators.TokenMixing, (5, 6), exact=False),
    "periods": Specimen(zoo_operators.Periods, (5, 6)),
    "spread": Specimen(zoo_operators.Spread, (5, 6), exact=False),
}
NAMES = tuple(ZOO)


def randomised(factory: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """The network with every gain, offset and statistic drawn from the seed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = factory()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.3, generator=generator)
            elif parameter.ndim < 2:
                parameter.uniform_(0.5, 1.5, generator=generator)
                parameter.mul_(torch.randn(parameter.shape, generator=generator).sign())
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0.0, 0.3, generator=generator)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0, generator=generator)
    return network


def captured(network: nn.Module, inputs: tuple[Tensor, ...], name: str = "") -> Graph:
    return capture(network.eval(), inputs, architecture=name)


def at_hints(graph: Graph, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Inputs repeated until every free size is the prime that stands for it in shapes."""
    nodes = graph.program.graph.find_nodes(op="placeholder")
    found = []
    for node, value in zip(nodes, inputs, strict=True):
        for dim, size in enumerate(node.meta["shape"]):
            value = value.index_select(dim, torch.arange(size) % value.shape[dim])
        found.append(value)
    return tuple(found)


@cache
def graph(name: str) -> Graph:
    """The captured network; shared, so never to be changed."""
    specimen = ZOO[name]
    return captured(specimen.build(), specimen.inputs(), name)


@cache
def analysis(name: str) -> Analysis:
    return analyze(graph(name))


@cache
def scores(name: str) -> Scores:
    return score(graph(name), analysis(name))


@cache
def half(name: str) -> Plan:
    """A plan that takes half the parameters."""
    return plan(analysis(name), scores(name), HALF)


@cache
def student(name: str) -> Graph:
    """The network after that plan; shared, so never to be changed."""
    return remove(graph(name), analysis(name), half(name))


def in_double(graph: Graph) -> Graph:
    """The graph in float64, constants that name float32 among them."""
    doubled = graph.copy()
    for node in doubled.program.graph.nodes:
        if node.kwargs.get("dtype") is torch.float32:
            node.update_kwarg("dtype", torch.float64)
    doubled.program.recompile()
    doubled.double()
    return doubled
