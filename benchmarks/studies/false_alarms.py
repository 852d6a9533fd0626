"""Short runs of the benchmark while another process loads one core: does its word hold?

    python -m benchmarks.studies.false_alarms [--runs 100] [--seconds 10] [--neighbours 1]
        [--runtime onnxruntime] [--out runs/false-alarms] [--page docs/studies.md]

Half of the runs compare a network with itself; the other half compare it with a file of the same
network that has 10 % more of the same layers (22 in place of 20, after a first one that both have),
which is 10 % more multiplications of the very same shape.  The two kinds take turns by chance.  A
run is what ``compressor bench --seconds 10`` does, the start of its processes included.

Every run is a line of ``results.jsonl``; what is there already is not run again, so the study may
be stopped at any time.  Other settings or another environment need another folder.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
from scipy import stats

from benchmarks.comparison import Model, compare
from benchmarks.dispatch import Effort
from benchmarks.environment import describe
from benchmarks.likeness import require_like
from benchmarks.studies.parts import put_part, table, typed
from benchmarks.workloads import Workload
from compressor.errors import OptionError
from compressor.files import write_bytes

LAYERS = 20
SLOWER_LAYERS = 22
CHANNELS = 32
SIDE = 24
# A neighbour ends by itself when the study does: its parent's number changes then.
BUSY = "import os\nwhile os.getppid() == {parent}:\n    for _ in range(100000): pass"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What every run of a folder has in common."""

    seconds: float
    neighbours: int
    runtime: str
    seed: int


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run and its word."""

    number: int
    slower: bool  # the second file has 10 % more work
    verdict: str
    status: str
    decided_by: str
    speedup: float
    interval: tuple[float, float] | None
    wall_speedup: float
    noise_floor: float | None
    twin: float
    contention: float
    others_cores: float
    seconds: float


def write_chain(path: Path, layers: int) -> Path:
    """A chain of ``layers`` equal 3 x 3 convolutions after a first one, as an ONNX file."""
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for layer in range(1 + layers):
        width = CHANNELS if layer else 3
        values = generator.standard_normal((CHANNELS, width, 3, 3)) / np.sqrt(4.5 * width)
        weights.append(numpy_helper.from_array(values.astype(np.float32), f"w{layer}"))
        nodes.append(helper.make_node("Conv", [last, f"w{layer}"], [f"c{layer}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        last = f"r{layer}"
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["y"]))
    sizes: tuple[list[str | int | None], ...] = (
        ["batch", 3, SIDE, SIDE],
        ["batch", CHANNELS, 1, 1],
    )
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, size)
        for name, size in zip("xy", sizes, strict=True)
    ]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    write_bytes(path, model.SerializeToString(deterministic=True))
    return path


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """So many other processes, each of which keeps a core busy, while it lasts."""
    code = BUSY.format(parent=os.getpid())
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(count)]
    try:
        yield
    finally:
        for one in started:
            one.kill()
            one.wait()


def order(runs: int, seed: int) -> list[bool]:
    """``runs`` of each kind, shuffled: True where the second file is slower."""
    kinds = np.repeat([False, True], runs)
    np.random.default_rng(seed).shuffle(kinds)
    return [bool(kind) for kind in kinds]


def perform(number: int, slower: bool, files: tuple[Model, Model], settings: Settings) -> Run:
    """One run.  Raises OptionError where the runtime is not there."""
    found = compare(
        files[0],
        files[1] if slower else files[0],
        workloads=(Workload(runtime=settings.runtime),),
        effort=Effort(seconds=settings.seconds, seed=settings.seed + number),
    )
    if not found.measured:
        raise OptionError(found.skipped[0].reason)
    (one,) = found.measured
    said, around = one.summary, one.measurement.surroundings
    return Run(
        number=number,
        slower=slower,
        verdict=said.verdict,
        status=said.status,
        decided_by=said.decided_by,
        speedup=said.speedup.value,
        interval=said.speedup.interval,
        wall_speedup=said.wall.value,
        noise_floor=said.noise_floor,
        twin=said.twin.value,
        contention=max(said.teacher.contention, said.student.contention),
        others_cores=float(np.mean([each.others_cores for each in around])),
        seconds=one.measurement.seconds,
    )


def study(folder: Path, runs: int, settings: Settings) -> list[Run]:
    """Do what is not done yet.  Raises OptionError where the folder holds another study."""
    known = folder / "settings.json"
    facts = {"settings": msgspec.to_builtins(settings), "environment": describe()}
    if known.is_file():
        before = msgspec.json.decode(known.read_bytes())
        require_like(facts["environment"], before["environment"], ("this machine", str(folder)))
        if before["settings"] != facts["settings"]:
            raise OptionError(f"{folder} holds runs with other settings; give another --out")
    else:
        write_bytes(known, msgspec.json.encode(facts))
    files = (
        Model.of_onnx(write_chain(folder / "network.onnx", LAYERS)),
        Model.of_onnx(write_chain(folder / "slower.onnx", SLOWER_LAYERS)),
    )
    results = folder / "results.jsonl"
    done = read_results(results)
    kinds = order(runs, settings.seed)
    with neighbours(settings.neighbours), results.open("ab") as stream:
        for number in range(len(done), len(kinds)):
            run = perform(number, kinds[number], files, settings)
            stream.write(msgspec.json.encode(run) + b"\n")
            stream.flush()
            done.append(run)
            print(f"{number + 1}/{len(kinds)} slower={run.slower}: {run.verdict}", flush=True)
    return done


def read_results(path: Path) -> list[Run]:
    """The runs of a file, in order; a last line that was cut off is left out."""
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")
    whole = b"".join(line + b"\n" for line in lines[:-1])
    if lines[-1]:
        write_bytes(path, whole)
    return [msgspec.json.decode(line, type=Run) for line in lines[:-1]]


def section(runs: Sequence[Run], settings: Settings, environment: dict[str, object]) -> str:
    """Markdown: how often each word was said, with exact binomial intervals."""
    body = []
    for slower, name in ((False, "the same file twice"), (True, "10 % more of the same layers")):
        kind = [run for run in runs if run.slower is slower]
        if not kind:
            continue
        right = "slower" if slower else "no measurable difference"
        hits = sum(run.verdict == right for run in kind)
        ends = stats.binomtest(hits, len(kind)).proportion_ci(method="exact")
        words = ("no measurable difference", "slower", "faster")
        body.append(
            [
                name,
                *(str(sum(run.verdict == word for run in kind)) for word in words),
                f"{100 * hits / len(kind):.0f} % ({100 * ends.low:.0f} to {100 * ends.high:.0f} %)",
                f"{np.median([1 / run.speedup - 1 for run in kind]):+.1%}",
                f"{np.median([run.noise_floor or np.nan for run in kind]):.1%}",
            ]
        )
    head = ("second file", "no difference", "slower", "faster", "right", "takes", "noise floor")
    by_cpu = sum(run.decided_by == "cpu" for run in runs)
    return "\n".join(
        [
            "## Does the benchmark's word hold?",
            "",
            f"`{typed('benchmarks.studies.false_alarms', sys.argv[1:])}`",
            "",
            f"{len(runs)} runs of at most {settings.seconds:g} s each (half of them ended within "
            f"{np.median([run.seconds for run in runs]):.1f} s) in {settings.runtime}, batch 1, "
            f"one thread, while {settings.neighbours} other process loaded a core on "
            f"{environment['logical_cores']} cores of {environment['cpu']}; others kept "
            f"{np.median([run.others_cores for run in runs]):.1f} cores busy in the median. Both "
            f"kinds of run took turns by chance (seed {settings.seed}). {by_cpu} verdicts were by "
            "processor time. In brackets: exact 95 % binomial intervals; `takes` and `noise floor` "
            "are medians.",
            "",
            *table(head, body),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=100, help="of each of the two kinds")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--neighbours", type=int, default=1)
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/false-alarms"))
    parser.add_argument("--page", type=Path, default=Path("docs/studies.md"))
    options = parser.parse_args()
    settings = Settings(
        seconds=options.seconds,
        neighbours=options.neighbours,
        runtime=options.runtime,
        seed=options.seed,
    )
    runs = study(options.out, options.runs, settings)
    text = section(runs, settings, describe())
    print(text)
    put_part(options.page, "false-alarms", text)


if __name__ == "__main__":
    main()
