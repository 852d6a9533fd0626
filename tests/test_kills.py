"""Builds killed with SIGKILL at random moments, then finished, equal those that nobody disturbed.

``COMPRESSOR_KILLS`` is the number of kills over all recipes, 12 where it is not set; 50 take about
a quarter of an hour of one core.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kills import CASES

ROOT = Path(__file__).resolve().parent.parent
KILLS = int(os.environ.get("COMPRESSOR_KILLS", "12"))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_build_killed_at_random_moments_ends_as_the_undisturbed_one(
    case: str, tmp_path: Path
) -> None:
    place = list(CASES).index(case)
    kills = KILLS // len(CASES) + (place < KILLS % len(CASES))
    done = subprocess.run(
        [sys.executable, "-m", "tests.kills", str(tmp_path), case, str(kills), str(place)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["differences"] == []
    assert found["kills"] == kills
