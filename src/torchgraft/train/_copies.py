"""Copies of what training changes: to go back to, to measure, to keep."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from torchgraft.train.average import Ema, interpolate


def copied(state: dict[str, Tensor], into: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """A copy of a state, in the memory of an earlier copy where there is one."""
    if not into:
        return {name: tensor.detach().clone() for name, tensor in state.items()}
    for name, tensor in state.items():
        into[name].copy_(tensor.detach())
    return into


def deep_copied(value: Any) -> Any:
    """Nested dictionaries and lists with their tensors cloned, such as the state of an optimizer."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: deep_copied(item) for key, item in value.items()}
    return [deep_copied(item) for item in value] if isinstance(value, list) else value


class Kept:
    """The weights of a module that count: its moving average where one is asked, mixed with those it came with.

    `ema`: decay of the average (0: none); `wise`: share of the trained weights, the rest being the weights that the
    module has now (WiSE-FT; 1: no mixing).
    """

    def __init__(self, module: nn.Module, ema: float, wise: float) -> None:
        self.module, self.wise = module, wise
        self.ema = Ema(module, ema) if ema else None
        self.origin = copied(module.state_dict()) if wise < 1 else {}

    def update(self) -> None:
        """Take in the module's weights after a step."""
        if self.ema:
            self.ema.update(self.module)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the block the module has the weights that count; its own come back to the bit."""
        if not self.ema and not self.origin:
            yield
            return
        own = copied(self.module.state_dict())
        try:
            if self.ema:
                self.ema.copy_to(self.module)
            if self.origin:
                self.module.load_state_dict(interpolate(self.origin, self.module.state_dict(), self.wise))
            yield
        finally:
            self.module.load_state_dict(own)

    def weights(self, into: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """A copy of the weights that count, in the memory of an earlier copy where there is one."""
        with self.applied():
            return copied(self.module.state_dict(), into)

    @property
    def words(self) -> str:
        """What they are, for people: `ema 0.99, wise 0.5`, or `trained`."""
        parts = [f"ema {self.ema.decay:g}"] if self.ema else []
        parts += [f"wise {self.wise:g}"] if self.origin else []
        return ", ".join(parts) or "trained"

    def state(self) -> dict[str, dict[str, Tensor]]:
        """What `load_state` needs (no copies)."""
        return {"ema": self.ema.state() if self.ema else {}, "origin": self.origin}

    def load_state(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Undo `state`."""
        self.origin = state["origin"]
        if self.ema:
            self.ema.load_state(state["ema"])
