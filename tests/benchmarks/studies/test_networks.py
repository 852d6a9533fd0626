"""The written list is the installed libraries' own, and its networks are not trivially proved."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from benchmarks.studies.networks import NETWORKS, Network, find
from benchmarks.studies.networks.building import build, inputs, randomise
from benchmarks.studies.networks.timm_rows import TIMM
from benchmarks.studies.networks.torchvision_rows import TORCHVISION
from benchmarks.studies.networks.transformers_rows import TRANSFORMERS

ASKED_FOR = {
    "Albert", "Beit", "Bert", "DebertaV2", "DeiT", "Dinov2", "DistilBert", "Electra", "GPT2",
    "Llama", "ModernBert", "Qwen2", "Roberta", "Swin", "T5", "ViT", "XLMRoberta",
}  # fmt: skip


def factories(networks: tuple[Network, ...]) -> list[str]:
    return sorted(network.factory for network in networks)


def test_every_torchvision_model_of_the_installed_version_is_in_the_list() -> None:
    from torchvision import models

    modules = (models, models.segmentation, models.video)
    installed = sorted(name for module in modules for name in models.list_models(module))
    assert factories(TORCHVISION) == installed


def test_every_torchvision_detector_is_in_the_list_with_the_part_that_is_taken() -> None:
    from torchvision import models

    detectors = tuple(network for network in NETWORKS if network.part)
    assert factories(detectors) == sorted(models.list_models(models.detection))
    assert all("data" in network.part or "scores" in network.part for network in detectors)


def test_every_model_module_of_timm_is_in_the_list() -> None:
    timm = pytest.importorskip("timm")
    home = {
        name: module for module in timm.list_modules() for name in timm.list_models(module=module)
    }
    assert {home[network.factory] for network in TIMM} == set(home.values())


def test_every_architecture_asked_for_is_in_the_list() -> None:
    names = {
        f.split("For")[0].removesuffix("LMHeadModel").removesuffix("EncoderModel")
        for f in factories(TRANSFORMERS)
    }
    assert names == ASKED_FOR


def test_names_find_their_row_and_no_other() -> None:
    assert len({network.name for network in NETWORKS}) == len(NETWORKS)
    assert all(find(network.name) is network for network in NETWORKS)
    with pytest.raises(KeyError):
        find("torchvision:resnet19")


def test_the_list_is_read_without_any_of_the_libraries() -> None:
    code = (
        "import sys, benchmarks.studies.networks as n; n.NETWORKS;"
        "print({'torch', 'torchvision', 'timm', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "set()\n", done.stderr


def test_inputs_are_drawn_from_the_seed_at_the_batch_asked_for() -> None:
    row = find("torchvision:resnet18")
    (picture,) = inputs(row, batch=3, seed=1).args
    assert picture.shape == (3, *row.shape)
    assert torch.equal(picture, inputs(row, batch=3, seed=1).args[0])
    assert not torch.equal(picture, inputs(row, batch=3, seed=2).args[0])


def test_text_has_tokens_within_the_vocabulary_and_shorter_samples() -> None:
    row = find("transformers:BertForSequenceClassification")
    given = inputs(row, batch=3).kwargs
    assert given["input_ids"].shape == given["attention_mask"].shape == (3, *row.shape)
    assert 0 <= int(given["input_ids"].min()) <= int(given["input_ids"].max()) < row.vocabulary
    assert given["attention_mask"].sum(dim=1).tolist() == [
        row.shape[0],
        row.shape[0] - 3,
        row.shape[0],
    ]


def test_drawing_leaves_no_gain_constant_and_no_matrix_changed() -> None:
    network = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2))
    network.scale = nn.Parameter(torch.full((6, 1, 1), 1e-6))
    weight = network[0].weight.detach().clone()
    randomise(network, seed=0)
    assert torch.equal(network[0].weight, weight)
    for gain in (network[1].weight, network[1].bias, network[0].bias, network.scale):
        assert gain.detach().std() > 0.05
    assert network.scale.abs().min() >= 0.5


def test_a_network_is_the_same_for_the_same_seed_and_its_values_are_of_order_one() -> None:
    row = find("torchvision:shufflenet_v2_x0_5")
    network, again, other = build(row), build(row), build(row, seed=1)
    assert all(
        torch.equal(a, b)
        for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True)
    )
    assert not torch.equal(network.conv1[0].weight, other.conv1[0].weight)
    assert not network.training
    with torch.no_grad():
        answer = network(*inputs(row, seed=5).args)
    assert 1e-2 < float(answer.std()) < 1e2
    assert float(network.conv1[1].running_var.std()) > 0


def test_building_draws_nothing_from_the_global_generator() -> None:
    state = torch.random.get_rng_state()
    build(find("torchvision:squeezenet1_1"))
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    "name",
    [
        "torchvision:ssdlite320_mobilenet_v3_large",
        pytest.param("torchvision:keypointrcnn_resnet50_fpn", marks=pytest.mark.slow),
    ],
)
def test_the_part_of_a_detector_holds_all_of_its_parameters(name: str) -> None:
    from torchvision import models

    row = find(name)
    whole = models.get_model(row.factory, weights=None, weights_backbone=None)
    part = build(row)
    assert sum(p.numel() for p in part.parameters()) == sum(p.numel() for p in whole.parameters())
    with torch.no_grad():
        answers = part(*inputs(row).args)
    answers = list(answers.values()) if isinstance(answers, dict) else answers
    assert len(answers) >= 2
    assert all(torch.isfinite(answer).all() for answer in answers)
