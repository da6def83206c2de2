"""Several processes at one job (`torchrun`, `accelerate launch`): who writes, who waits, and one answer for all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

T = TypeVar("T")

_PATIENCE = timedelta(days=2)
"""How long processes wait for the first one, which may extract features for hours."""


def world() -> int:
    """Number of processes that were started together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process is the one that writes and speaks; true where there is only one."""
    return int(os.environ.get("RANK", "0")) == 0


def agree(value: T) -> T:
    """The first process's `value` (what JSON holds), in all of them. Every process has to ask."""
    if world() == 1:
        return value
    import torch

    group, device = _joined()
    # as JSON, not as torch's own broadcast of objects, which pickles
    text = json.dumps(value).encode() if is_first() else b""
    size = torch.tensor(len(text), device=device)
    group.broadcast(size, 0)
    data = torch.zeros(int(size), dtype=torch.uint8, device=device)
    if is_first():
        data.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
    group.broadcast(data, 0)
    return json.loads(bytes(data.cpu().tolist()))


@contextmanager
def first_goes_first() -> Iterator[None]:
    """The block runs in the first process, and when that is done in the others: what it stored is there for them."""
    if not is_first():
        agree(None)
    yield
    if is_first():
        agree(None)


def _joined():
    """The process group of torch, joined through accelerate so that training finds the same one; and its device."""
    import torch.distributed
    from accelerate import PartialState
    from torch import cuda

    state = PartialState(cpu=not cuda.is_available(), timeout=_PATIENCE)
    return torch.distributed, state.device
