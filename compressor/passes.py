"""Passes: which images make up the batches that come, pass after pass, without end.

In: a number of images, the size of a batch, a generator.  Out: rows of a data set, batch by batch,
and where in a pass that is.  Knows nothing of images.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from compressor.data import rows_of_pass
from compressor.keeping import Snapshot


class Passes:
    """An iterator over batches of rows, int64 (size,).

    ``generator`` shuffles every pass and is there for what else is drawn for a batch, so that its
    state and what is left of the pass say all about what comes.  ``number``: of the pass, from 0.
    ``before``: rows of the batch before the last one; None where there was none.
    """

    def __init__(self, count: int, size: int, generator: Generator) -> None:
        self.count, self.size, self.generator = count, size, generator
        self.number = -1
        self.before: Tensor | None = None
        self._last: Tensor | None = None
        self._left = torch.empty(0, dtype=torch.int64)

    def __iter__(self) -> Passes:
        return self

    def __next__(self) -> Tensor:
        if not len(self._left):
            self._left = torch.cat(rows_of_pass(self.count, self.size, self.generator))
            self.number += 1
        self.before = self._last
        self._last, self._left = self._left[: self.size], self._left[self.size :]
        return self._last

    def state(self) -> Snapshot:
        tensors = {"generator": self.generator.get_state(), "left": self._left}
        if self._last is not None:
            tensors["last"] = self._last
        return Snapshot(tensors=tensors, facts={"number": self.number})

    def restore(self, kept: Snapshot) -> None:
        """Go on after the batch that was the last."""
        self.generator.set_state(kept.tensors["generator"])
        self._left, self._last = kept.tensors["left"], kept.tensors.get("last")
        self.number = kept.facts["number"]
