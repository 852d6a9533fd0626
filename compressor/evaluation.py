"""How right a network is, and how like another one.

In: a graph and images, or logits and labels.  Out: logits on the CPU, and shares in [0, 1].  Knows
nothing of training or of files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, fx

from compressor.data import Images, normalise
from compressor.errors import DataError, InputError, LoadError
from compressor.graphs import Graph
from compressor.memory import fitted
from compressor.types import Preprocessing


def placed(graph: Graph, device: str) -> Graph:
    """The graph on a device; a copy where it is not there: ``Graph.to`` changes it."""
    return graph if device_of(graph) == torch.device(device) else graph.copy().to(device)


def device_of(graph: Graph) -> torch.device:
    """Where a graph's first parameter lives; the CPU for one without parameters."""
    return next((tensor.device for tensor in graph.parameters()), torch.device("cpu"))


def logits_of(output: Any) -> Tensor:
    """The logits in what a network returns: the tensor itself, entry "logits", or the first tensor.

    Classes are last: maps (n, classes, height, width) come back as (n, height, width, classes).
    Raises InputError where there is no tensor.
    """
    found: Tensor = _answer_in(output, lambda entry: isinstance(entry, Tensor))
    return found.movedim(1, -1) if found.ndim > 3 else found


def _answer_in(output: Any, is_tensor: Callable[[Any], bool]) -> Any:
    if is_tensor(output):
        return output
    entries = output
    if isinstance(output, dict):
        entries = (output["logits"],) if "logits" in output else tuple(output.values())
    if isinstance(entries, tuple | list):
        for entry in entries:
            if is_tensor(entry):
                return entry
    raise InputError(
        f"the network returns {type(output).__name__}, in which there are no logits to compare; "
        "wrap it so that it returns its logits"
    )


def output_size(graph: Graph) -> int | None:
    """Number of classes, where the network's logits are a matrix."""
    shape = _shape_of_logits(graph)
    return shape[1] if len(shape) == 2 else None


def class_count(graph: Graph) -> int | None:
    """Number of classes, of the whole input or of its places; None: there is no such dimension."""
    shape = _shape_of_logits(graph)
    return shape[-1] if len(shape) > 1 else None


def takes_pictures(graph: Graph) -> bool:
    """Whether one batch of pictures is all that goes in."""
    inputs = graph.example_inputs
    return len(inputs) == 1 and inputs[0].ndim == 4 and inputs[0].is_floating_point()


def _shape_of_logits(graph: Graph) -> tuple[int, ...]:
    """As ``logits_of`` gives them; told by the nodes, nothing is run."""
    program = graph.program.graph
    (output,) = program.find_nodes(op="output")
    spec = program._codegen.pytree_info.out_spec  # type: ignore[attr-defined]
    nodes = pytree.tree_unflatten(output.args[0], spec)
    answer = _answer_in(nodes, lambda entry: isinstance(_shape_of(entry), tuple))
    batch, *others = _shape_of(answer)
    return (batch, *others[1:], others[0]) if len(others) > 2 else (batch, *others)


def _shape_of(node: Any) -> Any:
    return node.meta.get("shape") if isinstance(node, fx.Node) else None


@contextmanager
def evaluating(graph: Graph) -> Iterator[Graph]:
    """The graph in evaluation mode without gradients; its own mode is restored afterwards."""
    was_training = graph.training
    graph.eval()
    try:
        with torch.no_grad():
            yield graph
    finally:
        graph.train(was_training)


def evaluate(
    graph: Graph,
    images: Images,
    preprocessing: Preprocessing,
    batch_size: int = 128,
    *,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Logits (n, ..., classes) in float32 on the CPU, in the images' order.

    Runs where the graph's parameters live, on fewer at a time where ``batch_size`` does not fit in
    memory.  Raises DataError where there are no images, SurroundingsError where not one fits.
    """
    count = len(images.pixels)
    if not count:
        raise DataError("there are no images to evaluate on: give a folder that holds some")
    device = device_of(graph)
    logits: list[Tensor] = []
    start = 0

    def answers(size: int) -> Tensor:
        pixels = normalise(images.pixels[start : start + size], preprocessing)
        pixels = pixels.to(device=device, memory_format=memory_format)
        return logits_of(graph(pixels)).float().cpu()

    with evaluating(graph):
        while start < count:
            found, batch_size = fitted(answers, min(batch_size, count - start), "evaluation")
            logits.append(found)
            start += batch_size
    return torch.cat(logits)


def require_finite(graph: Graph, inputs: Tensor, name: str) -> None:
    """Raises LoadError where the network answers preprocessed ``inputs`` with NaN or infinity."""
    with evaluating(graph):
        answers = logits_of(graph(inputs.to(device_of(graph))))
    if not bool(torch.isfinite(answers).all()):
        raise LoadError(
            f"{name}: its network answers with NaN or infinite values; give weights that it works "
            "with, or the --mean, --std and --image-size that they were trained with"
        )


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of samples whose largest logit is the label's (top-1)."""
    _same_count(logits, labels)
    return float((logits.argmax(-1).cpu() == labels.cpu()).double().mean())


def agreement(logits_a: Tensor, logits_b: Tensor) -> float:
    """Share of samples, or of their places, on which both choose the same class."""
    _same_count(logits_a, logits_b)
    return float((logits_a.argmax(-1).cpu() == logits_b.argmax(-1).cpu()).double().mean())


def distance(graph: Graph, teacher: Graph, batches: Iterable[Tensor]) -> float:
    """Squared distance of the outputs, relative to the variance of the teacher's."""
    apart = spread = 0.0
    with torch.no_grad():
        for inputs in batches:
            wanted = logits_of(teacher(inputs)).double()
            apart += float((logits_of(graph(inputs)).double() - wanted).square().sum())
            spread += float((wanted - wanted.mean(dim=0)).square().sum())
    return apart / max(spread, 1e-30)


def _same_count(a: Tensor, b: Tensor) -> None:
    if len(a) != len(b) or not len(a):
        raise DataError(
            f"{len(a)} answers cannot be compared with {len(b)}: give both the same images"
        )
