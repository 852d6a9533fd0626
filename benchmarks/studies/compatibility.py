"""The written list of networks, one by one through the pipeline, as a published matrix.

    python -m benchmarks.studies.compatibility [--only PATTERN ...] [--out FOLDER] [--stale]
        [--jobs 1] [--limit 900] [--peer-limit 60] [--memory 16] [--threads 1]
        [--page docs/compatibility.md]

One process per network, with a limit of time and of memory; small networks first.  Results are
files in the folder, one per network, so a study that was stopped goes on where it was; ``--stale``
runs again what was run with other sources of the compressor.  The page, and ``problems.txt`` in the
folder, are written from the files.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib
import multiprocessing
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from benchmarks.studies.matrix import page, problems
from benchmarks.studies.networks import NETWORKS, Network, find
from benchmarks.studies.records import (
    ROOT,
    PeerTrial,
    Trial,
    peer_file,
    read,
    row_key,
    sources_key,
    trial_file,
    write,
)
from compressor.files import write_bytes

POLL_S = 0.2
# Forked from a process that has the libraries, but none of our modules: those are as on the disk.
_SERVER = multiprocessing.get_context("forkserver")
_LIBRARIES = ["torch", "torchvision", "timm", "torch_pruning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one process: seconds of the processor, resident memory, threads.

    Ten times the seconds on the wall are the end for a process that waits for something.
    """

    seconds: float
    gib: float
    threads: int


def study(
    networks: tuple[Network, ...],
    folder: Path,
    limits: Limits,
    peer_limits: Limits,
    *,
    stale: bool,
    jobs: int,
) -> None:
    """Run what has no result yet, and with ``stale`` what has one of other sources.

    torch-pruning is left out where its limit is no time at all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _SERVER.set_forkserver_preload(_LIBRARIES)

    def both(network: Network) -> None:
        if _is_due(network, folder, stale):
            ended = _process("benchmarks.studies.trial", network, folder, limits)
            _close(network, folder, ended)
        peer = read(peer_file(folder, network), PeerTrial)
        if peer_limits.seconds and (peer is None or peer.key != row_key(network)):
            ended = _process("benchmarks.studies.peer", network, folder, peer_limits)
            _close_peer(network, folder, ended)
        write_bytes(folder / "problems.txt", problems(results(folder)).encode())

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        for _ in pool.map(both, sorted(networks, key=lambda network: network.millions)):
            pass


def results(folder: Path) -> tuple[tuple[Network, Trial | None, PeerTrial | None], ...]:
    """The list with what the folder holds of it, trials that have ended."""

    def ended(network: Network) -> Trial | None:
        found = read(trial_file(folder, network), Trial)
        return None if found is None or found.verdict == "running" else found

    return tuple((n, ended(n), read(peer_file(folder, n), PeerTrial)) for n in NETWORKS)


def _is_due(network: Network, folder: Path, stale: bool) -> bool:
    found = read(trial_file(folder, network), Trial)
    if found is None or found.verdict == "running":  # a study that was stopped in the middle
        return True
    return stale and found.key != sources_key(network)


def _process(trial: str, network: Network, folder: Path, limits: Limits) -> str:
    """Run one trial to its end or its limit; "" where it ended by itself in good order."""
    process = _SERVER.Process(target=_run, args=(trial, network.name, folder, limits.threads))
    started = time.perf_counter()
    process.start()
    resident = psutil.Process(process.pid)
    try:
        while process.is_alive():
            process.join(POLL_S)
            worked, gib = _used(resident)
            if max(worked, 0.1 * (time.perf_counter() - started)) > limits.seconds:
                return f"stopped after {limits.seconds:g} s"
            if gib > limits.gib:
                return f"stopped above {limits.gib:g} GiB of memory"
    finally:
        process.kill()
        process.join()
    return "" if process.exitcode == 0 else f"its process died with status {process.exitcode}"


def _run(trial: str, name: str, folder: Path, threads: int) -> None:
    """In the process of its own."""
    import torch

    torch.set_num_threads(threads)
    warnings.simplefilter("ignore")  # the libraries' own; tests hold our own silence
    done = importlib.import_module(trial).run(find(name), folder)
    print(f"{trial.rpartition('.')[2]:6} {done.told}", flush=True)


def _used(process: psutil.Process) -> tuple[float, float]:
    """Seconds of the processor so far, and resident GiB."""
    try:
        times = process.cpu_times()
        return times.user + times.system, process.memory_info().rss / 2**30
    except psutil.Error:  # it has just ended
        return 0.0, 0.0


def _close(network: Network, folder: Path, ended: str) -> None:
    """A trial that did not end by itself has no verdict yet."""
    found = read(trial_file(folder, network), Trial)
    if not ended and found is not None:
        return
    record = found or Trial(name=network.name, key=sources_key(network))
    reason = f"{ended or 'no result'}, in {record.stage}"
    verdict = "limit" if ended.startswith("stopped") else "defect"
    write(
        trial_file(folder, network),
        msgspec.structs.replace(record, verdict=verdict, reason=reason),
    )


def _close_peer(network: Network, folder: Path, ended: str) -> None:
    found = read(peer_file(folder, network), PeerTrial)
    if not ended and found is not None:
        return
    record = found or PeerTrial(name=network.name, key=row_key(network))
    write(
        peer_file(folder, network),
        msgspec.structs.replace(record, reason=f"{ended or 'no result'}, in {record.stage}"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", metavar="PATTERN", default=["*"])
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "compatibility")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "compatibility.md")
    parser.add_argument("--stale", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--limit", type=float, default=900.0, metavar="SECONDS")
    parser.add_argument("--peer-limit", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--memory", type=float, default=16.0, metavar="GIB")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    chosen = tuple(
        n for n in NETWORKS if any(fnmatch.fnmatch(n.name, pattern) for pattern in options.only)
    )
    if not chosen:
        parser.error(f"no network of the list is called {' or '.join(options.only)}")
    limits = Limits(seconds=options.limit, gib=options.memory, threads=options.threads)
    peer_limits = Limits(seconds=options.peer_limit, gib=options.memory, threads=options.threads)
    study(chosen, options.out, limits, peer_limits, stale=options.stale, jobs=options.jobs)
    write_bytes(options.page, page(results(options.out)).encode())


if __name__ == "__main__":
    main()
