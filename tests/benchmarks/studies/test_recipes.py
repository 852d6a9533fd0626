"""The study of every recipe end to end on small pictures: what is due, and equal terms for all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from benchmarks.studies.recipes import __main__ as command
from benchmarks.studies.recipes import study as studies
from benchmarks.studies.recipes.arms import RECIPES, Arm
from benchmarks.studies.recipes.bench import Ground, Outcome, Unscored, open_bench
from benchmarks.studies.recipes.early import planned, preview_of
from benchmarks.studies.recipes.figures import EQUAL, Results
from benchmarks.studies.recipes.pacing import passes_within
from benchmarks.studies.recipes.records import RecipeName, Settings, cell_file, network_file
from benchmarks.studies.recipes.study import Study, fill_minutes, study
from compressor.execution import Standing
from compressor.recipes import epsd

CLASSES, IMAGES, HELD = 3, 30, 18  # of each class; of all


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures whose class is their brightest channel."""
    root = tmp_path_factory.mktemp("study") / "pictures"
    generator = np.random.default_rng(0)
    for number in range(CLASSES):
        folder = root / "train" / f"class{number}"
        folder.mkdir(parents=True)
        for place in range(IMAGES):
            pixels = generator.integers(0, 128, (16, 16, 3), dtype=np.uint8)
            pixels[..., number] += 100
            Image.fromarray(pixels).save(folder / f"{place:03}.png")
    return root


def plan_of(recipe: RecipeName, data: Path, folder: Path, epochs: int = 1) -> Study:
    settings = Settings(
        recipe=recipe,
        network="resnet8",
        sparsity=0.5,
        data=data.name,
        train_images=60,
        test_images=HELD,
        epochs=epochs,
        sample=16,
        steps=2,
    )
    return Study(settings=settings, seeds=1, data=data, folder=folder)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_arm_has_equal_parameters_and_passes_and_is_run_once(
    recipe: RecipeName, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(recipe, data, tmp_path, epochs=3 if recipe == "sdp" else 1)
    cells = study(plan)
    assert [cell.failed for cell in cells] == [""] * len(plan.recipe.arms)
    assert [cell.arm for cell in cells] == [arm.name for arm in plan.recipe.arms]
    found = Results(recipe=plan.recipe, settings=plan.settings, cells=cells)
    assert found.apart <= EQUAL
    for cell, arm in zip(cells, plan.recipe.arms, strict=True):
        assert cell.passes == pytest.approx(arm.passes(plan.settings), rel=0.12)  # whole batches
        assert cell.last.images == HELD
        assert list(cell.stages)[-1] == "trained"
        gone = 1 - cell.params / cell.dense_params
        assert gone == pytest.approx(0.0 if arm.teacher else 0.5, abs=0.02)
    low, high = found.passes
    assert low == high
    if recipe == "sdp":
        assert {cell.facts["steps"] for cell in cells[1:-1]} == {2.0}
        assert all(len(cell.curve) >= 2 for cell in cells[1:])
    if recipe == "epsd":
        assert set(cells[0].facts) == {"added_gradient", "overlap", "overlap_other_batches"}
    # nothing is due, so nothing is opened
    monkeypatch.setattr(studies, "open_bench", None)
    assert study(replace(plan, data=Path("no such folder"))) == cells


class Called:
    """Stands for an arm: notes that it was run; may fail."""

    def __init__(self) -> None:
        self.count = 0
        self.fails = True

    def __call__(self, ground: Ground) -> Outcome:
        self.count += 1
        if self.fails:
            raise ValueError("not today\nnor tomorrow")
        raise AssertionError("no outcome is needed here")


def test_a_cell_that_fails_says_why_and_is_tried_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = Called()
    arm = Arm(name="only", title="Only", run=called)
    recipe = replace(RECIPES["epsd"], arms=(arm,))
    monkeypatch.setattr(studies, "RECIPES", {"epsd": recipe})
    plan = plan_of("epsd", data, tmp_path)
    assert [cell.failed for cell in study(plan)] == ["ValueError: not today"]
    study(plan)
    assert called.count == 2
    assert study(replace(plan, seeds=0)) == ()


def test_a_teacher_is_made_again_where_students_miss_its_values(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = tuple(arm for arm in RECIPES["sdp"].arms if arm.name in ("dense", "ce", "one-shot"))
    monkeypatch.setattr(studies, "RECIPES", {"sdp": replace(RECIPES["sdp"], arms=arms)})
    plan = plan_of("sdp", data, tmp_path)
    first = study(plan)
    network_file(tmp_path, plan.settings, 0, "dense").unlink()
    capsys.readouterr()
    assert study(plan) == first  # no student is left to teach
    cell_file(tmp_path, plan.settings, 0, "ce").unlink()
    again = study(plan)
    told = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0].split()[-1] for line in told] == ["dense", "ce"]
    assert [cell.stages for cell in again] == [cell.stages for cell in first]  # the same weights


def test_other_settings_are_another_study(data: Path, tmp_path: Path) -> None:
    plan = plan_of("epsd", data, tmp_path)
    other = msgspec.structs.replace(plan.settings, epochs=2)
    assert other.key != plan.settings.key
    path = cell_file(tmp_path, plan.settings, 0, "epsd")
    assert path == cell_file(tmp_path, other, 0, "epsd")
    assert network_file(tmp_path, plan.settings, 0, "dense") != network_file(
        tmp_path, other, 0, "dense"
    )


def test_epsd_here_chooses_what_the_recipe_chooses(data: Path, tmp_path: Path) -> None:
    plan = plan_of("epsd", data, tmp_path)
    ground = Ground(bench=open_bench(plan.settings, data, tmp_path), seed=0)
    made = planned(ground, preview_of(ground, 0))
    fresh = ground.fresh(0)
    site = ground.site(fresh, Unscored())
    phase = epsd(plan.settings.self_distillation).phases[0]
    found = ground.follow((phase,), site, 1, Standing(student=fresh)).plan
    assert found == made


def test_minutes_become_passes_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of("epsd", data, tmp_path)
    # 4 arms of 60 images: 2.4 s a pass, and 8 scorings of 18 images
    monkeypatch.setattr(studies, "measure", lambda bench: (0.01, 0.001))
    filled = fill_minutes(plan, 0.5)
    spent = 4 * filled.settings.epochs * 0.6 + 8 * HELD * 0.001
    assert spent <= 0.9 * 30 < spent + 2.4
    monkeypatch.setattr(studies, "measure", lambda bench: (1.0, 1.0))
    assert fill_minutes(plan, 0.5) == filled
    assert passes_within(plan.recipe, plan.settings, 1, 1.0, 1.0, 1.0) == 1


def test_the_command_writes_the_page_and_refuses_what_is_no_study(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    asked = ["recipes", "--recipe", "epsd", "--data", str(data), "--test-images", str(HELD)]
    asked += ["--out", str(tmp_path), "--page", str(page), "--threads", "1"]
    monkeypatch.setattr(command, "study", lambda plan: ())
    monkeypatch.setattr("sys.argv", [*asked, "--epochs", "2"])
    command.main()
    assert "Nothing has been compared yet" in page.read_text()
    assert "--epochs 2" in page.read_text()
    assert str(tmp_path) not in page.read_text()
    monkeypatch.setattr("sys.argv", [*asked, "--sparsity", "1.5"])
    with pytest.raises(SystemExit) as end:
        command.main()
    assert end.value.code == 2
    assert "--sparsity 1.5" in capsys.readouterr().err
