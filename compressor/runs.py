"""The run folder: whose it is, what is done in it, and writing into it without half-written files.

Comes in: a folder and what the run depends on.  Goes out: a ``Run`` to write into, or a refusal.
``journal.json`` names the inputs (hashed to a key) and the stages whose results are on disk, so
that the same command again continues after the last of them.  Knows nothing of what the stages do.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from compressor import documents
from compressor.errors import FolderError
from compressor.files import UNFINISHED, entries_of, write_bytes
from compressor.locks import LOCK_FILE

FORMAT = 1
JOURNAL = "journal.json"
MANIFEST = "manifest.json"
SIGNATURE = "model.sig"  # the last file, where a key was given


@dataclass(slots=True)
class Run:
    """One run's folder.  ``done``: results of finished stages by name."""

    folder: Path
    key: str
    inputs: Mapping[str, Any]
    done: dict[str, Any] = field(default_factory=dict)
    complete: bool = False

    def begin(self) -> None:
        """Create the folder and its journal; from here on it is ours."""
        self._write_journal()

    def finish(self, stage: str, result: Mapping[str, Any]) -> None:
        """Note that a stage's files are on disk."""
        self.done[stage] = dict(result)
        self._write_journal()

    def write(self, name: str, value: Any) -> Path:
        """Write a value as indented JSON under its final name, whole or not at all."""
        path = self.folder / name
        write_bytes(path, msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")
        return path

    def _write_journal(self) -> None:
        content = {"format": FORMAT, "key": self.key, "inputs": self.inputs, "done": self.done}
        self.write(JOURNAL, content)


def open_run(folder: Path, inputs: Mapping[str, Any], *, restart: bool = False) -> Run:
    """Decide what may happen in ``folder``; nothing is written yet.

    Absent or empty: a new run.  A run of ours with the same inputs: continued, or ``complete``.
    Raises FolderError for anything else.  ``restart`` empties a folder of ours first.
    """
    text = json.dumps(inputs, sort_keys=True)
    inputs = json.loads(text)  # as the journal gives them back
    key = hashlib.sha256(text.encode()).hexdigest()
    fresh = Run(folder=folder, key=key, inputs=inputs)
    journal = _journal_of(folder)
    if journal is None:
        return fresh
    _, others = entries_of(folder)
    if others:  # what is written there would land elsewhere
        raise FolderError(
            f"{folder}/{others[0]} is a link, or no file at all: a run lies in its own folder; "
            "remove it, or name another folder with --out"
        )
    if restart:
        _empty(folder)
        return fresh
    if journal.key != key:
        changed = sorted(
            name
            for name in inputs.keys() | journal.inputs.keys()
            if inputs.get(name) != journal.inputs.get(name)
        )
        raise FolderError(
            f"{folder} holds a run with other inputs ({', '.join(changed)}); name another folder "
            "with --out, or begin anew in it with --restart"
        )
    return Run(
        folder=folder,
        key=key,
        inputs=inputs,
        done=dict(journal.done),
        complete=(folder / MANIFEST).is_file()
        and (not inputs.get("signed") or (folder / SIGNATURE).is_file()),
    )


class _Journal(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    key: str
    inputs: dict[str, Any]
    done: dict[str, dict[str, Any]]


def require_ours(folder: Path) -> None:
    """Raises FolderError for a folder that is neither a run of ours, nor empty, nor absent."""
    _journal_of(folder)


def _journal_of(folder: Path) -> _Journal | None:
    """None for a folder that is absent, or empty but for what a killed run leaves.

    Raises FolderError for one that is not ours.
    """
    if folder.exists() and not folder.is_dir():
        raise FolderError(f"{folder} is a file; name a folder with --out")
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if not above.is_dir():
        raise FolderError(f"{folder} lies in the file {above.name}; name another folder with --out")
    found = [entry.name for entry in folder.iterdir()] if folder.exists() else []
    if all(name == LOCK_FILE or name.startswith(UNFINISHED) for name in found):
        return None
    return _read_journal(folder)


def _empty(folder: Path) -> None:
    """Remove all but the lock.

    What makes a run complete goes first and its journal last: a kill in between leaves a folder of
    ours that nobody takes for a finished one.
    """
    first, last = (MANIFEST, SIGNATURE), (JOURNAL, LOCK_FILE)
    others = [entry.name for entry in folder.iterdir() if entry.name not in (*first, *last)]
    for name in (*first, *others, JOURNAL):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    with suppress(OSError):  # the lock is in it
        folder.rmdir()


def _read_journal(folder: Path) -> _Journal:
    try:
        journal = documents.read_as(folder / JOURNAL, _Journal)
        if journal.format == FORMAT:
            return journal
    except (OSError, ValueError):
        pass
    raise FolderError(
        f"{folder} is not empty and not a run of ours; name another folder with --out"
    )
