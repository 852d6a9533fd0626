"""Attention classes of torch, torchvision, timm and transformers: what they call their sizes.

Comes in: a module of such a class before it is cut, and the rows that stay of its projections.
Goes out: nothing; head counts and head widths that the class keeps as attributes follow.  Classes
are told apart by library and by the projection they hold, not one by one.  Knows nothing of plans:
what a class cannot hold is raised as ``UnholdableError``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from compressor.errors import PlanError
from compressor.layers import KeptRows

Mask = NDArray[np.bool_]
Places = tuple[tuple[str, int], ...]
# Where the factor on queries times keys comes from.  "attribute": computed once, so it stays as it
# was; "fused": an attribute too, but the fused form ignores it and is switched off when heads get
# narrower; "width": computed from the head width at every call, so that must stay.
Scale = Literal["attribute", "fused", "width"]


class UnholdableError(PlanError):
    """A class that cannot hold the cut.

    ``places`` are the parameters and dimensions that do not fit it; with ``width``, what does not
    fit is the place inside blocks of so many rows (inside a head).
    """

    def __init__(self, reason: str, places: Places = (), width: int = 0) -> None:
        super().__init__(reason)
        self.places = places
        self.width = width


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How a family of attention classes stores its projections and names its sizes.

    Of the attribute names those are set that the module has.  ``projections`` are the parameters
    of queries, keys and values: one parameter where the three are packed in equal parts.
    """

    library: str
    projections: tuple[str, str, str]
    marked_by: str = ""  # an attribute that only this form has
    rows: int = 0  # dimension of the parameters that holds heads
    heads: tuple[str, ...] = ()
    key_heads: tuple[str, ...] = ()
    repeats: tuple[str, ...] = ()  # query heads per key head
    width: tuple[str, ...] = ()
    heads_times_width: tuple[str, ...] = ()
    scale: Scale = "attribute"
    whole_stream: bool = False  # heads times width must be the width of the input

    @property
    def packed(self) -> bool:
        return len(set(self.projections)) == 1


FORMS = (
    Form(
        library="torch.nn.",
        projections=("in_proj_weight",) * 3,
        heads=("num_heads",),
        width=("head_dim",),
        heads_times_width=("embed_dim", "kdim", "vdim"),
        scale="width",
        whole_stream=True,
    ),
    Form(
        library="torch.nn.",
        projections=("q_proj_weight", "k_proj_weight", "v_proj_weight"),
        heads=("num_heads",),
        width=("head_dim",),
        heads_times_width=("embed_dim",),
        scale="width",
        whole_stream=True,
    ),
    Form(  # Swin V2 normalises queries and keys in place of dividing by the width
        library="torchvision.",
        projections=("qkv.weight",) * 3,
        marked_by="logit_scale",
        heads=("num_heads",),
        whole_stream=True,
    ),
    Form(
        library="torchvision.",
        projections=("qkv.weight",) * 3,
        heads=("num_heads",),
        scale="width",
        whole_stream=True,
    ),
    Form(
        library="torchvision.",
        projections=("to_qkv.weight",) * 3,
        heads=("n_heads",),
        width=("head_dim",),
        whole_stream=True,
    ),
    Form(
        library="timm.",
        projections=("qkv.weight",) * 3,
        heads=("num_heads",),
        key_heads=("num_kv_heads",),
        width=("head_dim",),
        heads_times_width=("attn_dim", "kv_dim"),
        scale="fused",
    ),
    Form(
        library="timm.",
        projections=("q_proj.weight", "k_proj.weight", "v_proj.weight"),
        heads=("num_heads",),
        key_heads=("num_kv_heads",),
        repeats=("num_kv_groups",),
        width=("head_dim",),
        heads_times_width=("attn_dim",),
        scale="fused",
    ),
    Form(  # BERT, RoBERTa, ELECTRA, ALBERT
        library="transformers.",
        projections=("query.weight", "key.weight", "value.weight"),
        heads=("num_attention_heads",),
        width=("attention_head_size",),
        heads_times_width=("all_head_size",),
    ),
    Form(  # DeBERTa
        library="transformers.",
        projections=("query_proj.weight", "key_proj.weight", "value_proj.weight"),
        heads=("num_attention_heads",),
        width=("attention_head_size",),
        heads_times_width=("all_head_size",),
        scale="width",
    ),
    Form(  # Llama, Qwen, ViT, DeiT, Swin, BEiT, DINOv2, CLIP
        library="transformers.",
        projections=("q_proj.weight", "k_proj.weight", "v_proj.weight"),
        heads=("num_heads", "num_attention_heads"),
        key_heads=("num_key_value_heads",),
        repeats=("num_key_value_groups",),
        width=("head_dim",),
    ),
    Form(  # DistilBERT
        library="transformers.",
        projections=("q_lin.weight", "k_lin.weight", "v_lin.weight"),
        heads=("n_heads",),
        width=("attention_head_size",),
        heads_times_width=("dim",),
    ),
    Form(  # T5
        library="transformers.",
        projections=("q.weight", "k.weight", "v.weight"),
        heads=("n_heads",),
        width=("key_value_proj_dim",),
        heads_times_width=("inner_dim",),
    ),
    Form(  # GPT-2: the weight is stored transposed
        library="transformers.",
        projections=("c_attn.weight",) * 3,
        rows=1,
        heads=("num_heads",),
        width=("head_dim",),
        heads_times_width=("split_size",),
    ),
    Form(  # ModernBERT
        library="transformers.",
        projections=("Wqkv.weight",) * 3,
        heads=("num_heads",),
        width=("head_dim",),
        heads_times_width=("all_head_size",),
        scale="width",
    ),
)


@dataclass(frozen=True, slots=True)
class Heads:
    """Rows of one projection: heads that stay, and the width that stays of each."""

    count: int
    width: int


def adjust(module: nn.Module, kept: Mapping[str, KeptRows]) -> None:
    """Set the sizes of an attention module; any other module is left alone.

    ``kept``: local parameter name -> rows that stay, of parameters not yet cut.  Raises
    UnholdableError where the class has no attribute for what the cut makes different.
    """
    form = find_form(module)
    if form is None:
        return
    width = _width(module, form)
    parts = _projections(module, form, kept, width)
    queries, keys, values = parts
    places = tuple((name, form.rows) for name in dict.fromkeys(form.projections))
    if keys != values or queries.width != keys.width:
        sizes = ", ".join(f"{part.count} x {part.width}" for part in parts)
        raise UnholdableError(
            f"its queries, keys and values would have {sizes} (heads x width), and the class has "
            "one number for their width",
            places,
            width,
        )
    if (form.packed and queries.count != keys.count) or queries.count % keys.count:
        raise UnholdableError(
            f"{queries.count} query heads do not share {keys.count} key heads evenly", places
        )
    if form.scale == "width" and queries.width != width:
        raise UnholdableError(
            f"its heads would be {queries.width} wide, not {width}, and the class computes the "
            "scale of attention from that width",
            places,
            width,
        )
    product = queries.count * queries.width
    if form.whole_stream:
        _check_stream(module, form, kept, product)
    if form.scale == "fused" and queries.width != width:
        _set(module, ("fused_attn",), False)
    _set(module, form.heads, queries.count)
    _set(module, form.key_heads, keys.count)
    _set(module, form.repeats, queries.count // keys.count)
    _set(module, form.width, queries.width)
    _set(module, form.heads_times_width, product)


def find_form(module: nn.Module) -> Form | None:
    """The form of an attention module; None for any other."""
    libraries = tuple(f"{cls.__module__}." for cls in type(module).__mro__)
    return next((form for form in FORMS if _is_of(module, form, libraries)), None)


def _is_of(module: nn.Module, form: Form, libraries: Iterable[str]) -> bool:
    return (
        any(library.startswith(form.library) for library in libraries)
        and all(isinstance(_attribute(module, path), Tensor) for path in form.projections)
        and any(isinstance(_attribute(module, name), int) for name in (*form.heads, *form.width))
        and (not form.marked_by or hasattr(module, form.marked_by))
    )


def _attribute(module: nn.Module, path: str) -> Any:
    value: Any = module
    for part in path.split("."):
        value = getattr(value, part, None)
    return value


def _length(module: nn.Module, form: Form, name: str) -> int:
    """Rows of one of the projections in a parameter."""
    return int(_attribute(module, name).shape[form.rows]) // (3 if form.packed else 1)


def _width(module: nn.Module, form: Form) -> int:
    stated = (_attribute(module, name) for name in form.width)
    width = next((value for value in stated if isinstance(value, int)), None)
    if width is not None:
        return width
    heads = next(v for v in (_attribute(module, n) for n in form.heads) if isinstance(v, int))
    return _length(module, form, form.projections[0]) // heads


def _projections(
    module: nn.Module, form: Form, kept: Mapping[str, KeptRows], width: int
) -> tuple[Heads, Heads, Heads]:
    masks = []
    for place, name in enumerate(form.projections):
        length = _length(module, form, name)
        mask = _mask(kept, name, form.rows, 3 * length if form.packed else length)
        masks.append((name, mask[place * length : (place + 1) * length] if form.packed else mask))
    queries, keys, values = (_heads(mask, width, (name, form.rows)) for name, mask in masks)
    return queries, keys, values


def _mask(kept: Mapping[str, KeptRows], name: str, dim: int, length: int) -> Mask:
    rows = kept.get(name, {}).get(dim)
    mask = np.full(length, rows is None)
    if rows is not None:
        mask[list(rows)] = True
    return mask


def _heads(mask: Mask, width: int, place: tuple[str, int]) -> Heads:
    if mask.size % width:
        raise UnholdableError(f"{mask.size} rows are not heads of width {width}", (place,))
    grid = mask.reshape(-1, width)
    counts = grid.sum(axis=1)
    if len(set(counts[counts > 0].tolist())) != 1:
        raise UnholdableError("its heads would differ in width", (place,), width)
    return Heads(count=int((counts > 0).sum()), width=int(counts.max()))


def _check_stream(
    module: nn.Module, form: Form, kept: Mapping[str, KeptRows], product: int
) -> None:
    packed, dim = form.projections[0], 1 - form.rows
    stream = int(_mask(kept, packed, dim, _attribute(module, packed).shape[dim]).sum())
    if stream != product:
        raise UnholdableError(
            f"heads times width would be {product} where the input has {stream}, and the class "
            "takes them for one number",
            tuple((name, dim) for name in dict.fromkeys(form.projections) for dim in (0, 1)),
        )


def _set(module: nn.Module, names: Iterable[str], value: int) -> None:
    for name in names:
        if isinstance(module.__dict__.get(name), int):
            setattr(module, name, value)
