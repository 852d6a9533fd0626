"""How a parser's answer to some bytes is judged: it was taken, refused in one line, or a finding.

Comes in: a parser as a function of bytes, and bytes.  Goes out: a ``Finding``, or None.  Knows
nothing of how the bytes were made.
"""

from __future__ import annotations

import hashlib
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compressor.errors import InputError

OURS = ("compressor", "export", "benchmarks")
Parser = Callable[[bytes], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What came in place of an answer or of an InputError."""

    kind: str  # the exception's class
    place: str  # file and function of ours where it came up, the innermost
    data: bytes
    trace: str

    @property
    def key(self) -> str:
        """The same for findings that are most likely one defect."""
        return f"{self.kind} in {self.place}"

    def keep(self, folder: Path, target: str) -> Path:
        """Write bytes and traceback under a name made of the key."""
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(self.key.encode()).hexdigest()[:8]
        file = folder / f"{target}-{digest}"
        file.with_suffix(".txt").write_text(f"{self.key}\n\n{self.trace}", "utf-8", "replace")
        file.with_suffix(".bin").write_bytes(self.data)
        return file.with_suffix(".bin")


def judge(parse: Parser, data: bytes) -> Finding | None:
    """Run the parser.  It may end normally or with an InputError of one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parse(data)
    except InputError as error:
        return None if str(error).strip() else _finding(error, data)
    except Exception as error:
        return _finding(error, data)
    return None


def _finding(error: Exception, data: bytes) -> Finding:
    frames = traceback.extract_tb(error.__traceback__)
    own = [one for one in frames if any(f"/{name}/" in one.filename for name in OURS)]
    last = (own or list(frames))[-1]
    name = "/".join(Path(last.filename).parts[-2:])
    return Finding(
        kind=type(error).__name__,
        place=f"{name}:{last.name}",
        data=data,
        trace="".join(traceback.format_exception(error))[-8000:],
    )
