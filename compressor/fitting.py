"""Whether weights fit an architecture, and the network with the weights in it.

Comes in: an ``Architecture`` and named tensors.  Goes out: a ``Fit`` that names what differs, and
the filled network.  Knows nothing of files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from compressor.architectures import Architecture, Options
from compressor.checkpoints import spellings

# Names in published files that are older than the code: densenet's dotted layers, two MLP layers.
OLD_NAMES = (
    (re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)"), r"\1\2"),
    (re.compile(r"(.*mlp)\.linear_1\.(weight|bias)"), r"\1.0.\2"),
    (re.compile(r"(.*mlp)\.linear_2\.(weight|bias)"), r"\1.3.\2"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Weights beside an architecture; they fit when nothing is missing, unexpected,
    misshapen or of another type (whole numbers for fractions)."""

    architecture: Architecture
    module: nn.Module  # hollow
    options: Options
    tensors: Mapping[str, Tensor]  # under the module's names
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]
    mistyped: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        return not (self.missing or self.unexpected or self.misshapen or self.mistyped)

    @property
    def distance(self) -> int:
        kinds = (self.missing, self.unexpected, self.misshapen, self.mistyped)
        return sum(len(kind) for kind in kinds)

    def differences(self) -> str:
        """At most ten of the tensors that do not fit, in words."""
        wrong = [("missing", name) for name in self.missing]
        wrong += [("unexpected", name) for name in self.unexpected]
        wrong += [("misshapen", name) for name in self.misshapen]
        wrong += [("mistyped", name) for name in self.mistyped]
        parts = []
        for kind in ("missing", "unexpected", "misshapen", "mistyped"):
            if shown := [name for of, name in wrong[:10] if of == kind]:
                parts.append(f"{kind} {', '.join(shown)}")
        more = f"; and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        return "; ".join(parts) + more


def fit(architecture: Architecture, tensors: Mapping[str, Tensor]) -> Fit:
    """Put the weights beside the architecture, under whichever of their spellings fits best.

    A network whose only misshapen tensors are the last layers' rows is built with as many classes
    as the weights have.
    """
    if architecture.renames_old:
        tensors = {_modern(name): tensor for name, tensor in tensors.items()}
    options = architecture.options_for({name: tuple(t.shape) for name, t in tensors.items()})
    module = architecture.build_hollow(options)
    best = min(
        (_beside(architecture, module, options, names) for names in spellings(tensors)),
        key=lambda found: found.distance,
    )
    classes = _classes(best)
    if architecture.classes_option is None or classes is None:
        return best
    options = {**options, architecture.classes_option: classes}
    return _beside(architecture, architecture.build_hollow(options), options, best.tensors)


def _beside(
    architecture: Architecture, module: nn.Module, options: Options, tensors: Mapping[str, Tensor]
) -> Fit:
    own = module.state_dict(keep_vars=True)
    filled = dict(tensors)
    for name in own:
        if name not in filled and name.endswith("num_batches_tracked"):
            filled[name] = torch.zeros((), dtype=torch.int64)  # absent in files before torch 0.4.1
        if name not in filled and (twin := _twin(own, name, tensors)):
            filled[name] = tensors[twin]
    wrong = [n for n, tensor in own.items() if n in filled and filled[n].shape != tensor.shape]
    mistyped = [n for n, tensor in own.items() if n in filled and _other_type(n, tensor, filled[n])]
    return Fit(
        architecture=architecture,
        module=module,
        options=options,
        tensors=filled,
        missing=tuple(name for name in own if name not in filled),
        unexpected=tuple(name for name in filled if name not in own),
        misshapen=tuple(
            f"{name} {tuple(filled[name].shape)} for {tuple(own[name].shape)}" for name in wrong
        ),
        mistyped=tuple(f"{name} {_type(filled[name])} for {_type(own[name])}" for name in mistyped),
    )


def _other_type(name: str, own: Tensor, given: Tensor) -> bool:
    """Whether one holds fractions and the other whole numbers; averaged counters are none."""
    counter = name.endswith("num_batches_tracked")
    return not counter and own.is_floating_point() != given.is_floating_point()


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _twin(own: Mapping[str, Tensor], name: str, given: Mapping[str, Tensor]) -> str | None:
    """Another name of the same tied tensor: some formats store it once."""
    return next((other for other in given if own.get(other) is own[name]), None)


def _classes(found: Fit) -> int | None:
    """The class count of the weights, where the class count is all that differs."""
    if found.missing or found.unexpected or not found.misshapen:
        return None
    own = found.module.state_dict()
    differ = [n for n, tensor in own.items() if tensor.shape != found.tensors[n].shape]
    rows = {(own[n].shape[:1], found.tensors[n].shape[:1]) for n in differ}
    others_agree = all(own[n].shape[1:] == found.tensors[n].shape[1:] for n in differ)
    if len(rows) != 1 or not others_agree:
        return None
    ((_, given),) = rows
    return given[0] if given and given[0] else None  # a head of no classes is none


def _modern(name: str) -> str:
    for pattern, new in OLD_NAMES:
        if pattern.fullmatch(name):
            return pattern.sub(new, name)
    return name


def fill(found: Fit) -> nn.Module:
    """The fitted network with the weights in it, in evaluation mode.

    Hollow parameters take the tensors themselves (no copy); others are copied into, so that tied
    parameters stay tied.
    """
    module = found.module
    state = module.state_dict()
    metadata = getattr(state, "_metadata", None)
    state.update(found.tensors)
    # Without its version, torchvision's MNASNet asserts and its MLPs rename what is right.
    state._metadata = metadata  # type: ignore[attr-defined]
    hollow = any(parameter.is_meta for parameter in module.parameters())
    module.load_state_dict(state, strict=True, assign=hollow)
    return module.float().eval()


def factory_of(found: Fit) -> Callable[[], nn.Module]:
    """Freshly initialised networks of the fitted shape."""
    return partial(found.architecture.build, found.options)
