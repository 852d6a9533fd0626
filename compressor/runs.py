"""The run folder: whose it is, what is done in it, and writing into it without half-written files.

Comes in: a folder and what the run depends on.  Goes out: a ``Run`` to write into, or a refusal.
``journal.json`` names the inputs (hashed to a key) and the stages whose results are on disk, each
with the hash of what it depends on and of its files, so that the same command again continues after
the last of them.  ``unfinished/`` holds what only an unfinished run needs.  Knows nothing of what
the stages do.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from compressor import documents
from compressor.errors import FolderError, InputError
from compressor.files import WRITING, entries_of, remove, sha256, write_bytes
from compressor.locks import LOCK_FILE, require_held

FORMAT = 2  # 2: keys and files of stages; what a run of format 1 has not finished is done anew
JOURNAL = "journal.json"
MANIFEST = "manifest.json"
SIGNATURE = "model.sig"  # the last file, where a key was given
UNFINISHED = "unfinished"
OF_EXPORT = ("opset", "triton", "signed")  # inputs that nothing depends on before the export
_REPLACED = f"{WRITING}replaced"  # what a restart put aside, until its own input is accepted


@dataclass(slots=True)
class Run:
    """One run's folder.  ``done``: entries of finished stages by name (``finish``)."""

    folder: Path
    key: str
    inputs: Mapping[str, Any]
    done: dict[str, Any] = field(default_factory=dict)
    complete: bool = False
    versions: tuple[Mapping[str, str], ...] = ()  # that worked on it, one after the other

    @property
    def upgrades(self) -> tuple[str, ...]:
        """What changed while the run was stopped, for its report."""
        told = []
        for before, after in pairwise(self.versions):
            changed = [
                f"{name} {before.get(name, 'absent')} -> {after.get(name, 'absent')}"
                for name in sorted(before.keys() | after.keys())
                if before.get(name) != after.get(name)
            ]
            told.append(f"the run was continued with other versions: {', '.join(changed)}")
        return tuple(told)

    @property
    def unfinished(self) -> Path:
        """The folder of what the run goes on from, which a complete run has not."""
        return self.folder / UNFINISHED

    def begin(self) -> None:
        """Create the folder and its journal; from here on it is ours."""
        self._write_journal()

    def finish(
        self,
        stage: str,
        result: Mapping[str, Any],
        *,
        depends_on: Any = None,
        files: Sequence[str] = (),
    ) -> None:
        """Note that a stage is over, of what it was made and which ``files`` it left on disk."""
        kept = {name: sha256(self.folder / name) for name in files}
        plain = msgspec.json.decode(msgspec.json.encode(result))  # as the journal gives it back
        self.done[stage] = {"key": _key(depends_on), "result": plain, "files": kept}
        self._write_journal()

    def finished(self, stage: str, depends_on: Any = None) -> Mapping[str, Any] | None:
        """The result of a stage; None where it was not finished, depended on something else, or
        left files that are no longer there as they were."""
        entry = self.done.get(stage)
        if entry is None or entry["key"] != _key(depends_on):
            return None
        if not all(self._is_as_left(*file) for file in entry["files"].items()):
            return None
        found: Mapping[str, Any] = entry["result"]
        return found

    @property
    def intact(self) -> bool:
        """Whether all that finished stages left is as it was, but for what goes in the end."""
        return all(
            self._is_as_left(name, digest)
            for entry in self.done.values()
            for name, digest in entry["files"].items()
            if not name.startswith(f"{UNFINISHED}/")
        )

    def _is_as_left(self, name: str, digest: str) -> bool:
        path = self.folder / name
        return path.is_file() and sha256(path) == digest

    def mark(self, stage: str) -> str:
        """What a later stage depends on that uses this one's files."""
        entry = self.done[stage]
        return _key([entry["key"], entry["files"]])

    def seen(self) -> str:
        """A hash of how far the run is, in the eyes of this process."""
        files = sorted(path for path in self.unfinished.rglob("*.safetensors") if path.is_file())
        sizes = [(path.relative_to(self.folder).as_posix(), path.stat().st_size) for path in files]
        return _key([self.done, sizes])

    def forget_unfinished(self) -> None:
        """From now on the folder goes on from its report alone."""
        shutil.rmtree(self.unfinished, ignore_errors=True)

    @contextmanager
    def withdrawing(self) -> Iterator[None]:
        """Where the input of a run that begins here is refused before a phase is over, the folder
        is as it was before, with the run that a restart put aside; one that is continued stays as
        it is."""
        existed, ours = self.folder.exists(), (self.folder / JOURNAL).exists()
        try:
            yield
        except InputError:
            if not ours and "phases" not in self.done and self.folder.exists():
                self._withdraw()
                if not existed:
                    with suppress(OSError):  # the lock is in it
                        self.folder.rmdir()
            else:
                self._forget_replaced()
            raise
        self._forget_replaced()

    def _withdraw(self) -> None:
        require_held(self.folder / JOURNAL)  # else it is another one's by now
        if (self.folder / _REPLACED).exists():
            (self.folder / JOURNAL).unlink(missing_ok=True)
        _empty(self.folder)
        give_back(self.folder)

    def _forget_replaced(self) -> None:
        require_held(self.folder / JOURNAL)
        shutil.rmtree(self.folder / _REPLACED, ignore_errors=True)

    def write(self, name: str, value: Any) -> Path:
        """Write a value as indented JSON under its final name, whole or not at all."""
        path = self.folder / name
        write_bytes(path, msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")
        return path

    def _write_journal(self) -> None:
        content = {
            "format": FORMAT,
            "key": self.key,
            "inputs": self.inputs,
            "versions": self.versions,
            "done": self.done,
        }
        self.write(JOURNAL, {**content, "sha256": _key(content)})


def open_run(
    folder: Path,
    inputs: Mapping[str, Any],
    versions: Mapping[str, str] = MappingProxyType({}),
    *,
    restart: bool = False,
) -> Run:
    """Decide what may happen in ``folder``; nothing is written yet.

    Absent or empty: a new run.  A run of ours with the same inputs: continued, or ``complete``.
    ``versions``: of what does the work; another compressor may finish differently what this one
    began, so that an unfinished run of another one is refused.
    An unfinished run may go on with other inputs ``OF_EXPORT``, until its report is done.
    Raises FolderError for anything else.  ``restart``: what is in a folder of ours is put aside,
    for as long as the new run is ``withdrawing``.
    """
    text = json.dumps(inputs, sort_keys=True)
    inputs = json.loads(text)  # as the journal gives them back
    key = _key(inputs)
    fresh = Run(folder=folder, key=key, inputs=inputs, versions=(dict(versions),))
    held = _held(folder)
    if not held:
        return fresh
    journal = _read_journal(folder)
    _, others = entries_of(folder)
    if others:  # what is written there would land elsewhere
        raise FolderError(
            f"{folder}/{others[0]} is a link, or no file at all: a run lies in its own folder; "
            "remove it, or name another folder with --out"
        )
    if restart:
        _put_aside(folder)
        return fresh
    if held == [JOURNAL] and not journal.done:
        return fresh  # it was stopped before anything was done
    if not journal.as_written:
        raise FolderError(
            f"{folder}/{JOURNAL} is not as it was written; name another folder with --out, or "
            "begin anew in it with --restart"
        )
    if journal.key != key:
        changed = sorted(
            name
            for name in inputs.keys() | journal.inputs.keys()
            if inputs.get(name) != journal.inputs.get(name)
        )
        late = set(changed) <= set(OF_EXPORT)
        if not late or "report" in journal.done:
            written = "; compressor export writes its files anew" if late else ""
            raise FolderError(
                f"{folder} holds a run with other inputs ({', '.join(changed)}){written}; name "
                "another folder with --out, or begin anew in it with --restart"
            )
    complete = (
        (folder / JOURNAL).is_file()  # else a restart was stopped
        and (folder / MANIFEST).is_file()
        and (not inputs.get("signed") or (folder / SIGNATURE).is_file())
    )
    before = journal.versions[-1] if journal.versions else versions
    ours, own = before.get("compressor"), versions.get("compressor")
    if not complete and None not in (ours, own) and ours != own:
        raise FolderError(
            f"{folder} holds an unfinished run of compressor {ours}, and this is {own}; go on with "
            "that version, or begin anew with --restart"
        )
    return Run(
        folder=folder,
        key=key,
        inputs=inputs,
        done=dict(journal.done),
        complete=complete,
        versions=(*journal.versions, *([dict(versions)] if before != versions else [])),
    )


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A stage that is over."""

    key: str
    result: dict[str, Any]
    files: dict[str, str]


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    """The file.  ``sha256``: of all else in it."""

    format: int
    key: str
    inputs: dict[str, Any]
    done: dict[str, dict[str, Any]]
    versions: list[dict[str, str]] = []
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Journal:
    key: str
    inputs: dict[str, Any]
    done: dict[str, dict[str, Any]]
    versions: tuple[Mapping[str, str], ...] = ()
    as_written: bool


def require_ours(folder: Path) -> None:
    """Raises FolderError for a folder that is neither a run of ours, nor empty, nor absent."""
    if _held(folder):
        _read_journal(folder)


def _held(folder: Path) -> list[str]:
    """What lies in a folder but for the lock and what a killed process was writing.

    Raises FolderError for a file.
    """
    if folder.exists() and not folder.is_dir():
        raise FolderError(f"{folder} is a file; name a folder with --out")
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if not above.is_dir():
        raise FolderError(f"{folder} lies in the file {above.name}; name another folder with --out")
    found = [entry.name for entry in folder.iterdir()] if folder.exists() else []
    return [name for name in found if name != LOCK_FILE and not name.startswith(WRITING)]


def _empty(folder: Path) -> None:
    """Remove all but the lock and what is put aside, the journal last: a kill in between leaves a
    folder of ours that nobody takes for a finished one."""
    for path in (*_leaving(folder), folder / JOURNAL):
        remove(path)


def _put_aside(folder: Path) -> None:
    """All but the lock goes into a private folder, the journal first.

    While there is a journal inside and none beside it, all of it comes back (``give_back``),
    wherever this was stopped; the journal of the run that begins decides that nothing does.
    """
    aside = folder / _REPLACED
    aside.mkdir()
    for path in (folder / JOURNAL, *_leaving(folder)):
        path.rename(aside / path.name)


def give_back(folder: Path) -> None:
    """What a restart put aside, where no other run has begun in its place."""
    aside = folder / _REPLACED
    if (aside / JOURNAL).is_file() and not (folder / JOURNAL).exists():
        for path in (*_leaving(aside), aside / JOURNAL):
            path.rename(folder / path.name)
        aside.rmdir()


def _leaving(folder: Path) -> list[Path]:
    """All but the journal, the lock and what is put aside; what makes a run complete first."""
    first, staying = (MANIFEST, SIGNATURE), (JOURNAL, LOCK_FILE, _REPLACED)
    found = {entry.name for entry in folder.iterdir()}
    others = sorted(found - {*first, *staying})
    return [folder / name for name in (*first, *others) if name in found]


def _read_journal(folder: Path) -> _Journal:
    beside = (folder / JOURNAL).exists()
    try:
        found = documents.read((folder if beside else folder / _REPLACED) / JOURNAL)
        kept = msgspec.convert(found, _Stored)
        if kept.format == 1:
            return _Journal(key=kept.key, inputs=kept.inputs, done={}, as_written=True)
        if kept.format == FORMAT:
            del found["sha256"]
            as_written = kept.sha256 == _key(found)
            msgspec.convert(kept.done, dict[str, _Entry])
            return _Journal(
                key=kept.key,
                inputs=kept.inputs,
                done=kept.done,
                versions=tuple(kept.versions),
                as_written=as_written,
            )
    except (OSError, ValueError, KeyError):
        pass
    raise FolderError(
        f"{folder} is not empty and not a run of ours; name another folder with --out"
    )


def _key(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
