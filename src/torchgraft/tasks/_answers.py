"""One class for each held-out sample: calibrated probabilities against the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from torchgraft.core.types import Result
from torchgraft.evaluate import beaten_by, brier_losses, paired


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What a candidate says of M held-out rows: classes `y` (M,), `probabilities` M x C, after temperature scaling.

    `rows` are positions in the problem, `metrics` come from the probabilities.
    """

    rows: np.ndarray
    y: np.ndarray
    temperature: float
    probabilities: np.ndarray
    metrics: Result

    @property
    def mistakes(self) -> int:
        """How many answers are wrong."""
        return int((self.probabilities.argmax(1) != self.y).sum())

    def shared(self, other: Answers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Classes, its own probabilities and `other`'s, on the rows that both answered."""
        _, own, others = np.intersect1d(self.rows, other.rows, return_indices=True)
        return self.y[own], self.probabilities[own], other.probabilities[others]

    def beats(self, other: Answers, *, seed: int = 0) -> bool:
        """A paired test on Brier losses (see `evaluate.beaten_by`): one truly no better passes in 5 % of all cases."""
        y, own, others = self.shared(other)
        return bool(beaten_by(y, others, [own], seed=seed)[0]["beats"])

    def saves(self, other: Answers) -> float:
        """Mean Brier loss that it saves."""
        y, own, others = self.shared(other)
        return float((brier_losses(y, others) - brier_losses(y, own)).mean())

    def against(self, other: Answers, *, seed: int = 0) -> dict[str, Any]:
        """See `evaluate.paired`."""
        y, own, others = self.shared(other)
        return paired(y, others, own, seed=seed)
