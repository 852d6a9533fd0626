"""Architectures by name: ``torchvision:NAME``, ``timm:NAME``, ``FILE.py:factory``.

Comes in: a name.  Goes out: an ``Architecture``, which builds the network.  Knows nothing of files
with weights, images or graphs.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from compressor.errors import ArchitectureError, MissingExtraError
from compressor.types import Preprocessing

Shape = tuple[int, ...]
Options = Mapping[str, Any]  # keyword arguments of the library's own builder


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


def no_options(shapes: Mapping[str, Shape]) -> Options:
    return {}


def nothing_published(sha256: str | None, options: Options) -> Preprocessing | None:
    return None


def from_file(path: Path, factory_name: str) -> Architecture:
    """The user's own code: ``factory_name()`` of the file at ``path`` gives the network.

    It is given ``num_classes`` where it takes that and the number is known.
    """
    spec = f"{path}:{factory_name}"
    factory = getattr(_import_file(path), factory_name, None)
    if not callable(factory):
        raise ArchitectureError(f"--arch {spec}: the file defines no function {factory_name!r}")

    def build(options: Options) -> nn.Module:
        try:
            module = factory(**options)
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            raise ArchitectureError(
                f"--arch {spec}: {factory_name}() raised {type(error).__name__}: {error}"
            ) from error
        if not isinstance(module, nn.Module):
            raise ArchitectureError(
                f"--arch {spec}: {factory_name}() gave a {type(module).__name__}, no nn.Module"
            )
        return module

    taken = _takes_classes(factory)
    insists = taken is not None and taken.default is inspect.Parameter.empty
    return Architecture(
        name=f"{path.name}:{factory_name}",
        build=build,
        build_hollow=build,
        options_for=_last_rows if insists else no_options,
        classes_option="num_classes" if taken is not None else None,
        published=nothing_published,
    )


def _takes_classes(factory: Callable[..., Any]) -> inspect.Parameter | None:
    """The parameter ``num_classes``, as all libraries call it, where the user's factory has it."""
    try:
        return inspect.signature(factory).parameters.get("num_classes")
    except (TypeError, ValueError):  # no signature to read
        return None


def _last_rows(shapes: Mapping[str, Shape]) -> Options:
    """A number for a factory that insists on one: mostly right, and ``fitting`` corrects it."""
    last = next((shape for shape in reversed(list(shapes.values())) if shape and shape[0]), None)
    return {"num_classes": last[0]} if last else {}


def _import_file(path: Path) -> ModuleType:
    if not os.path.isfile(path):
        raise ArchitectureError(f"--arch {path}: no such file")
    package, root = _package_of(path)
    # The package must be importable, and the file's neighbours.
    folders = [str(root), str(path.resolve().parent)]
    sys.path[:0] = folders
    try:
        return importlib.import_module(f"{package}.{path.stem}") if package else _run_alone(path)
    except ArchitectureError:
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise ArchitectureError(
            f"--arch {path}: importing it raised {type(error).__name__}: {error}"
        ) from error
    finally:
        for folder in folders:
            sys.path.remove(folder)


def _package_of(path: Path) -> tuple[str, Path]:
    """The package that a file is of, "" for none, and the folder that holds the outermost one.

    Relative imports want a package.  Where its name is that of another one that is imported
    already, the file stands alone.
    """
    folder = path.resolve().parent
    names: list[str] = []
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        names.insert(0, folder.name)
        folder = folder.parent
    taken = sys.modules.get(names[0]) if names else None
    is_another = taken is not None and str(folder / names[0]) not in getattr(taken, "__path__", [])
    if is_another or "." in path.stem:
        names = []
    return ".".join(names), folder


def _run_alone(path: Path) -> ModuleType:
    """A file that is of no package, as a module of its own."""
    name = f"compressor_architecture_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ArchitectureError(f"--arch {path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
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
        try:
            module: nn.Module = timm.create_model(name, pretrained=False, **options)
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            raise ArchitectureError(
                f"--arch timm:{name}: timm cannot build it: {error}; leave out what follows the "
                "network's name"
            ) from error
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


def near_names(name: str, known: list[str]) -> str:
    return _near(difflib.get_close_matches(name, known, n=3))


def _near(names: list[str]) -> str:
    return f"; did you mean {', '.join(names)}?" if names else ""
