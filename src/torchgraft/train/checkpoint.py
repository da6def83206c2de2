"""Checkpoints: tensors and plain values in one safetensors file, replaced in one step; nothing in it is code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from torchgraft.core.errors import ArtifactError
from torchgraft.core.files import replacing

_TENSOR, _PAIRS = "tensor", "pairs"


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write nested dictionaries and lists of tensors and plain values (None, bool, int, float, str) to `path`.

    What was there before stays until the new file is whole. Floats keep every bit (JSON's shortest round-trip form);
    tensors lose their memory format, tuples become lists. Raises `StorageError` where the disk is full or closed to us.
    """
    tensors: dict[str, Tensor] = {}
    plain = _flatten(state, "", tensors)
    with replacing(path) as new:
        save_file(tensors, new, metadata={"state": json.dumps(plain)})


def load(path: Path) -> dict[str, Any]:
    """Undo `save`, on the processor. Raises `ArtifactError` where the file is damaged or no checkpoint."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(_restore(json.loads(file.metadata()["state"]), file))
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise ArtifactError(
            f"{path} can't be read as a checkpoint: {error}. Delete it to train from the start."
        ) from error


def load_same(path: Path, signature: Mapping[str, Any]) -> dict[str, Any]:
    """What `path` holds (nothing where there is no file), if its `signature` is this one: plain values by name.

    Raises `ArtifactError` that names what differs, or as `load` does.
    """
    if not path.exists():
        return {}
    stored = load(path)
    before = stored.get("signature")
    unlike = [name for name, now in signature.items() if not isinstance(before, dict) or before.get(name) != now]
    if unlike:
        raise ArtifactError(
            f"{path} is a checkpoint of another training: {', '.join(unlike)} were others. "
            "Delete it to train from the start, or go on with what it was made with."
        )
    return stored


def _flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        # as pairs, since an optimizer's keys are whole numbers and JSON's are texts
        return {_PAIRS: [[key, _flatten(item, f"{name}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_flatten(item, f"{name}/{i}", tensors) for i, item in enumerate(value)]
    return value


def _restore(value: Any, file: Any) -> Any:
    if isinstance(value, list):
        return [_restore(item, file) for item in value]
    if isinstance(value, dict):
        if _TENSOR in value:
            return file.get_tensor(value[_TENSOR]).clone()  # its own memory, where it came from a mapped file
        return {key: _restore(item, file) for key, item in value[_PAIRS]}
    return value
