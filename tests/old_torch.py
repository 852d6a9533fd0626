"""What the oldest torch that is supported cannot do: tests of it are left out there."""

from __future__ import annotations

import pytest
import torch

from compressor.graphs import Graph

OLD = torch.__version__ < (2, 12)  # it compares by parts, not by letters


def require_counted(graph: Graph) -> None:
    """Skip where torch's own counter of operations does not see attention."""
    attention = torch.ops.aten.scaled_dot_product_attention.default
    if OLD and any(graph.program.graph.find_nodes(op="call_function", target=attention)):
        pytest.skip("this torch does not count the operations of attention")
