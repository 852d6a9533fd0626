"""Targets under atheris, one after the other, each in a child of this process.

Comes in: names of targets and how long each lasts.  Goes out: findings as files, and libFuzzer's
own log for each target.  Everything is imported, and instrumented, once.  A finding does not end a
target's run; a crash of the interpreter, a hang or too much memory does, and libFuzzer keeps the
bytes.
"""

from __future__ import annotations

import ctypes
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import atheris

TOO_LONG_S = 20  # of processor time, for one input
HANGS_S = 300  # of time, on a machine that others use too
MOST_MEMORY_MB = 8192
LONGEST = 1 << 20

with atheris.instrument_imports(include=["compressor", "export", "benchmarks"]):
    from tests.fuzzing.corpus import Corpus
    from tests.fuzzing.outcomes import judge
    from tests.fuzzing.targets import Target, all_targets

    TARGETS = all_targets()


def run(
    names: Sequence[str], corpus: Corpus, found: Path, seconds: int, seed: int
) -> Iterator[tuple[str, int]]:
    """Yield each target's name and its status when its time is spent; its log is in ``found``."""
    for name in names:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = _fuzz(TARGETS[name], corpus, found, seconds, seed)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        _, ended = os.waitpid(child, 0)
        yield name, os.waitstatus_to_exitcode(ended)


def _fuzz(target: Target, corpus: Corpus, found: Path, seconds: int, seed: int) -> int:
    """In the child.  libFuzzer itself ends the process."""
    log = os.open(found / f"{target.name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    with tempfile.TemporaryDirectory(prefix=f"fuzz-{target.name}-") as folder:
        scratch, seeds = Path(folder) / "scratch", Path(folder) / "seeds"
        scratch.mkdir()
        seeds.mkdir()
        for place, content in enumerate(target.seeds(corpus)):
            (seeds / str(place)).write_bytes(content)
        parse = target.open(corpus, scratch)
        for content in target.seeds(corpus):
            judge(parse, content)  # what is imported late is imported now
        known: set[str] = set()

        def one(data: bytes) -> None:
            start = time.process_time()
            finding = judge(parse, data)
            if finding is not None and finding.key not in known:
                known.add(finding.key)
                finding.keep(found, target.name)
                print(f"FINDING {finding.key}", file=sys.stderr, flush=True)
            if time.process_time() - start > TOO_LONG_S:
                print(f"SLOW {len(data)} bytes", file=sys.stderr, flush=True)

        def change(data: bytes, longest: int, number: int) -> bytes:
            """Half of the time by form, else as libFuzzer does it."""
            generator = random.Random(number)
            if generator.random() < 0.5:
                return atheris.Mutate(data, longest)
            return target.change(data, generator)[:longest]

        options = {
            "max_total_time": seconds,
            "timeout": HANGS_S,
            "rss_limit_mb": MOST_MEMORY_MB,
            "max_len": LONGEST,
            "seed": seed,
            "artifact_prefix": f"{found}/{target.name}-",
            "print_final_stats": 1,
            "detect_leaks": 0,
        }
        arguments = [f"-{name}={value}" for name, value in options.items()]
        atheris.Setup(["fuzz", *arguments, str(seeds)], one, custom_mutator=change)
        _leave_at_once()
        atheris.Fuzz()
    return 0


def _leave_at_once() -> None:
    """At its end libFuzzer calls ``exit``, where libraries join threads that a fork has not."""
    library = ctypes.CDLL(None)
    library.on_exit(ctypes.cast(library._exit, ctypes.c_void_p), None)
