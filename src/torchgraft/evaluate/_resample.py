"""Resampling: draws with replacement as counts of each of the M samples, and random signs for differences."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from scipy import sparse

from torchgraft.core.types import Estimate

DRAWS = 2000
_CHUNK = 1 << 22  # weights held at once: 16 MiB of float32


def sums(columns: np.ndarray | sparse.spmatrix, *, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """For each draw the sum of every column over the drawn samples: `columns` M x K, result `draws` x K float64.

    Plain bootstrap: a draw is M samples with replacement, classes as they come. The same M, `draws` and `seed`
    give the same draws, so two calls are paired.
    """
    return _weighted(columns, "counts", draws, seed)


def signed_sums(columns: np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """For each draw the sum of every column with a random sign for each sample (the same for all columns)."""
    return _weighted(columns, "signs", draws, seed)


def interval(value: float, sample: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Percentile interval of the draws, widened where needed so that it holds `value` itself."""
    low, high = np.quantile(sample, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(float(value), float(min(low, value)), float(max(high, value)))


def _weighted(columns: np.ndarray | sparse.spmatrix, kind: str, draws: int, seed: int) -> np.ndarray:
    if sparse.issparse(columns):
        rows = sparse.csr_matrix(columns.T)
        return np.concatenate([(rows @ weights.T).T for weights in _weights(columns.shape[0], kind, draws, seed)])
    return np.concatenate([w.astype(np.float64) @ columns for w in _weights(len(columns), kind, draws, seed)])


def _weights(size: int, kind: str, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Chunks of weights, each b x M float32 (whole numbers: exact)."""
    if size * draws <= _CHUNK:
        yield _few(size, kind, draws, seed)
        return
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // size)
    for start in range(0, draws, step):
        yield _draw(rng, kind, min(step, draws - start), size)


@lru_cache(maxsize=4)
def _few(size: int, kind: str, draws: int, seed: int) -> np.ndarray:
    """The weights of a small set, kept: a ladder resamples the same held-out samples for every rung."""
    weights = _draw(np.random.default_rng(seed), kind, draws, size)
    weights.flags.writeable = False
    return weights


def _draw(rng: np.random.Generator, kind: str, draws: int, size: int) -> np.ndarray:
    if kind == "signs":
        return rng.integers(0, 2, (draws, size), dtype=np.int8).astype(np.float32) * 2 - 1
    picks = rng.integers(0, size, (draws, size)) + np.arange(draws)[:, None] * size
    return np.bincount(picks.ravel(), minlength=draws * size).reshape(draws, size).astype(np.float32)
