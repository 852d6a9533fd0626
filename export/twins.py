"""A static twin of an ONNX file: the same network for one sample at a time.

Comes in: a file with a dynamic batch.  Goes out: a file beside it whose batch is 1 and whose shapes
are known throughout, as several NPUs and TensorRT's tuning want it.  Knows nothing of torch's
graphs; ``parity`` runs the file.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass
from onnxscript import optimizer

from compressor.errors import DefectError
from export.onnx_files import EXTERNAL_ABOVE, OnnxFile, save
from export.rewrites import strip

ENDING = "-batch1"


def twin_of(path: Path) -> Path:
    """Where the twin lies: ``student.onnx`` -> ``student-batch1.onnx``."""
    return path.with_name(f"{path.stem}{ENDING}{path.suffix}")


def write_twin(path: Path, *, external_above: int = EXTERNAL_ABOVE) -> OnnxFile:
    """Write the twin of ``path`` beside it; metadata and opset stay.

    What is computed from the batch (sizes of reshapes) becomes constant.  Raises DefectError where
    the first dimension of an input or output is not the dynamic batch, or stays free.
    """
    model = ir.load(path)
    facts = dict(model.metadata_props)
    ends = (*model.graph.inputs, *model.graph.outputs)
    for value in ends:
        if value.shape is None or str(value.shape[0]) != "batch":
            raise DefectError(f"{path.name}: {value.name} has no dynamic batch to be fixed")
        rest = list(value.shape)[1:]
        value.shape = ir.Shape([1, *rest])
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        for output in node.outputs:
            if output not in ends:
                output.shape = None  # said for any batch; inferred anew below
    ShapeInferencePass()(model)
    optimizer.optimize_ir(model)
    ShapeInferencePass()(model)
    strip(model)
    model.metadata_props.update(facts)
    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.shape is None or value.shape[0] != 1:
            raise DefectError(f"{path.name}: {value.name} is {value.shape} in the static twin")
    return save(model, twin_of(path), external_above=external_above)
