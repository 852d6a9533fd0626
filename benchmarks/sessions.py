"""ONNX Runtime sessions on the CPU that differ from the usual one in a single setting.

In comes a file's path; out comes a call.  The usual session is `runtimes`' own; here are those with
the memory arena off and those that share the machine with others.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from compressor.errors import LoadError


def open_session(path: Path, *, threads: int, arena: bool = True) -> Callable[[Any], Any]:
    """A session of its own; threads do not spin while they wait, which would take others' time.

    ``arena`` False: memory goes back to the system after each use, in place of being kept for the
    next call.  Raises LoadError where the file is refused.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = arena
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as problem:  # ONNX Runtime's own tree of errors is not public
        first = str(problem).splitlines()[0]
        raise LoadError(f"{path.name}: ONNX Runtime refuses the file: {first}") from problem
    (entry,) = session.get_inputs()
    run, name = session.run, entry.name
    return lambda inputs: run(None, {name: inputs})
