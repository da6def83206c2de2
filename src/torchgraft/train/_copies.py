"""Copies of what training changes, to go back to."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def copied(state: dict[str, Tensor], into: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """A copy of a state, in the memory of an earlier copy where there is one."""
    if not into:
        return {name: tensor.detach().clone() for name, tensor in state.items()}
    for name, tensor in state.items():
        into[name].copy_(tensor.detach())
    return into


def deep_copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: deep_copied(item) for key, item in value.items()}
    return [deep_copied(item) for item in value] if isinstance(value, list) else value
