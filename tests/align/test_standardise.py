from __future__ import annotations

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from torchgraft.align import Domains, standardise
from torchgraft.core.errors import OptionError


def test_each_domain_has_its_own_statistics(domains):
    aligned = standardise.fit(domains, standardise.Options())
    np.testing.assert_allclose(aligned.zs, StandardScaler().fit_transform(domains.xs), atol=1e-5)
    np.testing.assert_allclose(aligned.zt, StandardScaler().fit_transform(domains.xt), atol=1e-5)


def test_a_standardised_domain_stays(domains):
    once = standardise.fit(domains, standardise.Options())
    twice = standardise.fit(Domains(xs=once.zs, xt=once.zt), standardise.Options())
    np.testing.assert_allclose(twice.zs, once.zs, atol=1e-5)


def test_a_domain_moved_and_stretched_by_column_comes_back(same):
    moved = Domains(xs=same.xs, xt=same.xs * np.arange(1, 7) - 5)
    aligned = standardise.fit(moved, standardise.Options())
    np.testing.assert_allclose(aligned.zs, aligned.zt, atol=1e-5)


def test_hand_worked():
    pair = Domains(xs=np.array([[0.0], [2]]), xt=np.array([[10.0], [30]]))
    np.testing.assert_allclose(standardise.fit(pair, standardise.Options()).zt, [[-1], [1]])
    mean = standardise.fit(pair, standardise.Options(moments="mean"))
    np.testing.assert_allclose(mean.zs, [[-1], [1]])
    np.testing.assert_allclose(mean.zt, [[-10], [10]])


def test_unknown_moments(domains):
    with pytest.raises(OptionError, match="variance or mean, got 'median'"):
        standardise.fit(domains, standardise.Options(moments="median"))
