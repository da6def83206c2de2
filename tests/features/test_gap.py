from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel

from torchgraft.core.errors import DataError, OptionError
from torchgraft.features import gap


def closed_form(mu: float, d: int, s: float) -> float:
    """MMD^2 of N(0, I) and N(m, I) with ||m|| = mu, k = exp(-r^2 / 2 s^2)."""
    return 2 * (s**2 / (s**2 + 2)) ** (d / 2) * (1 - np.exp(-(mu**2) / (2 * (s**2 + 2))))


def draws(count, n, d, mu, **options):
    rng = np.random.default_rng(0)
    shift = np.full(d, mu / np.sqrt(d))
    return np.array(
        [gap.mmd2(rng.normal(size=(n, d)), rng.normal(size=(n, d)) + shift, **options) for _ in range(count)]
    )


def near(values, expected):
    return abs(values.mean() - expected) < 3 * values.std(ddof=1) / np.sqrt(len(values))


def test_mmd2_is_the_sum_over_pairs():
    """Hand-worked through scikit-learn's kernel, with more rows than one block holds."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(700, 3)), rng.normal(size=(520, 3)) + 0.5
    kxx, kyy, kxy = (rbf_kernel(a, b, gamma=1 / (2 * 1.5**2)) for a, b in ((x, x), (y, y), (x, y)))
    biased = kxx.mean() + kyy.mean() - 2 * kxy.mean()
    unbiased = (kxx.sum() - 700) / (700 * 699) + (kyy.sum() - 520) / (520 * 519) - 2 * kxy.mean()
    assert gap.mmd2(x, y, bandwidth=1.5) == pytest.approx(unbiased, abs=1e-12)
    assert gap.mmd2(x, y, bandwidth=1.5, unbiased=False) == pytest.approx(biased, abs=1e-12)


def test_mmd2_of_a_sample_with_itself():
    """The biased form is 0; the unbiased one is under it by what the diagonals add."""
    x = np.random.default_rng(0).normal(size=(50, 2))
    assert gap.mmd2(x, x, unbiased=False) == pytest.approx(0, abs=1e-12)
    assert -0.1 < gap.mmd2(x, x) < 0


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_unbiased_has_mean_0_under_equal_distributions_and_goes_negative(kernel):
    values = draws(200, 40, 3, 0.0, kernel=kernel, bandwidth=1.0)
    assert near(values, 0.0)
    assert (values < 0).mean() > 0.2


def test_biased_is_never_negative_and_too_large():
    values = draws(100, 40, 3, 0.0, bandwidth=1.0, unbiased=False)
    assert (values >= 0).all()
    assert not near(values, 0.0)


@pytest.mark.parametrize(("mu", "d", "s"), [(1.0, 1, 1.0), (1.0, 4, 2.0), (2.0, 2, 0.5)])
def test_closed_form_of_two_gaussians(mu, d, s):
    assert near(draws(200, 60, d, mu, bandwidth=s), closed_form(mu, d, s))


def test_closed_form_of_the_linear_kernel():
    assert near(draws(200, 60, 3, 1.5, kernel="linear"), 1.5**2)


def test_hand_worked_linear():
    """Pairs (0, 2) and (1, 3): 0 * 2 + 1 * 3 - 2 * mean of (0, 0, 2, 6) = -1."""
    assert gap.mmd2([[0.0], [2]], [[1.0], [3]], kernel="linear") == pytest.approx(-1)


def test_median_bandwidth():
    """Distances 1, 2, 3 of 0, 1, 3, twice 0 and 3 once more: sigma, not sigma squared."""
    assert gap.median_bandwidth([[0.0], [1]], [[3.0], [6]]) == pytest.approx(3)
    assert gap.median_bandwidth(np.ones((3, 2)), np.ones((3, 2))) == 1
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3000, 2)), rng.normal(size=(10, 2))
    assert gap.median_bandwidth(x, y, most=300) == pytest.approx(gap.median_bandwidth(x, y), rel=0.1)


def test_the_test_s_statistic_is_mmd2():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(600, 2)), rng.normal(size=(90, 2)) + 1
    found = gap.mmd_test(x, y, permutations=50)
    assert found.mmd2 == pytest.approx(gap.mmd2(x, y), abs=1e-12)
    assert found.p_value == pytest.approx(1 / 51)
    assert found == gap.mmd_test(x, y, permutations=50)


def test_the_test_rejects_as_often_as_it_says():
    rng = np.random.default_rng(0)
    p = [gap.mmd_test(rng.normal(size=(25, 2)), rng.normal(size=(30, 2)), permutations=99).p_value for _ in range(200)]
    assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.09
    assert abs(np.mean(p) - 0.5) < 0.08


def test_the_test_takes_a_part_of_large_samples():
    rng = np.random.default_rng(0)
    found = gap.mmd_test(rng.normal(size=(3000, 2)), rng.normal(size=(3000, 2)) + 0.5, most=200, permutations=50)
    assert found.p_value < 0.05


def test_coral_distance_hand_worked():
    """Covariances diag(2, 0) and [[0, 0], [0, 8]]: (4 + 64) / (4 * 4)."""
    x, y = np.array([[-1.0, 0], [1, 0]]), np.array([[5.0, -2], [5, 2]])
    assert gap.coral_distance(x, y) == pytest.approx(68 / 16)
    assert gap.coral_distance(x, x + 9) == pytest.approx(0)
    assert gap.coral_distance(x[:, :1], y[:, 1:]) == pytest.approx(36 / 4)


def test_a_distance_of_equal_and_of_separate_domains():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 5))
    assert gap.proxy_a_distance(x, rng.normal(size=(900, 5))) < 0.25
    assert gap.proxy_a_distance(x, rng.normal(size=(50, 5)) + 20) == 2


def test_a_distance_is_near_the_best_linear_error():
    """N(0, 1) and N(1, 1) on a line: the error is Phi(-1/2) = 0.3085, the distance 0.766."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4000, 1)), rng.normal(size=(4000, 1)) + 1
    assert gap.proxy_a_distance(x, y, most=4000) == pytest.approx(0.766, abs=0.08)


def test_a_distance_agrees_with_logistic_regression():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(800, 6)), rng.normal(size=(800, 6)) * 1.2 + np.linspace(0, 0.8, 6)
    z, side = np.concatenate([x, y]), np.repeat([0, 1], 800)
    order = rng.permutation(1600)
    score = LogisticRegression().fit(z[order[:800]], side[order[:800]]).score(z[order[800:]], side[order[800:]])
    assert gap.proxy_a_distance(x, y) == pytest.approx(2 * (1 - 2 * (1 - score)), abs=0.15)


def test_class_gaps_hand_worked():
    """Class 0 moves by 4 at a spread of 1; class 1 has one sample, class 2 nothing in the target."""
    xs = np.array([[-1.0], [1], [5], [8], [10]])
    p = np.array([[1.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    found = gap.class_gaps(xs, np.array([0, 0, 1, 2, 2]), np.array([[3.0], [5], [5]]), p)
    np.testing.assert_allclose(found, [4, np.nan, np.nan])


@pytest.mark.parametrize("function", [gap.mmd2, gap.mmd_test, gap.coral_distance, gap.proxy_a_distance])
def test_bad_input(function):
    good = np.zeros((5, 2))
    for bad in (np.zeros(5), np.zeros((5, 3)), np.zeros((1, 2))):
        with pytest.raises(DataError, match="two sets of features"):
            function(good, bad)
    with pytest.raises(DataError, match="NaN"):
        function(good, np.full((5, 2), np.nan))


def test_bad_options():
    x = np.eye(4)
    with pytest.raises(OptionError, match="gaussian or linear, got 'rbf'"):
        gap.mmd2(x, x, kernel="rbf")
    with pytest.raises(OptionError, match="above 0"):
        gap.mmd2(x, x, bandwidth=0.0)
    with pytest.raises(OptionError, match="permutations"):
        gap.mmd_test(x, x, permutations=0)
    with pytest.raises(DataError, match="at least 4 samples of each"):
        gap.proxy_a_distance(x[:3], x)
