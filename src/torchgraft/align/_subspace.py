"""The leading principal axes of one domain."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh


def leading_axes(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean (D,) and at most k orthonormal principal axes (D x k) of N x D rows, largest variance first.

    Only the wanted eigenvectors of the smaller Gram matrix are computed; axes without variance are left out.
    """
    mean = x.mean(axis=0)
    centred = x - mean
    wide = x.shape[1] > len(x)
    gram = centred @ centred.T if wide else centred.T @ centred
    k = min(k, len(gram))
    values, vectors = eigh(gram, subset_by_index=[len(gram) - k, len(gram) - 1])
    keep = values > 1e-10 * max(values[-1], 1e-300)
    values, vectors = values[keep][::-1], vectors[:, keep][:, ::-1]
    return mean, (centred.T @ vectors) / np.sqrt(values) if wide else vectors
