"""One class for each pixel: counts of pixels by truth and answer, image by image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from torchgraft.core.types import Result
from torchgraft.evaluate import paired_overlap
from torchgraft.evaluate.overlap import miou


@dataclass(frozen=True, kw_only=True, eq=False)
class Overlap:
    """What a candidate says of M held-out images: `counts` M x C x C, row the truth, column the answer.

    `rows` are positions in the problem, `metrics` come from the counts; `temperature` fits the logits of some pixels.
    """

    rows: np.ndarray
    counts: np.ndarray
    classes: tuple[str, ...]
    temperature: float
    metrics: Result

    @property
    def mistakes(self) -> int:
        """How many pixels are wrong."""
        return int(self.counts.sum() - np.trace(self.counts, axis1=1, axis2=2).sum())

    def _shared(self, other: Overlap) -> tuple[np.ndarray, np.ndarray]:
        """`other`'s counts and its own, of the images that both answered."""
        _, own, others = np.intersect1d(self.rows, other.rows, return_indices=True)
        return other.counts[others], self.counts[own]

    def beats(self, other: Overlap, *, seed: int = 0) -> bool:
        """A paired test on the mIoU over images (see `evaluate.paired_overlap`)."""
        return bool(self.against(other, seed=seed)["beats"])

    def saves(self, other: Overlap) -> float:
        """MIoU that it gains."""
        others, own = self._shared(other)
        return miou(own.sum(0)) - miou(others.sum(0))

    def against(self, other: Overlap, *, seed: int = 0) -> dict[str, Any]:
        """See `evaluate.paired_overlap`."""
        others, own = self._shared(other)
        return paired_overlap(others, own, self.classes, seed=seed)
