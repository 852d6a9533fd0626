"""Capture: a network becomes one exported graph, the only program from here on.

Comes in: an ``nn.Module`` and example inputs (or an exported program).  Goes out: a ``Graph`` of
ATen operators with a free batch, and a free sequence length for text, whose nodes carry plain facts
in ``node.meta`` (``annotation`` lists them).  Knows nothing of groups, plans or files.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram

from compressor.annotation import Sizes, annotate, is_free, source_line
from compressor.canonical import canonicalise
from compressor.chance import require_no_chance
from compressor.errors import CaptureError
from compressor.flattening import attribute, flatten
from compressor.overlaps import reach
from compressor.tracing import Free, export_quietly, trace

__all__ = [
    "TRAINING_ARGUMENT",
    "Graph",
    "Rows",
    "build_program",
    "capture",
    "export_program",
    "graph_from_program",
    "source_line",
    "without_content",
]

aten = torch.ops.aten
Rows = tuple[int, ...]

# Operators with a "training" argument, and its position.
TRAINING_ARGUMENT: Mapping[object, int] = {
    aten.batch_norm.default: 5,
    aten.instance_norm.default: 5,
    aten.dropout.default: 2,
    aten.dropout_.default: 2,
    aten.feature_dropout.default: 2,
    aten.feature_dropout_.default: 2,
    aten.alpha_dropout.default: 2,
    aten.feature_alpha_dropout.default: 2,
}


CAPTURE_ANEW = "capture it with a batch of 2 or more and no code that depends on it"
EXPORT_ANEW = (
    "export it from a batch of 2 or more, with dynamic_shapes in which dimension 0 of every input "
    'is a Dim, as {"x": {0: torch.export.Dim("batch")}}'
)


class Graph(nn.Module):
    """A captured network.  Parameters keep the names they had in the original module.

    ``kept`` is filled in students: node name -> dimension -> rows of the teacher's node that were
    kept; absent entries are whole.  ``example_inputs``: the tensors among them, in order.
    ``notes``: what the capture had to fix or leave out, one line each.
    """

    program: fx.GraphModule

    def __init__(
        self,
        program: fx.GraphModule,
        *,
        example_inputs: tuple[Tensor, ...],
        sizes: Sizes,
        architecture: str,
        kept: Mapping[str, Mapping[int, Rows]] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        # One set of tensors: this module shows those of the program under the program's names.
        self.program = program
        self.__dict__["_parameters"] = program._parameters
        self.__dict__["_buffers"] = program._buffers
        self.__dict__["_modules"] = program._modules
        self.example_inputs = example_inputs
        self.sizes = sizes
        self.notes = notes
        self.architecture = architecture
        self.kept: Mapping[str, Mapping[int, Rows]] = kept or {}
        self.training = False

    def __setattr__(self, name: str, value: Any) -> None:
        """As any object: parts of the network may bear the names of what is kept here."""
        object.__setattr__(self, name, value)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program: same arguments and result as the captured network."""
        return self.program(*args, **kwargs)

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(node.name for node in self.program.graph.find_nodes(op="placeholder"))

    @property
    def batch_hint(self) -> int:
        """The prime that stands for the batch in shapes; ``sizes.hints`` has the lengths' too."""
        return self.sizes.batch

    @property
    def free(self) -> tuple[tuple[int, ...], ...]:
        """For every input tensor, the dimensions that may vary: the batch, a sequence length."""
        nodes = self.program.graph.find_nodes(op="placeholder")
        return tuple(node.meta["free"] for node in nodes if "free" in node.meta)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers by name, tied ones under every name."""
        named: dict[str, Tensor] = dict(self.program.named_parameters(remove_duplicate=False))
        named.update(self.program.named_buffers(remove_duplicate=False))
        return named

    @property
    def fingerprint(self) -> str:
        """sha256 of the structure: nodes, names, shapes, and tables of whole numbers.

        Values of weights do not enter; a table may say which channel goes where.
        """
        digest = hashlib.sha256()
        tensors = self.tensors
        for node in self.program.graph.nodes:
            inputs = [n.name for n in node.all_input_nodes]
            line = (node.op, node.name, str(node.target), inputs, node.meta.get("shape"))
            digest.update(repr(line).encode())
            table = tensors.get(str(node.target)) if node.op == "get_attr" else None
            if table is not None and table.ndim and table.dtype in (torch.int32, torch.int64):
                digest.update(table.detach().cpu().numpy().tobytes())
        return digest.hexdigest()

    def train(self, mode: bool = True) -> Graph:
        """Switch batch norm and dropout nodes; only those that evaluation had switched off."""
        if mode == self.training:
            return self
        for node in self.program.graph.nodes:
            if node.meta.get("follows_mode"):
                position = TRAINING_ARGUMENT[node.target]
                node.args = (*node.args[:position], mode, *node.args[position + 1 :])
        self.program.recompile()
        self.training = mode
        return self

    def copy(self) -> Graph:
        """The same graph with tensors of its own."""
        memo: dict[int, Tensor] = {}
        return self.rebuild(
            copy.deepcopy(self.program.graph),
            {name: _clone(tensor, memo) for name, tensor in self.tensors.items()},
            kept=self.kept,
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Graph:
        return self.copy()

    def rebuild(
        self,
        graph: fx.Graph,
        tensors: Mapping[str, Tensor],
        kept: Mapping[str, Mapping[int, Rows]] | None = None,
    ) -> Graph:
        """A graph of other nodes or tensors that is captured like this one."""
        built = Graph(
            build_program(graph, tensors),
            example_inputs=self.example_inputs,
            sizes=self.sizes,
            architecture=self.architecture,
            kept=kept,
            notes=self.notes,
        )
        built.training = self.training
        return built

    def observe(self, nodes: Sequence[str]) -> Callable[..., tuple[Any, tuple[Tensor, ...]]]:
        """A forward that also gives the values of these nodes; parameters are shared.

        Call it anew after ``train`` or ``eval``: it keeps the mode it was made in.
        """
        graph = copy.deepcopy(self.program.graph)
        output = next(iter(graph.find_nodes(op="output")))
        named = {node.name: node for node in graph.nodes}
        flat = tuple(output.args[0])
        output.args = ((*flat, *(named[name] for name in nodes)),)
        spec = graph._codegen.pytree_info.out_spec  # type: ignore[attr-defined]
        info = graph._codegen.pytree_info  # type: ignore[attr-defined]
        graph._codegen.pytree_info = info._replace(out_spec=None)  # type: ignore[attr-defined]
        program = fx.GraphModule(self.program, graph)
        # One set of tensors, also when a wrapper such as DistributedDataParallel puts others in
        # their place: running statistics would go on in two.
        for part in ("_parameters", "_buffers", "_modules"):
            program.__dict__[part] = self.program.__dict__[part]

        def forward(*args: Any, **kwargs: Any) -> tuple[Any, tuple[Tensor, ...]]:
            values = program(*args, **kwargs)
            return pytree.tree_unflatten(values[: len(flat)], spec), tuple(values[len(flat) :])

        return forward


def _clone(tensor: Tensor, memo: dict[int, Tensor]) -> Tensor:
    if id(tensor) not in memo:
        copied = tensor.detach().clone()
        if isinstance(tensor, nn.Parameter):
            copied = nn.Parameter(copied, requires_grad=tensor.requires_grad)
        memo[id(tensor)] = copied
    return memo[id(tensor)]


def build_program(graph: fx.Graph, tensors: Mapping[str, Tensor]) -> fx.GraphModule:
    """A module of the tensors that the graph names, running the graph."""
    root = nn.Module()
    for node in graph.find_nodes(op="get_attr"):
        path, _, leaf = node.target.rpartition(".")
        owner = root
        for part in path.split(".") if path else ():
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner._modules[part]  # type: ignore[assignment]
        tensor = tensors[node.target]
        if isinstance(tensor, nn.Parameter):
            owner.register_parameter(leaf, tensor)
        else:
            owner.register_buffer(leaf, tensor)
    program = fx.GraphModule(root, graph)
    program.training = False
    return program


def capture(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    *,
    architecture: str = "",
    free: Free | None = None,
) -> Graph:
    """Export the eval-mode network with a free batch, and a free sequence length for text.

    ``args`` and ``kwargs`` are example inputs with a batch of at least 2.  Free are dimension 0 of
    every input tensor and the length of whole-number inputs (see ``tracing``); ``free`` names the
    dimensions of an input otherwise (``{"frames": (0, 1)}``).  Results in a class of their own
    become a dict or a tuple of tensors.  ``Graph.notes`` says what was fixed or left out.

    Raises CaptureError where torch.export cannot follow the network, or fixes its batch size, or
    where evaluating it draws random numbers.
    """
    name = architecture or type(module).__name__
    program, notes = trace(module, args, kwargs or {}, name=name, free=free)
    graph = graph_from_program(program, architecture=name, cure=CAPTURE_ANEW)
    graph.notes = (*notes, *graph.notes)
    return graph


def graph_from_program(
    program: ExportedProgram, *, architecture: str = "exported program", cure: str = EXPORT_ANEW
) -> Graph:
    """The Graph of an exported program whose inputs have a free batch; ``cure``: what to do where
    they have not.

    Raises CaptureError where the batch is fixed, the program holds blocks that are not calls, or
    it draws random numbers.
    """
    module = _module_of(program, architecture)
    graph = copy.deepcopy(module.graph)
    left_out = flatten(graph, module, architecture)
    examples = _examples(program)
    sizes, counted = annotate(graph, examples, program.range_constraints, architecture, cure)
    require_no_chance(graph, architecture)
    canonicalise(graph, sizes.symbolic)
    for node in graph.nodes:
        if node.target in TRAINING_ARGUMENT:
            position = TRAINING_ARGUMENT[node.target]
            given = node.args[position : position + 1]
            node.meta["follows_mode"] = len(given) == 1 and given[0] is False
    unread = _drop_unread(graph, module)
    stored = {n.target: attribute(module, n.target) for n in graph.find_nodes(op="get_attr")}
    memo: dict[int, Tensor] = {}
    tensors = {name: _clone(tensor, memo) for name, tensor in stored.items()}
    return Graph(
        build_program(graph, tensors),
        example_inputs=examples,
        sizes=sizes,
        architecture=architecture,
        notes=(*left_out, *counted, *unread, *_parted(stored)),
    )


def _parted(stored: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Notes on views of one memory, which become tensors of their own; one tensor stays one."""
    found: list[str] = []
    until, before = 0, ""
    for name, tensor in sorted(stored.items(), key=lambda item: item[1].data_ptr()):
        if tensor.numel() == 0:
            continue
        start = tensor.data_ptr()
        if start < until and tensor is not stored[before]:
            found.append(
                f"{before} and {name} share memory in the network; here each has its own, and "
                "training moves them apart"
            )
        end = start + reach(tensor) * tensor.element_size()
        if end > until:
            until, before = end, name
    return tuple(found)


def _module_of(program: ExportedProgram, name: str) -> fx.GraphModule:
    """The program as a module.  Raises CaptureError where names of the network's parts are those
    of a GraphModule's own attributes, which torch finds in their place."""
    try:
        return program.module(check_guards=False)
    except Exception:
        own = fx.GraphModule(nn.Module(), fx.Graph())
        parts = {key.partition(".")[0] for key in (*program.state_dict, *program.constants)}
        taken = sorted(part for part in parts if hasattr(own, part))
        if not taken:
            raise
        raise CaptureError(
            f"{name}: torch.export cannot hold a part of a network called {taken[0]!r}, a "
            "name of its own; rename that submodule or parameter in the code and in the weights"
        ) from None


def _drop_unread(graph: fx.Graph, module: nn.Module) -> tuple[str, ...]:
    """Stored tensors that no node reads (auxiliary heads) are no part of the program.

    Of tied ones export reads one name only; the others stay.
    """
    stored = [(n, attribute(module, n.target)) for n in graph.find_nodes(op="get_attr")]
    read = {tensor.untyped_storage().data_ptr() for node, tensor in stored if node.users}
    unread = [n for n, tensor in stored if tensor.untyped_storage().data_ptr() not in read]
    for node in unread:
        graph.erase_node(node)
    missed = [str(n.target) for n in unread if not str(n.target).endswith("num_batches_tracked")]
    if not missed:
        return ()  # of counters of batches nobody asks anything
    names = sorted({name.partition(".")[0] for name in missed})
    told = f"{len(missed)} tensors that evaluation does not read are left out: {', '.join(names)}"
    return (told,)


def _examples(program: ExportedProgram) -> tuple[Tensor, ...]:
    leaves = pytree.tree_leaves(program.example_inputs)
    return tuple(leaf.detach().clone() for leaf in leaves if isinstance(leaf, Tensor))


def export_program(graph: Graph) -> ExportedProgram:
    """Re-export a graph; what is free stays free.  What torch writes of it names no path of this
    machine: sources are reduced, and sample inputs are zeros, masks all ones.

    Raises CaptureError where torch.export would fix the batch or a sequence length.
    """
    quiet = graph if not graph.training else graph.copy().eval()
    contents = iter([without_content(x) for x in quiet.example_inputs])
    args, keywords = _arguments(
        quiet, lambda node: next(contents) if "free" in node.meta else node.meta["constant"]
    )
    free, named = _arguments(
        quiet, lambda node: dict.fromkeys(node.meta.get("free", ()), Dim.AUTO) or None
    )
    signature = list(inspect.signature(quiet.program.forward).parameters)
    shapes = dict(zip(signature, free, strict=False)) | named
    program = export_quietly(quiet.program, args, keywords, shapes)
    _require_free(program, quiet)
    sources = {node.name: node.meta.get("source", "") for node in quiet.program.graph.nodes}
    for node in program.graph.nodes:
        source = sources.get(node.name, "")
        file, _, line = source.rpartition(":")
        node.meta["stack_trace"] = f'File "{file}", line {line}, in forward' if file else ""
        node.meta.pop("from_node", None)
    return program


def without_content(example: Tensor) -> Tensor:
    """Zeros; ones where whole numbers are all 0 or 1, as a mask that hides everything hides all."""
    is_mask = not example.is_floating_point() and bool(((example == 0) | (example == 1)).all())
    return torch.ones_like(example) if is_mask else torch.zeros_like(example)


def _require_free(program: ExportedProgram, graph: Graph) -> None:
    inputs = set(program.graph_signature.user_inputs)
    nodes = [node for node in program.graph.find_nodes(op="placeholder") if node.name in inputs]
    values = [node.meta["val"] for node in nodes if isinstance(node.meta["val"], Tensor)]
    for name, value, free in zip(graph.input_names, values, graph.free, strict=False):
        for dim in free:
            if not is_free(value.shape[dim]):
                raise CaptureError(
                    f"exporting {graph.architecture} again fixes dimension {dim} of {name} at "
                    f"{value.shape[dim]}; capture it with that size fixed, or with another length"
                )


def _arguments(
    graph: Graph, of_input: Callable[[fx.Node], Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Something per input, as the arguments and keywords the program was captured with."""
    spec = graph.program.graph._codegen.pytree_info.in_spec  # type: ignore[attr-defined]
    nodes = graph.program.graph.find_nodes(op="placeholder")
    args, keywords = pytree.tree_unflatten([of_input(node) for node in nodes], spec)
    return tuple(args), dict(keywords)
