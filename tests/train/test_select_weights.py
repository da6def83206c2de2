from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from torchgraft.core.errors import DataError, OptionError
from torchgraft.train import select
from torchgraft.train._select_weights import _cross_fitted, _reduced


def official_dev_risk(weights, errors):
    """The published formula, by numpy's covariance matrix."""
    weighted = weights * errors
    covariance = np.cov(weighted, weights)
    eta = -covariance[0, 1] / covariance[1, 1]
    return weighted.mean() + eta * weights.mean() - eta


def normals(n, shift, d=1, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(2 * n, d)) + np.eye(d)[0] * shift


def test_equal_weights_give_the_plain_mean_loss():
    losses = np.array([0.0, 1, 1, 0, 0.5])
    assert select.iwv(losses, np.ones(5)) == pytest.approx(-0.5)
    assert select.dev(losses, np.ones(5)) == pytest.approx(-0.5)
    assert select.dev(losses, np.full(5, 0.1)) == pytest.approx(-0.05)


def test_hand_worked():
    """w l = (0, 3), w = (1, 3): Cov = 3, Var = 2, eta = -1.5; 1.5 - 1.5 * 2 + 1.5 = 0."""
    losses, weights = [0, 1], [1, 3]
    assert select.iwv(losses, weights) == pytest.approx(-1.5)
    assert select.dev(losses, weights) == pytest.approx(0.0)


def test_dev_is_the_published_formula_negated():
    rng = np.random.default_rng(0)
    losses, weights = rng.integers(0, 2, 200).astype(float), rng.exponential(size=200)
    assert select.dev(losses, weights) == pytest.approx(-official_dev_risk(weights, losses), abs=1e-12)


def test_dev_varies_less_than_iwv_about_the_same_target_loss():
    """Loss x > 0 under N(0, 1), target N(0.5, 1) with its true density ratio: the target's loss is Phi(0.5)."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        x = rng.normal(size=200)
        losses, weights = (x > 0).astype(float), np.exp(0.5 * x - 0.125)
        found.append([-select.iwv(losses, weights), -select.dev(losses, weights)])
    means, spreads = np.mean(found, axis=0), np.std(found, axis=0)
    assert means == pytest.approx(norm.cdf(0.5), abs=0.01)
    assert spreads[1] < 0.7 * spreads[0]


def test_weights_of_one_distribution_are_about_1():
    z_s, z_t = normals(400, 0.0, d=5)
    found = select.domain_weights(z_s, z_t)
    assert found.weights.mean() == pytest.approx(1, abs=0.1)
    assert found.effective_size > 0.9 * 400


def test_weights_are_the_density_ratio():
    """N(0, 1) to N(1, 1): w = exp(x - 1/2), whatever the domains' sizes; effective size N / e."""
    z_s, z_t = normals(3000, 1.0)
    found = select.domain_weights(z_s, z_t, seed=1)
    middle = np.abs(z_s[:, 0]) < 1.5
    assert np.log(found.weights[middle]) == pytest.approx(z_s[middle, 0] - 0.5, abs=0.25)
    assert found.weights.mean() == pytest.approx(1, abs=0.1)
    assert found.effective_size == pytest.approx(3000 / np.e, rel=0.25)


def test_weights_depend_on_the_seed_alone_and_not_on_the_scale():
    z_s, z_t = normals(60, 1.0, d=3)
    first = select.domain_weights(z_s, z_t, 3).weights
    assert np.array_equal(first, select.domain_weights(z_s, z_t, 3).weights)
    assert first == pytest.approx(select.domain_weights(1000 * z_s + 5, 1000 * z_t + 5, 3).weights, rel=1e-3)
    assert not np.array_equal(first, select.domain_weights(z_s, z_t, 4).weights)


def test_domains_far_apart_leave_hardly_any_weight():
    z_s, z_t = normals(100, 50.0, d=4)
    found = select.domain_weights(z_s, z_t)
    assert found.weights.mean() < 0.1
    assert np.isfinite(found.weights).all()


def test_weights_are_cut_at_the_root_of_n_times_their_mean():
    """One source sample amid a far target: its ratio is cut, the others stay."""
    z_s, z_t = normals(100, 3.0)
    z_s[0] = 8.0
    target = np.arange(300) >= 100
    raw = np.exp(_cross_fitted(_reduced(np.concatenate([z_s, z_t]), 32), target, 0)[:100])
    assert raw[0] > 10 * raw.mean()
    found = select.domain_weights(z_s, z_t).weights
    assert found[0] == pytest.approx(10 * raw.mean())
    assert found[1:] == pytest.approx(raw[1:])


def test_constant_and_many_columns():
    z_s, z_t = normals(40, 1.0, d=60)
    z_s[:, 3], z_t[:, 3] = 7.0, 7.0
    assert np.isfinite(select.domain_weights(z_s, z_t, axes=4).weights).all()
    assert select.domain_weights(np.ones((6, 2)), np.ones((6, 2))).weights == pytest.approx(np.ones(6), abs=0.3)


def test_effective_size():
    assert select.effective_size(np.full(7, 0.3)) == pytest.approx(7)
    assert select.effective_size([5, 0, 0]) == pytest.approx(1)
    assert select.effective_size([1, 3]) == pytest.approx(16 / 10)
    assert select.effective_size([0, 0]) == 0
    assert select.effective_size([1e-300, 1e-300]) == pytest.approx(2)


def test_dev_may_choose_a_collapsed_model_and_the_guard_says_so():
    """Trap 11. Weights that reward the one class the collapsed model gets right: DEV prefers it to 80 %."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 400)
    weights = np.where(y == 0, 3.0, 0.2)
    collapsed_losses = (y != 0).astype(float)
    good_losses = (rng.random(400) < 0.2).astype(float)
    assert select.dev(collapsed_losses, weights) > select.dev(good_losses, weights)
    one_class = np.full((400, 4), 0.01) + np.eye(4)[0] * 0.96
    assert select.collapsed(one_class, np.full(4, 0.25))


def test_faults():
    with pytest.raises(DataError, match="losses expects numbers of 0 or more.*same number of samples"):
        select.iwv([-1, 1], [1, 1, 1])
    with pytest.raises(DataError, match="2 samples or more"):
        select.dev([1], [1])
    with pytest.raises(DataError, match="z_s expects 5 samples.*NaN"):
        select.domain_weights(np.ones((4, 2)), np.full((9, 2), np.nan))
    with pytest.raises(DataError, match="columns, got z_s 2, z_t 3"):
        select.domain_weights(np.ones((9, 2)), np.ones((9, 3)))
    with pytest.raises(OptionError, match="axes"):
        select.domain_weights(np.ones((9, 2)), np.ones((9, 2)), axes=0)
