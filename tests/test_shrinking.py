"""The student as the user's own class: it holds what the graph student holds, or says why not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor.analysis import analyze
from compressor.attentions import find_form
from compressor.errors import PlanError
from compressor.graphs import Graph, capture
from compressor.planning import plan_keeping
from compressor.removal import remove
from compressor.shrinking import shrink
from compressor.types import Analysis, Plan
from export.weights import read_weights, write_weights
from tests import zoo

HELD = (
    "chain", "residual", "concat", "depthwise", "grouped", "flatten", "sigmoid_gate",
    "squeeze_excite", "group_norm", "transposed", "grouped_transposed", "pixel_shuffle", "unknown",
    "tied", "embedding", "einsum", "lstm", "gru", "gated_mlp", "layer_norm",
)  # fmt: skip
REFUSED = {
    "padded_shortcut": "zoo_images.py:",
    "split": "split_sizes=",
    "heads_by_view": "HeadsByView: tests/zoo_sequences.py:",
    "explicit_attention": "ExplicitAttention: tests/zoo_sequences.py:",
    "grouped_queries": "shape '[2, 5, 16, 8]' is invalid",
    "native_grouped_queries": "shape '[2, 5, 8, 8]' is invalid",
    "repeated_keys": "shape '[2, 5, 8, 8]' is invalid",
}


def cut(analysis: Analysis, share: float = 0.5, whole: tuple[int, ...] = (), seed: int = 0) -> Plan:
    """A plan that takes this share of every group but those, units drawn from the seed."""
    generator = np.random.default_rng(seed)
    keep = [np.ones(1, dtype=bool)]
    for group in analysis.groups:
        part = np.ones(group.units, dtype=bool)
        if group.id not in whole:
            part[generator.permutation(group.units)[: int(share * group.units)]] = False
        keep.append(part)
    return plan_keeping(analysis, np.concatenate(keep))


def tensors(module: nn.Module) -> dict[str, Tensor]:
    named = dict(module.named_parameters(remove_duplicate=False))
    return named | dict(module.named_buffers(remove_duplicate=False))


def assert_same(shrunk: nn.Module, student: Graph, inputs: tuple[Tensor, ...]) -> None:
    """Every tensor of the module is the graph student's, and so is the output."""
    own = tensors(shrunk)
    compared = [name for name in student.tensors if name in own]
    assert len(compared) >= len(list(shrunk.parameters()))
    for name in compared:
        assert torch.equal(own[name], student.tensors[name]), name
    with torch.no_grad():
        expected, found = student(*inputs), shrunk.eval()(*inputs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", HELD)
def test_shrunk_module_is_the_graph_student_in_its_own_class(name: str) -> None:
    network, graph = zoo.ZOO[name].build(), zoo.graph(name)
    shrunk = shrink(network, zoo.half(name), graph)
    assert type(shrunk) is type(network)
    assert sum(p.numel() for p in shrunk.parameters()) == zoo.half(name).after.params
    assert_same(shrunk, zoo.student(name), zoo.ZOO[name].inputs())


@pytest.mark.parametrize("name", REFUSED)
def test_literal_sizes_in_forward_are_refused_with_their_line(name: str) -> None:
    with pytest.raises(PlanError, match="take the graph student") as refusal:
        shrink(zoo.ZOO[name].build(), zoo.half(name), zoo.graph(name))
    assert REFUSED[name] in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_chunk_that_would_be_uneven_is_named() -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Linear(4, 16)
            self.left, self.right = nn.Linear(8, 3), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            left, right = self.stem(x).tanh().chunk(2, dim=1)
            return self.left(left) * self.right(right)

    network = zoo.randomised(Halves)
    graph = capture(network, (torch.randn(2, 4),))
    analysis = analyze(graph)
    left = next(g.id for g in analysis.groups if any("left" in m.parameter for m in g.members))
    with pytest.raises(PlanError, match=r"test_shrinking.py:\d+ would have to split into \[8, 4\]"):
        shrink(network, cut(analysis, whole=(left,)), graph)
    assert shrink(network, cut(analysis), graph).stem.out_features == 8


def test_the_original_stays_as_it_was() -> None:
    network = zoo.ZOO["residual"].build()
    before = copy.deepcopy(network.state_dict())
    shrink(network, zoo.half("residual"), zoo.graph("residual"))
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert network.conv1.out_channels == 12


def test_values_are_the_modules_where_the_graph_has_others() -> None:
    network = zoo.randomised(zoo.ZOO["chain"].network, seed=5).eval()
    shrunk = shrink(network, zoo.half("chain"), zoo.graph("chain"))
    graph = capture(network, zoo.ZOO["chain"].inputs())
    student = remove(graph, zoo.analysis("chain"), zoo.half("chain"))
    assert_same(shrunk, student, zoo.ZOO["chain"].inputs())


def test_mode_hooks_and_frozen_parameters_are_kept() -> None:
    network = zoo.ZOO["chain"].build().train()
    network.bn1.eval()
    network.conv1.weight.requires_grad_(False)
    seen: list[int] = []
    network.head.register_forward_hook(lambda *_: seen.append(1))
    shrunk = shrink(network, zoo.half("chain"), zoo.graph("chain"))
    assert shrunk.training
    assert not shrunk.bn1.training
    assert shrunk.bn2.training
    assert not shrunk.conv1.weight.requires_grad
    assert shrunk.conv2.weight.requires_grad
    seen.clear()
    shrunk(*zoo.ZOO["chain"].inputs())
    assert seen == [1]


def test_sizes_that_layers_state_are_those_of_their_tensors() -> None:
    shrunk = shrink(zoo.ZOO["grouped"].build(), cut(zoo.analysis("grouped")), zoo.graph("grouped"))
    conv = shrunk.grouped
    assert conv.weight.shape[:2] == (conv.out_channels, conv.in_channels // conv.groups)
    assert shrunk.bn1.num_features == len(shrunk.bn1.running_mean) == shrunk.stem.out_channels
    assert shrunk.head.in_features == shrunk.head.weight.shape[1]


def test_a_shrunk_module_trains_a_step() -> None:
    shrunk = shrink(zoo.ZOO["residual"].build(), zoo.half("residual"), zoo.graph("residual"))
    shrunk.train()(*zoo.ZOO["residual"].inputs()).square().sum().backward()
    assert all(parameter.grad is not None for parameter in shrunk.parameters())


@pytest.mark.parametrize("name", ["chain", "tied"])
def test_student_file_loads_strictly(name: str, tmp_path: Path) -> None:
    file = tmp_path / "student.safetensors"
    trained = zoo.student(name).copy()
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.25)
    write_weights(trained, file)
    shrunk = shrink(zoo.ZOO[name].build(), zoo.half(name), zoo.graph(name))
    shrunk.load_state_dict(read_weights(file, shrunk), strict=True)
    assert_same(shrunk, trained, zoo.ZOO[name].inputs())


@pytest.mark.parametrize("name", ["chain", "tied"])
def test_a_plan_says_enough_to_capture_the_module_again(name: str) -> None:
    given = shrink(zoo.ZOO[name].build(), zoo.half(name), zoo.graph(name))
    alone = shrink(zoo.ZOO[name].build(), zoo.half(name))
    states = given.state_dict(), alone.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_ties_stay_ties() -> None:
    shrunk = shrink(zoo.ZOO["tied"].build(), zoo.half("tied"), zoo.graph("tied"))
    assert shrunk.head.weight is shrunk.embedding.weight


def test_layer_norm_keeps_the_order_of_rows_where_a_set_of_them_has_none() -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm, self.head = (
                nn.Linear(4, 1200),
                nn.LayerNorm(1200),
                nn.Linear(1200, 3),
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.stem(x)))

    network = zoo.randomised(Wide)
    graph = capture(network, (torch.randn(2, 4),))
    analysis = analyze(graph)
    keep = np.ones(1201, dtype=bool)
    keep[1:1000] = False
    plan = plan_keeping(analysis, keep)
    assert_same(shrink(network, plan, graph), remove(graph, analysis, plan), (torch.randn(2, 4),))


def test_another_network_is_refused() -> None:
    with pytest.raises(PlanError, match="capture the module that is to be shrunk"):
        shrink(zoo.ZOO["chain"].build(), zoo.half("residual"), zoo.graph("residual"))
    with pytest.raises(PlanError, match="another structure"):
        shrink(zoo.ZOO["chain"].build(), zoo.half("residual"), zoo.graph("chain"))


def test_what_only_training_runs_is_refused_when_it_is_cut() -> None:
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Linear(4, 16), nn.Linear(16, 3)
            self.auxiliary = nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x).tanh()
            return self.head(x) + self.auxiliary(x) if self.training else self.head(x)

    network = zoo.randomised(Auxiliary)
    graph = capture(network, (torch.randn(2, 4),))
    analysis = analyze(graph)
    read = {"stem.weight", "head.weight"}
    ours = [g.id for g in analysis.groups if read & {m.parameter for m in g.members}]
    others = tuple(group.id for group in analysis.groups if group.id not in ours)
    if others:  # groups of what nothing reads
        with pytest.raises(PlanError, match="nothing in the captured program reads"):
            shrink(network, cut(analysis), graph)
    shrunk = shrink(network, cut(analysis, whole=others), graph)
    assert shrunk.stem.out_features == 8


# -- attention ---------------------------------------------------------------------------------


def groups_to_keep(network: nn.Module, graph: Graph, plan: Plan) -> tuple[int, ...]:
    """The groups that a refusal says to keep whole."""
    with pytest.raises(PlanError, match="keep groups") as refusal:
        shrink(network, plan, graph)
    named = str(refusal.value).split("keep groups ")[1].split(" whole")[0]
    return tuple(int(number) for number in named.split(","))


def test_torch_attention_cannot_hold_narrower_heads_and_names_what_to_keep() -> None:
    network, graph = zoo.ZOO["attention"].build(), zoo.graph("attention")
    plan = cut(zoo.analysis("attention"), 0.25)
    kept = groups_to_keep(network, graph, plan)
    shrunk = shrink(network, cut(zoo.analysis("attention"), 0.25, whole=kept), graph)
    assert shrunk.attention.num_heads == 6
    assert shrunk.attention.embed_dim == 48
    assert shrunk.attention.head_dim == 8


def test_torch_attention_needs_as_many_head_rows_as_its_input_is_wide() -> None:
    network, graph = zoo.ZOO["attention"].build(), zoo.graph("attention")
    analysis = zoo.analysis("attention")
    stream = next(g.id for g in analysis.groups if any("stem" in m.parameter for m in g.members))
    with pytest.raises(PlanError, match=r"takes them for one number|from that width"):
        shrink(network, cut(analysis, whole=(stream,)), graph)


def vision_transformer() -> nn.Module:
    from torchvision.models import VisionTransformer

    return VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=4, hidden_dim=64, mlp_dim=128,
        num_classes=10,
    )  # fmt: skip


def test_vision_transformer_gives_up_heads_and_stream_together() -> None:
    network = zoo.randomised(vision_transformer)
    graph = capture(network, (torch.randn(2, 3, 32, 32),))
    analysis = analyze(graph)
    plan = cut(analysis, whole=groups_to_keep(network, graph, cut(analysis)))
    shrunk = shrink(network, plan, graph)
    assert shrunk.hidden_dim == 32
    assert shrunk.encoder.layers[0].self_attention.num_heads == 2
    assert_same(shrunk, remove(graph, analysis, plan), (torch.randn(3, 3, 32, 32),))


def test_only_attention_modules_have_a_form() -> None:
    network = vision_transformer()
    found = [path for path, part in network.named_modules() if find_form(part) is not None]
    assert found == [f"encoder.layers.encoder_layer_{i}.self_attention" for i in range(2)]


# -- larger networks ---------------------------------------------------------------------------


def torchvision_network(name: str) -> nn.Module:
    import torchvision

    return torchvision.models.get_model(name, weights=None)


def timm_network(name: str, **options: int) -> nn.Module:
    return pytest.importorskip("timm").create_model(name, **options)


def hugging_face(name: str) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    sizes = {
        "vocab_size": 64, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 8,
        "intermediate_size": 96,
    }  # fmt: skip
    if name == "bert":
        config = transformers.BertConfig(**sizes, max_position_embeddings=16)
        return transformers.BertForSequenceClassification(config)
    config = transformers.LlamaConfig(**sizes, num_key_value_heads=4, use_cache=False)
    return transformers.LlamaForCausalLM(config)


def pictures(size: int) -> tuple[Tensor, ...]:
    return (torch.randn(2, 3, size, size),)


LARGER: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...]]] = {
    "resnet18": (lambda: torchvision_network("resnet18"), pictures(64)),
    "resnet50": (lambda: torchvision_network("resnet50"), pictures(64)),
    "mobilenet_v3_small": (lambda: torchvision_network("mobilenet_v3_small"), pictures(64)),
    "densenet121": (lambda: torchvision_network("densenet121"), pictures(64)),
    "regnet_y_400mf": (lambda: torchvision_network("regnet_y_400mf"), pictures(64)),
    "convnext_tiny": (lambda: torchvision_network("convnext_tiny"), pictures(64)),
    "timm convnext_atto": (lambda: timm_network("convnext_atto"), pictures(64)),
    "timm efficientnet_lite0": (lambda: timm_network("efficientnet_lite0"), pictures(64)),
    "timm vit_tiny": (
        lambda: timm_network("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2),
        pictures(32),
    ),
    "bert": (lambda: hugging_face("bert"), (torch.randint(64, (2, 7)),)),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of the libraries
@pytest.mark.parametrize("name", LARGER)
def test_published_classes_hold_half_of_every_group(name: str) -> None:
    factory, inputs = LARGER[name]
    network = zoo.randomised(factory).eval()
    graph = capture(network, inputs)
    plan = cut(analyze(graph))
    shrunk = shrink(network, plan, graph)
    assert sum(p.numel() for p in shrunk.parameters()) == plan.after.params
    assert plan.after.params < 0.6 * plan.before.params


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_llama_holds_fewer_heads_and_narrower_ones() -> None:
    network = zoo.randomised(lambda: hugging_face("llama")).eval()
    graph = capture(network, (torch.randint(64, (2, 7)),))
    shrunk = shrink(network, cut(analyze(graph)), graph)
    attention = shrunk.model.layers[0].self_attn
    assert attention.head_dim == 4
    assert attention.q_proj.out_features == attention.num_key_value_groups * (
        attention.k_proj.out_features
    )


@pytest.mark.slow
def test_swin_keeps_its_heads_and_its_stream_and_gives_up_the_rest() -> None:
    from torchvision.models import SwinTransformer

    network = zoo.randomised(
        lambda: SwinTransformer([4, 4], 32, [1, 1], [2, 4], [4, 4], num_classes=10)
    ).eval()
    graph = capture(network, pictures(64))
    analysis = analyze(graph)
    attention = ("qkv.weight", "proj.weight", "position_bias_table")
    whole = tuple(
        group.id
        for group in analysis.groups
        if any(member.parameter.endswith(attention) for member in group.members)
    )
    with pytest.raises(PlanError, match="ShiftedWindowAttention"):
        shrink(network, cut(analysis), graph)
    shrunk = shrink(network, cut(analysis, whole=whole), graph)
    assert shrunk.features[1][0].mlp[0].out_features == 64
