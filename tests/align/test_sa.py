from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from torchgraft.align import Domains, sa
from torchgraft.align._classify import nearest

SEEN = {"C>A": 44.9, "W>D": 62.4, "D>W": 65.1}  # published, of another implementation: a lower bound on average


def test_equal_domains_have_equal_projections(same):
    aligned = sa.fit(same, sa.Options(k=3, standardise=False))
    np.testing.assert_allclose(aligned.zs, aligned.zt, atol=1e-5)
    reference = PCA(3).fit_transform(same.xs)
    np.testing.assert_allclose(np.abs(aligned.zt), np.abs(reference), atol=1e-4)


def test_is_the_formula(domains):
    axes_s, axes_t = (PCA(2).fit(x).components_.T for x in (domains.xs, domains.xt))
    aligned = sa.fit(domains, sa.Options(k=2, standardise=False))
    reference = (domains.xs - domains.xs.mean(axis=0)) @ axes_s @ axes_s.T @ axes_t
    np.testing.assert_allclose(np.abs(aligned.zs), np.abs(reference), atol=1e-4)


def test_hand_worked():
    """The axes of the two domains are at right angles: nothing of the source is left on the target's."""
    pair = Domains(xs=np.array([[-1.0, 0], [1, 0]]), xt=np.array([[0.0, -2], [0, 2]]))
    aligned = sa.fit(pair, sa.Options(k=1, standardise=False))
    np.testing.assert_allclose(aligned.zs, 0, atol=1e-7)
    np.testing.assert_allclose(np.abs(aligned.zt), 2, atol=1e-6)


def test_k_is_cut_at_the_smaller_rank():
    rng = np.random.default_rng(0)
    pair = Domains(xs=rng.normal(size=(30, 8)), xt=rng.normal(size=(4, 8)))
    assert sa.fit(pair, sa.Options()).zs.shape == (30, 3)


@pytest.mark.shared
def test_at_least_the_published_average(surf):
    accuracies = []
    for task in SEEN:
        domains, yt = surf(task)
        aligned = sa.fit(domains, sa.Options())
        accuracies.append(100 * (nearest(aligned.zs.astype(float), domains.ys, aligned.zt.astype(float)) == yt).mean())
    assert np.mean(accuracies) >= np.mean(list(SEEN.values()))
