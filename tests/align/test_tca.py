from __future__ import annotations

import numpy as np
import pytest

from torchgraft.align import tca
from torchgraft.align._classify import nearest

PUBLISHED = {"C>A": 45.6, "C>W": 39.3, "A>C": 42.0, "W>D": 91.1, "D>W": 87.5}


def test_equal_domains_get_equal_rows(same):
    aligned = tca.fit(same, tca.Options(k=3))
    np.testing.assert_allclose(aligned.zs, aligned.zt, atol=1e-6)


def test_the_means_come_nearer(domains):
    def gap(zs, zt):
        return np.linalg.norm(zs.mean(axis=0) - zt.mean(axis=0))

    aligned = tca.fit(domains, tca.Options(k=4, ridge=1e-3))
    unit_s, unit_t = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (domains.xs, domains.xt))
    assert gap(aligned.zs, aligned.zt) < 0.5 * gap(unit_s, unit_t)


def test_later_samples_are_mapped_as_the_first(domains):
    aligned = tca.fit(domains, tca.Options(k=3))
    np.testing.assert_allclose(aligned.transform(domains.xt[5:8] * 7), aligned.zt[5:8], atol=1e-5)


@pytest.mark.shared
@pytest.mark.parametrize("task", PUBLISHED)
def test_published(surf, task):
    """Wang et al. (ACM MM 2018): k = 30, lambda = 1, linear kernel, then the nearest neighbour."""
    domains, yt = surf(task)
    aligned = tca.fit(domains, tca.Options())
    accuracy = (nearest(aligned.zs.astype(float), domains.ys, aligned.zt.astype(float)) == yt).mean()
    assert 100 * accuracy == pytest.approx(PUBLISHED[task], abs=0.3)
