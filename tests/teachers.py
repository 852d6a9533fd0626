"""A teacher as users have one: its code in a file of its own, its weights beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn


def write_teacher(folder: Path, code: str, *factories: str) -> None:
    """``net.py``, and the weights of what each factory in it makes, drawn from seed 0 one after the
    other, as ``<factory>.pt``."""
    (folder / "net.py").write_text(code)
    namespace: dict[str, Callable[[], nn.Module]] = {}
    exec(code, namespace)
    torch.manual_seed(0)
    for name in factories:
        torch.save(namespace[name]().state_dict(), folder / f"{name}.pt")
