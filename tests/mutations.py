"""Attack the proof: run every mutant of the rules over the zoo networks that execute its line.

    python -m tests.mutations --seed 0            all mutants, into docs/mutations.md; goes on where
                                                  it was stopped (results in runs/mutations/)
    python -m tests.mutations --only joins.pad    those whose name holds this text, on the terminal
    python -m tests.mutations --expected          writes tests/couplings.txt anew

Comes in: mutants (``tests.mutants``) and what a network says (``tests.judging``).  Goes out: one
``Result`` each.  What survives is explained by name in ``mutations_left.toml``.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Literal, get_args

import torch

from tests import judging, mutants, subjects
from tests.mutants import SLICING, Mutant
from tests.subjects import NAMES
from tests.zoo_attacks import DEFECTS

ROOT = Path(__file__).resolve().parent.parent
LEFT = Path(__file__).with_name("mutations_left.toml")
PAGE = ROOT / "docs" / "mutations.md"
MARK = "<!-- written by python -m tests.mutations; edits below are lost -->"
SECONDS = 60  # a mutant may loop for ever
ENOUGH, AT_MOST = 3, 60  # networks: once something has shown; on which something was changed
RULES, TELLING = "compressor.rules", "Record.told"  # the latter is called by the explanations
CORE = ("labels", "labelling", "analysis", *SLICING, "proof", "stepping", "annotation")

Outcome = Literal["raised", "proof", "law", "imprecise", "told", "survived", "senseless", "begun"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
CAUGHT: tuple[Outcome, ...] = ("raised", "proof", "law", "imprecise", "told")


@dataclass(frozen=True, slots=True)
class Result:
    """``senseless``: a name that is not defined there; such a mutant does not count.

    ``source`` and ``attackers``: hashes of the mutated file, and of what it was judged by.
    """

    name: str
    kind: str
    outcome: Outcome
    networks: int  # that execute the line
    text: str = ""
    source: str = ""
    attackers: str = ""


def unfit() -> tuple[str, ...]:
    return tuple(f"`{name}`" for name in NAMES if not judging.fit(name))


# -- running ---------------------------------------------------------------------------------


@cache
def covered(name: str) -> frozenset[tuple[str, int]]:
    """Lines (file, number) of the mutated files that a network executes; none where it fails."""
    if not judging.fit(name):
        return frozenset()
    return judging.lines_run(name, frozenset(str(path) for path in mutants.sources()))


@cache
def _in_order(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those made to attack, layers of their own first, then those of the fewest nodes."""

    def place(name: str) -> tuple[bool, bool, int]:
        layers = name in subjects.ATTACKS
        attack = layers or name.startswith("attacks.")
        nodes = subjects.subject(name).graph.program.graph.nodes
        return not layers, not attack, len(nodes)

    return tuple(sorted(names, key=place))


def networks_of(mutant: Mutant, names: tuple[str, ...] = NAMES) -> tuple[str, ...]:
    """Networks that execute the spoilt line, or else its statement."""
    file = mutant.code.co_filename
    first, last, *statement = mutant.lines
    for lines in (range(first, last + 1), range(statement[0], statement[1] + 1)):
        places = {(file, line) for line in lines}
        found = tuple(name for name in _in_order(names) if covered(name) & places)
        if found:
            return found
    return ()


class _TooLongError(Exception):
    pass


@contextlib.contextmanager
def _limited(seconds: int) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise _TooLongError(f"still running after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def judge(mutant: Mutant, seed: int, names: tuple[str, ...] = NAMES) -> Result:
    """Over its networks until one shows that something is unsound; else the gravest finding.

    Once something less grave has shown, ``ENOUGH`` networks will do.
    """
    networks = networks_of(mutant, names)
    found: judging.Finding | None = None
    looked = 0  # networks on which something else was said
    for tried, name in enumerate(networks):
        if looked >= AT_MOST or (found is not None and tried >= ENOUGH):
            break
        judging.said_before(name)
        if mutant.function == TELLING:
            judging.explained(name)
        try:
            with mutants.applied(mutant), _limited(SECONDS):
                changed = _says_otherwise(name, mutant)
                looked += changed
                finding = judging.examine(name, seed) if changed else None
                if finding is None and mutant.function == TELLING:
                    finding = judging.explained_otherwise(name)
        except NameError as error:
            return Result(mutant.name, mutant.kind, "senseless", len(networks), str(error))
        except Exception as error:
            finding = judging.raised(name, error)
        if finding is not None and (found is None or finding.verdict != "told"):
            found = finding
        if finding is not None and finding.verdict in judging.UNSOUND:
            break
    if found is None:
        return Result(mutant.name, mutant.kind, "survived", len(networks))
    text = f"{found.network}: {found.text}"
    return Result(mutant.name, mutant.kind, found.verdict, len(networks), text)


def _says_otherwise(name: str, mutant: Mutant) -> bool:
    """Where a rule's mutant changes nothing that is said, nothing that follows can differ."""
    return not mutant.module.startswith(RULES) or judging.said(name) != judging.said_before(name)


def run(chosen: Sequence[Mutant], seed: int, kept: Path | None = None) -> Iterator[Result]:
    """Judge them in order; results are appended to ``kept`` and taken from there.

    What was caught stays caught when networks are added; what was not is tried again.  A mutant
    with which the process died twice (memory written where it should not be) has been caught.
    """
    known: dict[tuple[str, str], Result] = {}
    begun: Counter[tuple[str, str]] = Counter()
    if kept is not None and kept.exists():
        for line in kept.read_text(encoding="utf-8").splitlines():
            result = Result(**json.loads(line))
            if result.outcome == "begun":
                begun[result.name, result.source] += 1
            else:
                known[result.name, result.source] = result
    for mutant in chosen:
        source, attackers = _hash(Path(mutant.code.co_filename)), _hash(*_attackers())
        found = known.get((mutant.name, source))
        if found is not None and (found.outcome != "survived" or found.attackers == attackers):
            yield found
            continue
        result = Result(mutant.name, mutant.kind, "begun", 0, "", source, attackers)
        _append(kept, result)
        if found is None and begun[mutant.name, source] > 1:
            result = replace(result, outcome="raised", text="the process died, twice")
        else:
            judged = judge(mutant, seed)
            result = replace(judged, source=source, attackers=attackers)
        _append(kept, result)
        yield result


def run_apart(seed: int, kept: Path) -> None:
    """``run`` of all mutants into ``kept``, in a process that is started again when one kills it.

    Raises RuntimeError where it dies without having begun anything.
    """
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.touch()
    command = [sys.executable, "-m", "tests.mutations", "--seed", str(seed), "--results", str(kept)]
    while True:
        before = kept.stat().st_size
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        if code == 0:
            return
        if kept.stat().st_size == before:
            raise RuntimeError(f"the attack ended with exit status {code} before it began")


def _append(kept: Path | None, result: Result) -> None:
    if kept is not None:
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(result)) + "\n")


def results_file(seed: int) -> Path:
    """One file for each state of what the rules rest on; results know the rules they are of."""
    core = [path for path in sorted((ROOT / "compressor").glob("*.py")) if path.stem in CORE]
    return ROOT / "runs" / "mutations" / f"{_hash(*core)}-{seed}.jsonl"


@cache
def _hash(*files: Path) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def _attackers() -> tuple[Path, ...]:
    folder = Path(__file__).parent
    names = ("cut_laws.py", "judging.py", "mutations.py", "subjects.py")
    nets = [*folder.glob("zoo*.py"), *folder.glob("attacks/*.py"), *folder.glob("rules/*.py")]
    return (*(folder / name for name in names), *sorted(nets))


# -- what is left, and the page --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reason:
    """``equivalent``: no network could tell; else what a network would have to be like."""

    equivalent: bool
    text: str


def reasons() -> Mapping[str, Reason]:
    """Mutant's name -> why nothing catches it."""
    entries = tomllib.loads(LEFT.read_text(encoding="utf-8")).get("left", [])
    return {
        name: Reason(entry["equivalent"], entry["reason"])
        for entry in entries
        for name in entry["mutants"]
    }


def shares(results: Sequence[Result], why: Mapping[str, Reason]) -> tuple[float, float]:
    """Caught, as a share of all and of those that are not equivalent."""
    counted = [result for result in results if result.outcome != "senseless"]
    caught = sum(result.outcome in CAUGHT for result in counted)
    same = sum(
        result.outcome == "survived" and result.name in why and why[result.name].equivalent
        for result in counted
    )
    return caught / max(1, len(counted)), caught / max(1, len(counted) - same)


COLUMNS: tuple[Outcome, ...] = ("raised", "proof", "law", "imprecise", "told", "survived")


def table(results: Sequence[Result]) -> str:
    rows = ["| kind | mutants | " + " | ".join(COLUMNS) + " | caught |"]
    rows.append("| --- |" + " ---: |" * (len(COLUMNS) + 2))
    kinds = sorted({result.kind for result in results})
    for kind in (*kinds, "all"):
        of = [r for r in results if kind in (r.kind, "all") and r.outcome != "senseless"]
        counts = [sum(r.outcome == outcome for r in of) for outcome in COLUMNS]
        share = sum(counts[:-1]) / max(1, len(of))
        cells = " | ".join(str(count) for count in counts)
        rows.append(f"| {kind} | {len(of)} | {cells} | {share:.1%} |")
    return "\n".join(rows)


def _survivors(results: Sequence[Result], why: Mapping[str, Reason]) -> Iterator[str]:
    left = [result for result in results if result.outcome == "survived"]
    for title, wanted in (("Equivalent mutants", True), ("Not equivalent, and not caught", False)):
        chosen = [r for r in left if r.name in why and why[r.name].equivalent is wanted]
        yield f"\n## {title}: {len(chosen)}\n"
        for text in dict.fromkeys(why[r.name].text for r in chosen):
            yield f"- {text}"
            yield from (f"  - `{r.name}`" for r in chosen if why[r.name].text == text)
    unexplained = [result for result in left if result.name not in why]
    if unexplained:
        yield f"\n## Not explained yet: {len(unexplained)}\n"
        for result in unexplained:
            where = "" if result.networks else " (no network of the zoo runs this line)"
            yield f"- `{result.name}`{where}"


def page(results: Sequence[Result], seed: int) -> str:
    """The part of docs/mutations.md that is measured."""
    why = reasons()
    of_all, of_others = shares(results, why)
    senseless = sum(result.outcome == "senseless" for result in results)
    lines = [
        MARK,
        "",
        f"Seed {seed}: {len(results) - senseless} mutants over {len(NAMES)} networks,",
        f"and {senseless} more that name what is not defined there and do not count.",
        f"Caught: **{of_all:.1%}** of all, {of_others:.1%} of those that are not equivalent.",
        f"Wrong before anything is broken, so left out: {', '.join(unfit()) or 'none'}.",
        "",
        table(results),
        *_survivors(results, why),
    ]
    return "\n".join(lines) + "\n"


def _write_page(text: str) -> None:
    before = PAGE.read_text(encoding="utf-8").partition(MARK)[0] if PAGE.exists() else ""
    PAGE.write_text(before + text, encoding="utf-8")


# -- the command -----------------------------------------------------------------------------


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def _told(results: Iterator[Result], outcomes: Sequence[Outcome] = OUTCOMES) -> list[Result]:
    """The results, as they come; those of ``outcomes`` on the terminal."""
    found = []
    for result in results:
        found.append(result)
        if result.outcome in outcomes:
            _say(f"{result.outcome:9} {result.networks:3} {result.name}  {result.text}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="mutants whose name holds this text")
    parser.add_argument("--expected", action="store_true", help="write couplings.txt anew")
    parser.add_argument("--results", type=Path, help="only judge, and append the results to this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.expected:
        lines = [judging.in_short(name) + "\n" for name in NAMES if name not in DEFECTS]
        judging.EXPECTED.write_text("".join(lines), encoding="utf-8")
        return
    every = mutants.generate(options.seed)
    started = time.monotonic()
    if options.only:
        chosen = [mutant for mutant in every if options.only in mutant.name]
        results = _told(run(chosen, options.seed))
    elif options.results:
        _told(run(every, options.seed, options.results), ("survived", "senseless"))
        return
    else:
        kept = results_file(options.seed)
        run_apart(options.seed, kept)
        results = list(run(every, options.seed, kept))
        _write_page(page(results, options.seed))
    _say(table(results))
    _say(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
