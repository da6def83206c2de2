"""What training leaves behind for people: curves, what was frozen when, rates, repairs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

_POINTS = 400
"""Points of the loss curve that are kept: enough for a plot, whatever the number of steps."""


@dataclass
class History:
    """How one training went; every number in it is finite.

    `phases`: name, number of parameters that trained, rate, BatchNorm policy, epochs, steps. `legs`: the phase, step
    (over all phases), mean training loss, rate and held-out measures; leg 0 is from before training, and a leg that
    was undone is not among them. `curve`: [step, smoothed loss, rate]. `repairs`: see `train.repair`. `stopped`: why it
    ended early. `best`: the position in `legs` of the state that was kept. `average`: what the kept weights are
    (trained, ema, wise). `steps` counts those taken, also in legs that were undone. `seconds` are wall time,
    `cpu_seconds` those of this process.
    """

    phases: list[dict[str, Any]] = field(default_factory=list)
    legs: list[dict[str, Any]] = field(default_factory=list)
    curve: list[list[float]] = field(default_factory=list)
    repairs: list[dict[str, Any]] = field(default_factory=list)
    stopped: str = ""
    best: int = 0
    average: str = ""
    steps: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    every: int = 1
    smooth: float = 0.0

    def add_point(self, loss: float, rate: float) -> None:
        """One step's loss, smoothed with weight 0.9 on what was before; every second point goes when there are many."""
        if math.isfinite(loss):  # one NaN would stay in the average for good
            self.smooth = loss if not self.steps else 0.9 * self.smooth + 0.1 * loss
        self.steps += 1
        if self.steps % self.every:
            return
        self.curve.append([self.steps, self.smooth, rate])
        if len(self.curve) > _POINTS:
            self.curve, self.every = self.curve[1::2], 2 * self.every

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `report.json` and checkpoints."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> History:
        """Undo `to_dict`."""
        return cls(**values)
