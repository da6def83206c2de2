"""Which samples to look at: the most confident wrong answers, and labels that are likely wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from torchgraft.core.errors import DataError
from torchgraft.evaluate.metrics import checked


def worst_mistakes(
    y: np.ndarray, proba: np.ndarray, classes: Sequence[str], ids: Sequence[str], *, limit: int = 24
) -> list[dict[str, Any]]:
    """Wrong answers on samples the model has not seen, most confident first.

    `y` (M,), `proba` M x C, `ids` M names. Each entry: `row` (position in 0..M-1), `id`, `truth`, `predicted` and
    `confidence` (probability of the answer given).
    """
    y, proba = _named(y, proba, classes, ids)
    predicted, confidence = proba.argmax(1), proba.max(1)
    wrong = np.flatnonzero(predicted != y)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")][:limit]
    return [
        {
            "row": int(i),
            "id": str(ids[i]),
            "truth": str(classes[y[i]]),
            "predicted": str(classes[predicted[i]]),
            "confidence": float(confidence[i]),
        }
        for i in order
    ]


def label_errors(
    y: np.ndarray, proba: np.ndarray, classes: Sequence[str], ids: Sequence[str], *, limit: int = 50
) -> list[dict[str, Any]]:
    """Labels that are likely wrong, by confident learning, likeliest first. Northcutt, Jiang and Chuang, JAIR 2021.

    `proba` must come from models that did not see the sample (out of fold). The threshold of class j is the mean p_j
    of the samples labelled j. A sample is suspect where another class reaches its threshold with more probability than
    any other that does, and it is listed by the margin p_suggested - p_given. Each entry: `row`, `id`, `given`,
    `suggested`, `confidence` (p_suggested) and `margin`.

    The thresholds of a weak model are low, so that most of its mistakes would be suspects. Two more things are asked
    for: the suggested class is likelier than all others together (p > 1/2), and the given one no likelier than it is,
    on average, for samples with another label.
    """
    y, proba = _named(y, proba, classes, ids)
    rows = np.arange(len(y))
    held = np.bincount(y, minlength=proba.shape[1])
    own = np.bincount(y, weights=proba[rows, y], minlength=proba.shape[1])
    threshold = np.where(held > 0, own / np.maximum(held, 1), np.inf)
    confident = np.where(proba >= threshold, proba, -1.0)
    suggested = confident.argmax(1)
    margin = proba[rows, suggested] - proba[rows, y]
    elsewhere = (proba.sum(0) - own) / np.maximum(len(y) - held, 1)
    suspect = np.flatnonzero((suggested != y) & (confident.max(1) > 0.5) & (proba[rows, y] <= elsewhere[y]))
    order = suspect[np.argsort(-margin[suspect], kind="stable")][:limit]
    return [
        {
            "row": int(i),
            "id": str(ids[i]),
            "given": str(classes[y[i]]),
            "suggested": str(classes[suggested[i]]),
            "confidence": float(proba[i, suggested[i]]),
            "margin": float(margin[i]),
        }
        for i in order
    ]


def _named(
    y: np.ndarray, proba: np.ndarray, classes: Sequence[str], ids: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    y, proba = checked(y, proba, len(classes))
    if len(ids) != len(y):
        raise DataError(f"Expected one id for each of the {len(y)} samples, got {len(ids)}.")
    return y, proba
