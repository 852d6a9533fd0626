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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from compressor import documents
from compressor.errors import FolderError, SurroundingsError
from compressor.files import write_bytes

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
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SurroundingsError(f"{self.folder} cannot be created: {error.strerror}") from error
        self._write_journal()

    def finish(self, stage: str, result: Mapping[str, Any]) -> None:
        """Note that a stage's files are on disk."""
        self.done[stage] = dict(result)
        self._write_journal()

    def write(self, name: str, value: Any) -> Path:
        """Write a value as indented JSON under its final name, whole or not at all."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
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
    if folder.exists() and not folder.is_dir():
        raise FolderError(f"{folder} is a file; name a folder with --out")
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if not above.is_dir():
        raise FolderError(f"{folder} lies in the file {above.name}; name another folder with --out")
    if not folder.exists() or not any(folder.iterdir()):
        return fresh
    journal = _read_journal(folder)
    if restart:
        shutil.rmtree(folder)
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
