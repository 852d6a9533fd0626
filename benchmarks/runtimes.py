"""What runs a model: a file in ONNX Runtime, a module in torch on the CPU or on CUDA.

A runtime takes a model and gives a callable that returns when the work is done, not when it was
queued.  Knows nothing of clocks, samples or of which model is the teacher.  torch and ONNX Runtime
are imported where they are used.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from benchmarks.workloads import Workload
from compressor.errors import LoadError, OptionError, SurroundingsError

if TYPE_CHECKING:
    from torch import nn

Call = Callable[[Any], Any]


class Runtime(Protocol):
    """What runs models of type ``model``: one object per workload."""

    def prepare(self, model: Any) -> Call:
        """Load ``model`` afresh; the callable takes what `place` gives and waits for the end."""
        ...

    def place(self, inputs: np.ndarray) -> Any:
        """Put a batch where the runtime reads it, so that timing does not include the trip."""
        ...

    def settings(self) -> AbstractContextManager[None]:
        """Process-wide settings that must hold while calls are timed, and are put back after."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxRuntimeCpu:
    """A ``.onnx`` file in ONNX Runtime's own CPU provider; ``model`` is the file's path."""

    threads: int

    def prepare(self, model: Path) -> Call:
        """Open a session of its own.

        Raises LoadError where the file is missing or refused, SurroundingsError where another
        provider than the CPU's would run it.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3  # warnings are for whoever exports, not for whoever measures
        wanted = ["CPUExecutionProvider"]
        if not Path(model).is_file():
            raise LoadError(f"{model}: no such ONNX file; export it before it is measured")
        try:
            session = onnxruntime.InferenceSession(str(model), options, providers=wanted)
        except Exception as problem:  # ONNX Runtime's own tree of errors is not public
            first = str(problem).splitlines()[0]
            raise LoadError(f"{model}: ONNX Runtime refuses the file: {first}") from problem
        if session.get_providers() != wanted:
            raise SurroundingsError(
                f"{model}: ONNX Runtime chose {session.get_providers()} instead of {wanted}; "
                "install the plain onnxruntime package"
            )
        (entry,) = session.get_inputs()
        run, name = session.run, entry.name
        return lambda inputs: run(None, {name: inputs})

    def place(self, inputs: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(inputs)

    def settings(self) -> AbstractContextManager[None]:
        return nullcontext()


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchEager:
    """A module in torch, operator by operator; ``device`` is "cpu" or "cuda"."""

    threads: int
    device: str = "cpu"

    def prepare(self, model: nn.Module) -> Call:
        """Run a copy of its own in eval mode, so that the caller's module stays as it is."""
        import torch

        module = copy.deepcopy(model).to(self.device).eval()
        if self.device == "cpu":
            return module

        def call(inputs: Any) -> Any:
            outputs = module(inputs)
            torch.cuda.synchronize()
            return outputs

        return call

    def place(self, inputs: np.ndarray) -> Any:
        import torch

        return torch.from_numpy(np.ascontiguousarray(inputs)).to(self.device)

    @contextmanager
    def settings(self) -> Iterator[None]:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            with torch.inference_mode():
                yield
        finally:
            torch.set_num_threads(before)


def unavailable(workload: Workload) -> str | None:
    """Why this workload cannot run here; None where it can."""
    library = workload.runtime
    if importlib.util.find_spec(library) is None:
        return f"the package {library} is not installed"
    if workload.precision != "float32":
        return f"{workload.precision} is not measured yet"
    if workload.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            return "torch finds no CUDA device"
    return None


def runtime_for(workload: Workload) -> Runtime:
    """The runtime of a workload.  Raises OptionError where nobody has written one."""
    if (workload.runtime, workload.device) == ("onnxruntime", "cpu"):
        return OnnxRuntimeCpu(threads=workload.threads)
    if workload.runtime == "torch" and workload.device in ("cpu", "cuda"):
        return TorchEager(threads=workload.threads, device=workload.device)
    raise OptionError(
        f"no runtime {workload.runtime} on {workload.device}; "
        "there are onnxruntime on cpu, torch on cpu and torch on cuda"
    )
