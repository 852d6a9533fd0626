"""Students planned for their target against multiples of 8 and torch-pruning's ``round_to=8``.

    python -m benchmarks.studies.targets [--networks resnet50 mobilenet_v3_large resnet56]
        [--targets onnxruntime:fp32 onnxruntime:int8 openvino:fp32 openvino:bf16 openvino:int8]
        [--sparsity 0.5] [--threads 1] [--probe-minutes 2] [--seconds 10] [--seed 0]
        [--out FOLDER] [--page docs/studies.md]

All at equal MACs, weights random and untrained.  Every student and every timed pair is a file in
the folder, so a study that was stopped goes on where it was; the page is written from the files.  A
target that cannot run here is named on the page.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import torch

from benchmarks.environment import describe
from benchmarks.probe.caches import environment_of
from benchmarks.probe.targets import PRECISIONS, Target, parse_target
from benchmarks.studies.parts import typed
from benchmarks.studies.records import ROOT, read_keyed, write
from benchmarks.studies.targets_page import Results, write_page
from benchmarks.studies.targets_records import (
    COUPLES,
    DENSE,
    NETWORKS,
    WAYS,
    Network,
    Settings,
    Student,
    Timing,
    WayName,
    key_of,
    student_file,
    timing_file,
)
from benchmarks.studies.targets_students import (
    Ground,
    Place,
    make_student,
    open_subject,
    time_pair,
)
from compressor.errors import InputError

TARGETS = tuple(
    f"{runtime}:{precision}"
    for runtime, precisions in PRECISIONS.items()
    for precision in precisions
    if runtime != "torch"  # its students are not ONNX files
)
Cell = TypeVar("Cell", Student, Timing)


def study(
    networks: tuple[Network, ...], targets: tuple[Target, ...], settings: Settings, folder: Path
) -> Results:
    """Run what has no result yet; returns all that the folder then holds of this study."""
    students: list[Student] = []
    timings: list[Timing] = []
    for network in networks:
        opened = cache(partial(open_subject, network, settings.seed))
        for target in targets:
            key = key_of(settings, environment_of(target))
            place = Place(network=network, target=target, settings=settings, folder=folder, key=key)
            ground = cache(partial(Ground, place, opened))
            here = [_student(place, ground, way) for way in WAYS]
            students += here
            made = {DENSE, *(one.way for one in here if not one.failed)}
            timings += [
                _timing(place, ground, first, second)
                for first, second in COUPLES
                if first in made and second in made
            ]
    return Results(
        networks=networks,
        targets=tuple(target.name for target in targets),
        settings=settings,
        students=tuple(students),
        timings=tuple(timings),
    )


def _student(place: Place, ground: Callable[[], Ground], way: WayName) -> Student:
    return _known_or_run(
        student_file(place.folder, place.network.name, place.target.name, way),
        Student(network=place.network.name, target=place.target.name, way=way, key=place.key),
        lambda: make_student(ground(), way),
    )


def _timing(place: Place, ground: Callable[[], Ground], first: str, second: str) -> Timing:
    network, target = place.network.name, place.target.name
    return _known_or_run(
        timing_file(place.folder, network, target, first, second),
        Timing(network=network, target=target, first=first, second=second, key=place.key),
        lambda: time_pair(ground(), first, second),
    )


def _known_or_run(path: Path, empty: Cell, run: Callable[[], Cell]) -> Cell:
    """A record of the folder, or else made now; one that fails says why, and is tried again."""
    known = read_keyed(path, type(empty), empty.key)
    if known is not None and not known.failed:
        return known
    try:
        found = run()
    except Exception as error:
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0] if lines else ''}"
        found = msgspec.structs.replace(empty, failed=reason)
    write(path, found)
    print(f"{path.stem}: {_told(found)}", file=sys.stderr, flush=True)
    return found


def _told(found: Student | Timing) -> str:
    if found.failed:
        return found.failed
    if isinstance(found, Student):
        expected = "" if found.expected is None else f", {found.expected:.3f} times faster expected"
        return f"{found.gone:.2%} of the MACs gone{expected}"
    assert found.latency is not None
    return f"{found.latency.speedup:.3f} times faster ({found.latency.interval})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    names = [network.name for network in NETWORKS]
    parser.add_argument("--networks", nargs="+", choices=names, default=names)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--probe-minutes", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "targets")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "studies.md")
    return parser


def main() -> None:
    parser = _parser()
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")  # the libraries' own; tests hold our own silence
    try:
        targets = tuple(parse_target(one, threads=options.threads) for one in options.targets)
    except InputError as error:
        parser.error(str(error))
    settings = Settings(
        sparsity=options.sparsity,
        seed=options.seed,
        threads=options.threads,
        probe_minutes=options.probe_minutes,
        seconds=options.seconds,
    )
    networks = tuple(network for network in NETWORKS if network.name in options.networks)
    found = study(networks, targets, settings, options.out)
    write_page(found, options.page, typed("benchmarks.studies.targets", sys.argv[1:]), _facts())


def _facts() -> dict[str, Any]:
    facts = describe()
    packages = facts["packages"] | {"torch-pruning": metadata.version("torch-pruning")}
    named = ("torch", "torchvision", "torch-pruning", "onnx", "onnxruntime", "openvino")
    return facts | {"packages": {name: packages[name] for name in named if name in packages}}


if __name__ == "__main__":
    main()
