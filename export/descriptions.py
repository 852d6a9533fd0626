"""What a deployable says about itself, as the metadata of its ONNX file.

Comes in: facts about the network and its input.  Goes out: sorted ``compressor.*`` keys with text
values (JSON where the value is not a word).  No clock: equal facts give equal bytes.  Knows nothing
of ONNX and torch.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from compressor.types import BudgetOf, Preprocessing
from export.deployables import Calibration
from export.outputs import Task
from export.paths import reduce_paths

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """Facts that travel inside the file.  ``sparsity`` 0: nothing was removed.

    ``task`` None: not known.
    """

    architecture: str
    tool_version: str
    task: Task | None = None
    preprocessing: Preprocessing | None = None
    labels: tuple[str, ...] | None = None
    teacher_sha256: str | None = None
    sparsity: float = 0.0
    sparsity_of: BudgetOf = "params"
    precision: str = "fp32"
    calibration: Calibration | None = None


def metadata(description: Description) -> tuple[tuple[str, str], ...]:
    """Sorted (key, value) pairs; facts that are not known have no key."""
    facts = {
        "format": str(FORMAT),
        "version": description.tool_version,
        "architecture": reduce_paths(description.architecture),
        "precision": description.precision,
        "sparsity": json.dumps(description.sparsity),
        "sparsity.of": description.sparsity_of,
    }
    if description.task is not None:
        facts |= {"task": description.task, "output": "logits"}
    if description.teacher_sha256 is not None:
        facts["teacher.sha256"] = description.teacher_sha256
    if description.labels is not None:
        facts["labels"] = json.dumps(description.labels, ensure_ascii=False)
    if description.calibration is not None:
        facts["calibration"] = json.dumps(asdict(description.calibration))
    if description.preprocessing is not None:
        facts |= _input_facts(description.preprocessing)
    return tuple((f"compressor.{key}", facts[key]) for key in sorted(facts))


def _input_facts(preprocessing: Preprocessing) -> dict[str, str]:
    return {
        "input.layout": "NCHW",
        "input.colour": "RGB" if len(preprocessing.mean) == 3 else "grey",
        "input.scale": "[0, 1] before mean and std",
        "input.size": json.dumps(preprocessing.crop),
        "input.mean": json.dumps(preprocessing.mean),
        "input.std": json.dumps(preprocessing.std),
        "input.resize": json.dumps(preprocessing.resize),
        "input.interpolation": preprocessing.interpolation,
    }
