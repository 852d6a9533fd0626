"""Whose a run folder is, and what may happen in it."""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path

import pytest

from compressor.errors import FolderError
from compressor.files import UNFINISHED
from compressor.locks import LOCK_FILE
from compressor.runs import open_run, require_ours

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
    assert again.done == {"trained": {"top1": 0.5}}
    assert not again.complete


def test_a_run_with_its_manifest_is_complete(tmp_path: Path) -> None:
    run = open_run(tmp_path, INPUTS)
    run.begin()
    (tmp_path / "manifest.json").write_text("{}")
    assert open_run(tmp_path, INPUTS).complete


def test_other_inputs_are_refused_and_named(tmp_path: Path) -> None:
    open_run(tmp_path, INPUTS).begin()
    with pytest.raises(FolderError, match=r"other inputs \(seed\)"):
        open_run(tmp_path, {**INPUTS, "seed": 1})


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
    assert not (tmp_path / "run").exists()


def test_what_a_kill_leaves_of_a_first_write_is_no_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).touch()
    (tmp_path / f"{UNFINISHED}journal.json-1").mkdir()
    assert open_run(tmp_path, INPUTS).done == {}
    require_ours(tmp_path)
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(FolderError, match="not a run of ours"):
        require_ours(tmp_path)


def test_a_restart_that_is_stopped_anywhere_leaves_a_folder_of_ours_that_is_not_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink
    for number in range(1, 10):
        folder = tmp_path / str(number)
        run = open_run(folder, INPUTS)
        run.begin()
        for name in ("manifest.json", "model.sig", "a", LOCK_FILE):
            (folder / name).touch()
        (folder / "onnx").mkdir()
        assert open_run(folder, INPUTS).complete
        left = number

        def refuse(path: Path, **named: bool) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise OSError(errno.EROFS, "Read-only file system", str(path))
            unlink(path, **named)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", refuse)
            with suppress(OSError):
                open_run(folder, INPUTS, restart=True)
        if left > 0:  # nothing failed
            break
        assert number == 1 or not open_run(folder, INPUTS).complete
    assert number == 5
    assert [path.name for path in folder.iterdir()] == [LOCK_FILE]
    assert open_run(folder, INPUTS).done == {}
