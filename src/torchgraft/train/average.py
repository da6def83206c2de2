"""Averages of weights: a moving one while training (EMA), and a straight line between two ends (WiSE-FT)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from torchgraft.core.errors import OptionError, UserError, shorten


class Ema:
    """Exponential moving average of a module's weights: s <- m s + (1 - m) theta after every step.

    m = min(decay, (1 + t) / (10 + t)) with t the number of updates before this one: early averages forget the start
    fast. `decay` is in [0, 1), usually 0.999 to 0.9999. Every floating-point tensor of `state_dict` is averaged,
    others (counters) are copied. It begins as a copy of the module's weights; all memory is allocated once.

    Raises `OptionError` for a decay out of range. Give every call the same module, or one with the same keys and
    shapes: `UserError` otherwise.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise OptionError(f"decay of the moving average expects a factor from 0, below 1, got {decay!r}.")
        self.decay = decay
        self.updates = 0
        self._average = {name: z.detach().clone() for name, z in module.state_dict().items()}
        self._aside: list[Tensor] = []
        self._applied = False

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the module's weights after a step."""
        if self._applied:
            raise RuntimeError("the module holds the average now: leave `applied` before the next update.")
        now = self._pairs(module)
        moving = [(ours, theirs) for ours, theirs in now if ours.is_floating_point()]
        momentum = min(self.decay, (1 + self.updates) / (10 + self.updates))
        if moving:
            torch._foreach_lerp_([ours for ours, _ in moving], [theirs for _, theirs in moving], 1 - momentum)
        for ours, theirs in now:
            if not ours.is_floating_point():
                ours.copy_(theirs)
        self.updates += 1

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Overwrite the module's weights with the average."""
        for ours, theirs in self._pairs(module):
            theirs.copy_(ours)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[nn.Module]:
        """The module with the average as its weights; its own weights come back to the bit at the end."""
        own = [theirs for _, theirs in self._pairs(module)]
        if not self._aside:
            self._aside = [torch.empty_like(z) for z in own]
        _copy(own, self._aside)
        self.copy_to(module)
        self._applied = True
        try:
            yield module
        finally:
            _copy(self._aside, own)
            self._applied = False

    def state(self) -> dict[str, Tensor]:
        """What `load_state` needs: `updates`, and `average.<key>` for each key of `state_dict` (no copies)."""
        kept = {f"average.{name}": z for name, z in self._average.items()}
        return {"updates": torch.tensor(self.updates), **kept}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Undo `state`, in the memory that is there. Raises `UserError` for other keys or shapes."""
        given = {name.removeprefix("average."): z for name, z in state.items() if name.startswith("average.")}
        _same_tensors(self._average, given, "the moving average", "the saved one")
        for name, z in given.items():
            self._average[name].copy_(z)
        self.updates = int(state["updates"])

    def _pairs(self, module: nn.Module) -> list[tuple[Tensor, Tensor]]:
        theirs = module.state_dict()
        _same_tensors(self._average, theirs, "the moving average", "the module")
        return [(z, theirs[name]) for name, z in self._average.items()]


def interpolate(before: Mapping[str, Tensor], after: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """WiSE-FT (Wortsman et al. 2022): (1 - alpha) before + alpha after, key by key; new tensors.

    `alpha` in [0, 1]: 0 gives `before`, 1 `after`, to the bit. What is not floating point (counters) is taken from the
    nearer end. Statistics of BatchNorm that moved between the ends should be estimated again (`norm.reestimate`).

    Raises `OptionError` for alpha out of range, `UserError` where keys or shapes differ.
    """
    if not 0 <= alpha <= 1:
        raise OptionError(f"alpha expects a share from 0 (before) to 1 (after), got {alpha!r}.")
    _same_tensors(before, after, "before", "after")
    if alpha in (0, 1):
        return {name: z.detach().clone() for name, z in (after if alpha else before).items()}
    mixed = {}
    for name, start in before.items():
        end = after[name].detach()
        nearer = end if alpha >= 0.5 else start.detach()
        mixed[name] = torch.lerp(start.detach(), end, alpha) if start.is_floating_point() else nearer.clone()
    return mixed


def _copy(sources: list[Tensor], targets: list[Tensor]) -> None:
    with torch.no_grad():
        for source, target in zip(sources, targets, strict=True):
            target.copy_(source)


def _same_tensors(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], one: str, other: str) -> None:
    problems = []
    if missing := [name for name in ours if name not in theirs]:
        problems.append(f"{other} lacks {shorten(missing, 3)}")
    if new := [name for name in theirs if name not in ours]:
        problems.append(f"{one} lacks {shorten(new, 3)}")
    unlike = [name for name in ours if name in theirs and ours[name].shape != theirs[name].shape]
    if unlike:
        name = unlike[0]
        problems.append(
            f"{name} has shape {tuple(ours[name].shape)} in {one} and {tuple(theirs[name].shape)} in {other}"
        )
    if problems:
        raise UserError(f"weights of {one} and {other} don't fit: {'; '.join(problems)}. Use states of one network.")
