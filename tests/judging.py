"""What a zoo network says of the analyser as it is right now, broken or not.

Comes in: the name of a network.  Goes out: the first thing that is wrong, as a ``Finding``.
Analysis, removal and proof run over several plans, then the laws of ``test_laws`` on one of them;
at last the analysis is held against the one made before anything was broken, which another test
holds against what is written down.  Knows nothing of mutants.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import numpy as np
from torch import fx

from benchmarks.studies.extremes import extreme_plan
from compressor.analysis import analyze
from compressor.dimensions import Parameter, parameter_sides, places_of_ends
from compressor.labelling import label
from compressor.labels import Units
from compressor.planning import plan_keeping
from compressor.proof import prove
from compressor.removal import mask, remove
from compressor.types import Analysis, Plan
from tests import subjects
from tests.cut_laws import LAWS, Cut, foreign_plans_are_refused, parameters_as_predicted

EXPECTED = Path(__file__).with_name("couplings.txt")
Verdict = Literal["raised", "proof", "law", "imprecise", "told"]
UNSOUND: tuple[Verdict, ...] = ("raised", "proof", "law")


@dataclass(frozen=True, slots=True)
class Finding:
    """``imprecise``: all that was cut is right, but other units may go than should.

    ``told``: the same units, but names, roles, reasons or exactness differ.
    """

    verdict: Verdict
    network: str
    text: str


def drawn_plan(analysis: Analysis, seed: int) -> Plan:
    """Something goes and something stays of every group."""
    generator = np.random.default_rng(seed)
    keep = [True]
    for group in analysis.groups:
        part = generator.random(group.units) < 0.6
        part[generator.permutation(group.units)[:2]] = (True, False)
        keep.extend(part.tolist())
    return plan_keeping(analysis, np.array(keep))


def plans(analysis: Analysis, seed: int = 0) -> Iterator[Plan]:
    """One drawn, the extreme ones, and one that cuts the exact groups alone where not all are."""
    if analysis.groups:
        yield drawn_plan(analysis, seed)
        yield extreme_plan(analysis, "first")
        yield extreme_plan(analysis, "last")
    exact = [group.exact for group in analysis.groups]
    if any(exact) and not all(exact):
        keep = [np.ones(1, dtype=np.bool_)]
        for group in analysis.groups:
            keep.append(
                np.arange(group.units) % 3 > 0 if group.exact else np.ones(group.units, bool)
            )
        yield plan_keeping(analysis, np.concatenate(keep))


def examine(name: str, seed: int = 0) -> Finding | None:
    """The gravest thing wrong with the analyser on this network; None when nothing shows.

    ``NameError`` passes through: code that cannot be meant is no fault worth finding.
    """
    laws = laws_of(name)
    graph = subjects.subject(name).graph
    try:
        analysis = analyze(graph)
        for number, chosen in enumerate(plans(analysis, seed)):
            student = remove(graph, analysis, chosen)
            proof = prove(graph, student, analysis, chosen, seed=seed)
            if not proof.passed or proof.max_relative_error > 1e-12:
                return Finding("proof", name, str(proof.first_wrong or proof.max_relative_error))
            cut = Cut(name, analysis, chosen, student)
            for law in laws if number == 0 else laws[:1]:
                if not LAWS[law](cut):
                    return Finding("law", name, law)
    except NameError:
        raise
    except Exception as error:
        return raised(name, error)
    return difference(name, analysis)


def raised(name: str, error: Exception) -> Finding:
    return Finding("raised", name, f"{type(error).__name__}: {error}".splitlines()[0][:160])


@cache
def fit(name: str) -> bool:
    """Whether nothing is wrong on this network before anything is broken: else it tells nothing."""
    try:
        return examine(name) is None
    except Exception:
        return False


@cache
def laws_of(name: str) -> tuple[str, ...]:
    """The laws that hold before anything is broken.

    Those that cannot hold: batches that do not agree where a network mixes samples, work where
    torch has no formula.  The first law, and that analysis, removal and proof go through, hold
    always.
    """
    analysis = subjects.analysis(name)
    chosen = drawn_plan(analysis, 0)
    student = remove(subjects.subject(name).graph, analysis, chosen)
    cut = Cut(name, analysis, chosen, student)
    assert parameters_as_predicted(cut)
    found = []
    for law, holds in LAWS.items():
        with contextlib.suppress(Exception):  # an operator that does not run in double
            if holds(cut):
                found.append(law)
    expected(name)
    return tuple(found)


# -- the analysis as it should be --------------------------------------------------------------


def couplings(analysis: Analysis) -> list[str]:
    """One line per group."""
    lines = []
    for group in analysis.groups:
        members = " ".join(
            f"{m.parameter}[{m.dim}]{_spans(m.rows)}:{m.role}" for m in group.members
        )
        exact = "exact" if group.exact else "inexact"
        lines.append(f"{group.name}: {group.units} {exact}: {members}")
    return lines


def _spans(rows: tuple[tuple[int, int], ...]) -> str:
    return ",".join(f"{start}-{stop}" for start, stop in rows)


def described(analysis: Analysis) -> str:
    """What is expected of a network: costs, couplings, and why the rest stays."""
    facts = analysis.model
    share = f"{analysis.prunable_parameters:.6f}"
    head = f"{facts.parameters} parameters, {facts.macs} MACs, {share} of them prunable"
    frozen = [
        f"stays: {f.parameters} by {f.op} in {f.where or '-'}: {f.reason}" for f in analysis.frozen
    ]
    return "\n  ".join([head, *couplings(analysis), *frozen])


def in_short(name: str) -> str:
    """One line: the units of each group, the prunable share, and a hash of all that is expected."""
    analysis = subjects.analysis(name)
    units = " ".join(str(group.units) for group in analysis.groups) or "nothing"
    digest = hashlib.sha256(described(analysis).encode()).hexdigest()[:12]
    return f"{name}: {units}; {analysis.prunable_parameters:.4f} prunable; {digest}"


@cache
def expected(name: str) -> str:
    return described(subjects.analysis(name))


def difference(name: str, analysis: Analysis | None = None) -> Finding | None:
    """What differs from the analysis as it should be; without one, it is made."""
    analysis = analysis or analyze(subjects.subject(name).graph)
    right = subjects.analysis(name)
    if described(analysis) == expected(name) and analysis.axes == right.axes:
        return None
    units = [sum(group.units for group in of.groups) for of in (analysis, right)]
    shares = [of.prunable_parameters for of in (analysis, right)]
    plain = [
        sorted(
            (g.units, sorted((m.parameter, m.dim, m.rows) for m in g.members)) for g in of.groups
        )
        for of in (analysis, right)
    ]
    if plain[0] != plain[1]:
        text = f"{units[0]} units of {units[1]}, {shares[0]:.4f} of {shares[1]:.4f} prunable"
        return Finding("imprecise", name, text)
    return Finding("told", name, "names, roles, reasons, exactness or costs differ")


@cache
def explained(name: str) -> tuple[Parameter, ...]:
    """Why the rows of each parameter go or stay, before anything is broken."""
    return _explained(name)


def _explained(name: str) -> tuple[Parameter, ...]:
    graph = subjects.subject(name).graph
    return parameter_sides(label(graph), subjects.analysis(name), places_of_ends(graph))


def explained_otherwise(name: str) -> Finding | None:
    """What is explained in another way now; nothing else is asked."""
    expected = explained(name)
    if _explained(name) == expected:
        return None
    return Finding("told", name, "the reasons of rows that stay differ")


# -- all that the rules say --------------------------------------------------------------------


def said(name: str) -> bytes:
    """A digest of everything that the rules say of a network: labels, rewrites, gates, reasons.

    Where it is what it was, analysis, removal and proof are what they were too.
    """
    digest = hashlib.sha256()
    for part in _parts(label(subjects.subject(name).graph)):
        digest.update(part)
    return digest.digest()


@cache
def said_before(name: str) -> bytes:
    """The same before anything is broken."""
    return said(name)


def _parts(value: Any) -> Iterator[bytes]:
    yield f"<{type(value).__name__}".encode()
    if isinstance(value, np.ndarray):
        yield repr((value.shape, value.dtype)).encode() + np.ascontiguousarray(value).tobytes()
    elif isinstance(value, fx.Node):
        yield value.name.encode()
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            yield repr(key).encode()
            yield from _parts(entry)
    elif isinstance(value, tuple | list | set | frozenset):
        for entry in value:
            yield from _parts(entry)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            if field.repr:  # the others are caches, by the address of what they hold
                yield from _parts(getattr(value, field.name))
    elif isinstance(value, Units):
        for name, entry in vars(value).items():
            if name == "_parent":  # how long the ways to the roots are says nothing
                yield from _parts(value.find(np.arange(len(value))))
            elif name != "_factor_table":  # a cache
                yield from _parts(entry)
    else:
        yield repr(value).encode()


# -- which network runs which lines ------------------------------------------------------------


def lines_run(name: str, files: frozenset[str]) -> frozenset[tuple[str, int]]:
    """(file, line) of these files that analysis, removal and proof of a network execute."""
    graph = subjects.subject(name).graph
    seen: set[tuple[str, int]] = set()

    def watch(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        seen.add((frame.f_code.co_filename, frame.f_lineno))
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        analysis = analyze(graph)
        chosen = drawn_plan(analysis, 0)
        mask(graph, analysis, chosen)
        cut = Cut(name, analysis, chosen, remove(graph, analysis, chosen))
        foreign_plans_are_refused(cut)
        _explained(name)
    finally:
        sys.settrace(before)
    return frozenset(seen)
