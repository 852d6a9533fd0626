"""The run folder for one build alone: locked, cleared of what a killed one left, opened.

Comes in: a folder, what the run depends on.  Goes out: the ``Run`` for as long as a context lasts.
Under a launcher the first process locks, and the others wait for what it finds.  Knows nothing of
stages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compressor.files import sweep
from compressor.locks import LOCK_FILE, held
from compressor.processes import is_first, wait
from compressor.runs import Run, give_back, open_run, require_ours
from compressor.watching import Listener


@contextmanager
def claimed(
    folder: Path, inputs: Mapping[str, Any], *, device: str, restart: bool, listener: Listener
) -> Iterator[Run]:
    """The run, as ``runs.open_run`` finds it.  A complete one is only read, and needs no lock.

    Raises FolderError before anything is written, SurroundingsError where another build is at work.
    """
    from export.manifest import installed_versions

    versions = installed_versions()
    if not is_first():
        wait(device)  # for the first process to decide about the folder
        yield open_run(folder, inputs, versions)
        return
    if restart:
        require_ours(folder)
    elif (finished := open_run(folder, inputs, versions)).complete:
        wait(device)
        yield finished
        return
    with held(folder / LOCK_FILE, "compressor build", listener.note):
        give_back(folder)
        sweep(folder)
        run = open_run(folder, inputs, versions, restart=restart)
        wait(device)
        yield run
