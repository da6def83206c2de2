"""The learning-rate range test: the rate grows with every step until the loss blows up; then all is put back.

L. N. Smith, "Cyclical learning rates for training neural networks", WACV 2017.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from torchgraft.core.errors import DataError, OptionError
from torchgraft.train._copies import copied
from torchgraft.train.groups import Group, freeze_to
from torchgraft.train.optim import mixed, optimizer, own_randomness, set_rate
from torchgraft.train.step import Loader, Step

_BLOWN, _LITTLE = 4.0, 0.5
"""Times its least smoothed value at which a loss has blown up; less than the second counts as that."""

_FALLEN = 0.8
"""Share of the loss at the start, or less, that is left where it fell: what falls less may be luck of the batches."""

_SMOOTH = 0.9


@dataclass(frozen=True, kw_only=True)
class RangeTest:
    """`rates` tried and the smoothed `losses` after each, the `suggestion`, the rate at which the loss was `blown` up.

    `fell`: whether the loss fell at all, by a fifth or more; without it `suggestion` is the lowest rate.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float
    fell: bool = False
    blown: float = math.inf

    def bounded(self, rates: Sequence[float]) -> tuple[float, ...]:
        """Those of `rates` worth a trial, in their order: up to that of the least loss, ten times the suggestion.

        Where nothing fell, those below which the loss blew up. The lowest of them stays, unless the loss blew up
        before it: then the suggestion alone.
        """
        most = 10 * self.suggestion if self.fell else self.blown
        kept = tuple(rate for rate in rates if rate <= most and rate < self.blown)
        return kept or ((min(rates),) if min(rates) < self.blown else (self.suggestion,))

    def __str__(self) -> str:
        """What it saw, in words."""
        seen = f"the loss is least at {10 * self.suggestion:.0e}" if self.fell else "the loss does not fall"
        return seen + (f", blows up at {self.blown:.0e}" if math.isfinite(self.blown) else "")


def range_test(
    step: Step,
    groups: Callable[[Step], Sequence[Group]],
    loader: Loader,
    *,
    batch: int = 16,
    low: float = 1e-6,
    high: float = 1e-1,
    steps: int = 60,
    kind: str = "adamw",
    seed: int = 0,
    deadline: float = math.inf,
) -> RangeTest:
    """Train with rates growing geometrically from `low` to `high`, one a step, and put the step back as it was.

    The loss is smoothed, s_t = 0.9 s_(t-1) + 0.1 l_t, over 1 - 0.9^t for its slow start. It stops where this is four
    times its least value (2 at least), or not finite, or at the `deadline` (`time.monotonic`). The suggestion is a
    tenth of the rate at the least value: there the loss still falls, with room before it rises. A step that starts
    at its least loss (a fitted head) gets `low`: nothing falls.

    Raises `OptionError` for rates that don't rise or fewer than 2 steps, `DataError` where the loader is empty.
    """
    if not 0 < low < high or steps < 2:
        raise OptionError(f"expected rates 0 < low < high and 2 steps or more, got {low:g}, {high:g}, {steps} steps.")
    if not len(loader):
        raise DataError("there is nothing to train on: expected at least one sample.")
    before = copied(step.state_dict())
    needs = {name: p.requires_grad for name, p in step.named_parameters()}
    training = step.training
    try:
        with own_randomness(next(step.parameters()).device):
            climb = (low * (high / low) ** (t / (steps - 1)) for t in range(steps))
            rates, losses, blown = _climb(step, list(groups(step)), loader, batch, climb, kind, seed, deadline)
    finally:
        step.load_state_dict(before)
        for name, p in step.named_parameters():
            p.requires_grad_(needs[name])
            p.grad = None
        step.train(training)
    began = losses[min(steps // 5, len(losses) - 1)] if losses else math.nan
    fell = bool(losses) and min(losses) <= _FALLEN * began
    suggestion = max(rates[int(np.argmin(losses))] / 10, low) if fell else low
    return RangeTest(rates=tuple(rates), losses=tuple(losses), suggestion=suggestion, fell=fell, blown=blown)


def _climb(
    step, groups, loader, batch, climb: Iterable[float], kind, seed, deadline
) -> tuple[list[float], list[float], float]:
    """Rates and smoothed losses, and the rate at which it blew up (infinite: at none)."""
    device = next(step.parameters()).device
    freeze_to(groups, step)
    step.train()
    engine = optimizer(kind, groups, 0.0)
    plan = _endless(loader, batch, seed)
    rates: list[float] = []
    losses: list[float] = []
    smooth = 0.0
    for t, rate in enumerate(climb):
        if time.monotonic() > deadline:
            break
        set_rate(engine, rate)
        torch.manual_seed(mixed(3, seed, t))
        generator = torch.Generator().manual_seed(mixed(4, seed, t))
        loss = step(loader.load(next(plan), generator).to(device), 0.0)
        value = float(loss.detach())
        if not math.isfinite(value):
            return rates, losses, rate
        smooth = _SMOOTH * smooth + (1 - _SMOOTH) * value
        rates.append(rate)
        losses.append(smooth / (1 - _SMOOTH ** (t + 1)))
        if losses[-1] > _BLOWN * max(min(losses), _LITTLE):
            return rates, losses, rate
        engine.zero_grad()
        loss.backward()
        engine.step()
    return rates, losses, math.inf


def _endless(loader: Loader, batch: int, seed: int) -> Iterator[np.ndarray]:
    epoch = 0
    while True:
        yield from loader.plan(batch, mixed(5, seed, epoch))
        epoch += 1
