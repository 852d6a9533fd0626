"""The command line: options become values, errors become one line and an exit status.

    opening   a teacher from what was typed
    showing   what commands print and write at their end
    students  ``build`` and ``plan``
    networks  ``analyze`` and ``train``
    timings   ``bench`` and ``probe``
    folders   ``export``, ``verify`` and ``report``

Names of criteria, recipes and data become functions and values here and nowhere else.  Knows
nothing of how any stage works.
"""

from __future__ import annotations

import errno
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer
from typer.exceptions import TyperException

from compressor.cli import folders, networks, students, timings
from compressor.errors import CompressorError, OptionError
from compressor.memory import is_out_of_memory, out_of_memory
from compressor.stopping import STOPPED, Stopped
from compressor.tables.text import visible

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A trained network goes in, a physically smaller trained network comes out.",
)
for command in (
    students.build, networks.analyze, students.plan, networks.train, timings.probe, timings.bench,
    folders.export, folders.verify, folders.report,
):  # fmt: skip
    app.command()(command)

# What is wrong with a path that was typed; the rest is the disk's.
NO_SUCH_PATH = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
LONGEST_LINE = 900


def main() -> None:
    """Entry point: run a command; an expected error is one line on stderr and its status."""
    signal.signal(signal.SIGTERM, lambda *_: _end(STOPPED, 143))
    # Torch before 2.12 warns of itself whenever a program is copied.
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
    with _exit_statuses():
        _require_text(sys.argv)
        status = app(standalone_mode=False)  # a number where a command ended early
        if status == 130:
            _end(STOPPED, 130)
        if status:
            sys.exit(status)


@contextmanager
def _exit_statuses() -> Iterator[None]:
    try:
        yield
    except CompressorError as error:
        _end(str(error), error.status)
    except Stopped as stopped:
        _end(str(stopped), stopped.status)
    except TyperException as error:
        _end(error.format_message() if hasattr(error, "format_message") else str(error), 2)
    except Exception as error:
        if is_out_of_memory(error):
            _end(str(out_of_memory(_command())), 3)
        if not isinstance(error, OSError):
            raise
        told = f"{error.filename or ''} {error.strerror or error}".strip()
        if error.errno in NO_SUCH_PATH:
            _end(f"{told}; check the path", 2)
        _end(told, 3)


def _command() -> str:
    return next((word for word in sys.argv[1:] if not word.startswith("-")), "compressor")


def _end(message: str, status: int) -> None:
    typer.echo(f"error: {_one_line(message)}", err=True)
    sys.exit(status)


def _one_line(message: str) -> str:
    """What files say of themselves may hold line breaks and escape sequences, and be long."""
    line = " ".join(message.split())
    if len(line) > LONGEST_LINE:
        line = f"{line[: LONGEST_LINE // 2]} ... {line[-LONGEST_LINE // 3 :]}"
    return visible(line)


def _require_text(arguments: Sequence[str]) -> None:
    """Names that are no text could not be told in a report.  Raises OptionError."""
    for one in arguments:
        try:
            one.encode()
        except UnicodeEncodeError:
            raise OptionError(f"{one}: not UTF-8; rename that file or folder") from None


if __name__ == "__main__":
    main()
