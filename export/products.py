"""A folder of deployables becomes a product: what describes it, what vouches for it.

Comes in: a folder whose model files, golden samples and preprocessing are written, and its report.
Goes out, in this order, since each covers what was written before it: the Triton repository, the
model card, the bill of materials, the manifest, the signature.  Knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor.types import Packaging
from export.manifest import installed_versions, write_manifest
from export.materials import write_materials
from export.model_cards import STUDENT, write_card
from export.outputs import read_outputs
from export.preprocessing import read_preprocessing
from export.signatures import sign
from export.triton import write_repository


def product_name(report: Mapping[str, Any]) -> str:
    """What a run's student is called: after its teacher."""
    return f"{report['teacher']['name']}-student"


def finish(
    folder: Path,
    name: str,
    report: Mapping[str, Any],
    *,
    packaging: Packaging,
    command: Sequence[str],
    seed: int,
) -> None:
    """Write all that comes after the model files; the folder is complete when this returns.

    ``name`` is what the model is called.  Raises as the writers of the parts do.
    """
    versions = installed_versions()
    preprocessing, labels = read_preprocessing(folder)
    if packaging.triton:
        write_repository(folder, folder / STUDENT, name)
    outputs = read_outputs(folder / STUDENT, labels)
    write_card(folder, name, report, preprocessing, labels, outputs)
    write_materials(folder, name, report, versions, outputs)
    write_manifest(folder, command, seed, versions)
    if packaging.sign_key is not None:
        sign(folder, Path(packaging.sign_key))
