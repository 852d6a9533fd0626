"""The last of a run: pages, what makes a product of the folder, manifest, signature.

Comes in: a run folder with its report.  Goes out: a complete one.  Knows nothing of networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compressor.runs import Run
from compressor.types import Packaging


def check_key(packaging: Packaging) -> None:
    """A key that cannot sign is refused before hours of training, not after."""
    if packaging.sign_key is not None:
        from export import signatures

        signatures.check_key(Path(packaging.sign_key))


def close(run: Run, command: Sequence[str], seed: int, packaging: Packaging) -> None:
    """The pages, then what makes a product of the folder, last the manifest and the signature."""
    from benchmarks import markdown
    from benchmarks.report import read, render
    from compressor.files import write_bytes
    from export.products import finish, product_name

    found = read(run.folder)
    write_bytes(run.folder / "report.html", render(found).encode())
    write_bytes(run.folder / "report.md", markdown.render(found.report).encode())
    finish(
        run.folder,
        product_name(found.report),
        found.report,
        packaging=packaging,
        command=command,
        seed=seed,
    )
