from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from torchgraft.align import _subspace
from torchgraft.align._moments import covariance
from torchgraft.align._subspace import axes_of, joint_axes, leading_axes


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


@pytest.mark.parametrize("d", [7, 60])
def test_joint_axes_are_those_of_all_rows(d):
    rng = np.random.default_rng(1)
    xs, xt = rng.normal(size=(30, d)) * np.geomspace(3, 0.3, d), rng.normal(size=(21, d)) + 1
    joint, reference = joint_axes(xs, xt, 3), leading_axes(np.concatenate([xs, xt]), 3)
    np.testing.assert_allclose(np.abs(joint.T @ reference), np.eye(3), atol=1e-10)


@pytest.fixture
def asked(monkeypatch):
    """The types that many rows are summed in, for rows that count as many."""
    monkeypatch.setattr(_subspace, "_LARGE", 0)
    kinds = []

    def axes(x, k):
        def matrix(kind):
            kinds.append(kind)
            return covariance(x, kind=kind)

        return axes_of(matrix, k, x.shape), kinds

    return axes


def test_float32_sums_stand_for_variances_of_one_scale(asked):
    """4500 rows (3 blocks), variances 1 to 100: the axes of float64 within 1e-5."""
    x = np.random.default_rng(2).normal(size=(4500, 12)) * np.geomspace(10, 1, 12) + 3
    axes, kinds = asked(x, 3)
    assert kinds == [np.float32]
    np.testing.assert_allclose(np.abs(axes.T @ PCA(3).fit(x).components_.T), np.eye(3), atol=1e-5)


@pytest.mark.parametrize("scale", [np.geomspace(1, 1e-9, 12), np.full(12, 1e25), np.full(12, 1e-25)])
def test_float64_where_float32_is_too_rough(asked, scale):
    """Variances far apart, or values whose products float32 can't hold."""
    x = np.random.default_rng(3).normal(size=(300, 12)) * scale * np.geomspace(3, 1, 12)
    axes, kinds = asked(x, 3)
    assert kinds == [np.float32, np.float64]
    reference = PCA(3, svd_solver="full").fit(x / scale[0]).components_
    np.testing.assert_allclose(np.abs(axes.T @ reference.T), np.eye(3), atol=1e-5)


def test_nearly_all_axes_are_never_summed_in_float32(asked):
    assert asked(np.random.default_rng(4).normal(size=(50, 12)), 6)[1] == [np.float64]
