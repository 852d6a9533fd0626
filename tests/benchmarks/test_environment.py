"""What is told about the machine, and what is not."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from benchmarks.environment import available_cores, describe, parse_cpuinfo, parse_quota
from benchmarks.likeness import DECISIVE


def test_cpuinfo_gives_model_and_flags_of_interest() -> None:
    text = "processor\t: 0\nmodel name\t: A Processor\nflags\t\t: fpu avx2 amx_tile\n\nprocessor: 1"
    assert parse_cpuinfo(text) == ("A Processor", ("avx2", "amx_tile"))


def test_description_names_no_host_and_no_path() -> None:
    text = json.dumps(describe({"OMP_NUM_THREADS": "2", "HOME": "/home/someone"}))
    assert socket.gethostname() not in text
    assert str(Path.home()) not in text
    assert "someone" not in text
    assert '"OMP_NUM_THREADS": "2"' in text
    assert '"torch"' in text


def test_at_least_one_core_is_available() -> None:
    assert available_cores() >= 1


@pytest.mark.parametrize(
    ("text", "cores"), [("150000 100000", 1.5), ("max 100000", None), ("-1 100000", None)]
)
def test_quota_of_the_control_group_is_told_in_cores(text: str, cores: float | None) -> None:
    assert parse_quota(text) == cores


def test_what_decides_a_clock_is_described() -> None:
    assert set(DECISIVE) <= set(describe({}))
