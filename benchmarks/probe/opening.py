"""An operator becomes a call that a runtime is ready to run.

Comes in: a ``Target``.  Goes out: an ``Opener`` for as long as the runtime's settings hold.  Knows
nothing of widths and clocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.probe.targets import Target
from benchmarks.runtimes import runtime_for, unavailable
from compressor.errors import OptionError
from compressor.files import scratch_folder
from compressor.staircases import Operator

Call = Callable[[], object]
Opener = Callable[[Operator, int], Call]  # so many copies of it in one call


def require_available(target: Target) -> None:
    """Raises OptionError where the target cannot run here."""
    reason = unavailable(target.workload)
    if reason is not None:
        raise OptionError(f"{target.name} cannot be probed here: {reason}")


@contextmanager
def opened(target: Target) -> Iterator[Opener]:
    """What prepares operators on the target.  Raises OptionError where it cannot run here."""
    require_available(target)
    runtime = runtime_for(target.workload)
    with scratch_folder("compressor-probe-") as folder, runtime.settings():
        form = _as_module if target.runtime == "torch" else _as_file

        def open_operator(operator: Operator, copies: int) -> Call:
            model, shape = form(operator, copies, target, folder)
            prepared = runtime.prepare(model)
            values = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
            placed = runtime.place(values)
            return lambda: prepared(placed)

        yield open_operator


def _as_file(
    operator: Operator, copies: int, target: Target, folder: Path
) -> tuple[object, tuple[int, ...]]:
    from benchmarks.probe.onnx_graphs import build_graph, input_shape

    path = folder / "operator.onnx"
    model = build_graph(operator, copies, target.precision, target.batch)
    path.write_bytes(model.SerializeToString())
    return path, input_shape(operator, target.batch)


def _as_module(
    operator: Operator, copies: int, target: Target, folder: Path
) -> tuple[object, tuple[int, ...]]:
    from benchmarks.probe.torch_modules import Copies, input_shape

    return Copies(operator, copies), input_shape(operator, target.batch)
