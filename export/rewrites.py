"""The exporter's ONNX graph made friendly to runtimes, and stripped of where it was made.

Comes in: an ``onnx_ir`` model as torch exported it.  Goes out: the same function with global
average pools in place of means over height and width, and without source paths, doc strings and
exporter metadata.  Knows nothing of torch and files.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from onnxscript import rewriter


class GlobalAveragePool(rewriter.RewriteRuleClassBase):
    """ReduceMean over height and width -> GlobalAveragePool (-> Flatten without keepdims).

    ONNX Runtime keeps its blocked layout through the pool, but leaves it before a mean.
    """

    def pattern(self, op: Any, x: Any, axes: Any) -> Any:
        return op.ReduceMean(x, axes, _allow_other_attributes=True, _outputs=["mean"])

    def check(self, context: Any, x: ir.Value, axes: ir.Value, mean: ir.Value) -> Any:
        result = rewriter.MatchResult()
        constant = axes.const_value
        if x.shape is None or x.shape.rank() != 4:
            return result.fail("not a batch of feature maps")
        if x.dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
            return result.fail("the pool is defined for floats only")
        if constant is None or sorted(int(axis) % 4 for axis in constant.numpy().flat) != [2, 3]:
            return result.fail("not a mean over height and width")
        return result

    def rewrite(self, op: Any, x: ir.Value, axes: ir.Value, mean: ir.Value) -> Any:
        node = mean.producer()
        assert node is not None
        keepdims = node.attributes.get("keepdims")
        pooled = op.GlobalAveragePool(x)
        return pooled if keepdims is None or keepdims.as_int() else op.Flatten(pooled, axis=1)


_RULE: rewriter.RewriteRule = GlobalAveragePool.rule()


def restore_pools(model: ir.Model) -> ir.Model:
    """The model with GlobalAveragePool wherever a mean over height and width stood."""
    return rewriter.rewrite(model, [_RULE])


def strip(model: ir.Model) -> None:
    """Remove, in place, every doc string and all metadata of model, graphs, nodes and values."""
    ClearMetadataAndDocStringPass()(model)
    model.metadata_props.clear()
    model.doc_string = None
    model.graph.metadata_props.clear()
    model.graph.doc_string = None
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        values.extend(node.outputs)
    for value in values:
        value.metadata_props.clear()
        value.doc_string = None
        if value.const_value is not None:
            if value.const_value.doc_string:  # those of a loaded file cannot be set
                value.const_value.doc_string = None
            value.const_value.metadata_props.clear()
