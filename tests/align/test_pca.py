from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from torchgraft.align import Domains, pca
from torchgraft.align._classify import nearest
from torchgraft.core.errors import OptionError

PUBLISHED = {
    30: {"C>A": 39.5, "C>W": 34.6, "A>C": 39.0, "W>D": 89.2, "D>W": 86.1},
    100: {"C>A": 37.0, "C>W": 32.5, "A>C": 34.7, "W>D": 77.1, "D>W": 75.9},
}


def test_is_scikit_learns_on_both_domains(domains):
    aligned = pca.fit(domains, pca.Options(k=3))
    both = np.concatenate([domains.xs, domains.xt])
    reference = PCA(3).fit_transform(both)
    ours = np.concatenate([aligned.zs, aligned.zt])
    np.testing.assert_allclose(np.abs(ours), np.abs(reference), atol=1e-4)


def test_all_axes_keep_every_distance(same):
    aligned = pca.fit(same, pca.Options(k=99))
    np.testing.assert_array_equal(aligned.zs, aligned.zt)
    gaps = np.linalg.norm(same.xs[:, None] - same.xs, axis=2)
    np.testing.assert_allclose(np.linalg.norm(aligned.zs[:, None] - aligned.zs, axis=2), gaps, atol=1e-4)


def test_hand_worked():
    """Both domains lie on the diagonal: one axis, and where they are on it."""
    pair = Domains(xs=np.array([[0.0, 0], [2, 2]]), xt=np.array([[4.0, 4], [6, 6]]))
    aligned = pca.fit(pair, pca.Options(k=5))
    found = np.concatenate([aligned.zs, aligned.zt]).ravel()
    np.testing.assert_allclose(found * np.sign(found[-1]), np.sqrt(2) * np.array([-3, -1, 1, 3]), rtol=1e-5)


def test_k_is_checked(domains):
    with pytest.raises(OptionError, match="k expects"):
        pca.fit(domains, pca.Options(k=0))


@pytest.mark.shared
@pytest.mark.parametrize("k", PUBLISHED)
def test_published(surf, k):
    """k = 30: Wang et al. (ACM MM 2018); k = 100: Long et al. (ICCV 2013)."""
    for task, published in PUBLISHED[k].items():
        domains, yt = surf(task)
        aligned = pca.fit(domains, pca.Options(k=k))
        accuracy = (nearest(aligned.zs.astype(float), domains.ys, aligned.zt.astype(float)) == yt).mean()
        assert 100 * accuracy == pytest.approx(published, abs=0.3), task
