"""Reading weight files safely.

Comes in: a path to ``.pt .pth .th .safetensors`` (or whatever ``torch.save`` wrote).  Goes out:
named float32 tensors on the CPU, or a pickled module where the caller trusts the file.  Knows
nothing of architectures.
"""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compressor.errors import LoadError
from compressor.unpacking import allowance, check_unpacked

# Where checkpoints keep their weights, in the order in which they are tried.
WRAPPERS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights",
    "params", "ema", "model_ema", "ema_state_dict", "state_dict_ema", "ema_state",
)  # fmt: skip
AVERAGED = ("ema", "model_ema", "ema_state_dict", "state_dict_ema", "ema_state")
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
SAVE_A_STATE_DICT = "save a state dict with torch.save(model.state_dict(), FILE)"
LONGEST_NAME = 1000  # characters of a tensor's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a weight file holds.  ``module`` only where a pickled network was trusted."""

    tensors: Mapping[str, Tensor]
    module: nn.Module | None
    notes: tuple[str, ...]


def read_checkpoint(path: Path, *, trust_pickle: bool = False) -> Checkpoint:
    """Read a weight file into float32 tensors on the CPU.

    Raises LoadError, in one line that names the file and what to do, for a file that is missing,
    empty, truncated, no checkpoint, a pickled module (unless trusted), or holds non-finite weights;
    for one that would become very much larger in memory than it is, before it does.
    """
    check_file(path)
    if path.suffix == ".onnx":
        raise LoadError(
            f"{path}: ONNX files are not read, only written; give the weights with --arch, or a "
            ".pt2 program"
        )
    raw = _read_safetensors(path) if path.suffix == ".safetensors" else _read(path, trust_pickle)
    found, module, notes = _unwrap(path, raw, depth=0)
    if module is not None:
        module = module.float().eval()
        found = module.state_dict()
    _check_names(path, found)
    check_sizes(path, found)
    tensors, converted = _as_float32(path, found)
    check_finite(path, tensors)
    return Checkpoint(tensors=tensors, module=module, notes=(*notes, *converted))


def check_file(path: Path) -> None:
    """Raise LoadError unless the path is a readable, non-empty file."""
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise LoadError(f"{path}: is a folder; give the file that holds the weights")
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise LoadError(f"{path}: no such file; give the teacher's weight file") from error
    except OSError as error:
        raise LoadError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if size == 0:
        raise LoadError(f"{path}: the file is empty; copy or save it again")


def spellings(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The same tensors under the names they may have had before wrapping, as given first.

    A prefix goes only where all names share it, one layer after the other; ``_orig_mod`` also goes
    from the middle of names.  Which spelling is right is for the architecture to say.
    """
    names = dict(tensors)
    yield names
    if any("_orig_mod." in name for name in names):
        names = {name.replace("_orig_mod.", ""): tensor for name, tensor in names.items()}
        yield names
    while True:
        names.pop("n_averaged", None)  # counter beside the weights of an averaged model
        prefix = next((p for p in PREFIXES if names and all(n.startswith(p) for n in names)), None)
        if prefix is None:
            return
        names = {name.removeprefix(prefix): tensor for name, tensor in names.items()}
        yield dict(names)


def check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise LoadError naming tensors with NaN or infinite values, or variances below zero."""
    bad = [
        name
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not torch.isfinite(tensor).all()
    ]
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise LoadError(
            f"{path}: NaN or infinite values in {', '.join(bad[:3])}{more}; "
            "give a checkpoint from before training diverged"
        )
    negative = [
        name
        for name, tensor in tensors.items()
        if name.endswith("running_var") and bool((tensor < 0).any())
    ]
    if negative:
        raise LoadError(
            f"{path}: {negative[0]} has variances below zero; give a checkpoint that is not damaged"
        )


def check_sizes(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise LoadError where tensors have more elements than the file can hold.

    A tensor may repeat one stored number without end (a stride of 0).
    """
    there = {
        name: tensor.numel()
        for name, tensor in tensors.items()
        if tensor.layout is torch.strided and not tensor.is_meta
    }
    size = 4 * sum(there.values())  # as float32
    if size > allowance(path.stat().st_size):
        largest = max(there, key=lambda name: there[name])
        raise LoadError(
            f"{path}: {largest[:80]} has more elements than the file holds, {size / 1e9:,.1f} GB "
            f"in memory; {SAVE_A_STATE_DICT} of plain tensors"
        )


def _check_names(path: Path, tensors: Mapping[str, Tensor]) -> None:
    longest = max(tensors, key=len, default="")
    if len(longest) > LONGEST_NAME:
        raise LoadError(
            f"{path}: the name {longest[:20]!r}... has {len(longest):,} characters; "
            f"{SAVE_A_STATE_DICT}"
        )


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise LoadError(
            f"{path}: not a safetensors file, or a truncated one; copy or save it again"
        ) from error


def _read(path: Path, trust_pickle: bool) -> object:
    try:
        check_unpacked(path)
    except ValueError as error:
        raise LoadError(f"{path}: {error}; {SAVE_A_STATE_DICT}") from error
    try:
        # torchvision's own training script stores its options beside the weights; a Namespace
        # only holds values, so it is safe to build.
        with (
            torch.serialization.safe_globals([argparse.Namespace]),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    except Exception as error:  # torch.load raises a dozen kinds for files that are no checkpoints
        raise LoadError(_why_unreadable(path, error, trust_pickle)) from error


def _why_unreadable(path: Path, error: Exception, trusted: bool) -> str:
    text = str(error)
    if "TorchScript" in text:
        return f"{path}: a TorchScript archive; load it in Python and {SAVE_A_STATE_DICT}"
    # Texts of torch's restricted unpickler for whole files of other kinds come as load keys.
    if not trusted and isinstance(error, pickle.UnpicklingError):
        found = re.search(r"GLOBAL ([\w.]+)", text) or re.search(
            r"[Tt]ype[^\w]+([\w.]+\.\w+)", text
        )
        if found or "Unsupported" in text or "unsafe" in text.lower():
            if "Unsupported operand" in text and not found:
                return f"{path}: not a checkpoint, or a damaged one; {SAVE_A_STATE_DICT}"
            what = f" ({found.group(1)})" if found else ""
            return (
                f"{path}: holds a pickled Python object{what}, and unpickling can run code; "
                f"{SAVE_A_STATE_DICT}, or give --trust-pickle if you trust its author"
            )
    if trusted and isinstance(error, AttributeError | ImportError):
        first = text.splitlines()[0][:120]
        return (
            f"{path}: its classes cannot be imported here ({first}); put the folder that holds "
            f"their package on PYTHONPATH, as PYTHONPATH=., or {SAVE_A_STATE_DICT}"
        )
    return (
        f"{path}: not a checkpoint that torch can read, or a truncated one; copy it again, or "
        f"{SAVE_A_STATE_DICT}"
    )


def _unwrap(
    path: Path, raw: object, depth: int
) -> tuple[Mapping[str, Tensor], nn.Module | None, tuple[str, ...]]:
    """Find the state dict (or the trusted module) inside what the file holds."""
    if isinstance(raw, nn.DataParallel):
        raw = raw.module
    if isinstance(raw, nn.Module):
        return {}, raw, ("the file holds a pickled module, unpickled as it was said to be trusted",)
    if not isinstance(raw, Mapping) or not raw:
        raise LoadError(f"{path}: holds {_article(raw)}, no named weights; {SAVE_A_STATE_DICT}")
    if all(isinstance(name, str) and isinstance(value, Tensor) for name, value in raw.items()):
        return raw, None, ()
    for key in WRAPPERS:
        inner = raw.get(key)
        if isinstance(inner, Mapping | nn.Module) and inner and depth < 4:
            try:
                found, module, notes = _unwrap(path, inner, depth + 1)
            except LoadError:
                continue
            return found, module, (*_other_weights(raw, key), *notes)
    found = {k: v for k, v in raw.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if not found or len(found) < len(raw) / 2:
        keys = ", ".join(ascii(key)[:40] for key in list(raw)[:10])
        raise LoadError(f"{path}: no weights under its keys {keys}; {SAVE_A_STATE_DICT}")
    left = ", ".join(repr(key) for key in list(raw) if key not in found)
    return found, None, (f"left out of the checkpoint, as they are no tensors: {left[:200]}",)


def _other_weights(raw: Mapping[Any, Any], taken: str) -> tuple[str, ...]:
    others = [k for k in AVERAGED if k != taken and isinstance(raw.get(k), Mapping | nn.Module)]
    if not others:
        return ()
    return (f"the checkpoint holds '{taken}' and '{others[0]}'; '{taken}' was taken",)


def _article(raw: object) -> str:
    name = type(raw).__name__
    return f"an empty {name}" if isinstance(raw, Mapping) else f"a {name}"


def _as_float32(
    path: Path, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    plain: dict[str, Tensor] = {}
    kinds: set[str] = set()
    for name, tensor in tensors.items():
        if tensor.is_quantized or tensor.layout is not torch.strided or tensor.is_complex():
            raise LoadError(
                f"{path}: {name} is quantized, sparse or complex; save plain float weights"
            )
        if tensor.is_meta:
            raise LoadError(f"{path}: {name} has no values (a meta tensor); save the weights again")
        if tensor.is_floating_point() and tensor.dtype is not torch.float32:
            kinds.add(str(tensor.dtype).removeprefix("torch."))
        dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
        try:
            plain[name] = tensor.detach().to(device="cpu", dtype=dtype).contiguous()
        except (RuntimeError, TypeError) as error:  # packed types that torch has no arithmetic for
            raise LoadError(
                f"{path}: {name} is {tensor.dtype}, which torch cannot convert; save plain float "
                "weights"
            ) from error
    notes = (f"weights converted from {', '.join(sorted(kinds))} to float32",) if kinds else ()
    return plain, notes
