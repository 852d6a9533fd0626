"""The command line, called in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from compressor import cli

Ended = tuple[int, str, str]  # status, output, errors
Run = Callable[..., Ended]


def call(
    arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Ended:
    """What ``compressor ARGUMENTS`` ends in."""
    monkeypatch.setattr("sys.argv", ["compressor", *arguments])
    try:
        cli.main()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    said = capsys.readouterr()
    return status, said.out, said.err
