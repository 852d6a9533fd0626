"""Builds that are killed at random moments and finished: a program of its own.

    python -m tests.kills FOLDER CASE KILLS SEED

Everything is imported once; then every build is a forked process that is sent SIGKILL at a moment
drawn evenly from the whole duration of an undisturbed build, in processor time, which does not
depend on what else a machine does.  A run that was killed is killed again with a probability of a
half, then finished and compared with the undisturbed one.  Prints a line of JSON: kills, runs, and
every difference found.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

NETWORK = """
from torch import nn

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.one = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x):
        return nn.functional.relu(x + self.norm(self.one(x)))

def noisy(num_classes=10):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), Block(8),
        nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(16, num_classes),
    )
"""
USUAL = (
    "build", "--arch", "net.py:noisy", "--image-size", "16", "--sparsity", "0.5", "--multiple-of",
    "1", "--smallest-group", "1", "--device", "cpu", "--bench-seconds", "0", "--threads", "1",
    "--repair-images", "64",
)  # fmt: skip
TEACHER = ("--teacher", "noisy.pt")
QUICK = ("--criterion", "magnitude", "--allocation", "uniform")
CASES: dict[str, tuple[str, ...]] = {
    "prune-then-distill": (*TEACHER, *QUICK, "--data", "synthetic", "--epochs", "6"),
    "rounds": (*TEACHER, "--form", "faithful", "--data", "digits", "--epochs", "4"),
    "epsd": (
        "--recipe", "epsd", "--self-distillation", "ps-kd", "--data", "digits", "--epochs", "8",
    ),
    "sdp": (
        *TEACHER, "--recipe", "sdp", "--data", "digits", "--epochs", "9", "--pruning-steps", "3",
    ),
}  # fmt: skip
# Written anew when a run is continued, with times in them or hashes of such files.
TIMED = ("journal.json", "manifest.json", "report.", "README.md", "bom.cdx.json", "benchmarks/")
TIMED_KEYS = ("seconds", "images_per_s", "environment", "command")


def prepare(folder: Path) -> None:
    """A network's code and weights of it."""
    from tests.teachers import write_teacher

    folder.mkdir(parents=True, exist_ok=True)
    write_teacher(folder, NETWORK, "noisy")


def start(folder: Path, case: str, out: str, *more: str) -> int:
    """A build in a process of its own; returns its number."""
    number = os.fork()
    if number:
        return number
    os.setsid()
    os.chdir(folder)
    with open(f"{out}.log", "a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.argv = ["compressor", *USUAL, *CASES[case], *more, "--out", out]
    status = 1
    try:
        from compressor.cli import main

        main()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        sys.stdout.flush()
        os._exit(status)


def wait(number: int) -> tuple[int, float]:
    """The exit status of a process (below 0: the signal that ended it) and its processor time."""
    _, status, used = os.wait4(number, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def killed(number: int, after: float) -> bool:
    """Whether the process came to use so many seconds of processor time, and was killed."""
    seen = psutil.Process(number)
    while sum(seen.cpu_times()[:2]) < after:
        ended, status = os.waitpid(number, os.WNOHANG)
        if ended:
            assert os.waitstatus_to_exitcode(status) == 0
            return False
        time.sleep(0.004)
    os.killpg(number, signal.SIGKILL)
    wait(number)
    return True


def differences(whole: Path, other: Path) -> list[str]:
    """Files and reported values in which a finished run differs from an undisturbed one."""
    from export.manifest import check_manifest, list_files

    names = {
        folder: {name for name in list_files(folder) if not name.startswith(TIMED)}
        for folder in (whole, other)
    }
    found = [f"{name}: in one only" for name in sorted(names[whole] ^ names[other])]
    for name in sorted(names[whole] & names[other]):
        if (whole / name).read_bytes() != (other / name).read_bytes():
            found.append(f"{name}: other bytes")
    reports = [_timeless(json.loads((f / "report.json").read_bytes())) for f in (whole, other)]
    found += [
        f"report.json: {key} differs"
        for key in reports[0].keys() | reports[1].keys()
        if reports[0].get(key) != reports[1].get(key)
    ]
    return [*found, *check_manifest(other)]


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(one) for key, one in value.items() if key not in TIMED_KEYS}
    return [_timeless(one) for one in value] if isinstance(value, list) else value


@dataclass(slots=True)
class Tally:
    kills: int = 0
    runs: int = 0
    longest: int = 0  # kills of one run
    whole_seconds: float = 0.0  # of processor time, without imports
    differences: list[str] = field(default_factory=list)


def trial(folder: Path, case: str, kills: int, seed: int) -> Tally:
    """As the module says."""
    status, seconds = wait(start(folder, case, "whole"))
    assert status == 0, (folder / "whole.log").read_text()[-2000:]
    found = Tally(whole_seconds=round(seconds, 2))
    draw = random.Random(seed)
    while found.kills < kills:
        found.runs += 1
        out, here = f"run-{found.runs}", 0
        while found.kills < kills:
            if not killed(start(folder, case, out), draw.uniform(0, found.whole_seconds)):
                break
            found.kills, here = found.kills + 1, here + 1
            if draw.random() < 0.5:
                break
        found.longest = max(found.longest, here)
        status, _ = wait(start(folder, case, out))
        told = differences(folder / "whole", folder / out) if status == 0 else [f"status {status}"]
        found.differences += [f"{out}: {line}" for line in told]
        sys.stderr.write(f"{case}: {found.kills} kills, {out}: {told or 'equal'}\n")
    return found


def main() -> None:
    from dataclasses import asdict

    import torch

    import export.products
    import export.shipping  # noqa: F401  # what every build needs, before it is forked
    from compressor import inversion, snapshots

    torch.set_num_threads(1)
    inversion.STEPS = inversion.FEWEST_STEPS = 4
    snapshots.SECONDS, snapshots.SHARE = 0.05, 0.5  # a build takes seconds: keep often
    folder, case, kills, seed = sys.argv[1:]
    prepare(Path(folder))
    sys.stdout.write(json.dumps(asdict(trial(Path(folder), case, int(kills), int(seed)))) + "\n")


if __name__ == "__main__":
    main()
