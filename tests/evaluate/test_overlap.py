from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics

from torchgraft.core.errors import DataError
from torchgraft.evaluate import finite
from torchgraft.evaluate.overlap import OVERALL, by_images, iou, miou, overlap_score, paired_overlap, summary
from torchgraft.train.dense_counts import confusions

NAMES = ["road", "tree", "pole"]


def drawn(m: int, right: float = 0.8, seed: int = 0, pixels: int = 400) -> np.ndarray:
    """M x 3 x 3 counts: images with shares of classes of their own, answered right with about that chance."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((m, 3, 3), np.int64)
    for one in counts:
        y = rng.choice(3, pixels, p=rng.dirichlet([4, 3, 1]))
        share = np.clip(right + 0.1 * rng.normal(), 0, 1)
        said = np.where(rng.random(pixels) < share, y, rng.integers(0, 3, pixels))
        one += confusions(y, said, 3)
    return counts


def test_overlap_by_hand() -> None:
    matrix = np.array([[6, 2, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(iou(matrix), [6 / 9, 1 / 4, np.nan, np.nan])
    assert miou(matrix) == pytest.approx((6 / 9 + 1 / 4) / 2)
    matrix[0, 2] = 3  # called, but it doesn't occur: 0 for itself, and no part of the mean
    np.testing.assert_array_equal(iou(matrix)[2:], [0, np.nan])
    assert miou(matrix) == pytest.approx((6 / 12 + 1 / 4) / 2)
    assert np.isnan(miou(np.zeros((3, 3), int)))


def test_the_score_is_scikit_learn_s() -> None:
    rng = np.random.default_rng(3)
    y = rng.choice(3, (12, 200), p=[0.6, 0.3, 0.1])
    said = np.where(rng.random(y.shape) < 0.7, y, rng.integers(0, 3, y.shape))
    score = overlap_score(np.stack([confusions(a, b, 3) for a, b in zip(y, said, strict=True)]), NAMES, draws=200)
    flat = y.ravel(), said.ravel()
    expected = {
        "miou": metrics.jaccard_score(*flat, average="macro"),
        "pixel_accuracy": metrics.accuracy_score(*flat),
        "mean_accuracy": metrics.balanced_accuracy_score(*flat),
        "frequency_weighted_iou": metrics.jaccard_score(*flat, average="weighted"),
    }
    assert {name: score[name]["value"] for name in OVERALL} == pytest.approx(expected)
    rates = {
        "iou": metrics.jaccard_score(*flat, average=None),
        "accuracy": metrics.recall_score(*flat, average=None),
        "precision": metrics.precision_score(*flat, average=None),
    }
    for rate, values in rates.items():
        assert [row[rate]["value"] for row in score["per_class"]] == pytest.approx(values.tolist())
    assert score["confusion"] == metrics.confusion_matrix(*flat).tolist()
    assert [row["support"] for row in score["per_class"]] == np.bincount(flat[0]).tolist()
    assert [row["class"] for row in score["per_class"]] == NAMES
    json.dumps(score, allow_nan=False)


def test_perfect_answers_are_one_and_the_interval_knows_how_few_images_say_so() -> None:
    few, many = (overlap_score(np.stack([np.diag([50, 30, 20])] * m), NAMES, draws=100) for m in (4, 100))
    for name in OVERALL:
        assert few[name]["value"] == many[name]["value"] == few[name]["high"] == 1
        assert few[name]["low"] < 0.6 < 0.95 < many[name]["low"]


def test_whatever_the_number_of_classes_perfect_is_one() -> None:
    for c in (7, 11, 49):
        matrix = np.stack([np.diag(np.arange(1, c + 1) * 13)] * 5)
        for estimate in summary(matrix).values():
            assert estimate.value == pytest.approx(1)
            assert estimate.low < 0.7 < estimate.high == pytest.approx(1)


def test_intervals_hold_the_value_shrink_with_images_and_repeat() -> None:
    few, many = drawn(6), drawn(96)
    for name in OVERALL:
        a, b = summary(few)[name], summary(many)[name]
        assert 0 <= a.low < a.value < a.high <= 1
        assert b.high - b.low < (a.high - a.low) / 2
    assert summary(few) == summary(few)
    assert overlap_score(few, NAMES, draws=500)["miou"] == summary(few)["miou"].to_dict()


def test_of_one_image_nothing_is_known() -> None:
    score = overlap_score(drawn(1), NAMES)
    assert (score["miou"]["low"], score["miou"]["high"]) == (0, 1)
    counts = drawn(20)
    counts[1:, 2] = 0
    rows = overlap_score(counts, NAMES, draws=200)["per_class"]
    assert (rows[2]["iou"]["low"], rows[2]["iou"]["high"]) == (0, 1)
    assert rows[0]["iou"]["high"] - rows[0]["iou"]["low"] < 0.3


def test_images_without_labels_change_nothing_and_absent_classes_are_said() -> None:
    counts = drawn(5)
    padded = np.concatenate([counts, np.zeros((4, 3, 3), np.int64)])
    assert overlap_score(padded, NAMES, draws=100) == overlap_score(counts, NAMES, draws=100)
    wider = np.pad(counts, ((0, 0), (0, 1), (0, 1)))
    score = overlap_score(wider, [*NAMES, "ship"], draws=100)
    assert score["miou"] == overlap_score(counts, NAMES, draws=100)["miou"]
    assert score["per_class"][3]["iou"] == {"value": 0.0, "low": 0.0, "high": 1.0}
    assert score["per_class"][3]["support"] == 0
    assert finite(score) == score


def test_five_images_are_covered_where_percentiles_are_too_narrow() -> None:
    """The interval of a mean of five uniform numbers holds 0.5 about 95 times in 100; percentiles some 85 times."""
    rng = np.random.default_rng(0)
    ours = percentiles = 0
    for _ in range(300):
        x = rng.random(5)
        means = rng.multinomial(5, np.full(5, 0.2), 400) @ x / 5
        found = by_images(float(x.mean()), means, 5)
        low, high = np.quantile(means, [0.025, 0.975])
        ours += found.low <= 0.5 <= found.high
        percentiles += low <= 0.5 <= high
    assert percentiles < 270 < 275 < ours


def test_a_set_is_as_good_as_itself() -> None:
    counts = drawn(10)
    found = paired_overlap(counts, counts, NAMES, draws=200)
    assert found["miou"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert found["p"] >= 0.5
    assert not found["beats"]
    assert found["gained"] == found["lost"] == []


def same_truth(m: int, first: float, second: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.choice(3, (m, 400), p=[0.6, 0.3, 0.1])
    said = [np.where(rng.random(y.shape) < right, y, rng.integers(0, 3, y.shape)) for right in (first, second)]
    return tuple(np.stack([confusions(t, p, 3) for t, p in zip(y, one, strict=True)]) for one in said)


def test_better_answers_beat_and_the_reverse_does_not() -> None:
    a, b = same_truth(12, 0.6, 0.8)
    found, back = paired_overlap(a, b, NAMES, draws=500), paired_overlap(b, a, NAMES, draws=500)
    assert found["beats"]
    assert found["p"] < 0.01
    assert found["miou"]["value"] == pytest.approx(miou(b.sum(0)) - miou(a.sum(0)))
    assert found["miou"]["low"] > 0
    assert found["pixel_accuracy"]["value"] > 0.1
    assert {row["class"] for row in found["gained"]} == set(NAMES)
    gains = [row["iou"]["value"] for row in found["gained"]]
    assert gains == sorted(gains, reverse=True)
    assert not back["beats"]
    assert back["p"] > 0.99
    assert [row["class"] for row in back["lost"]] == [row["class"] for row in found["gained"]]
    for key in ("value", "low", "high"):
        other = {"value": "value", "low": "high", "high": "low"}[key]
        assert back["miou"][key] == pytest.approx(-found["miou"][other])


def test_few_images_promote_nothing() -> None:
    """Of four images all swaps are 16: a chance of at least 1/16."""
    for m in (1, 4):
        found = paired_overlap(*same_truth(m, 0.3, 0.9), NAMES, draws=400)
        assert not found["beats"]
        assert found["p"] > 0.04
    assert paired_overlap(*same_truth(1, 0.3, 0.9), NAMES)["miou"]["low"] == -1


def test_equal_models_beat_at_most_about_as_often_as_promised() -> None:
    beaten = sum(paired_overlap(*same_truth(8, 0.7, 0.7, seed=s), NAMES, draws=200)["beats"] for s in range(100))
    assert beaten <= 12


@pytest.mark.parametrize(
    "counts",
    [
        np.zeros((0, 3, 3), int),
        np.zeros((4, 3, 3), int),
        np.ones((4, 3, 2), int),
        np.ones((4, 2, 2), int),
        np.ones((3, 3), int),
        np.ones((4, 3, 3)),
        -np.ones((4, 3, 3), int),
    ],
)
def test_counts_that_cannot_be_are_refused(counts: np.ndarray) -> None:
    with pytest.raises(DataError, match="expected counts"):
        overlap_score(counts, NAMES)


def test_counts_of_other_images_are_refused() -> None:
    for other in (drawn(5, seed=1), drawn(4)):
        with pytest.raises(DataError, match="same images"):
            paired_overlap(drawn(5), other, NAMES)
