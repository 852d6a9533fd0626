"""The program that meets what would fill memory: one process with little of it, for many inputs.

    python -m tests.malformed.alone FOLDER NAME...

The named cases are written below FOLDER and carried out there in turn; a line of JSON tells of each
how it ended, and the most memory that the process has held so far.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import sys
from pathlib import Path

from compressor import cli
from tests.malformed import corpus
from tests.malformed.cases import Case
from tests.malformed.material import contents, place

ADDRESSES = 12 << 30  # most of which are libraries


def carry_out(case: Case, folder: Path) -> dict[str, object]:
    folder.mkdir()
    place(folder)
    case.write(folder)
    os.chdir(folder)
    before = contents(folder)
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["compressor", *case.command]
    status: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            status = end.code or 0
    return {
        "name": case.name,
        "ended": (status, out.getvalue(), err.getvalue()),
        "untouched": contents(folder) == before,
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def main() -> None:
    folder, *names = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    known = {case.name: case for case in corpus.cases()}
    for number, name in enumerate(names):
        found = carry_out(known[name], Path(folder) / str(number))
        print(json.dumps(found), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
