from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from torchgraft.align._subspace import leading_axes


@pytest.mark.parametrize("shape", [(40, 7), (9, 30)])
@pytest.mark.parametrize("scaled", [False, True])
def test_is_scikit_learns_pca(shape, scaled):
    x = np.random.default_rng(0).normal(size=shape) * np.geomspace(3, 0.3, shape[1]) + 2
    scale = np.geomspace(1, 4, shape[1]) if scaled else None
    axes = leading_axes(x, 4, scale)
    reference = PCA(4).fit(x / scale if scaled else x)
    np.testing.assert_allclose(np.abs(axes.T @ reference.components_.T), np.eye(4), atol=1e-8)


def test_axes_without_variance_are_left_out():
    axes = leading_axes(np.outer(np.arange(5.0), [1, 1, 0]), 3)
    np.testing.assert_allclose(np.abs(axes), np.array([[1], [1], [0]]) / np.sqrt(2), atol=1e-12)
