"""ONNX Runtime sessions on the CPU that differ from the usual one in a single setting.

In comes a file's path; out comes a call.  The usual session is `runtimes`' own; here are those with
the memory arena off and those that share the machine with others.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.runtimes.onnx_runtime import CPU, create_session, session_options


def open_call(path: Path, *, threads: int, arena: bool = True) -> Callable[[Any], Any]:
    """A session's call; threads do not spin while they wait, which would take others' time.

    ``arena`` False: memory goes back to the system after each use, in place of being kept for the
    next call.  Raises LoadError where the file is refused.
    """
    options = session_options(threads)
    options.enable_cpu_mem_arena = arena
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = create_session(path, options, [CPU], told=path.name)
    (entry,) = session.get_inputs()
    run, name = session.run, entry.name
    return lambda inputs: run(None, {name: inputs})
