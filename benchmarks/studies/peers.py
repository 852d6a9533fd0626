"""This project against torch-pruning: the same costs, images, training and order of both.

    python -m benchmarks.studies.peers --data FOLDER [--data-root FOLDER]
        [--networks resnet20 resnet56] [--teacher NETWORK=FILE ...] [--sparsity 0.5 0.7] [--of macs]
        [--seeds 3] [--arms ...] [--epochs 3] [--train-images 10000] [--validation-images 1000]
        [--sample 1024] [--threads 1] [--device cpu] [--out FOLDER] [--page docs/studies.md]

``--data`` is an image folder with train and test; ``--data-root`` (else COMPRESSOR_DATA) holds the
published weights of the two ResNets, ``--teacher`` names others.  Every cell is a file in the
folder, so a study that was stopped goes on where it was; the page and its picture are written from
the files.  A seed decides which training images scoring and repair see, and the order of training.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import describe
from benchmarks.studies.parts import typed
from benchmarks.studies.peers_bench import Bench, describe_teacher, onnx_file, open_bench, timed
from benchmarks.studies.peers_cells import run_cell
from benchmarks.studies.peers_figures import Results
from benchmarks.studies.peers_page import write_page
from benchmarks.studies.peers_plan import Study, cells_of, couples_of, results
from benchmarks.studies.peers_records import (
    ARMS,
    NETWORKS,
    Arm,
    Cell,
    Network,
    Pair,
    Settings,
    TeacherRecord,
    cell_file,
    pair_file,
    teacher_file,
)
from benchmarks.studies.records import ROOT, read_keyed, write
from compressor.errors import InputError, LoadError
from compressor.loading import load

CIFAR = (32, 32)


def study(plan: Study, weights: dict[str, Path], data: str) -> Results:
    """Run what has no result yet; returns all that the folder then holds of this study."""
    for network in plan.networks:
        _run_network(plan, network, weights[network.name], data)
    return results(plan, weights)


def _run_network(plan: Study, network: Network, weights: Path, data: str) -> None:
    """What the folder lacks of one network; cells that failed are tried again."""
    key = plan.key(weights)

    @cache
    def bench() -> Bench:  # data are opened only where something is to be done
        teacher = load(weights, network.architecture, data_size=CIFAR)
        return open_bench(network, teacher, data, plan.settings, plan.folder)

    path = teacher_file(plan.folder, network.name)
    if read_keyed(path, TeacherRecord, key) is None:
        write(path, describe_teacher(bench()))
    for _, sparsity, seed in (row for row in plan.rows() if row[0] is network):
        for arm in plan.arms_of(network):
            path = cell_file(plan.folder, network.name, sparsity, seed, arm.name)
            known = read_keyed(path, Cell, key)
            if known is None or known.failed:
                cell = _attempt(bench(), sparsity, seed, arm)
                write(path, cell)
                print(_told(cell), file=sys.stderr, flush=True)
        for first, second in couples_of(plan, cells_of(plan, network, sparsity, seed, key)):
            path = pair_file(plan.folder, first, second)
            if read_keyed(path, Pair, key) is None:
                write(path, _time_pair(bench(), first, second))


def _attempt(bench: Bench, sparsity: float, seed: int, arm: Arm) -> Cell:
    """A cell; one that fails says why, and the study goes on."""
    try:
        return run_cell(bench, sparsity, seed, arm)
    except Exception as error:
        lines = str(error).strip().splitlines()
        return Cell(
            network=bench.network.name,
            sparsity=sparsity,
            seed=seed,
            arm=arm.name,
            key=bench.key,
            failed=f"{type(error).__name__}: {lines[0] if lines else ''}",
        )


def _time_pair(bench: Bench, first: Cell, second: Cell) -> Pair:
    """``first`` is timed as the student, ``second`` takes the teacher's place."""
    ours, theirs = (onnx_file(bench, one.student) for one in (first, second))
    return Pair(
        network=first.network,
        sparsity=first.sparsity,
        seed=first.seed,
        first=first.arm,
        second=second.arm,
        key=bench.key,
        latency=timed(bench, theirs, ours),
    )


def _told(cell: Cell) -> str:
    subject = f"{cell.network} {cell.sparsity:g} seed {cell.seed} {cell.arm}"
    if cell.failed:
        return f"{subject}: {cell.failed}"
    top1 = ", ".join(f"{name} {one.top1:.1%}" for name, one in cell.stages.items())
    return f"{subject}: {cell.gone:.2%} gone; {top1}; {cell.seconds}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    names = [network.name for network in NETWORKS]
    parser.add_argument("--data", required=True, metavar="FOLDER")
    parser.add_argument("--data-root", type=Path, default=os.environ.get("COMPRESSOR_DATA"))
    parser.add_argument("--networks", nargs="+", choices=names, default=["resnet20", "resnet56"])
    parser.add_argument("--teacher", nargs="+", default=[], metavar="NETWORK=FILE")
    parser.add_argument("--sparsity", nargs="+", type=float, default=[0.5, 0.7])
    parser.add_argument("--of", choices=["macs", "params"], default="macs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=[a.name for a in ARMS], default=None)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--train-images", type=int, default=10_000)
    parser.add_argument("--validation-images", type=int, default=1_000)
    parser.add_argument("--sample", type=int, default=1_024)
    parser.add_argument("--bench-seconds", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "peers")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "studies.md")
    return parser


def find_weights(
    networks: Sequence[Network], given: Sequence[str], root: Path | str | None
) -> dict[str, Path]:
    """Every network's weight file.  Raises LoadError where one is named nowhere."""
    named = dict(item.partition("=")[::2] for item in given)
    found = {}
    for network in networks:
        if network.name in named:
            found[network.name] = Path(named[network.name])
        elif network.weights and root:
            found[network.name] = Path(root) / network.weights
        else:
            raise LoadError(
                f"no weights for {network.name}: give --teacher {network.name}=FILE"
                + (", --data-root or COMPRESSOR_DATA" if network.weights else "")
            )
    return found


def main() -> None:
    parser = _parser()
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")  # the libraries' own; tests hold our own silence
    plan = Study(
        networks=tuple(n for n in NETWORKS if n.name in options.networks),
        sparsities=tuple(options.sparsity),
        seeds=options.seeds,
        arms=tuple(a for a in ARMS if options.arms is None or a.name in options.arms),
        settings=Settings(
            data=Path(options.data).name,
            of=options.of,
            epochs=options.epochs,
            train_images=options.train_images,
            validation_images=options.validation_images,
            sample=options.sample,
            device=options.device,
            threads=options.threads,
            bench_seconds=options.bench_seconds,
        ),
        folder=options.out,
    )
    try:
        weights = find_weights(plan.networks, options.teacher, options.data_root)
        found = study(plan, weights, options.data)
    except InputError as error:
        parser.error(str(error))
    write_page(found, options.page, typed("benchmarks.studies.peers", sys.argv[1:]), _facts())


def _facts() -> dict[str, Any]:
    facts = describe()
    packages = facts["packages"] | {"torch-pruning": metadata.version("torch-pruning")}
    return facts | {"packages": packages}


if __name__ == "__main__":
    main()
