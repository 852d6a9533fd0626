"""A ``.onnx`` file in ONNX Runtime: its own CPU kernels, CUDA, or TensorRT.

ONNX Runtime gives nodes that a provider does not take to the CPU, without a word.  Here the session
records which provider got which node, and a node elsewhere than asked is an error.  The GPU classes
follow the documentation and have not been run by anyone who could watch them: no GPU was at hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.runtimes.protocol import Feed, Prepared
from compressor.errors import LoadError, SurroundingsError

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxRuntimeCpu:
    """ONNX Runtime's own CPU provider; ``model`` is the file's path."""

    threads: int

    def prepare(self, model: Path) -> Prepared:
        """Open a session of its own.

        Raises LoadError where the file is missing or refused, SurroundingsError where another
        provider than the CPU's would run it.
        """
        session = open_session(model, threads=self.threads, provider=CPU)
        run, names = session.run, [entry.name for entry in session.get_inputs()]

        def call(placed: Feed) -> Any:
            return run(None, placed if isinstance(placed, Mapping) else {names[0]: placed})

        return Prepared(call=call, ran_by=require_provider(session, model, CPU))

    def place(self, inputs: Feed) -> Feed:
        if isinstance(inputs, Mapping):
            return {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        return np.ascontiguousarray(inputs)

    def settings(self) -> AbstractContextManager[None]:
        return nullcontext()


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxRuntimeGpu:
    """ONNX Runtime's CUDA or TensorRT provider; inputs and outputs stay on the device.

    ``options`` are the provider's own.  Times are of the host, from the call to the end of the
    device's work, without copies.
    """

    threads: int
    provider: str = CUDA
    options: tuple[tuple[str, str], ...] = ()
    device: int = 0

    def prepare(self, model: Path) -> Prepared:
        """Open a session whose nodes all run on the device; errors as `OnnxRuntimeCpu.prepare`."""
        session = open_session(
            model, threads=self.threads, provider=self.provider, options=dict(self.options)
        )
        ran_by = require_provider(session, model, self.provider)
        names = [entry.name for entry in session.get_inputs()]
        bound: dict[int, Any] = {}  # by identity of what was placed: binding is no part of a call

        def bind(placed: Any) -> Any:
            binding = session.io_binding()
            values = placed if isinstance(placed, Mapping) else {names[0]: placed}
            for name, value in values.items():
                binding.bind_ortvalue_input(name, value)
            for entry in session.get_outputs():
                binding.bind_output(entry.name, "cuda", self.device)
            return binding

        def call(placed: Any) -> Any:
            binding = bound.get(id(placed))
            if binding is None:
                binding = bound[id(placed)] = bind(placed)
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()
            return binding

        # TensorRT builds an engine for free sizes when it first sees them.
        return Prepared(call=call, ran_by=ran_by, late=self.provider == TENSORRT)

    def place(self, inputs: Feed) -> Any:
        """OrtValues in the device's memory."""
        from onnxruntime import OrtValue

        def move(array: np.ndarray) -> Any:
            return OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), "cuda", self.device)

        if isinstance(inputs, Mapping):
            return {name: move(array) for name, array in inputs.items()}
        return move(inputs)

    def settings(self) -> AbstractContextManager[None]:
        return nullcontext()


def open_session(
    model: Path, *, threads: int, provider: str, options: Mapping[str, str] | None = None
) -> Any:
    """A session that may use one provider, and that keeps a record of who got which node."""
    if not Path(model).is_file():
        raise LoadError(f"{model}: no such ONNX file; export it before it is measured")
    chosen = session_options(threads)
    chosen.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if provider != CPU:
        chosen.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return create_session(model, chosen, [(provider, dict(options or {}))], told=str(model))


def session_options(threads: int) -> Any:
    """What every session here has in common: nothing beside it, one operator after the other."""
    import onnxruntime

    found = onnxruntime.SessionOptions()
    found.intra_op_num_threads = threads
    found.inter_op_num_threads = 1
    found.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    found.log_severity_level = 3  # warnings are for whoever exports, not for whoever measures
    return found


def create_session(
    model: Path, options: Any, providers: Sequence[str | tuple[str, dict[str, str]]], *, told: str
) -> Any:
    """Raises LoadError, which calls the file as ``told``, where it is refused."""
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(str(model), options, providers=list(providers))
    except Exception as problem:  # ONNX Runtime's own tree of errors is not public
        first = str(problem).splitlines()[0]
        raise LoadError(f"{told}: ONNX Runtime refuses the file: {first}") from problem


def require_provider(session: Any, model: Path, provider: str) -> str:
    """Say which provider got how many nodes; SurroundingsError where one is not ``provider``."""
    nodes: Counter[str] = Counter()
    strays: list[str] = []
    for part in session.get_provider_graph_assignment_info():
        held = part.get_nodes()
        nodes[part.ep_name] += len(held)
        if part.ep_name != provider:
            strays += [f"{node.op_type} on {part.ep_name}" for node in held]
    chosen = session.get_providers()
    if strays or provider not in chosen or (provider == CPU and chosen != [CPU]):
        shown = ", ".join(sorted(set(strays))[:5]) or ", ".join(chosen)
        raise SurroundingsError(
            f"{model}: not all of it would run on {provider}: {shown}; "
            "install the onnxruntime package that has this provider, or leave the runtime out"
        )
    said = (f"{count} nodes by {name}" for name, count in sorted(nodes.items()))
    return ", ".join(said) or f"no nodes, {provider}"
