from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import fractional_matrix_power

from torchgraft.align._moments import covariance, needs_covariance, power, scaling, scatter
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


def test_blocks_of_rows_and_weights_change_nothing():
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(4100, 5)) * np.arange(1, 6) + 2, rng.uniform(0.5, 2, size=4100)
    reference = np.cov(x.T, aweights=weights)
    np.testing.assert_allclose(covariance(x, weights=weights), reference, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(scatter(x), np.cov(x.T) * 4099, rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(scaling(x, True).scale, x.std(axis=0), rtol=1e-6)
    mean = np.average(x, axis=0, weights=weights)
    deviation = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weights))
    np.testing.assert_allclose(scaling(x, True, weights).scale, deviation, rtol=1e-6)


def test_float32_sums_are_near_those_of_float64():
    x = np.random.default_rng(1).normal(size=(5000, 40)) + 100
    exact = scatter(x)
    assert np.linalg.norm(scatter(x, kind=np.float32) - exact, 2) < 1e-6 * np.linalg.norm(exact, 2)


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
