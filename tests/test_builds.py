"""Every recipe and form, end to end on digits: it builds, and one that was stopped goes on."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from compressor import building
from compressor.building import pipeline
from compressor.errors import FolderError, OptionError
from compressor.loading import Teacher, load, untrained
from compressor.pacing import Epochs
from compressor.recipes import Recipe
from compressor.recipes.wishes import Wishes, find_recipe
from compressor.types import Budget
from tests.benchmarks.strictness import mistakes
from tests.teachers import write_teacher

NETWORK = """
from torch import nn

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.one = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.two = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.other = nn.BatchNorm2d(width)

    def forward(self, x):
        inner = nn.functional.relu(self.norm(self.one(x)))
        return nn.functional.relu(x + self.other(self.two(inner)))

class Attentive(nn.Module):
    # dropout in front of attention, a head that starts at zero: as in torchvision's ViT
    def __init__(self, classes):
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 4, 4)
        self.drop = nn.Dropout(0.1)
        self.block = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, dropout=0.1)
        self.head = nn.Linear(32, classes)
        nn.init.zeros_(self.head.weight)

    def forward(self, x):
        tokens = self.drop(self.patches(x).flatten(2).transpose(1, 2))
        return self.head(self.block(tokens).mean(1))

def attentive(num_classes=10):
    return Attentive(num_classes)

def small(num_classes=10):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), Block(16),
        nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, num_classes),
    )
"""


@dataclass(frozen=True)
class Case:
    recipe: str
    form: str
    wishes: Wishes = field(default_factory=Wishes)
    sparsity: float = 0.5
    network: str = "small"

    @property
    def name(self) -> str:
        told = (v for n in self.wishes.__slots__ if (v := getattr(self.wishes, n)) is not None)
        return "-".join([self.recipe, self.form, self.network, *map(str, told)])

    def make(self) -> Recipe:
        return find_recipe(self.recipe, self.form, self.sparsity, self.wishes)


PTD = "prune-then-distill"
CASES = [
    Case(PTD, "structured", Wishes(criterion="magnitude", allocation="uniform")),
    Case(
        PTD,
        "structured",
        Wishes(criterion="magnitude", allocation="uniform", student="fresh", distill_from="pruned"),
    ),
    Case(PTD, "faithful"),
    Case("epsd", "structured"),
    Case("epsd", "structured", Wishes(self_distillation="dlb", lookahead=0)),
    Case("epsd", "faithful", Wishes(self_distillation="ps-kd", gradient="full")),
    Case("sdp", "structured"),
    Case("sdp", "structured", Wishes(similarity="kl", units="removed", importance="objective")),
    Case("sdp", "faithful", Wishes(similarity="cosine", unpruned="live", schedule="linear")),
    Case("sdp", "faithful", Wishes(importance="objective")),
    Case("sdp", "structured", network="attentive"),
    Case("epsd", "faithful", Wishes(gradient="full"), network="attentive"),
]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("builds")
    write_teacher(folder, NETWORK, "small", "attentive")
    return folder


def teacher_of(case: Case, work: Path) -> Teacher:
    arch = f"{work / 'net.py'}:{case.network}"
    if case.make().trained_teacher:
        return load(work / f"{case.network}.pt", arch, image_size=16)
    return untrained(arch, classes=10, image_size=16)


def build(case: Case, work: Path, folder: str) -> Path:
    return building.build(
        teacher_of(case, work),
        data="digits",
        recipe=case.make(),
        budget=Budget(sparsity=case.sparsity, multiple_of=1),
        out=work / folder,
        length=Epochs(2),
        sample=64,
        threads=1,
        bench_seconds=0,
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_recipe_builds_and_one_that_was_stopped_after_any_phase_gives_the_same(
    case: Case, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build(case, work, case.name)
    report = json.loads((whole / "report.json").read_bytes())
    assert mistakes(report) == []
    phases = case.make().phases
    assert [phase["name"] for phase in report["recipe"]["phases"]] == [p.name for p in phases]
    assert (report["recipe"]["name"], report["recipe"]["form"]) == (case.recipe, case.form)
    student = load_file(whole / "student.safetensors")
    tolerance = 0.1 if case.form == "faithful" and case.recipe == PTD else 0.01  # rounds of 20 %
    assert report["budget"]["achieved"] == pytest.approx(case.sparsity, abs=tolerance)
    if report["proof"] is None:
        zeros = sum(int((v == 0).sum()) for v in student.values())
        assert report["budget"]["of"] == "weights"
        assert zeros > 0.4 * sum(v.numel() for v in student.values())
        assert report["student"]["parameters"] == report["teacher"]["parameters"]
        assert report["student"]["nonzero_parameters"] < report["student"]["parameters"]
    else:
        assert report["proof"]["passed"]
        assert report["student"]["parameters"] < report["teacher"]["parameters"]
        assert (whole / "plan.json").is_file()

    kept = pipeline.keep_standing
    for stop_after in range(1, len(phases)):
        folder = f"{case.name}-{stop_after}"

        def stop(*arguments: object, last: int = stop_after) -> dict[str, object]:
            facts = kept(*arguments)  # type: ignore[arg-type]
            if facts["done"] > last:
                raise KeyboardInterrupt
            return facts

        with monkeypatch.context() as patched:
            patched.setattr(pipeline, "keep_standing", stop)
            with pytest.raises(KeyboardInterrupt):
                build(case, work, folder)
        again = load_file(build(case, work, folder) / "student.safetensors")
        assert all(torch.equal(value, again[name]) for name, value in student.items())
        assert not (work / folder / "unfinished").exists()


@pytest.mark.slow
def test_a_student_planned_for_a_target_says_so(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRESSOR_CACHE", str(work / "cache"))
    case = Case(PTD, "structured", Wishes(criterion="magnitude", allocation="uniform"))

    def build_for(target: str | None) -> Path:
        return building.build(
            teacher_of(case, work),
            data="digits",
            recipe=case.make(),
            budget=Budget(sparsity=0.4),
            out=work / "targeted",
            length=None,
            sample=64,
            threads=1,
            target=target,
            probe_minutes=0.05,
            bench_seconds=0,
        )

    folder = build_for("onnxruntime:int8")
    report = json.loads((folder / "report.json").read_bytes())
    plan = json.loads((folder / "plan.json").read_bytes())
    assert report["target"]["name"] == "onnxruntime:int8"
    assert report["target"]["environment"]["threads"] == 1
    assert len(plan["groups"]) == report["target"]["groups"]
    assert report["target"]["expected_speedup"] > 0
    assert build_for("onnxruntime:int8") == folder
    with pytest.raises(FolderError, match="target"):
        build_for(None)


@pytest.mark.parametrize(
    "case",
    [
        Case(PTD, "structured", Wishes(criterion="magnitude", student="fresh")),
        Case(PTD, "faithful"),
        Case("epsd", "structured"),
        Case("sdp", "structured"),
    ],
    ids=lambda case: case.name,
)
def test_what_must_train_is_refused_without_training_before_anything_is_written(
    case: Case, work: Path
) -> None:
    folder = work / f"untrained-{case.name}"
    with pytest.raises(OptionError, match="--epochs 0"):
        building.build(
            teacher_of(case, work),
            data="digits",
            recipe=case.make(),
            budget=Budget(sparsity=0.5),
            out=folder,
            length=None,
        )
    assert not folder.exists()


def test_a_fresh_student_needs_code_and_does_not_start_as_its_teacher_did(work: Path) -> None:
    case = Case(PTD, "faithful")
    folder = work / "no-code"
    with pytest.raises(OptionError, match="a fresh start needs the network's own code"):
        building.build(
            replace(teacher_of(case, work), factory=None),
            data="digits",
            recipe=case.make(),
            budget=Budget(sparsity=0.5),
            out=folder,
            length=Epochs(1),
        )
    assert not folder.exists()
    assert building.FRESH_SEEDS > 0
