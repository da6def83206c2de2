import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

from torchgraft.core.errors import DataError, OptionError
from torchgraft.evaluate import beaten_by, brier_losses, paired, softmax

CLASSES = 4


def models(m, signals, seed=0, shared=0.7):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, m)
    common = np.sqrt(shared) * rng.normal(size=(m, CLASSES))
    return y, [
        softmax(2 * (common + np.sqrt(1 - shared) * rng.normal(size=(m, CLASSES)) + s * np.eye(CLASSES)[y]))
        for s in signals
    ]


def test_paired_by_hand():
    y = np.array([0, 0, 1, 1])
    a = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3]])
    b = np.array([[0.8, 0.2], [0.6, 0.4], [0.6, 0.4], [0.1, 0.9]])
    found = paired(y, a, b, classes=("cat", "dog"))
    assert found["accuracy"]["value"] == pytest.approx((3 - 2) / 4)
    saved = brier_losses(y, a) - brier_losses(y, b)
    assert found["brier"]["value"] == pytest.approx(saved.mean())
    assert (found["fixed"], found["broken"], found["p"]) == (2, 1, 1.0)
    assert found["gained"] == [{"class": "cat", "fixed": 1, "broken": 0}] and found["lost"] == []


def test_mcnemar_is_the_binomial_tail():
    y, right = np.zeros(10, int), np.array([[0.9, 0.1]])
    a = np.repeat(1 - right, 10, axis=0)
    assert paired(y, a, np.repeat(right, 10, axis=0))["p"] == pytest.approx(2 * 0.5**10)
    for seed in range(4):
        y, (a, b) = models(200, (2.0, 2.4), seed=seed)
        found = paired(y, a, b)
        reference = binomtest(found["fixed"], found["fixed"] + found["broken"]).pvalue
        assert found["p"] == pytest.approx(reference)


def test_paired_is_antisymmetric_and_zero_with_itself():
    y, (a, b) = models(300, (2.0, 2.4))
    there, back = paired(y, a, b), paired(y, b, a)
    for name in ("accuracy", "brier"):
        assert there[name]["value"] == pytest.approx(-back[name]["value"])
        assert there[name]["low"] == pytest.approx(-back[name]["high"])
    assert {c["class"] for c in there["gained"]} == {c["class"] for c in back["lost"]}
    same = paired(y, a, a)
    assert same["accuracy"] == {"value": 0.0, "low": 0.0, "high": 0.0} and same["p"] == 1.0


def test_a_pair_is_told_apart_better_than_two_intervals_would():
    y, (a, b) = models(500, (2.0, 2.2), shared=0.95)
    width = paired(y, a, b)["accuracy"]
    assert width["high"] - width["low"] < 0.06  # two separate intervals are 0.07 wide each


def test_a_clearly_better_challenger_beats_and_a_worse_one_does_not():
    y, (base, worse, equal, better) = models(600, (1.8, 1.4, 1.8, 2.4))
    found = beaten_by(y, base, [worse, equal, better])
    assert [one["beats"] for one in found] == [False, False, True]
    assert found[2]["p"] < 0.01 < found[1]["p"] and found[0]["difference"] < 0 < found[2]["difference"]
    assert [one["beats"] for one in beaten_by(y, base, [worse, equal, better], statistic="accuracy")] == [
        False,
        False,
        True,
    ]


def test_one_challenger_on_many_samples_agrees_with_the_t_test():
    for seed in range(5):
        y, (a, b) = models(2000, (2.0, 2.03), seed=seed)
        reference = ttest_1samp(brier_losses(y, a) - brier_losses(y, b), 0, alternative="greater").pvalue
        assert beaten_by(y, a, [b])[0]["p"] == pytest.approx(reference, abs=0.05)


def test_each_challenger_is_judged_by_itself():
    y, (a, b, *rest) = models(300, (2.0, 2.3, *[2.0] * 8))
    assert beaten_by(y, a, [b])[0] == pytest.approx(beaten_by(y, a, [b, *rest])[0])


def test_a_rare_large_loss_does_not_hide_a_clear_gain():
    """The floor (0.5 each) against answers that are nearly always sure and right, but twice sure and wrong."""
    y = np.zeros(60, int)
    floor = np.full((60, 2), 0.5)
    sure = np.where(np.arange(60)[:, None] < 2, [[0.02, 0.98]], [[0.98, 0.02]])
    assert beaten_by(y, floor, [sure])[0]["p"] < 0.01


def test_lower_accuracy_never_beats_whatever_its_brier():
    y = np.zeros(400, int)
    sure = np.tile([[0.51, 0.49]], (400, 1))
    better = np.where(np.arange(400)[:, None] < 20, [[0.4, 0.6]], [[0.99, 0.01]])
    found = beaten_by(y, sure, [better])[0]
    assert found["difference"] > 0 and found["p"] < 0.01 and not found["beats"]


def test_itself_does_not_beat_and_always_better_does():
    y, (a,) = models(100, (2.0,))
    assert beaten_by(y, a, [a]) == [{"beats": False, "p": 1.0, "difference": 0.0}]
    wrong, right = np.tile([[0.0, 1.0]], (30, 1)), np.tile([[1.0, 0.0]], (30, 1))
    assert beaten_by(np.zeros(30, int), wrong, [right])[0]["beats"]
    assert beaten_by(y, a, []) == []


def test_equals_are_seldom_promoted():
    """200 runs: 5 % is 10; the rule may not go above what chance allows (99 %)."""
    promoted = 0
    for seed in range(200):
        y, (a, b) = models(60, [2.0, 2.0], seed=seed)
        promoted += beaten_by(y, a, [b], draws=500)[0]["beats"]
    assert promoted <= 18


def test_bad_input_is_named():
    y, (a, b) = models(20, (1.0, 1.0))
    with pytest.raises(OptionError, match="brier or accuracy, got 'f1'"):
        beaten_by(y, a, [b], statistic="f1")
    with pytest.raises(DataError, match="shapes"):
        beaten_by(y, a, [b[:-1]])
