"""The learning-rate range test: the rate grows with every step until the loss blows up; then all is put back.

L. N. Smith, "Cyclical learning rates for training neural networks", WACV 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from torchgraft.core.errors import DataError, OptionError
from torchgraft.train._copies import copied
from torchgraft.train.groups import Group, freeze_to
from torchgraft.train.optim import mixed, optimizer, own_randomness, set_rate
from torchgraft.train.step import Loader, Step

_BLOWN = 4.0
"""Times its least smoothed value at which a loss has blown up."""

_SMOOTH = 0.9


@dataclass(frozen=True, kw_only=True)
class RangeTest:
    """`rates` tried and the smoothed `losses` after each, and the `suggestion`."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float


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
) -> RangeTest:
    """Train with rates growing geometrically from `low` to `high`, one a step, and put the step back as it was.

    The loss is smoothed, s_t = 0.9 s_(t-1) + 0.1 l_t, over 1 - 0.9^t for its slow start. It stops where this is four
    times its least value, or not finite. The suggestion is a tenth of the rate at the least value: there the loss still
    falls, with room before it rises. A step that starts at its least loss (a fitted head) gets `low`: nothing falls.

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
            rates, losses = _climb(step, list(groups(step)), loader, batch, low, high, steps, kind, seed)
    finally:
        step.load_state_dict(before)
        for name, p in step.named_parameters():
            p.requires_grad_(needs[name])
            p.grad = None
        step.train(training)
    return RangeTest(rates=tuple(rates), losses=tuple(losses), suggestion=_suggest(rates, losses, low))


def _climb(step, groups, loader, batch, low, high, steps, kind, seed) -> tuple[list[float], list[float]]:
    device = next(step.parameters()).device
    step.train()
    freeze_to(groups, step)
    engine = optimizer(kind, groups, low)
    plan = _endless(loader, batch, seed)
    rates: list[float] = []
    losses: list[float] = []
    smooth = 0.0
    for t in range(steps):
        rate = low * (high / low) ** (t / (steps - 1))
        set_rate(engine, rate)
        torch.manual_seed(mixed(3, seed, t))
        generator = torch.Generator().manual_seed(mixed(4, seed, t))
        loss = step(loader.load(next(plan), generator).to(device), 0.0)
        value = float(loss.detach())
        if not math.isfinite(value):
            break
        smooth = _SMOOTH * smooth + (1 - _SMOOTH) * value
        rates.append(rate)
        losses.append(smooth / (1 - _SMOOTH ** (t + 1)))
        if losses[-1] > _BLOWN * min(losses) and t > steps // 10:
            break
        engine.zero_grad()
        loss.backward()
        engine.step()
    return rates, losses


def _endless(loader: Loader, batch: int, seed: int) -> Iterator[np.ndarray]:
    epoch = 0
    while True:
        yield from loader.plan(batch, mixed(5, seed, epoch))
        epoch += 1


def _suggest(rates: Sequence[float], losses: Sequence[float], low: float) -> float:
    if not losses:
        return low
    return float(max(rates[int(np.argmin(losses))] / 10, low))
