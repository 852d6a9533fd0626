"""Every parser of ours as a function of bytes.

Comes in: a ``Corpus`` and a scratch folder.  Goes out: for each target a parser, which ends
normally or with an InputError, and the bytes to begin with.  Knows nothing of who makes other bytes
of them.

    texts      what is typed: architectures, data, targets, precisions, budgets, whole commands
    documents  JSON files: of a run, beside weights, of benchmarks and probes
    binaries   archives, weight files, golden samples, ONNX files

Not among them: what processes of one command tell each other (``benchmarks.fresh``, ``workers``,
``dispatch``), what a runtime's profiler writes, and the studies' own records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzzing.corpus import Corpus
from tests.fuzzing.mutators import Mutate
from tests.fuzzing.outcomes import Parser


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """``open`` gives the parser; it may write into the scratch folder, which nobody else uses."""

    name: str
    open: Callable[[Corpus, Path], Parser]
    seeds: Callable[[Corpus], Sequence[bytes]]
    change: Mutate
    in_tests: int = 150  # changed inputs of the fast suite; fewer where one takes milliseconds


def all_targets() -> dict[str, Target]:
    """By name.  Imported late, so that what they import can be instrumented first."""
    from tests.fuzzing import binaries, documents, texts

    found = (*texts.TARGETS, *documents.TARGETS, *binaries.TARGETS)
    return {one.name: one for one in found}
