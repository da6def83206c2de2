"""What a rank score is given, and what it gives back.

A score is one file in this room. It offers:

- `score(evidence: Evidence) -> float`: how well the features suit the labels, higher is better. Scores of one file
  compare backbones on the same samples; scores of two files are not on one scale. NaN where it is not defined;
- `SOURCE: bool` (left out: False): whether it needs `Evidence.source`, what pretraining's own classifier says.

A score that asks of each sample whether it would be got right offers that too:

- `outcomes(evidence: Evidence) -> np.ndarray`: N of 1.0 (right) and 0.0, each sample being held out when it is asked;
  `score` is their mean. Only such scores carry intervals (see `standings`).

Both are deterministic: the same evidence gives the same numbers to the bit on one machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from torchgraft.core.errors import DataError


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """N labelled samples under one backbone.

    `z` holds their pooled features as they came (N x D float32), `y` class indices in 0..n_classes-1 (N int64),
    `source` the probabilities of the S classes of pretraining (N x S), where the backbone carries its classifier.
    Raises `DataError` where lengths differ, a label is out of range, a number is not finite, or a row of `source` is
    no distribution.
    """

    z: np.ndarray
    y: np.ndarray
    n_classes: int
    source: np.ndarray | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        n, source = len(self.z), self.source
        problems = []
        if self.z.ndim != 2 or not self.z.size:
            problems.append(f"features are N x D with N, D >= 1, got shape {self.z.shape}")
        elif not np.isfinite(self.z).all():
            problems.append("features hold NaN or infinite values")
        if self.y.shape != (n,):
            problems.append(f"{n} rows of features need {n} labels, got shape {self.y.shape}")
        elif n and not (self.y.min() >= 0 and self.y.max() < self.n_classes):
            problems.append(f"labels are 0..{self.n_classes - 1}, got {self.y.min()}..{self.y.max()}")
        if source is not None and (source.ndim != 2 or len(source) != n):
            problems.append(f"source is {n} x S, got shape {source.shape}")
        elif source is not None and not (
            (source >= 0).all() and np.allclose(source.sum(axis=1), 1, atol=1e-3)
        ):  # false for NaN too
            problems.append("rows of source are probabilities: not negative, with sum 1")
        if problems:
            raise DataError("rank: " + "; ".join(problems) + ".")
