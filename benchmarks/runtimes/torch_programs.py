"""A network in torch: operator by operator, compiled, or as a CUDA graph.

``model`` is a module, or the path of a ``.pt2`` program (read by `compressor.archives`, which runs
nothing that a file carries).  `CudaGraphs` and every ``device="cuda"`` follow the documentation and
have not been run: no GPU was at hand.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.runtimes.protocol import Call, Feed, Prepared
from compressor.errors import LoadError

if TYPE_CHECKING:
    from torch import nn

WARM_UP_CALLS = 3  # before a CUDA graph is recorded, as torch's documentation asks for


@dataclass(frozen=True, slots=True, kw_only=True)
class InTorch:
    """What all of them share; ``device`` is "cpu" or "cuda"."""

    threads: int
    device: str = "cpu"

    def place(self, inputs: Feed) -> Any:
        return place_tensors(inputs, self.device)

    def settings(self) -> AbstractContextManager[None]:
        return torch_settings(self.threads)


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchEager(InTorch):
    """A module in torch, operator by operator."""

    def prepare(self, model: nn.Module | Path) -> Prepared:
        """Run a copy of its own in eval mode, so that the caller's module stays as it is."""
        module = load_module(model, self.device)
        return Prepared(call=_waiting(module, self.device), ran_by=f"torch eager on {self.device}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchCompiled(InTorch):
    """A module through ``torch.compile`` (Inductor); the first call compiles.

    A part that cannot be compiled is an error (``fullgraph``), not run operator by operator.
    """

    def prepare(self, model: nn.Module | Path) -> Prepared:
        import torch

        compiled = torch.compile(load_module(model, self.device), fullgraph=True, dynamic=False)
        return Prepared(
            call=_waiting(compiled, self.device),
            ran_by=f"torch.compile on {self.device}",
            late=True,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaGraphs(InTorch):
    """A module recorded once as a CUDA graph and replayed: no kernel is launched from Python."""

    device: str = "cuda"

    def prepare(self, model: nn.Module | Path) -> Prepared:
        """The graph is recorded at the first call, which warm-up makes, for the inputs placed."""
        import torch

        module = load_module(model, self.device)
        recorded: list[tuple[Any, Any]] = []

        def record(placed: Any) -> tuple[Any, Any]:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_UP_CALLS):
                    module(*placed)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                outputs = module(*placed)
            return graph, outputs

        def call(placed: Any) -> Any:
            if not recorded:
                recorded.append(record(placed))
            graph, outputs = recorded[0]
            graph.replay()
            torch.cuda.synchronize()
            return outputs

        return Prepared(call=call, ran_by="CUDA graph", late=True)

    def place(self, inputs: Feed) -> Any:
        placed = place_tensors(inputs, self.device)
        return placed if isinstance(placed, tuple) else (placed,)


def load_module(model: nn.Module | Path, device: str) -> Any:
    """A module of its own on ``device``.  Raises LoadError where there is no such program."""
    if not isinstance(model, str | Path):
        return copy.deepcopy(model).to(device).eval()
    if not Path(model).is_file():
        raise LoadError(f"{model}: no such program; torch runs .pt2 files")
    from compressor.archives import read_program

    program, _ = read_program(Path(model))
    return program.module(check_guards=False).to(device)


def place_tensors(inputs: Feed, device: str) -> Any:
    """One tensor, or a tuple of tensors in the order of the mapping."""
    import torch

    def move(array: np.ndarray) -> Any:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    if isinstance(inputs, Mapping):
        return tuple(move(array) for array in inputs.values())
    return move(inputs)


@contextmanager
def torch_settings(threads: int) -> Iterator[None]:
    """So many threads and no gradients, while it lasts."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)


def _waiting(module: Any, device: str) -> Call:
    """The module as a call that takes one tensor or a tuple and returns when the work is done."""
    if device == "cpu":
        return lambda placed: module(*placed) if isinstance(placed, tuple) else module(placed)
    import torch

    def call(placed: Any) -> Any:
        outputs = module(*placed) if isinstance(placed, tuple) else module(placed)
        torch.cuda.synchronize()
        return outputs

    return call
