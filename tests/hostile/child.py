"""A process of its own that is given hostile files: what is run in it is written down.

    python tests/hostile/child.py < JOBS > TOLD

``{"unpickle": [[name, base64], ...]}`` reads pickles as nothing of ours does;
``{"commands": [[argument, ...], ...]}`` runs the command line, each in turn.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
import sys
import warnings
from typing import Any

from tests.hostile import payloads

# Names that a pickle of networks has no use for; CPython tells of each that it looks up.
RISKY = frozenset(
    (
        "os", "posix", "subprocess", "builtins", "importlib", "marshal", "types", "runpy",
        "functools", "operator", "_pickle", "pickle", "numpy", "__builtin__",
    )
)  # fmt: skip
HARMLESS = frozenset(("set", "complex", "bytearray", "getattr", "ndarray", "dtype"))
PROGRAMS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen")


class Watch:
    """What a hook saw since it was last asked."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.seen: list[str] = []
        sys.addaudithook(self.note)

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "pickle.find_class":
            module, own = str(arguments[0]), str(arguments[1])
            if module.partition(".")[0] in RISKY and own not in HARMLESS:
                self.seen.append(f"{event} {module}.{own}")
        elif event in PROGRAMS and self.place in repr(arguments):
            self.seen.append(f"{event} {arguments!r}"[:200])

    def told(self) -> list[str]:
        seen, self.seen = self.seen, []
        return seen


def run(arguments: list[str]) -> dict[str, Any]:
    """The command line in this process."""
    from compressor import cli

    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["compressor", *arguments]
    status: Any = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            status = end.code or 0
        except BaseException as error:
            status = f"{type(error).__name__}: {error}"
    return {"status": status, "out": out.getvalue()[-2000:], "err": err.getvalue()[-2000:]}


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    job = json.load(sys.stdin)
    payloads.register_extensions()
    watch = Watch(job["place"])
    told: list[Any] = []
    for own, stream in job.get("unpickle", ()):
        try:
            payloads.unpickle(base64.b64decode(stream))
            error = ""
        except Exception as found:
            error = f"{type(found).__name__}: {found}"
        told.append({"name": own, "error": error, "seen": watch.told()})
    for arguments in job.get("commands", ()):
        told.append({**run(arguments), "seen": watch.told()})
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
