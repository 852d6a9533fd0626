"""A ``.onnx`` file in OpenVINO on the CPU.

OpenVINO chooses bfloat16 by itself where the processor has it, and takes a request for float16 as
one for bfloat16.  So the precision is always asked for, and what the compiled model answers is
looked at: another precision than asked is an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.runtimes.protocol import Feed, Prepared
from compressor.errors import LoadError, SurroundingsError

HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
PASSIVE = frozenset(("Const", "Input", "Output", "Reorder", "Parameter", "Result"))


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenVinoCpu:
    """OpenVINO's CPU device, one stream; ``model`` is the file's path."""

    threads: int
    precision: str = "float32"

    def prepare(self, model: Path) -> Prepared:
        """Read and compile the file.

        Raises LoadError where the file is missing or refused, SurroundingsError where the CPU would
        compute in another precision than asked for.
        """
        import openvino

        if not Path(model).is_file():
            raise LoadError(f"{model}: no such ONNX file; export it before it is measured")
        core = openvino.Core()
        try:
            compiled = core.compile_model(core.read_model(str(model)), "CPU", self.properties())
        except RuntimeError as problem:
            raise LoadError(
                f"{model}: OpenVINO refuses the file: {told_reason(problem)}"
            ) from problem
        ran_by = self._require(compiled, model)
        request = compiled.create_infer_request()

        def call(placed: Any) -> Any:
            # Sharing means no copy: the tensors that `place` made are read where they lie.
            return request.infer(placed, share_inputs=True, share_outputs=True)

        return Prepared(call=call, ran_by=ran_by)

    def properties(self) -> dict[str, Any]:
        """Everything that could otherwise be chosen behind one's back."""
        return {
            "INFERENCE_PRECISION_HINT": HINTS[self.precision],
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # pinned threads cannot step aside for a neighbour
        }

    def _require(self, compiled: Any, model: Path) -> str:
        devices = list(compiled.get_property("EXECUTION_DEVICES"))
        found = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if devices != ["CPU"] or found != HINTS[self.precision]:
            raise SurroundingsError(
                f"{model}: OpenVINO would run on {', '.join(devices)} in {found}, "
                f"not on CPU in {HINTS[self.precision]}; this processor lacks that precision"
            )
        return f"{', '.join(devices)} in {found}: {precisions_of(compiled)}"

    def place(self, inputs: Feed) -> Any:
        """A list in the order of the inputs, or names with their arrays."""
        if isinstance(inputs, Mapping):
            return {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        return [np.ascontiguousarray(inputs)]

    def settings(self) -> AbstractContextManager[None]:
        return nullcontext()


def precisions_of(compiled: Any) -> str:
    """How many working nodes of the compiled graph run in which precision."""
    found: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ops():
        facts = node.get_rt_info()
        kind, precision = (_value(facts[key]) for key in ("layerType", "runtimePrecision"))
        if kind not in PASSIVE:
            found[precision] += 1
    return ", ".join(f"{count} nodes {name}" for name, count in found.most_common()) or "no nodes"


def told_reason(problem: Exception) -> str:
    """The last line that says something: the first ones name OpenVINO's own source files."""
    lines = [line.strip() for line in str(problem).splitlines()]
    telling = [line for line in lines if line and not line.startswith("Exception from")]
    return (telling or lines or [type(problem).__name__])[-1]


def _value(entry: Any) -> str:
    return str(getattr(entry, "value", entry))
