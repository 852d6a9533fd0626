"""A teacher from fresh weights: what is written, into whose class it goes, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from compressor.cards import card_path, read_card
from compressor.errors import (
    ArchitectureError,
    DataError,
    DefectError,
    FolderError,
    OptionError,
    SurroundingsError,
)
from compressor.files import sha256
from compressor.graphs import capture
from compressor.loading import capture_teacher, load, untrained
from compressor.locks import beside, held
from compressor.optimisation import FRESH_NORMED, FRESH_PLAIN, fitting_settings
from compressor.pacing import Epochs
from compressor.teaching import give_values, train
from tests.test_data import write_classes

OWN_CODE = """
import torch
from torch import nn

def small(num_classes=7):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes),
    )

def seven():
    return small(7)

def maps():
    return nn.Conv2d(3, 2, 3)

class Tied(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.second = nn.Conv2d(3, 3, 3, padding=1)
        self.second.weight = self.first.weight
        self.unread = nn.Linear(2, 2)
        self.head = nn.Linear(3, num_classes)

    def forward(self, x):
        return self.head(self.second(self.first(x).relu()).mean((2, 3)))

def tied(num_classes):
    return Tied(num_classes)
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(OWN_CODE)
    return tmp_path


def own_class(name: str, classes: int) -> nn.Module:
    namespace: dict[str, type] = {}
    exec(OWN_CODE, namespace)
    module: nn.Module = namespace[name](classes)
    return module


def write_colours(folder: Path) -> None:
    """Noise in which one channel is brighter: red, green or blue."""
    draw = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green", "blue")):
        (folder / name).mkdir(parents=True)
        for number in range(60):
            pixels = draw.integers(0, 150, (8, 8, 3), dtype=np.uint8)
            pixels[..., channel] += 60
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def test_a_teacher_learns_and_its_card_says_what_it_is(work: Path) -> None:
    write_colours(work / "colours")
    card = train("net.py:small", "colours", work / "x.pt", length=Epochs(6), mean=(0.5,), seed=3)
    assert card.test is not None
    assert (card.test.images, card.validation.images) == (18, 18)
    assert card.test.top1 > 0.8
    assert (card.architecture, card.data, card.seed) == ("net.py:small", "colours", 3)
    assert card.classes == ("blue", "green", "red")
    assert card.preprocessing.mean == (0.5, 0.5, 0.5)
    assert card.preprocessing.crop == (8, 8)
    assert card.images == 144
    assert card.epochs == pytest.approx(6.0)
    assert card == read_card(work / "x.pt")
    assert card.sha256 == sha256(work / "x.pt")
    assert {path.name for path in work.iterdir()} == {"net.py", "colours", "x.pt", "x.pt.json"}


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_the_file_loads_into_the_users_own_class_and_into_a_build(work: Path, ending: str) -> None:
    file = work / f"x.{ending}"
    train("net.py:tied", "digits", file, length=Epochs(1))
    if ending == "pt":
        state = torch.load(file, weights_only=True)
    else:
        from safetensors.torch import load_file

        state = load_file(file)
    module = own_class("tied", 10)
    module.load_state_dict(state, strict=True)
    fresh = untrained("net.py:tied", classes=10, image_size=32).module
    assert fresh is not None
    assert not torch.equal(module.head.weight, fresh.head.weight)
    assert torch.equal(module.unread.weight, fresh.unread.weight)

    teacher = load(file, "net.py:tied")
    assert teacher.labels == tuple("0123456789")
    assert teacher.preprocessing.crop == (32, 32)
    assert teacher.preprocessing.origin == f"as in training ({file.name}.json)"
    graph = capture_teacher(teacher)
    assert torch.allclose(
        graph(*teacher.example_inputs), module.eval()(*teacher.example_inputs), atol=1e-5
    )


def test_classes_come_from_the_folder_and_a_seed_decides_the_weights(work: Path) -> None:
    write_classes(work / "data", {"a": 12, "b": 12, "c": 12})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name, seed in (("one", 0), ("again", 0), ("other", 1)):
            train("net.py:small", "data", work / f"{name}.pt", length=Epochs(2), seed=seed)
    finally:
        torch.set_num_threads(threads)
    one, again, other = (
        torch.load(work / f"{name}.pt", weights_only=True) for name in ("one", "again", "other")
    )
    assert one["6.weight"].shape == (3, 8)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["6.weight"], other["6.weight"])
    assert load(work / "one.pt", "net.py:small").labels == ("a", "b", "c")


def test_the_callers_generator_is_left_as_it_was(work: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train("net.py:small", "digits", work / "x.pt", length=Epochs(1))
    assert torch.equal(torch.rand(3), expected)


def test_a_factory_of_another_number_of_classes_is_refused_with_both(work: Path) -> None:
    with pytest.raises(ArchitectureError, match=r"7 outputs, digits has 10 classes.*num_classes"):
        train("net.py:seven", "digits", work / "x.pt", length=Epochs(1))
    assert not (work / "x.pt").exists()


def test_what_is_no_classifier_is_refused(work: Path) -> None:
    with pytest.raises(ArchitectureError, match="give a classifier"):
        train("net.py:maps", "digits", work / "x.pt", length=Epochs(1))


def test_data_that_teach_nothing_are_refused(work: Path) -> None:
    write_classes(work / "one", {"a": 3})
    for data, said in (("synthetic", "no labels"), ("one", "one class folder")):
        with pytest.raises(DataError, match=said):
            train("net.py:small", data, work / "x.pt", length=Epochs(1))
    write_classes(work / "few", {"a": 20, "b": 1})
    with pytest.raises(DataError, match="at least 2 training images"):
        train("net.py:small", "few", work / "x.pt", length=Epochs(1))


def test_a_file_that_is_there_is_kept(work: Path) -> None:
    file = work / "x.pt"
    file.write_text("mine")
    for restart in (False, True):
        with pytest.raises(FolderError, match=r"x\.pt is there already and no teacher of ours"):
            train("net.py:small", "digits", file, length=Epochs(1), restart=restart)
    assert file.read_text() == "mine"
    card_path(work / "y.pt").write_text("{}")
    with pytest.raises(FolderError, match=r"y\.pt\.json is there already and no teacher of ours"):
        train("net.py:small", "digits", work / "y.pt", length=Epochs(1), restart=True)


def test_restart_replaces_a_teacher_of_ours(work: Path) -> None:
    file = work / "x.pt"
    first = train("net.py:small", "digits", file, length=Epochs(1))
    with pytest.raises(FolderError, match="--restart"):
        train("net.py:small", "digits", file, length=Epochs(1))
    assert sha256(file) == first.sha256
    second = train("net.py:small", "digits", file, length=Epochs(1), seed=1, restart=True)
    assert sha256(file) == second.sha256 != first.sha256


@pytest.mark.parametrize(("name", "batch"), [("x.bin", None), ("x.pt", 1)])
def test_senseless_options_are_refused(work: Path, name: str, batch: int | None) -> None:
    with pytest.raises(OptionError):
        train("net.py:small", "digits", work / name, length=Epochs(1), batch_size=batch)


def test_batch_norm_decides_how_a_network_learns() -> None:
    example = (torch.zeros(2, 3, 8, 8),)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4))
    normed = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    fresh = {"normed": FRESH_NORMED, "plain": FRESH_PLAIN}
    assert fitting_settings(capture(plain, example), **fresh) is FRESH_PLAIN
    assert fitting_settings(capture(normed.eval(), example), **fresh) is FRESH_NORMED


def test_batch_norms_too_slow_for_a_short_run_are_quickened(work: Path) -> None:
    code = OWN_CODE.replace("nn.BatchNorm2d(8)", "nn.BatchNorm2d(8, momentum=MOMENTUM)")
    write_colours(work / "colours")
    for number, momentum in enumerate(("0.001", "None")):
        (work / "slow.py").write_text(f"MOMENTUM = {momentum}\n{code}")
        card = train("slow.py:small", "colours", work / f"{number}.pt", length=Epochs(6), seed=3)
        assert card.validation.top1 > 0.8


def test_values_that_do_not_give_the_graphs_answers_are_a_defect(work: Path) -> None:
    fresh = untrained("net.py:small", classes=10, image_size=32)
    trained = capture_teacher(fresh)
    with torch.no_grad():
        trained.tensors["6.bias"].add_(1.0)
    module = give_values(trained, fresh)
    assert torch.equal(module.state_dict()["6.bias"], trained.tensors["6.bias"])
    stranger = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10))
    with pytest.raises(DefectError, match="answers otherwise"):
        give_values(trained, replace(fresh, module=stranger))


def test_two_trainings_of_one_teacher_do_not_meet(work: Path) -> None:
    with (
        held(beside(work / "x.pt"), "compressor train"),
        pytest.raises(SurroundingsError, match="is in use: process"),
    ):
        train("net.py:small", "digits", work / "x.pt", length=Epochs(1))
    assert [path.name for path in work.iterdir()] == ["net.py"]
