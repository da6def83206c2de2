"""Training that watches itself: what counts as an explosion, a vanishing gradient or a plateau, and the cure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

WINDOW = 50
"""Steps over which running medians are taken."""

_LOW_LOSS, _LOW_NORM = 0.5, 0.1
"""Medians under these count as these: a training that starts from a fitted head has losses near 0 at first, and a
single hard sample is then a hundred times the usual."""

_DIP_LOSS = 2.0
"""The same before a phase has settled: spectrograms, from 0.4 at a fitted head, went up to 6.4 and came back."""

_ENOUGH = 20
"""Steps of a leg from which its losses say more than chance."""

_LEARNT = 1e-3
"""A loss under which no gradient is needed any more."""

_PLAIN = ("steps", "seen", "least", "first", "leg")
"""Fields of a `Watch` that a checkpoint holds as they are."""


@dataclass(frozen=True, kw_only=True)
class RepairOptions:
    """When the loop steps in, and what it does.

    An explosion is, at any step: anything that is not finite; a loss over `loss_over` times its least running median; a
    gradient norm over `norm_over` times its own running median. After `settle` updates (three quarters of a phase at
    most) it is also: a held-out loss that has lost more than `lost` of what lay between the best one and guessing by
    class frequencies; a training loss that, over half a leg, is worse than guessing (over `worse` times its loss), or
    has risen since an earlier such leg by more than `rose` of what guessing costs. Before, these say little: where
    features must change much, training from a fitted head loses all that the head knew, and comes back with more.

    On an explosion the loop goes back to the last good state (the start of the phase until a leg of its second half was
    found healthy: a rate that explodes so early was wrong before it showed) and multiplies the rate by `lower`.
    Gradients under `vanished` (largest group, running median) multiply it by `raise_`. A plateau of `plateau` legs
    multiplies it by `decay` (0: never). After `most` explosions and vanishings the best state is kept.
    """

    loss_over: float = 10.0
    norm_over: float = 1000.0
    lost: float = 0.5
    rose: float = 0.07
    worse: float = 1.02
    settle: int = 100
    lower: float = 0.05
    vanished: float = 1e-7
    raise_: float = 3.0
    plateau: int = 0
    decay: float = 0.3
    most: int = 6


@dataclass(frozen=True, kw_only=True)
class Repair:
    """One thing that was mended: where, why in words, and the factor on the rate afterwards."""

    phase: str
    step: int
    kind: str
    reason: str
    factor: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `report.json`."""
        return dict(vars(self))


@dataclass
class Watch:
    """Running medians of one phase of `steps`, of which `seen` are past.

    `look` is asked before every update, the others after every leg.
    """

    options: RepairOptions = field(default_factory=RepairOptions)
    steps: int = 0
    seen: int = 0
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    norms: dict[str, deque[float]] = field(default_factory=dict)
    least: float = math.inf
    first: float = 0.0  # the loss at the start, before the rate had warmed up
    leg: float = math.inf  # the least median of a leg

    def look(self, loss: float, norms: Mapping[str, float]) -> str:
        """Why this step must not be taken; empty where it may. Healthy values join the medians."""
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        usual = max(self.least, _LOW_LOSS if self.settled else _DIP_LOSS)
        if loss > self.options.loss_over * usual:
            return f"the loss, {loss:.3g}, is {loss / usual:.0f} times what it was"
        for name, norm in norms.items():
            if not math.isfinite(norm):
                return f"the gradient of {name} is {norm}"
            usual = max(median(self.norms.get(name) or [math.inf]), _LOW_NORM)
            if norm > self.options.norm_over * usual:
                return f"the gradient norm of {name}, {norm:.3g}, is {norm / usual:.0f} times its median"
        self._learn(loss, norms)
        return ""

    def _learn(self, loss: float, norms: Mapping[str, float]) -> None:
        self.seen += 1
        self.losses.append(loss)
        self.least = min(self.least, median(self.losses))
        if not self.first:
            self.first = loss
        for name, norm in norms.items():
            self.norms.setdefault(name, deque(maxlen=WINDOW)).append(norm)

    @property
    def settled(self) -> bool:
        """Whether a loss that is worse than at the start says that training failed, and not that it is under way."""
        return self.seen >= min(self.options.settle, 0.75 * self.steps)

    def diverged(self, losses: Sequence[float], guess: float) -> str:
        """Why the training losses of a leg say that nothing is learnt any more; `guess`: that of the frequencies."""
        if len(losses) < _ENOUGH or not self.settled:
            return ""
        level, now = max(self.first, guess), median(losses[len(losses) // 2 :])
        if now > self.options.worse * level:
            return f"the training loss, {now:.3g}, is worse than guessing ({level:.3g})"
        if now > self.leg + self.options.rose * level:
            return f"the training loss rose from {self.leg:.3g} to {now:.3g}"
        self.leg = min(self.leg, now)
        return ""

    def collapsed(self, score: Mapping[str, float], best: Mapping[str, float]) -> str:
        """Why the held-out loss says that the last leg destroyed what there was; empty where it does not."""
        loss, before, base = score["loss"], best["loss"], best.get("base", math.inf)
        if not math.isfinite(loss):
            return f"the held-out loss is {loss}"
        if not self.settled:
            return ""
        allowed = max(self.options.lost * (base - before), 0.1 * base)  # near guessing there is little to lose
        return f"the held-out loss went from {before:.3g} to {loss:.3g}" if loss > before + allowed else ""

    def vanished(self) -> str:
        """Why the gradients count as vanished; empty where they don't, or where nothing is left to be learnt."""
        medians = {name: median(seen) for name, seen in self.norms.items()}
        if not medians or max(medians.values()) >= self.options.vanished or median(self.losses) < _LEARNT:
            return ""
        name = max(medians, key=lambda key: medians[key])
        return f"the largest gradient norm, that of {name}, is {medians[name]:.1e}"

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        norms = {name: list(seen) for name, seen in self.norms.items()}
        plain = {name: getattr(self, name) for name in _PLAIN}
        return {**plain, "losses": list(self.losses), "norms": norms}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Undo `state`."""
        self.losses = deque(state["losses"], maxlen=WINDOW)
        self.norms = {name: deque(seen, maxlen=WINDOW) for name, seen in state["norms"].items()}
        for name in _PLAIN:
            setattr(self, name, state[name])
