"""Whose a run folder is, and what may happen in it."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from compressor.building.claiming import claimed
from compressor.errors import BudgetError, FolderError, SurroundingsError
from compressor.files import WRITING
from compressor.locks import LOCK_FILE
from compressor.runs import Run, open_run, require_ours
from compressor.watching import Silent

INPUTS = {"teacher": "abc", "seed": 0}


def test_absent_and_empty_folders_are_new_runs(tmp_path: Path) -> None:
    assert not open_run(tmp_path / "absent", INPUTS).complete
    assert open_run(tmp_path, INPUTS).done == {}


def test_opening_writes_nothing(tmp_path: Path) -> None:
    open_run(tmp_path / "run", INPUTS)
    assert not (tmp_path / "run").exists()


def test_same_inputs_continue_after_finished_stages(tmp_path: Path) -> None:
    run = open_run(tmp_path / "run", INPUTS)
    run.begin()
    run.finish("trained", {"top1": 0.5})
    again = open_run(tmp_path / "run", INPUTS)
    assert again.finished("trained") == {"top1": 0.5}
    assert again.finished("exported") is None
    assert not again.complete


def test_a_stage_is_done_while_what_it_depends_on_and_its_files_stay(tmp_path: Path) -> None:
    run = open_run(tmp_path, INPUTS)
    run.begin()
    run.write("onnx/student.onnx", [1, 2])
    run.finish("exported", {}, depends_on=["abc", 1], files=["onnx/student.onnx"])
    again = open_run(tmp_path, INPUTS)
    assert again.finished("exported", ["abc", 1]) == {}
    assert again.finished("exported", ["abc", 2]) is None
    before = again.mark("exported")
    (tmp_path / "onnx/student.onnx").write_text("[1, 3]")
    assert again.finished("exported", ["abc", 1]) is None
    run.finish("exported", {}, depends_on=["abc", 1], files=["onnx/student.onnx"])
    assert run.mark("exported") != before
    (tmp_path / "onnx/student.onnx").unlink()
    assert run.finished("exported", ["abc", 1]) is None


def test_what_a_killed_process_left_half_written_is_swept(tmp_path: Path) -> None:
    left = tmp_path / ".writing-abc"
    left.mkdir()
    (left / "journal.json").write_text("{")
    _begin(tmp_path)  # killed as it began
    deep = tmp_path / "onnx/.writing-def"
    deep.mkdir(parents=True)
    _begin(tmp_path)
    assert {path.name for path in tmp_path.rglob("*")} == {"onnx", "journal.json"}


def _begin(folder: Path) -> None:
    with claimed(folder, INPUTS, device="cpu", restart=False, listener=Silent()) as run:
        run.begin()


def test_refused_input_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    for folder, existed in ((tmp_path / "new", False), (tmp_path / "empty", True)):
        if existed:
            folder.mkdir()
        with pytest.raises(BudgetError):
            _refuse(open_run(folder, INPUTS))
        assert folder.exists() == existed
        assert not existed or not any(folder.iterdir())
    open_run(tmp_path / "begun", INPUTS).begin()
    with pytest.raises(BudgetError):
        _refuse(open_run(tmp_path / "begun", INPUTS), "target")
    assert open_run(tmp_path / "begun", INPUTS).finished("target") == {}  # days may be in it
    with pytest.raises(BudgetError):
        _refuse(open_run(tmp_path / "far", INPUTS), "phases")
    assert open_run(tmp_path / "far", INPUTS).finished("phases") == {}


def test_refused_input_leaves_a_locked_folder_to_its_lock(tmp_path: Path) -> None:
    for folder, existed in ((tmp_path / "new", False), (tmp_path / "empty", True)):
        if existed:
            folder.mkdir()
        with claimed(folder, INPUTS, device="cpu", restart=False, listener=Silent()) as run:
            with pytest.raises(BudgetError):
                _refuse(run)
            assert [path.name for path in folder.iterdir()] == [LOCK_FILE]
        assert folder.exists() == existed
        assert not existed or not any(folder.iterdir())


def _refuse(run: Run, *stages: str) -> None:
    with run.withdrawing():
        run.begin()
        for stage in stages:
            run.finish(stage, {})
        raise BudgetError("out of reach")


def test_a_journal_changed_by_hand_is_refused_but_can_be_begun_anew(tmp_path: Path) -> None:
    run = open_run(tmp_path, INPUTS)
    run.begin()
    run.finish("phases", {"loss": float("nan"), "shares": (0.1, 1)})
    assert open_run(tmp_path, INPUTS).finished("phases") == {"loss": None, "shares": [0.1, 1]}
    text = (tmp_path / "journal.json").read_text()
    (tmp_path / "journal.json").write_text(text.replace("0.1", "0.2"))
    with pytest.raises(FolderError, match=r"not as it was written.*--restart"):
        open_run(tmp_path, INPUTS)
    assert open_run(tmp_path, INPUTS, restart=True).done == {}


def test_a_run_of_the_format_before_is_ours_and_its_stages_are_done_anew(tmp_path: Path) -> None:
    run = open_run(tmp_path, INPUTS)
    run.begin()
    run.finish("phases", {})
    text = (tmp_path / "journal.json").read_text()
    (tmp_path / "journal.json").write_text(text.replace('"format": 2', '"format": 1'))
    assert open_run(tmp_path, INPUTS).done == {}
    (tmp_path / "manifest.json").write_text("{}")
    assert open_run(tmp_path, INPUTS).complete


def test_a_run_with_its_manifest_is_complete(tmp_path: Path) -> None:
    run = open_run(tmp_path, INPUTS)
    run.begin()
    (tmp_path / "manifest.json").write_text("{}")
    assert open_run(tmp_path, INPUTS).complete


def test_other_inputs_are_refused_and_named(tmp_path: Path) -> None:
    run = open_run(tmp_path, INPUTS)
    run.begin()
    assert open_run(tmp_path, {**INPUTS, "seed": 1}).done == {}  # nothing is lost yet
    run.finish("trained", {})
    with pytest.raises(FolderError, match=r"other inputs \(seed\)"):
        open_run(tmp_path, {**INPUTS, "seed": 1})


def test_what_only_the_export_depends_on_may_change_until_the_report(tmp_path: Path) -> None:
    run = open_run(tmp_path, {**INPUTS, "opset": 20})
    run.begin()
    run.finish("phases", {"top1": 0.5})
    other = open_run(tmp_path, {**INPUTS, "opset": 21})
    assert other.finished("phases") == {"top1": 0.5}
    with pytest.raises(FolderError, match=r"other inputs \(opset, seed\); name"):
        open_run(tmp_path, {"teacher": "abc", "seed": 1, "opset": 21})
    other.finish("report", {})
    assert "report" in open_run(tmp_path, {**INPUTS, "opset": 21}).done
    with pytest.raises(FolderError, match=r"\(opset\); compressor export writes its files anew"):
        open_run(tmp_path, {**INPUTS, "opset": 20})


@pytest.mark.parametrize("content", ["", "not json", '{"format": 99}', "[]"])
def test_a_folder_that_is_not_ours_is_refused_and_untouched(tmp_path: Path, content: str) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    if content:
        (tmp_path / "journal.json").write_text(content)
    for restart in (False, True):
        with pytest.raises(FolderError, match="not a run of ours"):
            open_run(tmp_path, INPUTS, restart=restart)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(FolderError, match="is a file"):
        open_run(tmp_path / "run", INPUTS)


def test_restart_empties_a_folder_of_ours(tmp_path: Path) -> None:
    run = open_run(tmp_path / "run", INPUTS)
    run.begin()
    run.finish("trained", {})
    again = open_run(tmp_path / "run", {**INPUTS, "seed": 1}, restart=True)
    assert again.done == {}
    again.begin()
    with again.withdrawing():
        again.finish("phases", {})
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"journal.json"}
    assert open_run(tmp_path / "run", {**INPUTS, "seed": 1}).done.keys() == {"phases"}


def test_a_restart_of_refused_input_leaves_the_earlier_run(tmp_path: Path) -> None:
    run = open_run(tmp_path, INPUTS)
    run.begin()
    for name in ("manifest.json", "onnx/student.onnx"):
        run.write(name, {"is": "whole"})
    run.finish("phases", {}, files=("onnx/student.onnx",))

    before, others = contents(tmp_path), {**INPUTS, "sparsity": 0.99}
    with (
        claimed(tmp_path, others, device="cpu", restart=True, listener=Silent()) as again,
        pytest.raises(BudgetError),
    ):
        _refuse(again, "target")
    assert contents(tmp_path) == before
    assert open_run(tmp_path, INPUTS).complete
    with (
        claimed(tmp_path, others, device="cpu", restart=True, listener=Silent()) as again,
        pytest.raises(BudgetError),
    ):
        _refuse(again, "phases")  # of which days may have come
    assert open_run(tmp_path, others).done.keys() == {"phases"}
    assert {path.name for path in tmp_path.iterdir()} == {"journal.json"}


def test_what_a_kill_leaves_of_a_first_write_is_no_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).touch()
    (tmp_path / f"{WRITING}journal.json-1").mkdir()
    assert open_run(tmp_path, INPUTS).done == {}
    require_ours(tmp_path)
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(FolderError, match="not a run of ours"):
        require_ours(tmp_path)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != LOCK_FILE
    }


@pytest.mark.parametrize("refused", [False, True], ids=["put aside", "given back"])
def test_a_restart_that_is_stopped_anywhere_gives_the_earlier_run_back(
    tmp_path: Path, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is put aside, or while it comes back because the new run's input was refused."""
    rename = Path.rename
    for number in range(1, 20):
        folder = tmp_path / str(number)
        run = open_run(folder, INPUTS)
        run.begin()
        for name in ("manifest.json", "model.sig", "a", "onnx/b"):
            run.write(name, {"is": "whole"})
        run.finish("report", {})
        before = contents(folder)
        left = [number]

        def stopping(path: Path, target: Path, left: list[int] = left) -> Path:
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            return rename(path, target)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", stopping)
            with suppress(KeyboardInterrupt, BudgetError):
                _restart(folder, refused)
        stopped = left[0] <= 0
        if not stopped and not refused:
            assert number == 6  # five things had to move
            assert contents(folder).keys() == {"journal.json"}
            break
        if left[0] > 0:
            assert number == 11  # there and back
            break
        require_ours(folder)
        with claimed(folder, INPUTS, device="cpu", restart=False, listener=Silent()) as again:
            assert again.complete
        if again.done:
            assert contents(folder) == before
    else:
        pytest.fail("it never came to its end")


def _restart(folder: Path, refused: bool) -> None:
    inputs = {**INPUTS, "seed": 1}
    with claimed(folder, inputs, device="cpu", restart=True, listener=Silent()) as run:
        if refused:
            _refuse(run)
        with run.withdrawing():
            run.begin()


def test_what_a_restart_put_aside_goes_where_another_run_has_begun(tmp_path: Path) -> None:
    open_run(tmp_path, INPUTS).begin()
    (tmp_path / "plan.json").touch()
    others = {**INPUTS, "seed": 1}
    with claimed(tmp_path, others, device="cpu", restart=True, listener=Silent()) as run:
        run.begin()
        run.finish("target", {})
    assert (tmp_path / ".writing-replaced/plan.json").exists()  # it was killed
    with claimed(tmp_path, others, device="cpu", restart=False, listener=Silent()) as run:
        assert run.done.keys() == {"target"}
    assert contents(tmp_path).keys() == {"journal.json"}


def test_a_refused_input_empties_no_folder_that_is_anothers_by_now(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def refused_late() -> None:
        with (
            claimed(folder, INPUTS, device="cpu", restart=False, listener=Silent()) as run,
            run.withdrawing(),
        ):
            run.begin()
            shutil.rmtree(folder)
            folder.mkdir()
            (folder / "thesis.tex").touch()
            raise BudgetError("out of reach")

    with pytest.raises(SurroundingsError, match="was deleted or moved"):
        refused_late()
    assert (folder / "thesis.tex").exists()


def test_a_run_is_told_of_other_versions_and_finished_by_its_own_compressor(
    tmp_path: Path,
) -> None:
    old = {"compressor": "0.1.0", "torch": "2.14.0", "numpy": "2.4"}
    run = open_run(tmp_path, INPUTS, old)
    run.begin()
    run.finish("phases", {})
    assert open_run(tmp_path, INPUTS, old).upgrades == ()
    newer = {"compressor": "0.1.0", "torch": "2.15.0", "onnx": "1.23"}
    again = open_run(tmp_path, INPUTS, newer)
    told = "the run was continued with other versions: "
    told += "numpy 2.4 -> absent, onnx absent -> 1.23, torch 2.14.0 -> 2.15.0"
    assert again.upgrades == (told,)
    again.finish("export", {})
    assert open_run(tmp_path, INPUTS, newer).upgrades == (told,)
    with pytest.raises(FolderError, match=r"of compressor 0\.1\.0, and this is 0\.2\.0; go on"):
        open_run(tmp_path, INPUTS, {**newer, "compressor": "0.2.0"})
    (tmp_path / "manifest.json").touch()
    assert open_run(tmp_path, INPUTS, {**newer, "compressor": "0.2.0"}).complete
