"""Architectures by name and by shape."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from compressor import architectures
from compressor.architectures import Architecture, no_options, nothing_published
from compressor.errors import ArchitectureError, MissingExtraError
from compressor.fitting import fill, fit
from compressor.recognition import find_architecture, from_torchvision, recognise

OWN_CODE = """
import torch
from torch import nn
from neighbour import WIDTH

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(WIDTH, 4)
        self.out = nn.Linear(4, WIDTH, bias=False)
        self.out.weight = self.table.weight
        self.register_buffer("scale", torch.full((1,), 2.0), persistent=False)

    def forward(self, x):
        return self.out(self.table(x)) * self.scale

def tied(): return Tied()
def broken(): raise ValueError("no such depth")
def number(): return 3
"""


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("WIDTH = 5\n")
    (tmp_path / "mine.py").write_text(OWN_CODE)
    return tmp_path / "mine.py"


def test_file_and_factory_build_the_users_network(own_file: Path) -> None:
    found = fit(
        find_architecture(f"{own_file}:tied"),
        find_architecture(f"{own_file}:tied").build({}).state_dict(),
    )
    assert found.fits
    assert found.architecture.name == "mine.py:tied"


def test_tied_weights_stay_tied_and_may_be_stored_once(own_file: Path) -> None:
    values = torch.arange(20.0).view(5, 4)
    module = fill(fit(find_architecture(f"{own_file}:tied"), {"table.weight": values}))
    assert module.get_parameter("out.weight") is module.get_parameter("table.weight")
    assert torch.equal(module.get_parameter("out.weight"), values)


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("absent", "no function"),
        ("broken", "ValueError: no such depth"),
        ("number", "no nn.Module"),
    ],
)
def test_bad_factories_are_told(own_file: Path, factory: str, words: str) -> None:
    with pytest.raises(ArchitectureError, match=words):
        find_architecture(f"{own_file}:{factory}").build({})


def test_file_that_cannot_be_imported_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import module_that_is_not_there\n")
    with pytest.raises(ArchitectureError, match="ModuleNotFoundError"):
        find_architecture(f"{tmp_path / 'bad.py'}:net")
    with pytest.raises(ArchitectureError, match="no such file"):
        find_architecture(f"{tmp_path / 'absent.py'}:net")


def write_package(folder: Path, name: str) -> Path:
    """A file of a package in a package, which asks its neighbours and its parent."""
    for one in (folder / name, folder / name / "models"):
        one.mkdir(parents=True)
        (one / "__init__.py").touch()
    (folder / name / "sizes.py").write_text("CLASSES = 3\n")
    (folder / name / "models/blocks.py").write_text("from torch import nn\nLayer = nn.Linear\n")
    (folder / name / "models/net.py").write_text(
        "from ..sizes import CLASSES\n"
        "from .blocks import Layer\n"
        "import blocks\n"
        "def small(): return Layer(2, CLASSES)\n"
    )
    return folder / name / "models/net.py"


def test_a_file_of_a_package_is_imported_as_such(tmp_path: Path) -> None:
    before = list(sys.path)
    found = find_architecture(f"{write_package(tmp_path, 'own_package')}:small")
    assert found.name == "net.py:small"
    assert found.build({}).get_parameter("weight").shape == (3, 2)
    assert sys.path == before


def test_a_file_of_a_package_whose_name_is_taken_stands_alone(tmp_path: Path) -> None:
    with pytest.raises(ArchitectureError, match="no known parent package"):
        find_architecture(f"{write_package(tmp_path, 'torch')}:small")


@pytest.mark.parametrize("spec", ["resnet50", "torchvision:", "keras:resnet50", ""])
def test_malformed_name_says_what_is_expected(spec: str) -> None:
    with pytest.raises(ArchitectureError, match=r"expected torchvision:NAME"):
        find_architecture(spec)


def test_unknown_torchvision_name_suggests_near_ones() -> None:
    with pytest.raises(ArchitectureError, match=r"did you mean .*resnet50"):
        find_architecture("torchvision:resnet_50")


def test_timm_absent_names_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architectures.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'compressor\[timm\]'"):
        find_architecture("timm:resnet18")


def test_timm_network_brings_its_preprocessing() -> None:
    pytest.importorskip("timm")
    published = find_architecture("timm:mobilenetv3_small_050").published(None, {})
    assert published is not None
    assert published.crop == (224, 224)
    assert published.resize == 256


@pytest.mark.parametrize(
    ("name", "classes"),
    [("resnet18", 10), ("squeezenet1_1", 1000), ("mnasnet0_5", 3), ("shufflenet_v2_x0_5", 1000),
     ("regnet_y_400mf", 7), ("mobilenet_v3_small", 1000)],
)  # fmt: skip
def test_torchvision_network_is_recognised_with_its_classes(name: str, classes: int) -> None:
    own = models.get_model(name, weights=None, num_classes=classes)
    recognised = recognise(own.state_dict(), file_name="teacher.pt")
    module = fill(recognised.fit)
    assert recognised.fit.architecture.name == f"torchvision:{name}"
    assert not any(tensor.is_meta for tensor in module.state_dict().values())
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(module(x), own.eval()(x))


def test_image_size_of_a_vision_transformer_is_read_off() -> None:
    own = models.vit_b_32(weights=None, num_classes=2, image_size=96)
    recognised = recognise(own.state_dict(), file_name="teacher.pt")
    assert recognised.fit.options["image_size"] == 96


def test_googlenet_without_auxiliary_heads_is_recognised() -> None:
    own = models.googlenet(weights=None, aux_logits=False, init_weights=False)
    recognised = recognise(own.state_dict(), file_name="teacher.pt")
    assert recognised.fit.options["aux_logits"] is False


def test_old_names_and_absent_counters_are_taken() -> None:
    own = models.densenet121(weights=None).state_dict()
    old = {
        name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): tensor
        for name, tensor in own.items()
        if not name.endswith("num_batches_tracked")
    }
    assert fit(from_torchvision("densenet121"), old).fits


def twins(name: str) -> Architecture:
    def build(options: object) -> nn.Module:
        return nn.Linear(3, 2 if name != "other" else 5)

    return Architecture(
        name=f"torchvision:{name}",
        build=build,
        build_hollow=build,
        options_for=no_options,
        classes_option=None,
        published=nothing_published,
    )


def test_file_name_decides_between_equals_and_that_is_said() -> None:
    tensors = nn.Linear(3, 2).state_dict()
    names = ["net_a", "net_b", "other"]
    recognised = recognise(tensors, file_name="Net-B-1a2b.pth", names=names, find=twins)
    assert recognised.fit.architecture.name == "torchvision:net_b"
    assert "net_a" in recognised.note
    assert "file's name decided" in recognised.note


def test_equals_without_a_telling_name_ask_for_arch() -> None:
    tensors = nn.Linear(3, 2).state_dict()
    with pytest.raises(ArchitectureError, match=r"net_a and torchvision:net_b.*--arch"):
        recognise(tensors, file_name="x.pth", names=["net_a", "net_b"], find=twins)


def test_unknown_network_names_the_nearest_and_arch() -> None:
    tensors = dict(models.resnet18(weights=None).state_dict())
    tensors["fc.0.weight"] = tensors.pop("fc.weight")
    with pytest.raises(ArchitectureError, match=r"nearest is torchvision:resnet18") as caught:
        recognise(tensors, file_name="x.pth")
    assert "missing fc.weight" in str(caught.value)
    assert "unexpected fc.0.weight" in str(caught.value)
    assert "--arch" in str(caught.value)


def test_differences_are_named_at_most_ten() -> None:
    found = fit(from_torchvision("resnet18"), {"x": torch.ones(1)})
    assert found.differences().count(",") == 9
    assert "more" in found.differences()


def test_misshapen_tensors_are_named_with_both_shapes() -> None:
    tensors = dict(models.resnet18(weights=None).state_dict())
    tensors["conv1.weight"] = torch.ones(64, 1, 7, 7)
    text = fit(from_torchvision("resnet18"), tensors).differences()
    assert text == "misshapen conv1.weight (64, 1, 7, 7) for (64, 3, 7, 7)"


def test_published_file_has_the_preprocessing_of_its_checksum() -> None:
    published = from_torchvision("resnet50").published("0676ba61" + "0" * 56, {})
    assert published is not None
    assert published.resize == 256
    assert "IMAGENET1K_V1" in published.origin
