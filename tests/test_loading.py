"""Teachers from files."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torchvision import models

from compressor import loading
from compressor.cards import Accuracy, Card, card_path, encode_card
from compressor.errors import ArchitectureError, LoadError, OptionError
from compressor.files import sha256
from compressor.loading import capture_teacher, fresh_start, load, untrained
from compressor.preprocessing import IMAGENET_MEAN
from compressor.types import Preprocessing

OWN_CODE = """
from torch import nn
def rest(): return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
def small(): return nn.Sequential(nn.Conv2d(3, 4, 3), *rest())
def grey(): return nn.Sequential(nn.Conv2d(1, 4, 3), *rest())
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(OWN_CODE)
    return tmp_path


def save_own(folder: Path, channels: int = 3) -> Path:
    parts = (nn.Conv2d(channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    torch.save(nn.Sequential(*parts).state_dict(), folder / "net.pt")
    return folder / "net.pt"


def test_recognised_teacher_knows_everything_a_build_needs(tmp_path: Path) -> None:
    network = models.shufflenet_v2_x0_5(weights=None)
    torch.save(network.state_dict(), tmp_path / "mine.pt")
    teacher = load(tmp_path / "mine.pt")
    assert teacher.module is not None
    assert teacher.factory is not None
    assert teacher.source.name == "mine"
    assert teacher.source.architecture == "torchvision:shufflenet_v2_x0_5"
    assert teacher.source.trained
    assert teacher.source.sha256 is not None
    assert teacher.example_inputs[0].shape == (2, 3, 224, 224)
    assert "torchvision publishes" in teacher.preprocessing.origin
    assert teacher.labels is not None
    assert teacher.labels[0] == "tench"
    assert not teacher.module.training
    assert torch.equal(teacher.module.fc.weight, network.fc.weight)


def test_factory_gives_other_weights_of_the_same_shapes(tmp_path: Path) -> None:
    network = models.resnet18(weights=None, num_classes=10)
    torch.save(
        {"model": {f"module.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "x.pt"
    )
    teacher = load(tmp_path / "x.pt", image_size=32)
    assert teacher.module is not None
    assert teacher.factory is not None
    fresh = teacher.factory()
    assert fresh.fc.weight.shape == (10, 512)
    assert not torch.equal(fresh.conv1.weight, teacher.module.conv1.weight)
    assert teacher.labels is None


def test_own_file_takes_its_size_from_the_data(own: Path) -> None:
    teacher = load(save_own(own), f"{own / 'mine.py'}:small", data_size=(20, 24))
    assert teacher.example_inputs[0].shape == (2, 3, 20, 24)
    assert teacher.preprocessing.mean == IMAGENET_MEAN
    assert "publishes none" in teacher.preprocessing.origin
    assert teacher.source.architecture == "mine.py:small"


def test_unknown_size_asks_for_image_size(own: Path) -> None:
    with pytest.raises(OptionError, match="--image-size"):
        load(save_own(own), f"{own / 'mine.py'}:small")


def test_example_inputs_decide_the_size(own: Path) -> None:
    inputs = (torch.zeros(2, 3, 12, 16),)
    teacher = load(save_own(own), f"{own / 'mine.py'}:small", inputs)
    assert teacher.example_inputs is inputs
    assert teacher.preprocessing.crop == (12, 16)


def test_one_mean_number_serves_all_channels(own: Path) -> None:
    teacher = load(
        save_own(own), f"{own / 'mine.py'}:small", image_size=8, mean=(0.5,), std=(0.1, 0.2, 0.3)
    )
    assert teacher.preprocessing.mean == (0.5, 0.5, 0.5)
    assert teacher.preprocessing.std == (0.1, 0.2, 0.3)
    assert teacher.preprocessing.origin == "mean and std given"


def test_network_of_one_channel_gets_one_number(own: Path) -> None:
    teacher = load(save_own(own, 1), f"{own / 'mine.py'}:grey", image_size=8)
    assert len(teacher.preprocessing.mean) == 1
    assert teacher.example_inputs[0].shape == (2, 1, 8, 8)


@pytest.mark.parametrize(
    ("mean", "std", "words"),
    [
        ((0.1, 0.2), None, "one, or one per channel"),
        ((123.0,), None, "divide by 255"),
        (None, (0.0,), "must be positive"),
    ],
)
def test_bad_numbers_are_refused(
    own: Path, mean: tuple[float, ...] | None, std: tuple[float, ...] | None, words: str
) -> None:
    with pytest.raises(OptionError, match=words):
        load(save_own(own), f"{own / 'mine.py'}:small", image_size=8, mean=mean, std=std)


def test_another_size_keeps_the_published_share_or_takes_pictures_whole(tmp_path: Path) -> None:
    torch.save(models.squeezenet1_1(weights=None).state_dict(), tmp_path / "x.pt")
    asked = load(tmp_path / "x.pt", image_size=112).preprocessing
    whole = load(tmp_path / "x.pt", image_size=32, data_size=(32, 32)).preprocessing
    assert (asked.crop, asked.resize) == ((112, 112), 128)
    assert (whole.crop, whole.resize) == ((32, 32), None)


def test_wrong_architecture_names_what_differs(own: Path) -> None:
    with pytest.raises(ArchitectureError, match="missing") as caught:
        load(save_own(own), "torchvision:resnet18")
    assert "\n" not in str(caught.value)


def test_trusted_module_is_the_teacher(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Conv2d(3, 2, 3)), tmp_path / "x.pt")
    teacher = load(tmp_path / "x.pt", image_size=8, trust_pickle=True)
    assert teacher.factory is None
    assert teacher.source.architecture == "pickled:Sequential"


def test_video_network_asks_for_example_inputs() -> None:
    with pytest.raises(OptionError, match=r"takes clips, not pictures.*example_inputs"):
        untrained("torchvision:r3d_18")


@pytest.mark.parametrize(
    ("layer", "taken"),
    [("Conv1d(1, 4, 9)", "sequences"), ("GRU(4, 8)", "sequences"), ("Embedding(9, 4)", "tokens")],
)
@pytest.mark.parametrize("image_size", [None, 8])
def test_networks_without_pictures_ask_for_a_program(
    layer: str, taken: str, image_size: int | None, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(f"from torch import nn\ndef net(): return nn.{layer}\n")
    with pytest.raises(OptionError, match=rf"takes {taken}, not pictures; give a \.pt2 program"):
        untrained(f"{tmp_path / 'mine.py'}:net", image_size=image_size)


def test_a_table_of_places_before_the_first_convolution_is_no_reason_to_refuse(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def net(): return nn.ModuleList([nn.Embedding(9, 4), nn.Conv2d(3, 4, 3)])\n"
    )
    assert untrained(f"{tmp_path / 'mine.py'}:net", image_size=8).module is not None


def test_untrained_teacher_is_the_same_for_the_same_seed() -> None:
    first = untrained("torchvision:squeezenet1_1", classes=4, seed=3, image_size=32)
    again = untrained("torchvision:squeezenet1_1", classes=4, seed=3, image_size=32)
    assert first.module is not None
    assert again.module is not None
    assert first.source.sha256 is None
    assert not first.source.trained
    assert torch.equal(first.module.classifier[1].weight, again.module.classifier[1].weight)
    assert first.module.classifier[1].weight.shape[0] == 4


def test_a_factory_that_takes_the_number_of_classes_is_given_it(own: Path) -> None:
    code = OWN_CODE + (
        "def any(num_classes): return nn.Sequential(nn.Flatten(), nn.Linear(12, num_classes))\n"
        "def most(num_classes=5): return any(num_classes)\n"
    )
    (own / "mine.py").write_text(code)
    weights = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).state_dict()
    torch.save(weights, own / "x.pt")
    for name in ("any", "most"):
        teacher = load(own / "x.pt", f"{own / 'mine.py'}:{name}", image_size=2)
        assert teacher.module is not None
        assert torch.equal(teacher.module.get_parameter("1.weight"), weights["1.weight"])
        fresh = untrained(f"{own / 'mine.py'}:{name}", classes=4, image_size=2)
        assert fresh.module is not None
        assert fresh.module.get_parameter("1.weight").shape == (4, 12)


def save_with_card(folder: Path, architecture: str, network: nn.Module | None = None) -> Path:
    file = folder / "mine.pt"
    network = network or models.resnet18(weights=None, num_classes=2)
    torch.save(network.state_dict(), file)
    card = Card(
        sha256=sha256(file),
        architecture=architecture,
        classes=("cat", "dog"),
        preprocessing=Preprocessing(crop=(40, 40), mean=(0.5,) * 3, std=(0.2,) * 3),
        data="pets",
        images=10,
        seed=0,
        epochs=1.0,
        seconds=1.0,
        validation=Accuracy(images=4, top1=0.5),
        test=None,
    )
    card_path(file).write_bytes(encode_card(card))
    return file


def test_a_card_says_what_is_not_asked_for(tmp_path: Path) -> None:
    teacher = load(save_with_card(tmp_path, "torchvision:resnet18"))
    assert teacher.labels == ("cat", "dog")
    assert teacher.preprocessing.crop == (40, 40)
    assert teacher.preprocessing.mean == (0.5,) * 3
    assert teacher.preprocessing.origin == "as in training (mine.pt.json)"
    assert "mine.pt.json: torchvision:resnet18, trained on pets" in teacher.notes
    assert not any("recognised" in note for note in teacher.notes)
    asked = load(tmp_path / "mine.pt", image_size=32, std=(0.25,)).preprocessing
    assert (asked.crop, asked.mean, asked.std) == ((32, 32), (0.5,) * 3, (0.25,) * 3)


def test_a_card_names_no_code_to_run_and_speaks_of_its_own_weights_only(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise RuntimeError('run without being asked for')")
    teacher = load(save_with_card(tmp_path, "mine.py:small"))
    assert teacher.source.architecture == "torchvision:resnet18"
    torch.save(models.resnet18(weights=None, num_classes=2).state_dict(), tmp_path / "mine.pt")
    other = load(tmp_path / "mine.pt")
    assert "mine.pt.json speaks of other weights and is not used" in other.notes
    assert other.preprocessing.crop == (224, 224)


def test_weights_that_nobody_knows_are_told_what_their_card_says(tmp_path: Path) -> None:
    file = save_with_card(tmp_path, "mine.py:small", nn.Linear(3, 2))
    with pytest.raises(ArchitectureError, match=r"; its card says --arch mine\.py:small$"):
        load(file)


def test_program_becomes_a_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = torch.export.export(
        nn.Conv2d(3, 2, 3).eval(),
        (torch.zeros(2, 3, 8, 8),),
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    torch.export.save(program, tmp_path / "student.pt2")
    fake = SimpleNamespace(example_inputs=(torch.zeros(2, 3, 8, 8),), architecture="a")
    monkeypatch.setattr(loading, "graph_of", lambda program: fake)
    teacher = load(tmp_path / "student.pt2")
    assert teacher.module is None
    assert teacher.graph is fake
    assert teacher.preprocessing.crop == (8, 8)
    with pytest.raises(OptionError, match="exported for 8x8"):
        load(tmp_path / "student.pt2", image_size=16)
    with pytest.raises(OptionError, match="leave --arch out"):
        load(tmp_path / "student.pt2", "torchvision:resnet18")


def test_empty_program_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pt2").touch()
    with pytest.raises(LoadError, match="is empty"):
        load(tmp_path / "x.pt2")


@pytest.mark.real_data
def test_published_cifar_weights_load() -> None:
    folder = os.environ.get("COMPRESSOR_DATA")
    if not folder:
        pytest.skip("COMPRESSOR_DATA names no folder of real data")
    weights = next((Path(folder) / "cifar10_weights").glob("resnet56-*.th"))
    code = Path(folder).parent / "models" / "cifar_resnet.py"
    teacher = load(weights, f"{code}:resnet56", data_size=(32, 32))
    assert teacher.example_inputs[0].shape == (2, 3, 32, 32)


def test_a_fresh_start_has_the_code_s_own_values_and_the_program_s_structure() -> None:
    teacher = untrained("torchvision:resnet18", classes=10, seed=0, image_size=32)
    graph = capture_teacher(teacher)
    first, again, other = (fresh_start(teacher, graph, seed) for seed in (1, 1, 2))
    assert first.fingerprint == graph.fingerprint
    weights = [one.tensors["conv1.weight"] for one in (graph, first, again, other)]
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[3])
    torch.manual_seed(1)
    assert teacher.factory is not None
    assert torch.equal(weights[1], teacher.factory().state_dict()["conv1.weight"])
    with pytest.raises(OptionError, match="fresh start needs the network's own code"):
        fresh_start(replace(teacher, factory=None), graph, 0)
