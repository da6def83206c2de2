"""Counts of pixels by true class and answer: all that overlap and accuracy of a dense task are made of."""

from __future__ import annotations

import numpy as np

from torchgraft.core.errors import DataError
from torchgraft.data import IGNORE


def confusions(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """C x C int64 counts of one image's pixels: row the truth, column the answer; IGNORE = 255 in `labels` left out.

    `labels` and `predicted` are whole numbers of one shape, usually H x W. Raises `DataError` where shapes differ, or
    a label or an answer at a labelled pixel is no class.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.shape != predicted.shape or labels.dtype.kind not in "iu" or predicted.dtype.kind not in "iu":
        raise DataError(
            "expected labels and answers as whole numbers of one shape, got "
            f"{labels.shape} {labels.dtype} and {predicted.shape} {predicted.dtype}."
        )
    keep = labels != IGNORE
    truth, answer = labels[keep], predicted[keep]
    for what, values in (("labels", truth), ("answers", answer)):
        if values.size and not 0 <= int(values.min()) <= int(values.max()) < classes:
            raise DataError(f"{what} expect classes in 0..{classes - 1}, got {values.min()} to {values.max()}.")
    pairs = truth.astype(np.intp) * classes + answer
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
