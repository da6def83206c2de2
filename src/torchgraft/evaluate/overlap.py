"""How good answers for each pixel are: overlap and accuracy, with intervals over images.

Pixels of one image are alike, so images are what is resampled: counts of the drawn images are pooled, and the mean
overlap is that of the pooled counts (the overlap of a single image says nothing of a class it hardly holds). Frames
of one video are alike too: give the sum of each video's counts in place of an image's, and videos are resampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit, logit, stdtr, stdtrit

from torchgraft.core.errors import DataError
from torchgraft.core.types import Estimate, Result
from torchgraft.evaluate._resample import DRAWS, signed_sums, sums
from torchgraft.evaluate.metrics import wilson

OVERALL = ("miou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou")
"""The numbers of a whole set, each in 0..1: see `overlap_score`."""


def iou(matrix: np.ndarray) -> np.ndarray:
    """C overlaps n_cc / (truth_c + called_c - n_cc) of C x C counts (row the truth, column the answer).

    NaN for a class that neither occurs nor is called. The index of Jaccard (1901).
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    hits = np.diag(matrix)
    union = matrix.sum(0) + matrix.sum(1) - hits
    return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)


def miou(matrix: np.ndarray) -> float:
    """Mean `iou` over the classes that occur in the truth; NaN where there is no labelled pixel."""
    present = np.asarray(matrix).sum(1) > 0
    return float(iou(matrix)[present].mean()) if present.any() else float("nan")


def overlap_score(counts: np.ndarray, classes: Sequence[str], *, seed: int = 0, draws: int = DRAWS) -> dict[str, Any]:
    """Everything a report says of a set of images with one class for each pixel.

    `counts` M x C x C, the confusion counts of each image without unlabelled pixels (`train.dense_counts`), `classes`
    C names. `miou`; `pixel_accuracy`, the share of pixels that are right; `mean_accuracy`, the mean recall, and
    `frequency_weighted_iou`, the IoU weighted by true pixels, are `{"value", "low", "high"}`, means over classes being
    over those that occur (Long et al. 2015). `per_class` has for each class `class`, `iou`, `accuracy` (its recall),
    `precision`, each with interval ([0, 1] where less than two images tell of it), and `support`, its pixels.
    `confusion` is C x C. Intervals: `by_images`.

    Raises `DataError` on counts that are not M x C x C whole numbers of 0 or more, or all 0.
    """
    counts = checked(counts, len(classes))
    parts, drawn = _drawn(counts, seed, draws)
    return {
        **{name: estimate.to_dict() for name, estimate in _overall_estimates(parts, drawn).items()},
        "per_class": _per_class(parts, drawn, classes),
        "confusion": counts.sum(0).tolist(),
    }


def summary(counts: np.ndarray, *, seed: int = 0, draws: int = 500) -> Result:
    """The numbers of one row of the ladder, with fewer draws: `OVERALL` name -> `Estimate`; see `overlap_score`."""
    return _overall_estimates(*_drawn(checked(counts), seed, draws))


def paired_overlap(
    a: np.ndarray,
    b: np.ndarray,
    classes: Sequence[str],
    *,
    alpha: float = 0.05,
    seed: int = 0,
    draws: int = DRAWS,
) -> dict[str, Any]:
    """How much better `b` is than `a` on the same M images; positive means `b` is better.

    Counts M x C x C as for `overlap_score`. `miou` and `pixel_accuracy` are differences of the pooled counts, with
    intervals from the same resampled images. `p`, one-sided, for the mIoU, is the larger of two answers: Student's t
    with the bootstrap's spread, and the share of random swaps of a's and b's counts, image by image, that give as
    large a difference (exact where both are alike; of n images all of them, 2^-n at least). `b` `beats` where p is at
    most `alpha`. `gained` and `lost` list the classes whose IoU differs beyond its 95 % interval, largest first:
    `{"class", "iou": {"value", "low", "high"}}`; of 20 classes that are truly equal, one is there by chance.

    Raises `DataError` as `overlap_score`, and where the true classes of an image differ between `a` and `b`.
    """
    a, b = checked(a, len(classes), drop=False), checked(b, len(classes), drop=False)
    if a.shape != b.shape or not np.array_equal(a.sum(2), b.sum(2)):
        raise DataError("expected counts of the same images with the same labels, in the same order, from both sides.")
    kept = a.any((1, 2))
    parts_a, parts_b = _parts(a[kept]), _parts(b[kept])
    drawn = sums(np.concatenate([parts_a, parts_b], axis=1), draws=draws, seed=seed)
    drawn_a, drawn_b = np.split(drawn, 2, axis=1)
    found, images = {}, int(kept.sum())
    for name in ("miou", "pixel_accuracy"):
        value = float(_overall(parts_b.sum(0))[name] - _overall(parts_a.sum(0))[name])
        found[name] = _difference(value, _overall(drawn_b)[name] - _overall(drawn_a)[name], images)
    p = max(_p_of(found["miou"], images), _p_by_swaps(parts_a, parts_b, draws, seed))
    changes = _class_changes(parts_a, parts_b, drawn_a, drawn_b, classes)
    return {
        **{name: estimate.to_dict() for name, (estimate, _) in found.items()},
        "p": p,
        "beats": bool(p <= alpha and found["miou"][0].value > 0),
        "gained": [one for one in changes if one["iou"]["low"] > 0],
        "lost": [one for one in reversed(changes) if one["iou"]["high"] < 0],
    }


def by_images(value: float, drawn: np.ndarray, images: int) -> Estimate:
    """95 % interval of a share in 0..1 from its draws over `images` images; [0, 1] for less than two.

    logit(value) -+ t s sqrt(n / (n - 1)) / (value (1 - value)), s the spread of the draws, t Student's quantile for
    n - 1. Percentiles of the draws are too narrow with few images. Where all images are fully right or wrong, draws
    show no spread: Wilson's interval for so many images.
    """
    value = min(max(value, 0.0), 1.0)
    if images < 2:
        return Estimate(value, 0.0, 1.0)
    if min(value, 1 - value) < 1e-9:
        bounds = wilson(value * images, images)
        return Estimate(value, min(bounds.low, value), max(bounds.high, value))
    reach = _reach(drawn, images) / (value * (1 - value))
    low, high = expit(logit(value) + reach * np.array([-1, 1]))
    return Estimate(value, float(min(low, value)), float(max(high, value)))


def checked(counts: np.ndarray, classes: int | None = None, *, drop: bool = True) -> np.ndarray:
    """`counts` as int64 M x C x C, images without a labelled pixel left out, or a `DataError` that says what is wrong.

    `drop=False` keeps such images.
    """
    counts = np.asarray(counts)
    if counts.ndim != 3 or counts.shape[1] != counts.shape[2] or counts.dtype.kind not in "iu":
        raise DataError(f"expected counts M x C x C as whole numbers, got {counts.shape} {counts.dtype}.")
    if classes is not None and classes != counts.shape[1]:
        raise DataError(f"expected counts of the {classes} classes named, got {counts.shape[1]}.")
    if not counts.any() or counts.min() < 0:
        raise DataError("expected counts of 0 or more, at least one labelled pixel among them.")
    counts = counts.astype(np.int64)
    return counts[counts.any((1, 2))] if drop else counts


def _parts(counts: np.ndarray) -> np.ndarray:
    """M x 3C: hits, true pixels and called pixels of each class; all that the numbers need."""
    parts = [np.diagonal(counts, axis1=1, axis2=2), counts.sum(2), counts.sum(1)]
    return np.concatenate(parts, axis=1).astype(np.float64)


def _drawn(counts: np.ndarray, seed: int, draws: int) -> tuple[np.ndarray, np.ndarray]:
    parts = _parts(counts)
    return parts, sums(parts, draws=draws, seed=seed)


def _rates(parts: np.ndarray) -> dict[str, np.ndarray]:
    """IoU, recall and precision of each class from ... x 3C; 0 where nothing is known."""
    hits, truth, called = np.split(parts, 3, axis=-1)
    unions = {"iou": truth + called - hits, "accuracy": truth, "precision": called}
    return {name: hits / np.maximum(total, 1) for name, total in unions.items()}


def _overall(parts: np.ndarray) -> dict[str, np.ndarray]:
    """`OVERALL` of ... x 3C pooled counts."""
    hits, truth, _ = np.split(parts, 3, axis=-1)
    rates, present = _rates(parts), truth > 0
    classes, pixels = present.sum(-1), truth.sum(-1)
    return {
        "miou": (rates["iou"] * present).sum(-1) / classes,
        "pixel_accuracy": hits.sum(-1) / pixels,
        "mean_accuracy": (rates["accuracy"] * present).sum(-1) / classes,
        "frequency_weighted_iou": (rates["iou"] * truth).sum(-1) / pixels,
    }


def _overall_estimates(parts: np.ndarray, drawn: np.ndarray) -> dict[str, Estimate]:
    values, samples = _overall(parts.sum(0)), _overall(drawn)
    return {name: by_images(float(values[name]), samples[name], len(parts)) for name in OVERALL}


def _per_class(parts: np.ndarray, drawn: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each class; the images that count are those that hold it (for precision, that call it)."""
    _, truth, called = np.split(parts, 3, axis=1)
    _, drawn_truth, drawn_called = np.split(drawn, 3, axis=1)
    values, samples = _rates(parts.sum(0)), _rates(drawn)
    told = {"iou": (truth, drawn_truth), "accuracy": (truth, drawn_truth), "precision": (called, drawn_called)}
    rows = []
    for c, name in enumerate(classes):
        row: dict[str, Any] = {"class": name}
        for rate, (here, there) in told.items():
            known = samples[rate][there[:, c] > 0, c]  # a draw without the class says nothing of it
            row[rate] = by_images(float(values[rate][c]), known, int((here[:, c] > 0).sum())).to_dict()
        rows.append({**row, "support": int(truth[:, c].sum())})
    return rows


def _reach(drawn: np.ndarray, images: int) -> float:
    """Half the width of a 95 % interval: Student's quantile times the spread without its bias."""
    return float(stdtrit(images - 1, 0.975) * _spread(drawn, images))


def _spread(drawn: np.ndarray, images: int) -> float:
    return float(drawn.std() * np.sqrt(images / (images - 1)))


def _difference(value: float, drawn: np.ndarray, images: int) -> tuple[Estimate, float]:
    """The difference in -1..1 with its interval, and its spread (inf for less than two images)."""
    if images < 2:
        return Estimate(value, -1.0, 1.0), float("inf")
    reach = _reach(drawn, images)
    return Estimate(value, max(value - reach, -1.0), min(value + reach, 1.0)), _spread(drawn, images)


def _p_of(found: tuple[Estimate, float], images: int) -> float:
    value, spread = found[0].value, found[1]
    if images < 2:
        return 1.0
    return float(stdtr(images - 1, -value / max(spread, 1e-12)))


def _p_by_swaps(parts_a: np.ndarray, parts_b: np.ndarray, draws: int, seed: int) -> float:
    """The share of random swaps of a and b, image by image, that give at least the difference in mIoU that is there."""
    both, gain = (parts_a + parts_b).sum(0), signed_sums(parts_b - parts_a, draws=draws, seed=seed)
    swapped = _overall((both + gain) / 2)["miou"] - _overall((both - gain) / 2)["miou"]
    there = _overall(parts_b.sum(0))["miou"] - _overall(parts_a.sum(0))["miou"]
    return float((1 + (swapped >= there - 1e-12).sum()) / (1 + draws))


def _class_changes(
    parts_a: np.ndarray, parts_b: np.ndarray, drawn_a: np.ndarray, drawn_b: np.ndarray, classes: Sequence[str]
) -> list[dict[str, Any]]:
    """The gain in IoU of each class that occurs, largest first."""
    _, truth, _ = np.split(parts_a, 3, axis=1)
    _, drawn_truth, _ = np.split(drawn_a, 3, axis=1)
    gain = _rates(parts_b.sum(0))["iou"] - _rates(parts_a.sum(0))["iou"]
    drawn = _rates(drawn_b)["iou"] - _rates(drawn_a)["iou"]
    rows = []
    for c in sorted(np.flatnonzero(truth.any(0)), key=lambda c: -gain[c]):
        images = int((truth[:, c] > 0).sum())
        found, _ = _difference(float(gain[c]), drawn[drawn_truth[:, c] > 0, c], images)
        rows.append({"class": classes[c], "iou": found.to_dict()})
    return rows
