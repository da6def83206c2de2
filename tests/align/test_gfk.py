from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad_vec

from torchgraft.align import gfk
from torchgraft.align._classify import nearest

PUBLISHED = {("C>A", 20): 41.0, ("C>W", 20): 40.7, ("W>D", 10): 80.9, ("D>W", 10): 75.6}


@pytest.fixture
def subspaces():
    rng = np.random.default_rng(0)
    return tuple(np.linalg.qr(rng.normal(size=(9, 3)))[0] for _ in range(2))


def test_equal_subspaces_give_their_projector(subspaces):
    axes, _ = subspaces
    root = gfk.flow_root(axes, axes)
    np.testing.assert_allclose(root @ root.T, axes @ axes.T, atol=1e-12)


def test_is_the_integral_along_the_geodesic(subspaces):
    axes_s, axes_t = subspaces
    left, cosines, right = np.linalg.svd(axes_s.T @ axes_t)
    theta = np.arccos(cosines)
    beside = (axes_t @ right.T - axes_s @ left * cosines) / np.sin(theta)

    def step(t):
        phi = axes_s @ left * np.cos(t * theta) + beside * np.sin(t * theta)
        return phi @ phi.T

    np.testing.assert_allclose(step(1.0), axes_t @ axes_t.T, atol=1e-9)  # it does end at the target
    root = gfk.flow_root(axes_s, axes_t)
    np.testing.assert_allclose(root @ root.T, quad_vec(step, 0, 1)[0], atol=1e-8)


def test_does_not_depend_on_the_basis(subspaces):
    axes_s, axes_t = subspaces
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    one, two = gfk.flow_root(axes_s, axes_t), gfk.flow_root(axes_s @ turn, axes_t @ turn.T)
    np.testing.assert_allclose(one @ one.T, two @ two.T, atol=1e-10)


def test_hand_worked_right_angle():
    """From the x axis to the y axis: G = [[1/2, 1/pi], [1/pi, 1/2]]."""
    root = gfk.flow_root(np.array([[1.0], [0]]), np.array([[0.0], [1]]))
    off = 1 / np.pi
    np.testing.assert_allclose(np.abs(root @ root.T), [[0.5, off], [off, 0.5]], atol=1e-12)


def test_a_domain_with_itself(same):
    aligned = gfk.fit(same, gfk.Options(k=2, standardise=False))
    np.testing.assert_allclose(aligned.zs, aligned.zt, atol=1e-5)


@pytest.mark.shared
@pytest.mark.parametrize(("task", "k"), PUBLISHED)
def test_published(surf, task, k):
    """Long et al. (ICCV 2013), which has 20 axes, or 10 where a domain is small."""
    domains, yt = surf(task)
    aligned = gfk.fit(domains, gfk.Options(k=k))
    accuracy = (nearest(aligned.zs.astype(float), domains.ys, aligned.zt.astype(float)) == yt).mean()
    assert 100 * accuracy == pytest.approx(PUBLISHED[task, k], abs=0.3)
