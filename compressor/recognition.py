"""torchvision's networks, and which of them a set of weights belongs to.

Comes in: a torchvision name, or the names and shapes of weights.  Goes out: an ``Architecture``, or
those that fit.  Knows nothing of files beyond the name that decides between equals.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from compressor.architectures import (
    Architecture,
    Options,
    Shape,
    from_file,
    from_timm,
    near_names,
)
from compressor.errors import ArchitectureError
from compressor.fitting import Fit, fit
from compressor.types import Preprocessing

# Networks with auxiliary heads: their prefix in the weights, and the option that makes them.
AUXILIARY = {
    "googlenet": ("aux1.", "aux_logits"),
    "inception_v3": ("AuxLogits.", "aux_logits"),
    "deeplabv3": ("aux_classifier.", "aux_loss"),
    "fcn": ("aux_classifier.", "aux_loss"),
}
SCALES_ITS_INPUT = ("googlenet", "inception_v3")
HEADS = re.compile(r"(?:.*\.)?(?:fc|classifier|head|heads)(?:\.\w+)*\.weight")
AUXILIARY_NAMES = re.compile(r"(?:.*\.)?(?:aux\d|AuxLogits|aux_classifier)\..*")
BUFFERS = re.compile(r".*(running_mean|running_var|num_batches_tracked|relative_\w+)")
NEAR = 0.08  # share by which published counts may differ: auxiliary heads, position tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    fit: Fit
    note: str


def torchvision_names() -> tuple[str, ...]:
    """Names of all classifiers, segmentation and video networks."""
    from torchvision import models

    modules = (models, models.segmentation, models.video)
    return tuple(name for module in modules for name in models.list_models(module=module))


def find_architecture(spec: str) -> Architecture:
    """``torchvision:NAME``, ``timm:NAME`` or ``FILE.py:factory``.

    Raises ArchitectureError for a name nobody knows, MissingExtraError where timm is absent.
    """
    library, _, name = spec.rpartition(":")
    if library.endswith(".py"):
        return from_file(Path(library), name)
    if library == "torchvision" and name:
        return from_torchvision(name)
    if library == "timm" and name:
        return from_timm(name)
    raise ArchitectureError(
        f"--arch {spec}: expected torchvision:NAME, timm:NAME or FILE.py:factory"
    )


def from_torchvision(name: str) -> Architecture:
    """A torchvision network by the name of its builder.  Raises ArchitectureError if unknown."""
    from torchvision import models

    known = torchvision_names()
    if name not in known:
        raise ArchitectureError(
            f"--arch torchvision:{name}: torchvision has no such network"
            f"{near_names(name, list(known))}"
        )
    builder = models.get_model_builder(name)
    weights = models.get_model_weights(name)
    default = getattr(weights, "DEFAULT", None)
    categories = default.meta.get("categories") if default is not None else None
    return Architecture(
        name=f"torchvision:{name}",
        build=partial(_build, builder, name),
        build_hollow=partial(_build_hollow, builder, name),
        options_for=partial(_options_for, name),
        classes_option="num_classes",
        published=partial(_published, name, weights),
        categories=tuple(categories) if categories else None,
        renames_old=True,
    )


def _build(builder: Callable[..., nn.Module], name: str, options: Options) -> nn.Module:
    if name in SCALES_ITS_INPUT:
        options = {"init_weights": True, **options}
    if name.startswith(("fcn", "deeplabv3", "lraspp")):
        options = {"weights_backbone": None, **options}
    return builder(weights=None, **options)


def _build_hollow(builder: Callable[..., nn.Module], name: str, options: Options) -> nn.Module:
    from accelerate import init_empty_weights

    with init_empty_weights(include_buffers=False):
        if name in SCALES_ITS_INPUT:
            options = {**options, "init_weights": False}
        return _build(builder, name, options)


def _options_for(name: str, shapes: Mapping[str, Shape]) -> Options:
    """What the weights' names and shapes say about the builder's options."""
    options: dict[str, Any] = {}
    for family, (prefix, option) in AUXILIARY.items():
        if name.startswith(family):
            options[option] = any(f".{prefix}" in f".{key}" for key in shapes)
    if name in SCALES_ITS_INPUT:
        # As its published weights want it.
        options["transform_input"] = True
    table = _ending(shapes, "encoder.pos_embedding")
    patches = _ending(shapes, "conv_proj.weight")
    if name.startswith("vit") and table and patches:
        options["image_size"] = math.isqrt(table[1] - 1) * patches[-1]
    return options


def _ending(shapes: Mapping[str, Shape], ending: str) -> Shape | None:
    return next((shape for name, shape in shapes.items() if name.endswith(ending)), None)


def _published(
    name: str, weights: Any, sha256: str | None, options: Options
) -> Preprocessing | None:
    """Preprocessing of the entry with this checksum, else of one for this size, else the default.

    torchvision puts the first eight digits of a file's sha256 into its address.
    """
    entries = list(weights)
    if not entries:
        return None
    mine = [w for w in entries if sha256 and f"-{sha256[:8]}." in w.url]
    size = options.get("image_size")
    fitting = [w for w in entries if size and _side(w.transforms()) == size]
    entry = (mine or fitting or [weights.DEFAULT])[0]
    preset = entry.transforms()
    side = _crop(preset)
    if side is None or (size and size != side[0]):
        return None
    resize = getattr(preset, "resize_size", None)
    return Preprocessing(
        crop=side,
        resize=resize[0] if isinstance(resize, list | tuple) else resize,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
        origin=f"as torchvision publishes it for {name} ({entry.name})",
    )


def _crop(preset: Any) -> tuple[int, int] | None:
    size = getattr(preset, "crop_size", None) or getattr(preset, "resize_size", None)
    if size is None:
        return None
    sides = list(size) if isinstance(size, list | tuple) else [size]
    return (int(sides[0]), int(sides[-1]))


def _side(preset: Any) -> int | None:
    crop = _crop(preset)
    return crop[0] if crop else None


def recognise(
    tensors: Mapping[str, Tensor],
    *,
    file_name: str,
    names: Sequence[str] | None = None,
    find: Callable[[str], Architecture] = from_torchvision,
) -> Recognised:
    """The torchvision network these weights belong to, and a line that says how that was decided.

    Where several have the same names and shapes, the longest network name in ``file_name`` decides.
    Raises ArchitectureError naming what fits, or what comes nearest and how it differs.
    """
    known = tuple(names) if names is not None else torchvision_names()
    named = _named_in(file_name, known)
    candidates = list(known) if names is not None else _plausible(tensors, known)
    candidates = [*named, *(name for name in candidates if name not in named)]
    fits, nearest = _try_all(candidates, tensors, find)
    if not fits:
        raise ArchitectureError(_unknown(file_name, tensors, nearest))
    if len(fits) == 1:
        found = fits[0]
        return Recognised(
            fit=found,
            note=f"{found.architecture.name} recognised from the names and shapes of the weights",
        )
    titles = [found.architecture.name for found in fits]
    chosen = next((f for f in fits if f.architecture.name.rpartition(":")[2] in named), None)
    if chosen is None:
        raise ArchitectureError(
            f"{file_name}: its weights fit {' and '.join(titles)}, and the file's name does not "
            f"decide; give --arch, for example --arch {titles[0]}"
        )
    return Recognised(
        fit=chosen,
        note=f"the weights fit {' and '.join(titles)}; the file's name decided for "
        f"{chosen.architecture.name}",
    )


def _try_all(
    candidates: Sequence[str], tensors: Mapping[str, Tensor], find: Callable[[str], Architecture]
) -> tuple[list[Fit], Fit | None]:
    """All that fit, and the nearest of the others.

    A family (one Python module of torchvision) is tried once when its parts have other names, and
    the other families no more when one fits: no two families share all their names.
    """
    fits: list[Fit] = []
    nearest: Fit | None = None
    strangers: set[str] = set()
    for name in candidates:
        architecture = find(name)
        family = _family(architecture)
        if family in strangers or (fits and family != _family(fits[0].architecture)):
            continue
        found = fit(architecture, tensors)
        if found.fits:
            fits.append(found)
            continue
        if not _parts(found.module.state_dict()) & _parts(found.tensors):
            strangers.add(family)
        if nearest is None or found.distance < nearest.distance:
            nearest = found
    return fits, nearest


def _family(architecture: Architecture) -> str:
    builder = getattr(architecture.build, "args", (None,))[0]
    return getattr(builder, "__module__", "")


def _parts(names: Mapping[str, Tensor]) -> set[str]:
    return {name.split(".")[0] for name in names}


def _named_in(file_name: str, known: Sequence[str]) -> list[str]:
    """Known names inside the file's name, longest first: resnext50_32x4d-7cdf4587.pth."""
    plain = re.sub(r"[^a-z0-9]+", "_", file_name.lower())
    return sorted((name for name in known if name in plain), key=len, reverse=True)[:1]


def _plausible(tensors: Mapping[str, Tensor], known: Sequence[str]) -> list[str]:
    """Networks whose published parameter count is near the weights', nearest first.

    Building a network takes about a tenth of a second, reading a published number nothing; weights
    for another number of classes are counted as if they had the published number.
    """
    from torchvision import models

    trained = {
        name: t
        for name, t in tensors.items()
        if t.is_floating_point() and not BUFFERS.fullmatch(name)
    }
    whole = sum(t.numel() for t in trained.values())
    without = sum(t.numel() for n, t in trained.items() if not AUXILIARY_NAMES.fullmatch(n))
    heads = [t for n, t in trained.items() if t.ndim >= 2 and len(t) and HEADS.fullmatch(n)]
    distances: list[tuple[float, str]] = []
    for name in known:
        for entry in models.get_model_weights(name):
            count = entry.meta.get("num_params")
            classes = len(entry.meta.get("categories") or range(1000))
            counts = [whole, without] + [
                size - (head.shape[0] - classes) * (head[0].numel() + 1)
                for head in heads
                for size in (whole, without)
            ]
            if count:
                distances.append((min(abs(count - c) for c in counts) / count, name))
    near = sorted(item for item in distances if item[0] <= NEAR)
    return list(dict.fromkeys(name for _, name in near))


def _unknown(file_name: str, tensors: Mapping[str, Tensor], nearest: Fit | None) -> str:
    size = sum(t.numel() for t in tensors.values())
    line = f"{file_name}: {len(tensors)} tensors of {size:,} elements fit no torchvision network"
    if nearest is not None and nearest.distance < max(len(tensors) // 2, 12):
        line += f" (nearest is {nearest.architecture.name}: {nearest.differences()})"
    return f"{line}; give --arch torchvision:NAME, timm:NAME or FILE.py:factory"
