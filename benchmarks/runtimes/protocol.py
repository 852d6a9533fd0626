"""The protocol that every runtime follows.

A runtime takes a model and gives a callable that returns when the work is done, not when it was
queued.  Knows nothing of clocks, samples or of which model is the teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Call = Callable[[Any], Any]
Feed = np.ndarray | Mapping[str, np.ndarray]  # a bare array is for a model with one input


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A loaded model: a `Call`, and what it was found to run on."""

    call: Call
    ran_by: str  # as "43 nodes by CPUExecutionProvider"
    late: bool = False  # it compiles or records at the first call, which is then part of loading

    def __call__(self, placed: Any) -> Any:
        return self.call(placed)


class Runtime(Protocol):
    """What runs models of type ``model``: one object per workload."""

    def prepare(self, model: Any) -> Prepared:
        """Load ``model`` afresh; the callable takes what `place` gives and waits for the end.

        Raises LoadError where the model cannot be run, SurroundingsError where something else than
        what the workload names would run it.
        """
        ...

    def place(self, inputs: Feed) -> Any:
        """Put inputs where the runtime reads them, so that timing does not include the trip."""
        ...

    def settings(self) -> AbstractContextManager[None]:
        """Process-wide settings that must hold while calls are timed, and are put back after."""
        ...
