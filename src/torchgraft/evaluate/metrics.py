"""How good the answers are: every number with its 95 % interval.

Intervals: a proportion of samples (accuracy; recall, precision and F1 of one class) has Wilson's (1927). The rest is
based on a plain bootstrap over samples: macro means and Brier have Wilson's interval for the sample size that their
bootstrap variance amounts to, the log loss the percentile interval, the calibration error the reflected one. Macro
means run over the classes that occur in `y`; a class that is never predicted has precision 0. The expected calibration
error uses 15 bins of equal width (Guo et al. 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import ndtri

from torchgraft.core.errors import DataError
from torchgraft.core.types import Estimate, Result
from torchgraft.evaluate._resample import DRAWS, interval, sums

BINS = 15
"""Bins of equal width over confidences in [0, 1], for the expected calibration error and the reliability diagram."""


def score(
    y: np.ndarray, proba: np.ndarray, classes: Sequence[str], *, seed: int = 0, draws: int = DRAWS
) -> dict[str, Any]:
    """Everything a report says of a labelled set: the object under `test` in `report.json`.

    `y` (M,) class indices in 0..C-1, `proba` M x C probabilities, `classes` C names. `accuracy`, `balanced_accuracy`,
    `macro_precision`, `macro_recall`, `macro_f1`, `brier` (0..2, lower is better), `ece` (0..1, lower is better) and
    `log_loss` (nats) are each `{"value", "low", "high"}`; `per_class` has one entry for each class with `class`,
    `precision`, `recall`, `f1` (each with interval; [0, 1] where nothing is known) and `support`; `confusion` is C x C
    counts, row the truth, column the answer. Raises `DataError` on empty, misshapen or non-finite input.
    """
    y, proba = checked(y, proba, len(classes))
    estimates = _estimates(y, proba, seed=seed, draws=draws)
    matrix = confusion(y, proba.argmax(1), len(classes))
    return {
        **{name: estimate.to_dict() for name, estimate in estimates.items()},
        "per_class": per_class(matrix, classes),
        "confusion": matrix.tolist(),
    }


def summary(y: np.ndarray, proba: np.ndarray, *, seed: int = 0, draws: int = 500) -> Result:
    """The numbers of one row of the ladder, with fewer draws: name -> `Estimate`.

    `accuracy`, `balanced_accuracy`, `macro_f1`, `log_loss`, `brier`, `ece`, as `score` defines them.
    """
    y, proba = checked(y, proba)
    estimates = _estimates(y, proba, seed=seed, draws=draws)
    names = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "brier", "ece")
    return {name: estimates[name] for name in names}


def checked(y: np.ndarray, proba: np.ndarray, classes: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """`y` as int64 (M,) and `proba` as float64 M x C, or a `DataError` that names all that is wrong."""
    y, proba = np.asarray(y), np.asarray(proba, dtype=np.float64)
    if y.ndim != 1 or proba.ndim != 2 or len(y) != len(proba) or len(y) == 0:
        raise DataError(f"Expected M labels and M x C probabilities, M > 0; got shapes {y.shape} and {proba.shape}.")
    width = proba.shape[1]
    problems = []
    if classes is not None and classes != width:
        problems.append(f"{classes} class names but {width} columns of probabilities")
    if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= width:
        problems.append(f"labels must be whole numbers in 0..{width - 1}, got {y.dtype} from {y.min()} to {y.max()}")
    if not np.isfinite(proba).all() or proba.min() < 0 or np.abs(proba.sum(1) - 1).max() > 1e-3:
        problems.append("each row of probabilities must be finite, not negative, and sum to 1")
    if problems:
        raise DataError(f"These predictions can't be scored: {'; '.join(problems)}.")
    return y.astype(np.int64), proba


def wilson(right: float, total: float, confidence: float = 0.95) -> Estimate:
    """Wilson's score interval for a proportion `right / total`; [0, 1] around 0 where `total` is 0.

    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n). Wilson, JASA 22 (1927); it stays inside [0, 1] and is
    not of zero width at p = 0 or 1.
    """
    if total <= 0:
        return Estimate(0.0, 0.0, 1.0)
    z, share = float(ndtri((1 + confidence) / 2)), right / total
    centre = share + z * z / (2 * total)
    reach = z * np.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    low, high = (centre - reach) / (1 + z * z / total), (centre + reach) / (1 + z * z / total)
    return Estimate(float(share), float(min(max(low, 0.0), share)), float(max(min(high, 1.0), share)))


def confusion(y: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """C x C counts: row the truth, column the answer."""
    return np.bincount(y * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def per_class(matrix: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class with Wilson's intervals, from a confusion matrix.

    F1 = 2J / (1 + J) grows with J = hits / (samples that are or are called the class), a plain proportion, so the ends
    of J's interval give F1's.
    """
    hits, support, called = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    rows = []
    for name, hit, is_, said in zip(classes, hits.tolist(), support.tolist(), called.tolist(), strict=True):
        overlap = wilson(hit, is_ + said - hit)
        f1 = Estimate(*(2 * j / (1 + j) for j in (overlap.value, overlap.low, overlap.high)))
        row = {"precision": wilson(hit, said), "recall": wilson(hit, is_), "f1": f1}
        rows.append({"class": name, **{key: value.to_dict() for key, value in row.items()}, "support": is_})
    return rows


def brier_losses(y: np.ndarray, proba: np.ndarray) -> np.ndarray:
    """Brier loss of each sample, sum over classes of (p_c - [c = y])^2: (M,) in 0..2. Brier, 1950."""
    return (proba**2).sum(1) - 2 * proba[np.arange(len(y)), y] + 1


def log_losses(y: np.ndarray, proba: np.ndarray) -> np.ndarray:
    """-ln p_y of each sample in nats (M,); p is held above 2.2e-16, so one sure mistake costs at most 36."""
    return -np.log(np.clip(proba[np.arange(len(y)), y], np.finfo(np.float64).eps, 1.0))


def ece(y: np.ndarray, proba: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: sum over bins of equal width of |share right - mean confidence| n_b / M."""
    return float(np.abs(_gaps(y, proba, bins).sum(0)).sum() / len(y))


def bin_of(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Index of the bin (k/bins, (k+1)/bins] that holds each confidence."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def _estimates(y: np.ndarray, proba: np.ndarray, *, seed: int, draws: int) -> dict[str, Estimate]:
    size, width = proba.shape
    predicted = proba.argmax(1)
    matrix = confusion(y, predicted, width)
    losses = np.stack([brier_losses(y, proba), log_losses(y, proba)], axis=1)
    columns = [_one_hot(y, width, (predicted == y).astype(float)), _one_hot(y, width), _one_hot(predicted, width)]
    columns += [_gaps(y, proba, BINS), sparse.csr_matrix(losses)]
    drawn = sums(sparse.hstack(columns), draws=draws, seed=seed)
    hits, support, called, gaps, drawn_losses = np.split(drawn, [width, 2 * width, 3 * width, 3 * width + BINS], axis=1)
    values = _means(np.diag(matrix), matrix.sum(1), matrix.sum(0))
    samples = _means(hits, support, called)
    room = _even_size(matrix.sum(1))
    recall, precision, f1 = (proportion(float(v), sample, room) for v, sample in zip(values, samples, strict=True))
    half_brier = proportion(losses[:, 0].mean() / 2, drawn_losses[:, 0] / size / 2, size)
    return {
        "accuracy": wilson(int(np.diag(matrix).sum()), size),
        "balanced_accuracy": recall,
        "macro_precision": precision,
        "macro_recall": recall,
        "macro_f1": f1,
        "brier": Estimate(2 * half_brier.value, 2 * half_brier.low, 2 * half_brier.high),
        "ece": _ece_interval(y, proba, np.abs(gaps).sum(1) / size, seed),
        "log_loss": interval(losses[:, 1].mean(), drawn_losses[:, 1] / size),
    }


def proportion(value: float, drawn: np.ndarray, room: float) -> Estimate:
    """Wilson's interval of a mean in [0, 1] for the sample size that its bootstrap variance amounts to.

    n = v (1 - v) / variance: for a plain proportion that is M. Unlike percentiles it is not too narrow near 0 and 1;
    without one mistake (or one hit) resampling shows no spread, and `room` samples are counted.
    """
    spread = float(drawn.var())
    size = value * (1 - value) / spread if spread > 1e-12 and 0 < value < 1 else room
    found = wilson(value * size, size)
    return Estimate(value, min(found.low, value), max(found.high, value))


def _even_size(support: np.ndarray) -> float:
    """How many evenly spread samples say as much about the mean over classes: K^2 / sum 1 / n_c."""
    support = support[support > 0]
    return float(len(support) ** 2 / (1 / support).sum())


def _ece_interval(y: np.ndarray, proba: np.ndarray, drawn: np.ndarray, seed: int) -> Estimate:
    """Reflected bootstrap, since resampling pushes the error up as sampling did; down to 0 where chance explains all.

    What chance does to perfect calibration: each bin's gap is normal with variance sum c (1 - c) (Broecker and Smith,
    Weather and Forecasting 2007).
    """
    value = ece(y, proba)
    high = np.quantile(drawn, 0.975)
    confidence = proba.max(1)
    variance = np.bincount(bin_of(confidence), weights=confidence * (1 - confidence), minlength=BINS)
    noise = np.random.default_rng(seed).normal(size=(len(drawn), BINS)) * np.sqrt(np.maximum(variance, 0))
    by_chance = value <= np.quantile(np.abs(noise).sum(1) / len(y), 0.95)
    return Estimate(value, 0.0 if by_chance else float(max(0.0, min(2 * value - high, value))), float(max(high, value)))


def _means(hits: np.ndarray, support: np.ndarray, called: np.ndarray) -> tuple[np.ndarray, ...]:
    """Macro recall, precision and F1 over the last axis, over the classes with support."""
    present = support > 0
    recall = hits / np.maximum(support, 1)
    precision = hits / np.maximum(called, 1)
    f1 = 2 * hits / np.maximum(support + called, 1)
    return tuple((values * present).sum(-1) / present.sum(-1) for values in (recall, precision, f1))


def _one_hot(column: np.ndarray, width: int, values: np.ndarray | None = None) -> sparse.csr_matrix:
    size = len(column)
    return sparse.csr_matrix((np.ones(size) if values is None else values, (np.arange(size), column)), (size, width))


def _gaps(y: np.ndarray, proba: np.ndarray, bins: int) -> sparse.csr_matrix:
    """(confidence - right) of each sample in the column of its bin: M x bins."""
    confidence = proba.max(1)
    return _one_hot(bin_of(confidence, bins), bins, confidence - (proba.argmax(1) == y))
