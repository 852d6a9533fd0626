"""The study end to end on a small network: what is due, what failed, and the same work for both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.studies import peers
from benchmarks.studies.networks.cifar import ResNet
from benchmarks.studies.peers_bench import Bench
from benchmarks.studies.peers_plan import Study, results
from benchmarks.studies.peers_records import (
    ARMS,
    NETWORKS,
    STAGE_WIDTHS,
    Arm,
    Cell,
    Network,
    Settings,
)
from compressor.errors import LoadError
from tests.benchmarks.studies.peers_made_up import latency

CLASSES, TRAIN, TEST = 3, 20, 8  # images of each class
TINY = """
from benchmarks.studies.networks.cifar import ResNet

def tiny(num_classes=3):
    return ResNet(8, num_classes)
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Pictures whose class is their brightest channel."""
    generator = np.random.default_rng(0)
    for part, count in (("train", TRAIN), ("test", TEST)):
        for number in range(CLASSES):
            folder = tmp_path / "pictures" / part / f"class{number}"
            folder.mkdir(parents=True)
            for place in range(count):
                pixels = generator.integers(0, 128, (32, 32, 3), dtype=np.uint8)
                pixels[..., number] += 100
                Image.fromarray(pixels).save(folder / f"{place}.png")
    return tmp_path / "pictures"


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    code, file = tmp_path / "tiny.py", tmp_path / "tiny.pt"
    code.write_text(TINY)
    monkeypatch.setattr(Network, "architecture", property(lambda network: f"{code}:tiny"))
    torch.manual_seed(0)
    torch.save(ResNet(8, CLASSES).state_dict(), file)
    return {"tiny": file}


@pytest.fixture
def plan(tmp_path: Path) -> Study:
    return Study(
        networks=(Network(name="tiny", title="Tiny", ignored=STAGE_WIDTHS),),
        sparsities=(0.4,),
        seeds=1,
        arms=ARMS,
        settings=Settings(
            data="pictures",
            epochs=1,
            train_images=32,
            validation_images=6,
            sample=16,
            bench_seconds=0.1,
        ),
        folder=tmp_path / "study",
    )


def named(*names: str) -> tuple[Arm, ...]:
    return tuple(arm for arm in ARMS if arm.name in names)


class Called:
    """Stands for the cells: notes which were run; those of one arm may fail."""

    def __init__(self, failing: str = "") -> None:
        self.cells: list[tuple[int, str]] = []
        self.failing = failing

    def __call__(self, bench: Bench, sparsity: float, seed: int, arm: Arm) -> Cell:
        self.cells.append((seed, arm.name))
        if arm.name == self.failing:
            raise ValueError("not today\nnor tomorrow")
        return Cell(network="tiny", sparsity=sparsity, seed=seed, arm=arm.name, key=bench.key)


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Called:
    found = Called()
    monkeypatch.setattr(peers, "run_cell", found)
    monkeypatch.setattr(peers, "timed", lambda bench, first, second: latency("faster", 1.2))
    return found


def test_a_study_goes_on_where_it_was(
    plan: Study, weights: dict[str, Path], data: Path, called: Called
) -> None:
    peers.study(plan, weights, str(data))
    assert called.cells == [(0, arm.name) for arm in ARMS]
    more = replace(plan, seeds=2)
    found = peers.study(more, weights, str(data))
    assert called.cells[len(ARMS) :] == [(1, arm.name) for arm in ARMS]
    assert (len(found.cells), len(found.pairs)) == (2 * len(ARMS), 2 * 4)
    peers.study(more, weights, "no such folder")  # nothing is due, so nothing is opened
    assert len(called.cells) == 2 * len(ARMS)


def test_other_settings_are_another_study(
    plan: Study, weights: dict[str, Path], data: Path, called: Called
) -> None:
    peers.study(plan, weights, str(data))
    other = replace(
        plan,
        settings=Settings(
            data="pictures", epochs=2, train_images=32, validation_images=6, sample=16
        ),
    )
    assert results(other, weights).cells == ()
    peers.study(other, weights, str(data))
    assert len(called.cells) == 2 * len(ARMS)


def test_a_cell_that_fails_says_why_and_is_tried_again(
    plan: Study, weights: dict[str, Path], data: Path, called: Called
) -> None:
    called.failing = "tp-taylor"
    found = peers.study(plan, weights, str(data))
    failed = [cell for cell in found.cells if cell.failed]
    assert [(cell.arm, cell.failed) for cell in failed] == [("tp-taylor", "ValueError: not today")]
    assert {pair.second for pair in found.pairs} == {"tp-magnitude"}
    called.failing = ""
    found = peers.study(plan, weights, str(data))
    assert not any(cell.failed for cell in found.cells)
    assert called.cells[len(ARMS) :] == [(0, "tp-taylor")]


def test_our_restricted_arm_is_left_out_where_nothing_is_restricted(plan: Study) -> None:
    free = plan.arms_of(Network(name="tiny", title="Tiny"))
    assert [arm.name for arm in free] == [arm.name for arm in ARMS if arm.name != "ours-inner"]


@pytest.mark.slow
def test_both_tools_meet_the_same_costs_and_answer_after_every_stage(
    plan: Study, weights: dict[str, Path], data: Path
) -> None:
    arms = named("ours-inner", "tp-magnitude", "tp-magnitude-refit")
    found = peers.study(replace(plan, arms=arms), weights, str(data))
    assert [cell.failed for cell in found.cells] == ["", "", ""]
    ours, theirs, refitted = found.cells
    assert abs(ours.gone - theirs.gone) < 0.025  # a channel of this network: 2.4 points
    assert (theirs.macs, theirs.params) == (refitted.macs, refitted.params)
    assert theirs.stages["cut"] == refitted.stages["cut"]
    for cell in found.cells:
        assert set(cell.stages) == {"cut", "repaired", "trained"}
        assert {one.images for one in cell.stages.values()} == {CLASSES * TEST}
        assert cell.epochs == pytest.approx(1.0)
        assert cell.seconds["prune"] > 0
        assert cell.latency is not None
    assert [(pair.first, pair.second) for pair in found.pairs] == [("ours-inner", "tp-magnitude")]


def test_weights_that_are_named_nowhere_are_asked_for(tmp_path: Path) -> None:
    given = peers.find_weights(NETWORKS[:1], [], tmp_path)
    assert given == {"resnet20": tmp_path / NETWORKS[0].weights}
    with pytest.raises(LoadError, match="--teacher resnet20=FILE, --data-root"):
        peers.find_weights(NETWORKS[:1], [], None)
    with pytest.raises(LoadError, match=r"--teacher vgg16_bn=FILE$"):
        peers.find_weights(NETWORKS[2:3], [], tmp_path)
    named_file = peers.find_weights(NETWORKS[2:3], ["vgg16_bn=a=b.pt"], None)
    assert named_file == {"vgg16_bn": Path("a=b.pt")}


def test_an_unknown_network_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["peers", "--data", "folder", "--networks", "resnet9000"])
    with pytest.raises(SystemExit) as end:
        peers.main()
    assert end.value.code == 2
    assert "resnet9000" in capsys.readouterr().err
