"""The networks of the speed study: known ones by name, and chains of any depth and width.

Comes in: ``library:network@size``, or a chain and its size.  Goes out: an untrained module in
evaluation mode and inputs.  Knows nothing of clocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# library:network@input size.  Small inputs where the network allows them: they shorten the forward
# pass that torch-pruning traces, and leave the capture as long as it is.
COMPARED = (
    "torchvision:resnet18@64",
    "torchvision:resnet50@64",
    "torchvision:resnet152@64",
    "torchvision:vgg16_bn@64",
    "torchvision:densenet121@64",
    "torchvision:densenet201@64",
    "torchvision:googlenet@64",
    "torchvision:inception_v3@96",
    "torchvision:mobilenet_v3_large@64",
    "torchvision:mnasnet1_0@64",
    "torchvision:shufflenet_v2_x1_0@64",
    "torchvision:squeezenet1_1@64",
    "torchvision:efficientnet_b0@64",
    "torchvision:efficientnet_v2_s@64",
    "torchvision:regnet_y_400mf@64",
    "torchvision:regnet_y_16gf@64",
    "torchvision:convnext_tiny@64",
    "torchvision:convnext_large@64",
    "torchvision:swin_t@64",
    "torchvision:swin_b@64",
    "torchvision:swin_v2_t@64",
    "torchvision:maxvit_t@224",
    "torchvision:vit_b_16@224",
    "torchvision:vit_l_16@224",
    "timm:resnest14d@64",
    "timm:fastvit_t8@64",
    "timm:levit_128s@224",
    "timm:mixer_s32_224@224",
    "timm:eca_nfnet_l0@64",
    "timm:sequencer2d_s@64",
    "timm:tiny_vit_5m_224@224",
    "transformers:bert@32",
    "transformers:gpt2@32",
    "transformers:llama@32",
)
# At the input size that the library publishes; the last three lie above 100 M parameters.
PROVED = (
    "torchvision:resnet50",
    "torchvision:resnet152",
    "torchvision:densenet201",
    "torchvision:efficientnet_v2_m",
    "torchvision:vit_b_16",
    "torchvision:swin_b",
    "torchvision:convnext_base",
    "torchvision:regnet_y_16gf",
    "transformers:bert@128",
    "torchvision:regnet_y_32gf",
    "torchvision:convnext_large",
    "torchvision:vit_l_16",
)
BATCH = 2


class Tensors(nn.Module):
    """A transformers network whose answer is its last hidden state."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor) -> Tensor:
        answer: Tensor = self.network(input_ids=input_ids, use_cache=False)[0]
        return answer


def _from_transformers(name: str) -> nn.Module:
    import transformers

    vocabulary = 16384  # BERT's own would take it over 100 M parameters
    if name == "bert":
        bert_config = transformers.BertConfig(vocab_size=vocabulary)
        return transformers.BertModel(bert_config, add_pooling_layer=False)
    if name == "gpt2":
        return transformers.GPT2Model(transformers.GPT2Config(vocab_size=vocabulary))
    if name == "llama":
        llama_config = transformers.LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=512,
            intermediate_size=1376,
            num_hidden_layers=12,
            num_attention_heads=8,
            num_key_value_heads=2,
        )
        return transformers.LlamaModel(llama_config)
    raise ValueError(f"{name} is not among the transformers networks of this study")


def inputs_of(spec: str) -> tuple[Tensor, ...]:
    """Pictures, or tokens, of the size that ``library:network@size`` names."""
    library, _, rest = spec.partition(":")
    size = rest.partition("@")[2]
    torch.manual_seed(0)
    if library == "transformers":
        return (torch.randint(0, 1000, (BATCH, int(size or 128))),)
    return (torch.randn(BATCH, 3, int(size or 224), int(size or 224)),)


def network_of(spec: str) -> nn.Module:
    """The untrained network of ``library:network@size``, in which no gain and no head is zero."""
    library, _, rest = spec.partition(":")
    name = rest.partition("@")[0]
    torch.manual_seed(0)
    module = _created(library, name)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all()):
                parameter.add_(0.1 * torch.randn_like(parameter))
    return module.eval()


def _created(library: str, name: str) -> nn.Module:
    if library == "transformers":
        return Tensors(_from_transformers(name))
    if library == "timm":
        import timm

        found: nn.Module = timm.create_model(name, pretrained=False)
        return found
    import torchvision

    options = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    module: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    return module


def bert() -> nn.Module:
    """For ``--arch FILE.py:bert``."""
    return network_of("transformers:bert")


class Residual(nn.Module):
    """``depth`` convolutions of 16 channels, two and two around a shortcut."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 1)
        self.layers = nn.ModuleList(nn.Conv2d(16, 16, 1) for _ in range(depth))
        self.head = nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for first, second in zip(self.layers[::2], self.layers[1::2], strict=True):
            x = x + second(torch.relu(first(x)))
        answer: Tensor = self.head(x)
        return answer


class Wide(nn.Module):
    """Few layers of ``width`` channels, whose parameters grow in proportion to the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.wide = nn.Sequential(
            nn.Conv2d(8, width, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, groups=width),
            nn.Conv2d(width, width, 1, groups=width // 16),
            nn.ReLU(),
        )
        self.head = nn.Conv2d(width, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.wide(x)
        pairs = x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)  # a channel shuffle
        answer: Tensor = self.head(x + pairs)
        return answer


class Joined(nn.Module):
    """Narrow layers beside each other, concatenated: one dimension that holds many groups."""

    def __init__(self, branches: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(3, 4, 1) for _ in range(branches))
        self.head = nn.Conv2d(4 * branches, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([branch(x) for branch in self.branches], dim=1)
        answer: Tensor = self.head(joined)
        return answer


def _attention(blocks: int) -> nn.Module:
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True, dropout=0.0)
    stack = nn.TransformerEncoder(layer, blocks, enable_nested_tensor=False)
    return nn.Sequential(nn.Linear(8, 32), stack, nn.Linear(32, 8))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A family of networks of growing ``sizes``; ``per`` is what its cost is compared with."""

    sizes: Sequence[int]
    build: Callable[[int], nn.Module]
    input_shape: tuple[int, ...]
    per: str  # "nodes" or "rows"


CHAINS: Mapping[str, Chain] = {
    "residual convolutions": Chain(
        sizes=(50, 100, 200, 400, 800, 1600), build=Residual, input_shape=(3, 4, 4), per="nodes"
    ),
    "attention blocks": Chain(
        sizes=(4, 8, 16, 32, 64), build=_attention, input_shape=(5, 8), per="nodes"
    ),
    "concatenated layers": Chain(
        sizes=(64, 128, 256, 512, 1024), build=Joined, input_shape=(3, 4, 4), per="nodes"
    ),
    "channels": Chain(
        sizes=(64, 256, 1024, 4096, 16384), build=Wide, input_shape=(8, 4, 4), per="rows"
    ),
}


def chain_of(name: str, size: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """One network of a chain, and its inputs."""
    torch.manual_seed(0)
    chain = CHAINS[name]
    return chain.build(size).eval(), (torch.randn(BATCH, *chain.input_shape),)
