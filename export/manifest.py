"""``manifest.json``: how a run folder came about, and the hash of every file in it.

Comes in: a folder and the command that filled it.  Goes out: the manifest, or what differs from it.
No clock and no place of this machine in it.  It also holds a hash of itself, and has one spelling
only, so that no byte of it can change unseen; against intent there is ``signatures``.  Knows
nothing of what the files hold, nor of torch.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from compressor.documents import read
from compressor.errors import FolderError
from compressor.files import entries_of, sha256, write_bytes
from compressor.locks import LOCK_FILE
from export.paths import reduce_argument

FORMAT = 2  # 2: a hash of itself
MANIFEST_FILE = "manifest.json"
LINK = "a link, or no file at all"
SIGNATURE_FILE = "model.sig"  # covers the manifest, so it cannot be in it
UNLISTED = (MANIFEST_FILE, SIGNATURE_FILE)
PACKAGES = (
    "compressor", "torch", "torchvision", "onnx", "onnxscript", "onnx-ir", "onnxruntime",
    "onnxruntime-gpu", "openvino", "numpy", "safetensors", "accelerate", "timm",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFile:
    """A file by its path in the folder, with forward slashes."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """``versions``: (package, version) pairs, sorted; ``files`` sorted by path."""

    format: int
    command: tuple[str, ...]
    seed: int
    versions: tuple[tuple[str, str], ...]
    files: tuple[ListedFile, ...]


def installed_versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of Python and of those packages that are installed."""
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def write_manifest(
    folder: Path, command: Sequence[str], seed: int, versions: Mapping[str, str]
) -> Manifest:
    """Hash every other file in ``folder`` and write the manifest beside them.

    A signature is left out: it is made of the manifest.  Absolute paths in ``command`` are cut to
    their last two parts.
    """
    manifest = Manifest(
        format=FORMAT,
        command=tuple(reduce_argument(argument) for argument in command),
        seed=seed,
        versions=tuple(sorted(versions.items())),
        files=tuple(_listed(folder, path) for path in list_files(folder)),
    )
    write_bytes(folder / MANIFEST_FILE, _encode(manifest))
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Raises FolderError where there is none, or none this version can read."""
    path = folder / MANIFEST_FILE
    if not folder.exists():
        raise FolderError(f"{folder}: no such folder; give the folder of a run")
    if path.exists() and not path.is_file():
        raise FolderError(f"{path} cannot be read as a manifest (it is no file); build anew")
    try:
        content = read(path)
        if isinstance(content["format"], int) and content["format"] != FORMAT:
            raise FolderError(
                f"{path} has format {content['format']}, this version reads {FORMAT}; use the "
                "version that wrote it"
            )
        return _manifest(content)
    except (FileNotFoundError, NotADirectoryError):
        raise FolderError(f"{folder} has no {MANIFEST_FILE}; give the folder of a run") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise FolderError(f"{path} cannot be read as a manifest ({reason}); build anew") from error


def check_manifest(folder: Path) -> tuple[str, ...]:
    """One line per difference between the folder and its manifest; empty: none.

    Links are differences too: what they lead to lies outside, and may change at any time.

    Raises FolderError as ``read_manifest`` does.
    """
    manifest = read_manifest(folder)
    listed = {one.path: one for one in manifest.files}
    files, others = entries_of(folder)
    found = set(_but(files, UNLISTED))
    lines = []
    if (folder / MANIFEST_FILE).read_bytes() != _encode(manifest):
        lines.append(f"{MANIFEST_FILE}: not as it was written (its own sha256 does not hold)")
    for path in sorted(listed.keys() | found | set(others)):
        if path in others:
            lines.append(f"{path}: {LINK}{'' if path in listed else ', not in the manifest'}")
        elif path not in found:
            lines.append(f"{path}: missing")
        elif path not in listed:
            lines.append(f"{path}: not in the manifest")
        else:
            lines.extend(_difference(listed[path], _listed(folder, path)))
    return tuple(lines)


def _difference(listed: ListedFile, found: ListedFile) -> Iterator[str]:
    if found.bytes != listed.bytes:
        yield f"{listed.path}: {found.bytes} bytes, {listed.bytes} in the manifest"
    elif found.sha256 != listed.sha256:
        yield f"{listed.path}: sha256 {found.sha256[:12]}..., {listed.sha256[:12]}... expected"


def list_files(folder: Path, but: Sequence[str] = UNLISTED) -> tuple[str, ...]:
    """The paths of all files in ``folder`` ``but`` those, sorted, with forward slashes.

    Nor is the lock of the process that writes them among them.
    """
    files, _ = entries_of(folder)
    return _but(files, but)


def _but(files: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in files if name not in (*names, LOCK_FILE))


def _listed(folder: Path, path: str) -> ListedFile:
    file = folder / path
    return ListedFile(path=path, bytes=file.stat().st_size, sha256=sha256(file))


def _encode(manifest: Manifest) -> bytes:
    """The one spelling of a manifest; ``sha256`` is that of the same text without this key."""
    content: dict[str, object] = {
        "format": manifest.format,
        "command": list(manifest.command),
        "seed": manifest.seed,
        "versions": dict(manifest.versions),
        "files": {one.path: {"bytes": one.bytes, "sha256": one.sha256} for one in manifest.files},
    }
    own = hashlib.sha256(_spell(content)).hexdigest()
    return _spell({**content, "sha256": own})


def _spell(content: Mapping[str, object]) -> bytes:
    return (json.dumps(content, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode()


def _manifest(content: dict[str, Any]) -> Manifest:
    files = []
    for path, entry in sorted(content["files"].items()):
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or "\\" in path:
            raise ValueError(f"{path!r} lies outside the folder")
        files.append(ListedFile(path=path, bytes=int(entry["bytes"]), sha256=str(entry["sha256"])))
    manifest = Manifest(
        format=int(content["format"]),
        command=tuple(str(argument) for argument in content["command"]),
        seed=int(content["seed"]),
        versions=tuple(sorted((str(k), str(v)) for k, v in content["versions"].items())),
        files=tuple(files),
    )
    _encode(manifest)  # what cannot be written was not read from a manifest of ours
    return manifest
