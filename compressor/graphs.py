"""Capture: a network becomes one exported graph, the only program from here on.

Comes in: an ``nn.Module`` and example inputs (or an exported program).  Goes out: a ``Graph`` of
ATen operators with a dynamic batch, whose nodes carry three facts in ``node.meta``:

    "shape"   sizes, with the batch replaced by a prime that divides no other size ("batch" in the
              graph's own ``batch_hint``); a tuple of shapes for nodes with several results; an int
              for a symbolic size
    "where"   path of the module it came from
    "source"  "package/file.py:line"

Knows nothing of groups, plans or files.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram

from compressor.errors import CaptureError

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


class Graph(nn.Module):
    """A captured network.  Parameters keep the names they had in the original module.

    ``kept`` is filled in students: node name -> dimension -> rows of the teacher's node that were
    kept; absent entries are whole.
    """

    program: fx.GraphModule

    def __init__(
        self,
        program: fx.GraphModule,
        *,
        example_inputs: tuple[Tensor, ...],
        batch_hint: int,
        architecture: str,
        kept: Mapping[str, Mapping[int, Rows]] | None = None,
    ) -> None:
        super().__init__()
        # One set of tensors: this module shows those of the program under the program's names.
        object.__setattr__(self, "program", program)
        self.__dict__["_parameters"] = program._parameters
        self.__dict__["_buffers"] = program._buffers
        self.__dict__["_modules"] = program._modules
        self.example_inputs = example_inputs
        self.batch_hint = batch_hint
        self.architecture = architecture
        self.kept: Mapping[str, Mapping[int, Rows]] = kept or {}
        self.training = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program: same arguments and result as the captured network."""
        return self.program(*args, **kwargs)

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(node.name for node in self.program.graph.find_nodes(op="placeholder"))

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers by name, tied ones under every name."""
        named: dict[str, Tensor] = dict(self.program.named_parameters(remove_duplicate=False))
        named.update(self.program.named_buffers(remove_duplicate=False))
        return named

    @property
    def fingerprint(self) -> str:
        """sha256 of the structure (nodes, names, shapes); values do not enter."""
        digest = hashlib.sha256()
        for node in self.program.graph.nodes:
            inputs = [n.name for n in node.all_input_nodes]
            line = (node.op, node.name, str(node.target), inputs, node.meta.get("shape"))
            digest.update(repr(line).encode())
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
            batch_hint=self.batch_hint,
            architecture=self.architecture,
            kept=kept,
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
) -> Graph:
    """Export the eval-mode network with a dynamic batch (dimension 0 of every input tensor).

    ``args`` are example inputs with a batch of at least 2.  Raises CaptureError where torch.export
    cannot follow the network, or fixes its batch size.
    """
    keywords = dict(kwargs or {})
    bound = inspect.signature(module.forward).bind(*args, **keywords).arguments
    dynamic = pytree.tree_map(
        lambda leaf: {0: Dim.AUTO} if isinstance(leaf, Tensor) and leaf.ndim else None, dict(bound)
    )
    was_training = module.training
    module.eval()
    try:
        with warnings.catch_warnings():
            # recurrent modules keep a list of their own weights, which export mistakes for state
            warnings.filterwarnings("ignore", "The tensor attributes .*_flat_weights")
            program = torch.export.export(module, args, keywords, dynamic_shapes=dynamic)
    except Exception as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CaptureError(
            f"torch.export cannot capture {architecture or type(module).__name__}: {line}"
        ) from error
    finally:
        module.train(was_training)
    return graph_from_program(program, architecture=architecture or type(module).__name__)


def graph_from_program(
    program: ExportedProgram, *, architecture: str = "exported program"
) -> Graph:
    """The Graph of an exported program whose inputs have a dynamic batch.

    Raises CaptureError where the batch is fixed or the program holds operators that are not calls.
    """
    inputs = program.example_inputs
    examples: tuple[Tensor, ...] = ()
    if inputs is not None:
        leaves = pytree.tree_leaves(inputs)
        examples = tuple(leaf.detach().clone() for leaf in leaves if isinstance(leaf, Tensor))
    module = program.module(check_guards=False)
    graph = copy.deepcopy(module.graph)
    for node in list(graph.nodes):
        if node.op == "call_module" and str(node.target) == "_guards_fn":
            graph.erase_node(node)
    batch_hint = _annotate(graph, architecture)
    _write_splits_alike(graph, batch_hint)
    tensors: dict[str, Tensor] = {}
    for node in graph.find_nodes(op="get_attr"):
        value = _attribute(module, node.target)
        if isinstance(value, Tensor):
            tensors[node.target] = value
    memo: dict[int, Tensor] = {}
    tensors = {name: _clone(tensor, memo) for name, tensor in tensors.items()}
    return Graph(
        build_program(graph, tensors),
        example_inputs=examples,
        batch_hint=batch_hint,
        architecture=architecture,
    )


def _attribute(module: nn.Module, path: str) -> Any:
    value: Any = module
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _annotate(graph: fx.Graph, architecture: str) -> int:
    """Replace torch's metadata by ours (see the module's docstring); returns the batch hint."""
    values = {node: node.meta.get("val") for node in graph.nodes}
    batch = None
    sizes: set[int] = set()
    for node, value in values.items():
        for leaf in pytree.tree_leaves(value):
            if isinstance(leaf, Tensor):
                sizes.update(s for s in leaf.shape if isinstance(s, int))
                if node.op == "placeholder" and leaf.ndim and _is_free(leaf.shape[0]):
                    batch = leaf.shape[0]
    if batch is None:
        raise CaptureError(
            f"{architecture}: the capture fixed the batch size, so the result would run at one "
            "batch only; capture it with a batch of 2 or more and no code that depends on it"
        )
    hint = next(p for p in _PRIMES if all(size % p for size in sizes if size))
    for node, value in values.items():
        meta = {
            "shape": _plain(value, hint),
            "where": _module_path(node.meta),
            "source": source_line(node.meta.get("stack_trace") or ""),
        }
        if node.target in TRAINING_ARGUMENT:
            position = TRAINING_ARGUMENT[node.target]
            meta["follows_mode"] = len(node.args) > position and node.args[position] is False
        node.meta = meta
    return hint


def _write_splits_alike(graph: fx.Graph, hint: int) -> None:
    """``chunk`` and ``split`` by one size become ``split_with_sizes``: one form, literal sizes."""
    for node in graph.nodes:
        if node.target not in (aten.chunk.default, aten.split.Tensor):
            continue
        value = node.args[0]
        dim = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)
        sizes = [shape[dim] for shape in node.meta["shape"]]
        if value.meta["shape"][dim] % hint == 0:
            continue  # along the batch: sizes are not literal
        node.target = aten.split_with_sizes.default
        node.args, node.kwargs = (value, sizes, dim), {}


_PRIMES = (13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103)


def _is_free(size: Any) -> bool:
    """Whether a size may vary; a symbol that export found to be one number may not."""
    return isinstance(size, torch.SymInt) and bool(size.node.expr.free_symbols)


def _plain(value: Any, hint: int) -> Any:
    """Sizes as plain integers at the batch hint; several results always as a tuple."""
    if isinstance(value, Tensor):
        return tuple(_plain(size, hint) for size in value.shape)
    if isinstance(value, tuple | list):
        return tuple(_plain(entry, hint) for entry in value)
    if isinstance(value, torch.SymInt):
        expression = value.node.expr
        return int(expression.subs(dict.fromkeys(expression.free_symbols, hint)))
    return value if isinstance(value, int | float | bool) else None


def _module_path(meta: Mapping[str, Any]) -> str:
    stack = meta.get("nn_module_stack")
    if not stack:
        return ""
    path, _ = list(stack.values())[-1]
    return re.sub(r"\[['\"]?(\w+)['\"]?\]", r".\1", str(path)).removeprefix("L.self.").strip(".")


_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')


def source_line(trace: str) -> str:
    """The innermost line of a stack trace outside torch, as ``package/file.py:line``."""
    frames = [(m["file"], m["line"]) for m in _FRAME.finditer(trace)]
    outside = [frame for frame in frames if "/torch/" not in frame[0]] or frames
    if not outside:
        return ""
    file, line = outside[-1]
    parts = file.split("site-packages/")[-1] if "site-packages/" in file else file
    return f"{'/'.join(parts.split('/')[-4:] if parts != file else file.split('/')[-2:])}:{line}"


def export_program(graph: Graph) -> ExportedProgram:
    """Re-export a graph, with zeros for sample inputs and reduced source paths.

    The program's batch is dynamic.  What torch writes of it names no path of this machine.
    """
    quiet = graph if not graph.training else graph.copy().eval()
    inputs = tuple(torch.zeros_like(x) for x in quiet.example_inputs)
    args, keywords = _arguments(quiet, inputs)
    dynamic = pytree.tree_map_only(Tensor, lambda leaf: {0: Dim.AUTO} if leaf.ndim else None, args)
    named = pytree.tree_map_only(
        Tensor, lambda leaf: {0: Dim.AUTO} if leaf.ndim else None, keywords
    )
    signature = list(inspect.signature(quiet.program.forward).parameters)
    shapes = dict(zip(signature, dynamic, strict=False)) | named
    program = torch.export.export(quiet.program, args, keywords, dynamic_shapes=shapes)
    sources = {node.name: node.meta.get("source", "") for node in quiet.program.graph.nodes}
    for node in program.graph.nodes:
        source = sources.get(node.name, "")
        file, _, line = source.rpartition(":")
        node.meta["stack_trace"] = f'File "{file}", line {line}, in forward' if file else ""
        node.meta.pop("from_node", None)
    return program


def _arguments(graph: Graph, flat: tuple[Tensor, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Flat inputs as the arguments and keywords the program was captured with."""
    spec = graph.program.graph._codegen.pytree_info.in_spec  # type: ignore[attr-defined]
    args, keywords = pytree.tree_unflatten(list(flat), spec)
    return tuple(args), dict(keywords)
