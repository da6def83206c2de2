import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.special import softmax as reference_softmax

from torchgraft.core.errors import DataError
from torchgraft.evaluate import abstain, calibration, ece, fit_temperature, reliability, softmax


def sampled(m=4000, classes=4, seed=0):
    """Logits whose softmax is exactly the chance of each label."""
    rng = np.random.default_rng(seed)
    z = 2 * rng.normal(size=(m, classes))
    p = softmax(z)
    return (rng.random((m, 1)) > p.cumsum(1)).sum(1).clip(max=classes - 1), z


def test_softmax_is_scipys_and_survives_the_extremes():
    z = np.random.default_rng(0).normal(size=(5, 3)) * 10
    assert softmax(z, 2.5) == pytest.approx(reference_softmax(z / 2.5, axis=1))
    assert softmax(np.array([[1e300, -1e300, -np.inf]])).tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize("scale", [0.2, 1.0, 3.0, 10.0])
def test_the_temperature_that_was_put_in_comes_out(scale):
    y, z = sampled()
    assert fit_temperature(y, scale * z) == pytest.approx(scale, rel=0.06)


def test_it_is_the_minimum_of_the_likelihood():
    y, z = sampled(m=3000, seed=1)
    rows = np.arange(len(y))
    nll = lambda t: -log_softmax(3 * z / t, axis=1)[rows, y].mean()  # noqa: E731
    best = minimize_scalar(nll, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-8})
    assert fit_temperature(y, 3 * z) == pytest.approx(best.x, rel=2e-3)


@pytest.mark.parametrize("scale", [0.5, 4.0, 60.0, 400.0])
@pytest.mark.parametrize("m", [18, 180])
@pytest.mark.parametrize("classes", [2, 3])
def test_all_right_are_sure_by_the_rule_of_succession(m, classes, scale):
    """Whatever the scale of the logits: LDA's of 18 samples in 1280 dimensions are apart by hundreds."""
    y = np.tile(np.arange(classes), m // classes)
    z = scale * np.eye(classes)[y]
    sure = softmax(z, fit_temperature(y, z)).max()
    assert sure == pytest.approx(m / (m + 1), rel=0.1 / m)


def test_one_more_mistake_by_hand():
    """Of 90 right and 10 wrong by the same gap, 90 of 101 are right: gap / T = ln(90 / 11)."""
    y = np.zeros(100, dtype=int)
    z = np.tile([3.0, 0.0], (100, 1))
    z[:10] = [0.0, 3.0]
    assert 3 / fit_temperature(y, z) == pytest.approx(np.log(90 / 11), rel=0.02)


def test_all_wrong_and_constant_logits_stay_in_range():
    y = np.tile([0, 1, 2], 20)
    assert fit_temperature(y, 50 * np.eye(3)[(y + 1) % 3]) == pytest.approx(1000, rel=1e-3)
    assert fit_temperature(y, np.zeros((60, 3))) == pytest.approx(1.0, abs=1e-3)


def test_huge_logits_are_safe_and_nan_is_refused():
    y, z = sampled(m=200)
    assert np.isfinite(fit_temperature(y, 1e6 * z)) and np.isfinite(fit_temperature(y, z - 1e8))
    assert np.isfinite(fit_temperature(y, np.where(np.eye(4)[(y + 1) % 4] > 0, -np.inf, z)))
    with pytest.raises(DataError, match="NaN or Inf"):
        fit_temperature(y, np.where(z > 3, np.nan, z))


def test_reliability_bins_give_the_ece_back():
    y, z = sampled()
    proba = softmax(2 * z)
    bins = reliability(y, proba)
    assert sum(b["n"] for b in bins) == len(y)
    total = sum(b["n"] * abs(b["accuracy"] - b["confidence"]) for b in bins) / len(y)
    assert total == pytest.approx(ece(y, proba))


def test_calibration_lowers_the_error():
    y, z = sampled()
    found = calibration(y, 4 * z)
    assert found["ece_after"] < 0.03 < found["ece_before"]
    assert set(found) == {"temperature", "ece_before", "ece_after", "bins"}


def two(confidence):
    confidence = np.asarray(confidence)
    return np.stack([confidence, 1 - confidence], axis=1)


def test_abstain_by_hand():
    confidence = [0.99, 0.95, 0.9, 0.85, 0.8, 0.7, 0.65, 0.6, 0.6, 0.55]
    y = np.array([0, 0, 0, 1, 0, 0, 0, 1, 0, 1])
    found = abstain(y, two(confidence), accuracy=0.85)
    assert (found["threshold"], found["coverage"]) == (0.65, 0.7)
    assert found["accuracy"] == pytest.approx(6 / 7) and found["reached"]


def test_equal_confidences_are_answered_together():
    found = abstain(np.array([0, 1, 0, 1]), two([0.9, 0.9, 0.6, 0.6]), accuracy=0.6)
    assert not found["reached"] and found["accuracy"] == 0.5


def test_good_enough_as_it_is_means_threshold_0():
    found = abstain(np.zeros(20, int), two(np.linspace(0.6, 0.9, 20)))
    assert (found["threshold"], found["coverage"], found["accuracy"]) == (0.0, 1.0, 1.0)


def test_out_of_reach_gives_the_best_at_the_least_coverage():
    y = np.array([1] * 2 + [0] * 8 + [1] * 10)
    found = abstain(y, two(np.linspace(0.99, 0.55, 20)), least=0.2)
    assert not found["reached"] and found["wanted"] == 0.95
    assert found["coverage"] == 0.5 and found["accuracy"] == 0.8
    assert found["curve"][-1] == {"coverage": 1.0, "accuracy": 0.4}
