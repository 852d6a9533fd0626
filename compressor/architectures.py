"""Architectures by name: ``torchvision:NAME``, ``timm:NAME``, ``FILE.py:factory``.

Comes in: a name, and the names and shapes of weights.  Goes out: an ``Architecture`` that builds the
network, and whether the weights fit it.  Knows nothing of files with weights, images or graphs.
"""

from __future__ import annotations

import difflib
import importlib.util
import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from compressor.checkpoints import spellings
from compressor.errors import ArchitectureError, MissingExtraError
from compressor.types import Preprocessing

Shape = tuple[int, ...]
Options = Mapping[str, Any]  # keyword arguments of the library's own builder

# Names in published files that are older than the code: densenet's dotted layers, two MLP layers.
OLD_NAMES = (
    (re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)"), r"\1\2"),
    (re.compile(r"(.*mlp)\.linear_1\.(weight|bias)"), r"\1.0.\2"),
    (re.compile(r"(.*mlp)\.linear_2\.(weight|bias)"), r"\1.3.\2"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A network that can be built.

    ``build(options)`` gives it freshly initialised, ``build_hollow(options)`` with parameters that
    have shapes and no values (the same as ``build`` where that cannot be trusted).  ``options_for``
    reads the builder's options off the weights' shapes; ``classes_option`` names the one that sets
    the number of classes, where there is one.  ``published(sha256, options)`` gives preprocessing.
    """

    name: str
    build: Callable[[Options], nn.Module]
    build_hollow: Callable[[Options], nn.Module]
    options_for: Callable[[Mapping[str, Shape]], Options]
    classes_option: str | None
    published: Callable[[str | None, Options], Preprocessing | None]
    categories: tuple[str, ...] | None = None
    renames_old: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Weights beside an architecture; they fit when nothing is missing, unexpected or misshapen."""

    architecture: Architecture
    module: nn.Module  # hollow
    options: Options
    tensors: Mapping[str, Tensor]  # under the module's names
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]

    @property
    def fits(self) -> bool:
        return not (self.missing or self.unexpected or self.misshapen)

    @property
    def distance(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.misshapen)

    def differences(self) -> str:
        """At most ten of the tensors that do not fit, in words."""
        wrong = [("missing", name) for name in self.missing]
        wrong += [("unexpected", name) for name in self.unexpected]
        wrong += [("misshapen", name) for name in self.misshapen]
        parts = []
        for kind in ("missing", "unexpected", "misshapen"):
            if shown := [name for of, name in wrong[:10] if of == kind]:
                parts.append(f"{kind} {', '.join(shown)}")
        more = f"; and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        return "; ".join(parts) + more


def find_architecture(spec: str) -> Architecture:
    """``torchvision:NAME``, ``timm:NAME`` or ``FILE.py:factory``.

    Raises ArchitectureError for a name nobody knows, MissingExtraError where timm is absent.
    """
    library, _, name = spec.rpartition(":")
    if library.endswith(".py"):
        return from_file(Path(library), name)
    if library == "torchvision" and name:
        from compressor.recognition import from_torchvision

        return from_torchvision(name)
    if library == "timm" and name:
        return from_timm(name)
    raise ArchitectureError(
        f"--arch {spec}: expected torchvision:NAME, timm:NAME or FILE.py:factory"
    )


def no_options(shapes: Mapping[str, Shape]) -> Options:
    return {}


def nothing_published(sha256: str | None, options: Options) -> Preprocessing | None:
    return None


def from_file(path: Path, factory_name: str) -> Architecture:
    """The user's own code: ``factory_name()`` of the file at ``path`` gives the network."""
    spec = f"{path}:{factory_name}"
    factory = getattr(_import_file(path), factory_name, None)
    if not callable(factory):
        raise ArchitectureError(f"--arch {spec}: the file defines no function {factory_name!r}")

    def build(options: Options) -> nn.Module:
        try:
            module = factory(**options)
        except Exception as error:  # the user's code may raise anything
            raise ArchitectureError(
                f"--arch {spec}: {factory_name}() raised {type(error).__name__}: {error}"
            ) from error
        if not isinstance(module, nn.Module):
            raise ArchitectureError(
                f"--arch {spec}: {factory_name}() gave a {type(module).__name__}, no nn.Module"
            )
        return module

    return Architecture(
        name=f"{path.name}:{factory_name}",
        build=build,
        build_hollow=build,
        options_for=no_options,
        classes_option=None,
        published=nothing_published,
    )


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ArchitectureError(f"--arch {path}: no such file")
    name = f"compressor_architecture_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ArchitectureError(f"--arch {path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    # The file's neighbours must be importable, and dataclasses look their module up by name.
    sys.modules[name] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's code may raise anything
        del sys.modules[name]
        raise ArchitectureError(
            f"--arch {path}: importing it raised {type(error).__name__}: {error}"
        ) from error
    finally:
        sys.path.remove(str(path.resolve().parent))
    return module


def from_timm(name: str) -> Architecture:
    """A timm network, with the preprocessing of its published weights (none is downloaded)."""
    if importlib.util.find_spec("timm") is None:
        raise MissingExtraError(
            f"--arch timm:{name}: timm is not installed; pip install 'compressor[timm]'"
        )
    import timm

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise ArchitectureError(f"--arch timm:{name}: timm has no such network{_near(near)}")

    def build(options: Options) -> nn.Module:
        module: nn.Module = timm.create_model(name, pretrained=False, **options)
        return module

    def published(sha256: str | None, options: Options) -> Preprocessing | None:
        config = timm.get_pretrained_cfg(name)
        if config is None:
            return None
        height, width = config.input_size[-2:]
        return Preprocessing(
            crop=(height, width),
            resize=math.floor(min(height, width) / config.crop_pct),
            mean=tuple(config.mean),
            std=tuple(config.std),
            interpolation=config.interpolation,
            origin=f"as timm publishes it for {name}",
        )

    return Architecture(
        name=f"timm:{name}",
        build=build,
        build_hollow=build,
        options_for=no_options,
        classes_option="num_classes",
        published=published,
    )


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
    for name, tensor in own.items():
        if name not in filled and name.endswith("num_batches_tracked"):
            filled[name] = torch.zeros((), dtype=torch.int64)  # absent in files before torch 0.4.1
        if name not in filled and (twin := _twin(own, name, tensors)):
            filled[name] = tensors[twin]
    wrong = [n for n, tensor in own.items() if n in filled and filled[n].shape != tensor.shape]
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
    )


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
    return given[0] if given else None


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


def near_names(name: str, known: list[str]) -> str:
    return _near(difflib.get_close_matches(name, known, n=3))


def _near(names: list[str]) -> str:
    return f"; did you mean {', '.join(names)}?" if names else ""
