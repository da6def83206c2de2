"""How well outlines are met: precision, recall and F1 of each class's boundary pixels within a tolerance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from torchgraft.core.errors import DataError, OptionError
from torchgraft.data import IGNORE
from torchgraft.evaluate._resample import DRAWS, sums
from torchgraft.evaluate.overlap import by_images

TOLERANCE = 0.0075
"""Share of the image's diagonal within which a boundary counts as met (Csurka et al. 2013)."""


def boundary_counts(
    labels: np.ndarray, predicted: np.ndarray, classes: int, *, tolerance: float = TOLERANCE
) -> np.ndarray:
    """C x 4 int64 of one image: true boundary pixels met, all; called boundary pixels right, all.

    `labels` and `predicted` H x W whole numbers. A boundary pixel of a class has a direct neighbour of another class.
    Pixels that are IGNORE = 255 in `labels` are neither boundary nor neighbour, on both sides: where two things are
    kept apart by unlabelled pixels, nothing is known of their outline. One is met where the other side has a boundary
    pixel of the class at a distance of at most `tolerance` (0 to 1) times the diagonal sqrt(H^2 + W^2).

    Raises `DataError` where shapes differ, `OptionError` for another tolerance.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.ndim != 2 or labels.shape != predicted.shape:
        raise DataError(f"expected labels and answers H x W of one shape, got {labels.shape} and {predicted.shape}.")
    if not 0 <= tolerance <= 1:
        raise OptionError(f"tolerance expects a share of the diagonal from 0 to 1, got {tolerance!r}.")
    reach = tolerance * math.hypot(*labels.shape)
    true, called = _outline(labels), _outline(np.where(labels == IGNORE, IGNORE, predicted))
    rows = [(np.argwhere(true == c), np.argwhere(called == c)) for c in range(classes)]
    counts = [(_met(t, p, reach), len(t), _met(p, t, reach), len(p)) for t, p in rows]
    return np.array(counts, dtype=np.int64).reshape(classes, 4)


def boundary_f1(labels: np.ndarray, predicted: np.ndarray, classes: int, *, tolerance: float = TOLERANCE) -> np.ndarray:
    """C x 3 of one image: precision, recall and F1 of each class's boundary; see `boundary_counts`.

    All NaN where neither side has a boundary of the class; all 0 where just one has.
    """
    return _rates(boundary_counts(labels, predicted, classes, tolerance=tolerance))


def boundary_score(counts: np.ndarray, classes: Sequence[str], *, seed: int = 0, draws: int = DRAWS) -> dict[str, Any]:
    """`boundary_f1` of M images: `{"boundary_f1", "per_class": [{"class", "precision", "recall", "f1", "images"}]}`.

    `counts` M x C x 4 from `boundary_counts`. Of each class the mean over the `images` where either side has a
    boundary of it, then the mean over such classes (Csurka et al. 2013); so a large image weighs what a small one
    does. Each is `{"value", "low", "high"}` from a bootstrap over images (`overlap.by_images`); [0, 1] around 0 for
    a class without a boundary anywhere. Raises `DataError` for counts of another shape.
    """
    counts = np.asarray(counts)
    if counts.ndim != 3 or counts.shape[1:] != (len(classes), 4) or not len(counts):
        raise DataError(f"expected counts M x {len(classes)} x 4, M > 0, got {counts.shape}.")
    rates = _rates(counts)  # M x C x 3
    known = ~np.isnan(rates[..., 2])
    columns = np.concatenate([np.nan_to_num(rates), known[..., None]], axis=2)  # M x C x 4
    drawn = sums(columns.reshape(len(columns), -1), draws=draws, seed=seed).reshape(-1, len(classes), 4)
    images, (means, overall) = known.sum(0), _means(columns.sum(0))
    drawn_means, drawn_overall = _means(drawn)
    rows = []
    for c, name in enumerate(classes):
        sample = drawn_means[drawn[:, c, 3] > 0, c]
        found = {
            rate: by_images(float(means[c, k]), sample[:, k], int(images[c])).to_dict()
            for k, rate in enumerate(("precision", "recall", "f1"))
        }
        rows.append({"class": name, **found, "images": int(images[c])})
    total = by_images(float(overall), drawn_overall, int(known.any(1).sum()))
    return {"boundary_f1": total.to_dict(), "per_class": rows}


def _means(totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over images of ... x C x 4 (sums of three rates, images), and the mean F1 over classes."""
    present = totals[..., 3] > 0
    means = totals[..., :3] / np.maximum(totals[..., 3:], 1)
    return means, (means[..., 2] * present).sum(-1) / np.maximum(present.sum(-1), 1)


def _rates(counts: np.ndarray) -> np.ndarray:
    """Precision, recall, F1 of ... x 4 counts: NaN where neither side has a boundary."""
    met, true, right, called = np.moveaxis(counts.astype(np.float64), -1, 0)
    precision, recall = right / np.maximum(called, 1), met / np.maximum(true, 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(np.float64).tiny)
    return np.where((true + called > 0)[..., None], np.stack([precision, recall, f1], axis=-1), np.nan)


def _outline(labels: np.ndarray) -> np.ndarray:
    """The class at boundary pixels, IGNORE elsewhere."""
    edge = np.zeros(labels.shape, dtype=bool)
    for one, other, here, there in (
        (labels[1:], labels[:-1], edge[1:], edge[:-1]),
        (labels[:, 1:], labels[:, :-1], edge[:, 1:], edge[:, :-1]),
    ):
        differs = (one != other) & (one != IGNORE) & (other != IGNORE)
        here |= differs
        there |= differs
    return np.where(edge, labels, IGNORE)


def _met(points: np.ndarray, others: np.ndarray, reach: float) -> int:
    """How many of the N x 2 points have one of the others within `reach` pixels."""
    if not len(points) or not len(others):
        return 0
    distance, _ = cKDTree(others).query(points)
    return int((distance <= reach + 1e-9).sum())
