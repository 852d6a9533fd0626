"""Half of the MACs gone: how much faster in each runtime and precision, and why not by half.

    python -m benchmarks.studies.halves [--networks resnet50 mobilenet_v3_large]
        [--precisions fp32 fp16 bf16 int8] [--teachers NAME=FILE ...] [--data FOLDER]
        [--sparsity 0.5] [--threads 1] [--seconds 10] [--seed 0] [--out runs/halves]
        [--page docs/studies.md]

Every network goes through ``compressor build --of macs --epochs 0`` in a process of its own, into a
run folder; one that is finished is not built anew, one that was stopped goes on.  Weights are
random where no file is given: then groups are cut alike, by magnitude, since speed hangs on widths
alone.  Pictures are painted where no folder is given: they serve repair and calibration, and what
is calibrated on them is not shown.  The page is written from the runs' report.json.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.report import open_run
from benchmarks.starts import own_sources_first
from benchmarks.studies.halves_page import Result, write_page
from benchmarks.studies.parts import typed
from benchmarks.studies.records import ROOT
from benchmarks.studies.targets_records import NETWORKS, Network
from compressor.errors import CompressorError, FolderError, OptionError, SurroundingsError
from compressor.files import replacing
from compressor.loading import untrained
from compressor.saving import save_state
from compressor.synthetic import paint

USUAL = ("resnet50", "mobilenet_v3_large")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
PICTURES = 64
# Widths of random weights: no group is worth more than another.
ALIKE = ("--criterion", "magnitude", "--allocation", "uniform")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What all networks of a study have in common."""

    precisions: tuple[str, ...] = PRECISIONS
    sparsity: float = 0.5  # of the MACs
    threads: int = 1
    seconds: float = 10.0  # of each benchmark setting
    seed: int = 0
    teachers: Mapping[str, Path] = field(default_factory=dict)  # weights by network
    data: Path | None = None  # None: painted pictures


def study(networks: Sequence[Network], settings: Settings, folder: Path) -> tuple[Result, ...]:
    """Build what is not finished; a network that fails is a result that says why."""
    found = []
    for network in networks:
        place = folder / f"{network.name}-macs-{settings.sparsity:g}"
        report = finished(place, settings)
        failed = ""
        if report is None:
            try:
                build(network, settings, folder, place)
                report = finished(place, settings)
                failed = "" if report else "its run lacks a precision that was asked for"
            except CompressorError as error:
                failed = str(error)
        told = failed or "finished"
        print(f"{network.name}: {told}", file=sys.stderr, flush=True)
        found.append(Result(name=network.name, title=network.title, report=report, failed=failed))
    return tuple(found)


def finished(place: Path, settings: Settings) -> Mapping[str, Any] | None:
    """The report of a run that has all that is asked for; None where there is none."""
    try:
        report = open_run(place).report
    except FolderError:
        return None
    there = {one["precision"] for one in report["deployables"]}
    asked = report["budget"]
    same = (asked["sparsity"], asked["of"]) == (settings.sparsity, "macs")
    return report if same and set(settings.precisions) <= there else None


def build(network: Network, settings: Settings, folder: Path, place: Path) -> None:
    """``compressor build`` in a fresh process.  Raises SurroundingsError where it fails."""
    command = [
        sys.executable, "-P", "-m", "compressor", "build",
        "--teacher", str(teacher_of(network, settings, folder)),
        "--arch", network.architecture,
        "--image-size", str(network.size),
        "--data", str(settings.data or pictures(network.size, folder)),
        "--sparsity", f"{settings.sparsity:g}", "--of", "macs", "--epochs", "0",
        "--precision", ",".join(settings.precisions),
        "--threads", str(settings.threads), "--seed", str(settings.seed),
        "--bench-seconds", f"{settings.seconds:g}",
        *(() if network.name in settings.teachers else ALIKE),
        "--out", str(place),
    ]  # fmt: skip
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, env=own_sources_first())
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        told = [line for line in lines if line.startswith("error: ")] or lines
        raise SurroundingsError(told[-1].removeprefix("error: "))


def teacher_of(network: Network, settings: Settings, folder: Path) -> Path:
    """The weights that were given, or random ones, written once."""
    given = settings.teachers.get(network.name)
    if given is not None:
        return given
    path = folder / "weights" / f"{network.name}-random-{settings.seed}.pt"
    if not path.is_file():
        fresh = untrained(network.architecture, seed=settings.seed, image_size=network.size)
        assert fresh.module is not None
        with replacing(path) as place:
            save_state(fresh.module.state_dict(), place)
    return path


def pictures(size: int, folder: Path) -> Path:
    """A folder of painted pictures, written once: none that a network would have to make up."""
    place = folder / f"pictures-{size}"
    if not place.is_dir():
        with replacing(place) as fresh:
            fresh.mkdir()
            for number, pixels in enumerate(paint(PICTURES, (size, size), 3, seed=0)):
                Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(fresh / f"{number:03}.png")
    return place


def teachers_of(given: Sequence[str], networks: Sequence[Network]) -> dict[str, Path]:
    """``NAME=FILE`` as typed.  Raises OptionError for a name that is not studied."""
    found = {}
    for one in given:
        name, equals, file = one.partition("=")
        if not equals or name not in {network.name for network in networks}:
            raise OptionError(f"--teachers {one}: give NAME=FILE with a name of --networks")
        found[name] = Path(file)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    names = [network.name for network in NETWORKS]
    parser.add_argument("--networks", nargs="+", choices=names, default=list(USUAL))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--teachers", nargs="+", default=[], metavar="NAME=FILE")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "halves")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "studies.md")
    return parser


def main() -> None:
    parser = _parser()
    options = parser.parse_args()
    networks = tuple(network for network in NETWORKS if network.name in options.networks)
    try:
        teachers = teachers_of(options.teachers, networks)
    except OptionError as error:
        parser.error(str(error))
    settings = Settings(
        precisions=tuple(options.precisions),
        sparsity=options.sparsity,
        threads=options.threads,
        seconds=options.seconds,
        seed=options.seed,
        teachers=teachers,
        data=options.data,
    )
    found = study(networks, settings, options.out)
    write_page(found, options.page, typed("benchmarks.studies.halves", sys.argv[1:]))


if __name__ == "__main__":
    main()
