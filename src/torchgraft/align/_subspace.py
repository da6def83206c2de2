"""The leading principal axes of one domain."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh

from torchgraft.align._moments import covariance


def leading_axes(x: np.ndarray, k: int, scale: np.ndarray | None = None) -> np.ndarray:
    """At most k orthonormal principal axes (D x k) of N x D rows over `scale` (D,), largest variance first.

    Only the wanted eigenvectors of the smaller Gram matrix are computed; axes without variance are left out.
    """
    wide = x.shape[1] > len(x)
    centred = (x - x.mean(axis=0)) / (1.0 if scale is None else scale) if wide else None
    gram = centred @ centred.T if wide else covariance(x, scale=scale)
    k = min(k, len(gram))
    values, vectors = eigh(gram, subset_by_index=[len(gram) - k, len(gram) - 1])
    keep = values > 1e-10 * max(values[-1], 1e-300)
    values, vectors = values[keep][::-1], vectors[:, keep][:, ::-1]
    return (centred.T @ vectors) / np.sqrt(values) if wide else vectors
