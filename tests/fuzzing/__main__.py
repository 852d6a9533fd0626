"""``python -m tests.fuzzing --seconds N [--targets NAME ...]``: every parser under atheris.

Prints for each target how many inputs were run, how many edges of the code and how many features
(edges with counts) they reached, and the findings, whose bytes and tracebacks are kept in
``runs/fuzzing``.  Ends in 1 where there is a finding.  Atheris is an extra: pip install
'compressor[fuzz]'.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

PROGRESS = re.compile(r"^#(\d+)\s.*?cov: (\d+) ft: (\d+)", re.MULTILINE)
EXECUTED = re.compile(r"number_of_executed_units: (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fuzzed:
    """What one target's log says."""

    target: str
    executions: int
    edges: int
    features: int
    findings: tuple[str, ...]

    def __str__(self) -> str:
        told = f"{self.target:22} {self.executions:>10,} {self.edges:>7,} {self.features:>8,}"
        return "\n".join([f"{told} {len(self.findings):>9}", *(f"  {f}" for f in self.findings)])


def read_log(target: str, log: str, status: int) -> Fuzzed:
    """libFuzzer's last line of progress, and all findings."""
    progress = PROGRESS.findall(log)
    executed = EXECUTED.findall(log)
    findings = [line for line in log.splitlines() if line.startswith(("FINDING", "SLOW"))]
    if status != 0:
        reasons = [line for line in log.splitlines() if "ERROR: " in line or "Error" in line]
        findings.append(f"ended with status {status}: {(reasons or ['no reason'])[-1][:160]}")
    return Fuzzed(
        target=target,
        executions=int(executed[-1]) if executed else int(progress[-1][0]) if progress else 0,
        edges=int(progress[-1][1]) if progress else 0,
        features=int(progress[-1][2]) if progress else 0,
        findings=tuple(dict.fromkeys(findings)),
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description="Fuzz parsers.")
    parser.add_argument("--seconds", type=int, default=60, help="for every target")
    parser.add_argument("--targets", nargs="*", default=None, help="names; all by default")
    parser.add_argument("--seed", type=int, default=1, help="of libFuzzer and the mutators")
    parser.add_argument("--out", type=Path, default=Path("runs/fuzzing"), help="for findings")
    parser.add_argument("--corpus", type=Path, default=None, help="kept there, and used again")
    given = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("error: atheris is not installed; pip install 'compressor[fuzz]'", file=sys.stderr)
        return 2
    from tests.fuzzing import engine  # first, as it instruments what it imports
    from tests.fuzzing.corpus import Corpus, make_corpus

    names = given.targets or list(engine.TARGETS)
    if wrong := set(names) - set(engine.TARGETS):
        print(f"error: no target {', '.join(sorted(wrong))}", file=sys.stderr)
        return 2
    found: Path = given.out.resolve()
    found.mkdir(parents=True, exist_ok=True)
    print(f"{'target':22} {'executions':>10} {'edges':>7} {'features':>8} {'findings':>9}")
    total, defects = 0, 0
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        place = Path(folder) if given.corpus is None else given.corpus.resolve()
        place.mkdir(parents=True, exist_ok=True)
        corpus = Corpus(folder=place) if any(place.iterdir()) else make_corpus(place)
        for name, status in engine.run(names, corpus, found, given.seconds, given.seed):
            log = (found / f"{name}.log").read_text("utf-8", "replace")
            done = read_log(name, log, status)
            print(done, flush=True)
            total, defects = total + done.executions, defects + len(done.findings)
    print(f"{len(names)} targets, {total:,} executions, {defects} findings; kept in {given.out}")
    return 1 if defects else 0


if __name__ == "__main__":
    sys.exit(main())
