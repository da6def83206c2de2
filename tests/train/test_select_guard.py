from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from torchgraft.core.errors import DataError, OptionError
from torchgraft.evaluate import wilson
from torchgraft.model import estimate_prior
from torchgraft.train import select

EVEN = np.full(10, 0.1)


def sure(counts, confidence=0.9):
    """Predictions with so many samples of each class, all equally sure."""
    y, c = np.repeat(np.arange(len(counts)), counts), len(counts)
    return np.eye(c)[y] * confidence + (1 - confidence) / c


def drawn(n, q, accuracy_logit=2.0, seed=0):
    """Calibrated predictions of n samples whose classes have the frequencies q, trained on even classes."""
    rng = np.random.default_rng(seed)
    c = len(q)
    y = rng.choice(c, n, p=q)
    x = rng.normal(size=(n, c)) + accuracy_logit * np.eye(c)[y]
    logits = accuracy_logit * x  # the log density ratio of the classes, but for a constant
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def test_what_the_source_has_is_no_collapse():
    assert select.collapsed(sure([30] * 10), EVEN) == ""
    assert select.collapsed(drawn(500, EVEN), EVEN) == ""
    assert select.collapsed(sure([270, 30]), [0.9, 0.1]) == ""


def test_honest_label_shift_is_no_collapse():
    shifted = np.array([0.37] + [0.07] * 9)
    assert select.collapsed(drawn(1000, shifted), EVEN) == ""
    assert select.collapsed(drawn(1000, np.array([0.85, 0.15]), 1.0), [0.5, 0.5]) == ""


def test_one_class_for_everything():
    reason = select.collapsed(sure([0, 0, 0, 500, 0, 0, 0, 0, 0, 0]), EVEN)
    assert "class 3 takes 100.0% of the target (10.0% of the source)" in reason
    assert "vanished" in reason
    assert "same answer" in reason


def test_the_threshold_of_one_class_is_a_fifth_of_the_rest():
    """Even ten classes: 18 % must be left for the other nine; a majority of 90 % may have 98 %."""
    assert "takes" in select.collapsed(sure([830] + [18] * 5 + [20] * 4), EVEN)
    assert "takes" not in select.collapsed(sure([810] + [21] * 8 + [22]), EVEN)
    assert select.collapsed(sure([979, 21]), [0.9, 0.1]) == ""
    assert "class 0 takes 99.0%" in select.collapsed(sure([990, 10]), [0.9, 0.1])


def test_a_class_that_vanished():
    reason = select.collapsed(sure([100] * 9 + [1]), EVEN)
    assert reason == "class 9 (10.0% of the source) vanished: 1 of 901 target samples"
    assert select.collapsed(sure([100] * 9 + [12]), EVEN) == ""


def test_classes_that_are_rare_in_the_source_may_be_missing_alone_but_not_together():
    prior = np.array([0.64] + [0.03] * 12)
    assert select.collapsed(sure([640, *[30] * 11, 0]), prior) == ""
    assert select.collapsed(sure([640, *[30] * 6, *[0] * 6]), prior) == ""
    assert "classes 6, 7, 8" in select.collapsed(sure([740, *[40] * 5, *[0] * 7]), prior)
    assert select.collapsed(sure([100, 100, 0]), [0.5, 0.5, 0.0]) == ""


def test_few_samples_are_no_collapse():
    assert select.collapsed(sure([2] * 9 + [0]), EVEN) == ""
    assert select.collapsed(sure([3, 0]), [0.5, 0.5]) == ""
    assert "vanished" in select.collapsed(sure([20, 0]), [0.5, 0.5])


@pytest.mark.parametrize("classes", [2, 10, 65])
def test_the_source_s_own_frequencies_hardly_ever_raise_it(classes):
    rng = np.random.default_rng(0)
    prior = rng.dirichlet(np.full(classes, 5.0))
    for n in (20, 100, 500):
        assert not any(select.collapsed(sure(rng.multinomial(n, prior)), prior) for _ in range(30))


def test_equal_rows_say_nothing():
    noise = np.random.default_rng(0).dirichlet(np.full(4, 1000.0), 400)
    assert "every sample gets nearly the same answer" in select.collapsed(noise, np.full(4, 0.25))
    assert select.collapsed(noise[:3], np.full(4, 0.25)) == ""


def test_a_weak_classifier_says_something():
    """Two even classes, right on 60 %: 2.9 % of the information."""
    assert select.collapsed(sure([100, 100], 0.2), [0.5, 0.5]) == ""


def test_a_mean_that_no_label_shift_explains():
    """60 % in class 0, where another model's estimate says the target is like the source."""
    p = sure([600] + [45] * 4 + [44] * 5)
    assert select.collapsed(p, EVEN) == ""
    assert "45.0% away" in select.collapsed(p, EVEN, EVEN)
    towards = estimate_prior(p, EVEN).prior
    assert select.collapsed(p, EVEN, towards) == ""
    constant = np.tile([0.46, 0.44, *[0.0125] * 8], (200, 1))  # the likeliest frequencies for this: class 0 alone
    assert "38.0% away" in select.collapsed(constant, EVEN)


def test_collapsed_faults():
    with pytest.raises(DataError, match=r"p_t: 1 of 1 rows.*prior_s expects class frequencies.*prior_t"):
        select.collapsed([[1.0, 1.0]], [0.5, 0.6], [2.0])
    with pytest.raises(DataError, match="prior_s expects 2 class frequencies"):
        select.collapsed([[1.0, 0.0]], EVEN)


def test_source_kept_unchanged():
    right = np.arange(100) % 5 > 0
    kept = select.source_kept(right, right)
    assert kept
    assert kept.change.value == 0
    assert kept.change.low == -kept.change.high


def test_source_kept_hand_worked():
    """12 lost, 2 won of 100: (2.5 - 12.5) / 102 -+ 1.96 sqrt(15 - 100 / 102) / 102."""
    before, after = np.ones(100), np.ones(100)
    after[:12], before[12:14] = 0, 0
    kept = select.source_kept(before, after)
    reach = norm.ppf(0.975) * np.sqrt(15 - 100 / 102) / 102
    assert kept.change.value == pytest.approx(-0.1)
    assert (kept.change.low, kept.change.high) == pytest.approx((-10 / 102 - reach, -10 / 102 + reach))
    assert not kept
    assert select.source_kept(before, after, tolerance=0.05)


def test_source_kept_covers_the_true_change():
    """Against simulation: 95 % intervals of 1 point lost hold it in about 95 % of draws."""
    rng = np.random.default_rng(0)
    cells = rng.choice(4, (2000, 80), p=[0.85, 0.06, 0.05, 0.04])  # both, before only, after only, none
    found = [select.source_kept(np.isin(row, (0, 1)), np.isin(row, (0, 2))).change for row in cells]
    assert np.mean([c.low <= -0.01 <= c.high for c in found]) == pytest.approx(0.955, abs=0.02)


def test_source_kept_falls_with_a_collapse_and_takes_gains():
    right = np.ones(20, dtype=bool)
    assert not select.source_kept(right, np.arange(20) < 4)
    assert select.source_kept(np.arange(20) < 4, right)
    assert select.source_kept(right, ~right).change.low == -1


def test_source_kept_faults():
    with pytest.raises(DataError, match="true or false.*samples, got before 3, after 2"):
        select.source_kept([1, 0, 2], [1, 0])
    with pytest.raises(OptionError, match="tolerance"):
        select.source_kept([1, 0], [1, 0], tolerance=-0.1)


def test_agreement():
    a = sure([5, 5])
    assert select.agreement(a, a).value == 1
    assert select.agreement(a, a[:, ::-1]).value == 0
    found = select.agreement(a, sure([8, 2]))
    reference = wilson(7, 10)
    assert (found.value, found.low, found.high) == pytest.approx((0.7, reference.low, reference.high))
    with pytest.raises(DataError, match="samples, got p_a 10, p_b 4.*columns, got p_a 2, p_b 4"):
        select.agreement(a, sure([1, 1, 1, 1]))


def test_bootstrap_gain_of_a_model_over_itself():
    p = drawn(50, EVEN)
    found = select.bootstrap_gain(select.bnm, p, p)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_bootstrap_gain_of_constant_rows_is_exact():
    """Hand-worked: entropies of (0.5, 0.5) and (1, 0) are ln 2 and 0, whatever is drawn."""
    found = select.bootstrap_gain(select.entropy, np.full((6, 2), 0.5), np.tile([1.0, 0], (6, 1)))
    assert (found.value, found.low, found.high) == pytest.approx((np.log(2),) * 3)


def test_bootstrap_gain_of_a_mean_has_the_normal_interval():
    """Reference: a score that is a mean of rows differs by mean -+ 1.96 sd / sqrt(N)."""
    base, adapted = drawn(400, EVEN, 1.0, seed=1), drawn(400, EVEN, 1.2, seed=2)
    change = adapted[:, 0] - base[:, 0]
    found = select.bootstrap_gain(lambda p: p[:, 0].mean(), base, adapted, n=2000)
    reach = 1.96 * change.std() / 20
    assert found.value == pytest.approx(change.mean(), abs=0.1 * reach)
    assert (found.high - found.low) / 2 == pytest.approx(reach, rel=0.1)


def test_bootstrap_gain_is_paired_and_seeded():
    base = drawn(100, EVEN, 1.0)
    adapted = 0.9 * base + 0.1 * sure([10] * 10)
    calls = []
    first = select.bootstrap_gain(lambda p: calls.append(p) or 0.0, base, adapted, n=20, seed=4)
    assert len(calls) == 40
    assert np.isfinite(first.value)
    rows = np.abs(calls[1][:, None] - base).sum(axis=2).argmin(axis=1)
    assert calls[1] == pytest.approx(base[rows])
    assert calls[0] == pytest.approx(adapted[rows])
    again = select.bootstrap_gain(select.bnm, base, adapted, n=20, seed=4)
    assert again == select.bootstrap_gain(select.bnm, base, adapted, n=20, seed=4)
    assert again != select.bootstrap_gain(select.bnm, base, adapted, n=20, seed=5)


def test_bootstrap_gain_faults():
    p = drawn(10, EVEN)
    with pytest.raises(OptionError, match="20 draws"):
        select.bootstrap_gain(select.bnm, p, p, n=5)
    with pytest.raises(DataError, match="not finite on 20 of 20"):
        select.bootstrap_gain(lambda p: np.nan, p, p, n=20)
    with pytest.raises(DataError, match="p_base 10, p_adapted 9"):
        select.bootstrap_gain(select.bnm, p, p[:9])
