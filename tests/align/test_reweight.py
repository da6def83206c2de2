from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from torchgraft.align import Domains, reweight


def test_a_domain_with_itself_gets_nearly_equal_weights(same):
    aligned = reweight.fit(same, reweight.Options())
    assert aligned.weights.min() > 0.5 and aligned.weights.max() < 2
    np.testing.assert_array_equal(aligned.zt, same.xt.astype(np.float32))


def test_finds_the_ratio_of_two_gaussians():
    """p_t / p_s of N(1, 1) to N(0, 1) is exp(x - 1/2), whatever the sizes of the domains."""
    rng = np.random.default_rng(0)
    xs, xt = rng.normal(size=(2000, 1)), rng.normal(size=(1000, 1)) + 1
    aligned = reweight.fit(Domains(xs=xs, xt=xt), reweight.Options(clip=1.0))
    true = norm.pdf(xs[:, 0], 1) / norm.pdf(xs[:, 0])
    assert np.corrcoef(aligned.weights, true / true.mean())[0, 1] > 0.97
    assert aligned.weights @ xs[:, 0] / 2000 == pytest.approx(1, abs=0.2)


def test_clipping_raises_the_effective_size():
    rng = np.random.default_rng(0)
    pair = Domains(xs=rng.normal(size=(400, 3)), xt=rng.normal(size=(400, 3)) + 1)
    loose, tight = (reweight.fit(pair, reweight.Options(clip=c)) for c in (1.0, 0.8))
    assert tight.effective_size > loose.effective_size
    assert tight.note == f"effective sample size {tight.effective_size:.0f} of 400"
    assert tight.weights.mean() == pytest.approx(1)


def test_domains_that_don_t_overlap_are_told():
    """Every weight is cut to one value: nothing is preferred, and the mean stays 1."""
    rng = np.random.default_rng(0)
    pair = Domains(xs=rng.normal(size=(60, 2)), xt=rng.normal(size=(60, 2)) + 100)
    aligned = reweight.fit(pair, reweight.Options())
    assert np.isfinite(aligned.weights).all()
    assert aligned.weights.mean() == pytest.approx(1)


def test_normalised_hand_worked():
    np.testing.assert_allclose(reweight.normalised(np.array([1.0, 3.0])), [0.5, 1.5])
    np.testing.assert_allclose(reweight.normalised(np.zeros(2)), 1)
