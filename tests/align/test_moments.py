from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import fractional_matrix_power

from torchgraft.align._moments import covariance, needs_covariance, power, scaling
from torchgraft.align.base import Domains
from torchgraft.features.mapping import Standardise


def test_covariance_is_numpys_plus_a_ridge(domains):
    np.testing.assert_allclose(covariance(domains.xs, 0.5), np.cov(domains.xs.T) + 0.5 * np.eye(6), atol=1e-12)


@pytest.mark.parametrize("exponent", [-0.5, 0.5, -1.0])
def test_power_is_scipys(domains, exponent):
    matrix = covariance(domains.xs)
    np.testing.assert_allclose(power(matrix, exponent), fractional_matrix_power(matrix, exponent), atol=1e-9)


def test_directions_without_variance_are_left_out():
    np.testing.assert_allclose(power(np.diag([4.0, 0.0]), -0.5), np.diag([0.5, 0.0]))


def test_covariance_of_scaled_rows(domains):
    scale = np.arange(1.0, 7)
    np.testing.assert_allclose(covariance(domains.xs, scale=scale), np.cov((domains.xs / scale).T), atol=1e-12)


def test_scaling_is_standardising_or_centring(domains):
    reference = Standardise.fit(domains.xs)
    found = scaling(domains.xs, True)
    np.testing.assert_allclose(found.mean, reference.mean, rtol=1e-5)
    np.testing.assert_allclose(found.scale, reference.scale, rtol=1e-5)
    np.testing.assert_allclose(
        scaling(domains.xs, False).transform(domains.xs).std(axis=0), domains.xs.std(axis=0), rtol=1e-5
    )
    assert (scaling(np.full((4, 2), 3.0), True).scale == 1).all()


def test_too_many_features_are_refused():
    assert "5001 x 5001; at most 5000" in needs_covariance(Domains(xs=np.zeros((2, 5001)), xt=np.zeros((2, 5001))))
