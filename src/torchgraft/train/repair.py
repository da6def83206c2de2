"""Training that watches itself: what counts as an explosion, a vanishing gradient or a plateau, and the cure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

WINDOW = 50
"""Steps over which running medians are taken."""

_WARM = 5
"""Steps before medians mean anything."""


@dataclass(frozen=True, kw_only=True)
class RepairOptions:
    """When the loop steps in, and what it does.

    A loss over `loss_over` times its running median, or a gradient norm over `norm_over` times its own, is an
    explosion, as is anything that is not finite; so is a held-out loss that has lost more than `lost` of what was
    between the start and guessing by class frequencies. On an explosion the loop goes back to the last good state and
    multiplies the rate by `lower`. Gradients under `vanished` (largest group, median of a leg) multiply it by `raise_`.
    A plateau of `plateau` legs multiplies it by `decay` (0: never). After `most` repairs the best state is kept.
    """

    loss_over: float = 10.0
    norm_over: float = 1000.0
    lost: float = 0.25
    lower: float = 0.1
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
    """Running medians of one stretch of training; `look` is asked before every update, `leg` after every leg."""

    options: RepairOptions = field(default_factory=RepairOptions)
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    norms: dict[str, deque[float]] = field(default_factory=dict)

    def look(self, loss: float, norms: Mapping[str, float]) -> str:
        """Why this step must not be taken; empty where it may. Healthy values join the medians."""
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        for name, norm in norms.items():
            if not math.isfinite(norm):
                return f"the gradient of {name} is {norm}"
        if len(self.losses) >= _WARM:
            usual = max(median(self.losses), 0.1)  # under 0.1 a single hard sample may be tenfold
            if loss > self.options.loss_over * usual:
                return f"the loss {loss:.3g} is {loss / usual:.0f} times its running median"
            for name, norm in norms.items():
                seen = self.norms.get(name)
                if seen and norm > self.options.norm_over * max(median(seen), 1e-3):
                    return f"the gradient norm of {name}, {norm:.3g}, is {norm / median(seen):.0f} times its median"
        self.losses.append(loss)
        for name, norm in norms.items():
            self.norms.setdefault(name, deque(maxlen=WINDOW)).append(norm)
        return ""

    def collapsed(self, score: Mapping[str, float], start: Mapping[str, float]) -> str:
        """Why the held-out loss says that the last leg destroyed what there was; empty where it does not."""
        loss, before, base = score["loss"], start["loss"], start.get("base", math.inf)
        if not math.isfinite(loss):
            return f"the held-out loss is {loss}"
        if math.isinf(base) or before >= base:  # nothing was learnt before: it must at least beat guessing
            worst = base * 1.05 if math.isfinite(base) else math.inf
        else:
            worst = before + self.options.lost * (base - before)
        return f"the held-out loss went from {before:.3g} to {loss:.3g}" if loss > worst else ""

    def vanished(self) -> str:
        """Why the gradients count as vanished; empty where they don't."""
        medians = {name: median(seen) for name, seen in self.norms.items() if seen}
        if not medians or max(medians.values()) >= self.options.vanished:
            return ""
        name = max(medians, key=lambda key: medians[key])
        return f"the largest gradient norm, that of {name}, is {medians[name]:.1e}"

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"losses": list(self.losses), "norms": {name: list(seen) for name, seen in self.norms.items()}}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Undo `state`."""
        self.losses = deque(state["losses"], maxlen=WINDOW)
        self.norms = {name: deque(seen, maxlen=WINDOW) for name, seen in state["norms"].items()}
