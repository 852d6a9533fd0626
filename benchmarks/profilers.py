"""A runtime's own clock for every kernel: ONNX Runtime's profile, OpenVINO's counters.

In comes a file with its operations and a workload; out come Kernels with the time of each within
one call.  ONNX Runtime writes its events to a file (whole microseconds), OpenVINO answers after
each call.  Knows nothing of turns, of teachers and of students.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
from scipy import stats

from benchmarks.kernels import NCHWC, TYPES, Kernel, Node, assign
from benchmarks.operations import Operation, unique_names
from benchmarks.runtimes.onnx_runtime import CPU, create_session, session_options
from benchmarks.runtimes.openvino_cpu import OpenVinoCpu, told_reason
from benchmarks.steps import UNKNOWN, steps_of
from benchmarks.workloads import Workload
from compressor.errors import LoadError, OptionError

TRIMMED = 0.25  # of the times at either end; the mean of the rest is finer than a microsecond


class Profiler(Protocol):
    """A loaded file whose runtime keeps the time of every kernel."""

    def run(self, inputs: np.ndarray) -> None: ...

    def kernels(self, rounds: int) -> tuple[Kernel, ...]:
        """The kernels with their mean times over the last ``rounds`` rounds, trimmed where single
        times are known; ends it."""
        ...


def trimmed_mean(times: Sequence[float]) -> float:
    return float(stats.trim_mean(times, TRIMMED))


def later_mean(means: Sequence[float], last: int) -> float:
    """The mean of the ``last`` calls, from the means of all calls after each call."""
    before = len(means) - last
    total = len(means) * means[-1] - (before * means[before - 1] if before > 0 else 0.0)
    return max(total / last, 0.0)


def counting(times: Sequence[float], rounds: int) -> Sequence[float]:
    """The second call of every turn; two were made in each."""
    return times[-2 * rounds :][1::2]


def open_profiler(
    path: Path,
    operations: tuple[Operation, ...],
    inputs: np.ndarray,
    workload: Workload,
    folder: Path,
) -> Profiler:
    """The profiler of a workload's runtime.  Raises OptionError where nobody has written one."""
    kinds: Mapping[str, Callable[[], Profiler]] = {
        "onnxruntime": lambda: OnnxRuntimeProfiler(path, operations, workload.threads, folder),
        "openvino": lambda: OpenVinoProfiler(path, operations, inputs.shape, workload),
    }
    if workload.runtime not in kinds or workload.device != "cpu":
        raise OptionError(
            f"{workload.runtime} on {workload.device}: kernels are timed in onnxruntime and "
            "openvino on cpu"
        )
    return kinds[workload.runtime]()


class OnnxRuntimeProfiler:
    """A session with profiling on; its optimised graph says which nodes became which kernels."""

    def __init__(
        self, path: Path, operations: tuple[Operation, ...], threads: int, folder: Path
    ) -> None:
        folder.mkdir()
        options = session_options(threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "profile")
        options.optimized_model_filepath = str(folder / "optimised.onnx")
        if sum(one.bytes_moved for one in operations) > 1 << 30:  # protobuf ends at 2 GiB
            for key, value in (("file_name", "weights"), ("min_size_in_bytes", "1024")):
                options.add_session_config_entry(
                    f"session.optimized_model_external_initializers_{key}", value
                )
        self._session = create_session(with_names(path, folder), options, [CPU], told=path.name)
        self._operations = operations
        optimised = onnx.load(str(folder / "optimised.onnx"), load_external_data=False)
        self._nodes = tuple(
            Node(
                name=one.name,
                operator=one.op_type,
                domain=one.domain,
                inputs=tuple(one.input),
                outputs=tuple(one.output),
            )
            for one in optimised.graph.node
        )
        (entry,) = self._session.get_inputs()
        self._input = entry.name

    def run(self, inputs: np.ndarray) -> None:
        self._session.run(None, {self._input: inputs})

    def kernels(self, rounds: int) -> tuple[Kernel, ...]:
        events = json.loads(Path(self._session.end_profiling()).read_bytes())
        return kernels_of_events(events, self._operations, self._nodes, rounds)


def kernels_of_events(
    events: Sequence[Mapping[str, Any]],
    operations: Sequence[Operation],
    nodes: Sequence[Node],
    rounds: int,
) -> tuple[Kernel, ...]:
    """ONNX Runtime's profile as Kernels, in the order in which they run.

    Nodes without a name (bodies of functions written out) are told by their operators' order.
    Events of nodes inside a loop's or branch's own graph are left out: the loop counts them.
    """
    times: dict[str, list[float]] = defaultdict(list)
    shapes: dict[str, Mapping[str, Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time")
            times[name].append(event["dur"] / 1e6)
            shapes[name] = event["args"]
    known = {node.name for node in nodes}
    unnamed = {
        operator: iter(
            [name for name in times if name not in known and shapes[name]["op_name"] == operator]
        )
        for operator in {node.operator for node in nodes}
    }
    found = []
    for node, (covers, converts) in zip(nodes, assign(operations, nodes), strict=True):
        name = node.name or next(unnamed[node.operator], "")
        if name not in times:
            continue  # a constant that is not run
        found.append(
            Kernel(
                name=name,
                operator=node.operator,
                implementation=node.implementation,
                covers=covers,
                converts=converts,
                seconds=trimmed_mean(counting(times[name], rounds)),
                executed_macs=executed_macs(node, shapes[name]),
                computes_in=computed_type(shapes[name]),
            )
        )
    return tuple(found)


def computed_type(args: Mapping[str, Any]) -> str | None:
    """The type of a node's first input."""
    shapes: Sequence[Mapping[str, Any]] = args.get("input_type_shape") or ()
    return TYPES.get(next(iter(shapes[0]))) if shapes else None


def executed_macs(node: Node, args: Mapping[str, Any]) -> int | None:
    """What a blocked convolution computes, its padding to whole blocks included."""
    if node.domain != NCHWC or node.operator != "Conv":
        return None
    (_, weight, *_), (result, *_) = (
        [next(iter(one.values())) for one in args[key]]
        for key in ("input_type_shape", "output_type_shape")
    )
    return math.prod(result) * math.prod(weight[1:])


def with_names(path: Path, folder: Path) -> Path:
    """``path``, or a copy in which every node has a name of its own: events are told by it."""
    model = onnx.load(str(path), load_external_data=False)
    names = unique_names(model.graph.node)
    if all(node.name == name for node, name in zip(model.graph.node, names, strict=True)):
        return path
    model = onnx.load(str(path))
    for node, name in zip(model.graph.node, names, strict=True):
        node.name = name
    copy = folder / "named.onnx"
    onnx.save(model, str(copy), save_as_external_data=path.stat().st_size < 1 << 20)
    return copy


class OpenVinoProfiler:
    """A compiled model with performance counters; it says itself which nodes it fused.

    A counter is the mean of all calls since the model was compiled, in whole microseconds (seen by
    printing them one call after the other): single times cannot be had, but the warm-up can be
    taken out again.
    """

    def __init__(
        self,
        path: Path,
        operations: tuple[Operation, ...],
        shape: tuple[int, ...],
        workload: Workload,
    ) -> None:
        import openvino

        core = openvino.Core()
        try:
            model = core.read_model(str(path))
            model.reshape(list(shape))
            runtime = OpenVinoCpu(threads=workload.threads, precision=workload.precision)
            compiled = core.compile_model(
                model, "CPU", {**runtime.properties(), "PERF_COUNT": True}
            )
        except RuntimeError as problem:
            reason = told_reason(problem)
            raise LoadError(f"{path.name}: OpenVINO refuses the file: {reason}") from problem
        self._steps = steps_of(compiled.get_runtime_model(), operations)
        self._request = compiled.create_infer_request()
        self._times: dict[tuple[str, str, str], list[float]] = defaultdict(list)

    def run(self, inputs: np.ndarray) -> None:
        self._request.infer({0: inputs})
        for one in self._request.profiling_info:
            key = (one.node_name, one.node_type, one.exec_type)
            self._times[key].append(one.real_time.total_seconds())

    def kernels(self, rounds: int) -> tuple[Kernel, ...]:
        found = []
        for (name, kind, implementation), times in self._times.items():
            step = self._steps.get(name, UNKNOWN)
            if step.at_load or not any(times):  # or no work at all, as an input
                continue
            found.append(
                Kernel(
                    name=name,
                    operator=kind,
                    implementation=implementation,
                    covers=step.covers,
                    converts=step.converts,
                    seconds=later_mean(times, 2 * rounds),
                    computes_in=step.computes_in,
                )
            )
        return tuple(found)
