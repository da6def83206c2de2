from __future__ import annotations

import numpy as np
import pytest

from torchgraft.align import Domains, linear_ot

EXACT = linear_ot.Options(ridge=0.0, standardise=False)


@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_a_domain_with_itself_stays(same, ridge):
    aligned = linear_ot.fit(same, linear_ot.Options(ridge=ridge, standardise=False))
    np.testing.assert_allclose(aligned.zs, same.xs, atol=1e-5)


def test_the_moments_agree_and_the_map_is_symmetric(domains):
    aligned = linear_ot.fit(domains, EXACT)
    np.testing.assert_allclose(np.cov(aligned.zs.T), np.cov(domains.xt.T), atol=1e-3)
    np.testing.assert_allclose(aligned.zs.mean(axis=0), domains.xt.mean(axis=0), atol=1e-4)
    matrix = linear_ot.transport(np.cov(domains.xs.T), np.cov(domains.xt.T), 0.0)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-9)
    assert np.linalg.eigvalsh(matrix).min() > 0


def test_hand_worked_on_a_line():
    """Mean 0 and deviation 1 to mean 3 and deviation 2: T(x) = 3 + 2 x."""
    x = np.array([[-1.0], [0], [1]])
    aligned = linear_ot.fit(Domains(xs=x, xt=3 + 2 * x), EXACT)
    np.testing.assert_allclose(aligned.zs, 3 + 2 * x, atol=1e-6)
    np.testing.assert_allclose(aligned.source.transform(np.array([[5.0]])), [[13]], atol=1e-5)


def test_finds_the_symmetric_map_that_made_the_target():
    """If x_t = A x_s with A positive definite, A is the optimal map; a whitening and recolouring is not."""
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(200, 3)) @ rng.normal(size=(3, 3))
    factor = rng.normal(size=(3, 3))
    made = factor @ factor.T + np.eye(3)
    aligned = linear_ot.fit(Domains(xs=xs, xt=xs @ made), EXACT)
    np.testing.assert_allclose(aligned.zs, xs @ made, atol=1e-4)
