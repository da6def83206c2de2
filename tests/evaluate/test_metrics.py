import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from torchgraft.core.errors import DataError
from torchgraft.evaluate import brier_losses, confusion, ece, log_losses, score, softmax, summary, wilson

NAMES = tuple("abcde")


def answers(m=400, classes=5, seed=0, signal=1.5):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, m)
    return y, softmax(rng.normal(size=(m, classes)) + signal * np.eye(classes)[y])


def test_values_are_those_of_scikit_learn():
    y, proba = answers()
    found, said = score(y, proba, NAMES), proba.argmax(1)
    precision, recall, f1, support = reference.precision_recall_fscore_support(y, said)
    expected = {
        "accuracy": reference.accuracy_score(y, said),
        "balanced_accuracy": reference.balanced_accuracy_score(y, said),
        "macro_precision": precision.mean(),
        "macro_recall": recall.mean(),
        "macro_f1": f1.mean(),
        "brier": ((proba - np.eye(5)[y]) ** 2).sum(1).mean(),
        "log_loss": reference.log_loss(y, proba),
    }
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value, abs=1e-12), name
    assert np.array_equal(found["confusion"], reference.confusion_matrix(y, said))
    for c, row in enumerate(found["per_class"]):
        assert row["class"] == NAMES[c] and row["support"] == support[c]
        values = [row[key]["value"] for key in ("precision", "recall", "f1")]
        assert values == pytest.approx([precision[c], recall[c], f1[c]])


def test_a_class_that_does_not_occur_is_left_out_of_the_means():
    y, proba = answers()
    y = np.where(y == 3, 2, y)
    found, said, present = score(y, proba, NAMES), proba.argmax(1), [0, 1, 2, 4]
    f1 = reference.f1_score(y, said, average="macro", labels=present)
    assert found["macro_f1"]["value"] == pytest.approx(f1)
    per_class = reference.precision_score(y, said, average=None, labels=present, zero_division=0)
    assert found["macro_precision"]["value"] == pytest.approx(per_class.mean())
    assert found["per_class"][3]["support"] == 0
    assert found["per_class"][3]["recall"] == {"value": 0.0, "low": 0.0, "high": 1.0}


def test_a_class_that_is_never_predicted_has_precision_0():
    proba = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    found = score(np.array([0, 0, 1]), proba, ("a", "b"))
    assert found["per_class"][1]["precision"] == {"value": 0.0, "low": 0.0, "high": 1.0}
    assert found["macro_precision"]["value"] == pytest.approx((2 / 3 + 0) / 2)


def test_wilson_against_published_values():
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
    for right, total, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        found = wilson(right, total)
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert wilson(20, 20).high == 1.0 and wilson(20, 20).low == pytest.approx(1 - 0.1611, abs=5e-5)
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)


@given(st.integers(0, 300), st.integers(1, 300))
def test_wilson_holds_its_value(right, total):
    right = min(right, total)
    found = wilson(right, total)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_ece_by_hand():
    proba = np.array([[0.95, 0.05], [0.95, 0.05], [0.6, 0.4], [0.4, 0.6]])
    y = np.array([0, 1, 0, 0])
    assert ece(y, proba) == pytest.approx(0.5 * abs(0.5 - 0.95) + 0.5 * abs(0.5 - 0.6))


def test_losses_by_hand():
    y, proba = np.array([0, 1]), np.array([[0.7, 0.2, 0.1], [1.0, 0.0, 0.0]])
    assert brier_losses(y, proba) == pytest.approx([0.3**2 + 0.2**2 + 0.1**2, 2.0])
    assert log_losses(y, proba) == pytest.approx([-np.log(0.7), 52 * np.log(2)])


def test_confusion_by_hand():
    assert confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 3).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_every_interval_holds_its_value_and_repeats_to_the_bit():
    for seed in range(8):
        y, proba = answers(m=7 + 11 * seed, seed=seed, signal=seed)
        found = score(y, proba, NAMES, seed=seed)
        assert found == score(y, proba, NAMES, seed=seed)
        for value in [v for v in found.values() if isinstance(v, dict)]:
            assert 0 <= value["low"] <= value["value"] <= value["high"]


def test_without_a_mistake_the_interval_is_still_open_below():
    y, proba = np.tile([0, 1], 20), np.tile([[1.0, 0.0], [0.0, 1.0]], (20, 1))
    found = score(y, proba, ("a", "b"))
    for name in ("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1"):
        assert found[name]["value"] == found[name]["high"] == 1.0 and 0.85 < found[name]["low"] < 0.95, name


def test_intervals_narrow_with_the_root_of_the_size():
    widths = []
    for m in (200, 3200):
        found = score(*answers(m=m), NAMES)
        widths.append([found[n]["high"] - found[n]["low"] for n in ("accuracy", "macro_f1", "brier", "log_loss")])
    assert np.array(widths[0]) / widths[1] == pytest.approx(4, rel=0.25)


def test_summary_agrees_with_score():
    y, proba = answers()
    row, full = summary(y, proba), score(y, proba, NAMES)
    assert set(row) == {"accuracy", "balanced_accuracy", "macro_f1", "log_loss", "brier", "ece"}
    for name, estimate in row.items():
        assert estimate.value == full[name]["value"]
        assert estimate.low == pytest.approx(full[name]["low"], abs=0.03)


def test_one_sample_and_one_class():
    assert score(np.array([0]), np.array([[0.6, 0.4]]), ("a", "b"))["accuracy"]["value"] == 1.0
    assert score(np.array([0, 0]), np.ones((2, 1)), ("a",))["macro_f1"]["value"] == 1.0


def test_bad_input_is_named():
    y, proba = answers(m=10)
    with pytest.raises(DataError, match=r"shapes \(9,\) and \(10, 5\)"):
        score(y[:9], proba, NAMES)
    with pytest.raises(DataError, match="M > 0"):
        summary(y[:0], proba[:0])
    with pytest.raises(DataError, match=r"4 class names but 5 columns.*in 0\.\.4.*sum to 1"):
        score(y + 1 - 2 * (y == 0), proba * 2, NAMES[:4])
    with pytest.raises(DataError, match="finite"):
        summary(y, np.where(proba > 0.5, np.nan, proba))
