import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from torchgraft.core.errors import DataError
from torchgraft.evaluate import forecast, learning_curve


def law(n, a=0.05, b=1.0, c=0.6):
    return 1 - a - b * n**-c


def test_a_law_without_noise_is_continued():
    sizes = [100, 250, 500, 1000]
    right = [np.full((1, 50), law(n)) for n in sizes]
    found = forecast(sizes, right)
    assert found["n"] == 2000
    assert found["accuracy"]["value"] == pytest.approx(law(2000), abs=0.002)
    assert found["gain"]["value"] == pytest.approx(law(2000) - law(1000), abs=0.002)


def test_the_band_holds_the_truth_about_as_often_as_it_says():
    sizes, held, hits = [40, 100, 200, 400], 300, 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        level = rng.random(held)  # how hard each held-out sample is: shared by all sizes
        noise = lambda n, rng=rng: rng.normal(0, 0.25 / np.sqrt(n))  # noqa: E731
        right = [np.stack([level < law(n) + noise(n) for _ in range(3 if n < 400 else 1)]) for n in sizes]
        found = forecast(sizes, [r.astype(float) for r in right], seed=seed, draws=400)
        hits += found["accuracy"]["low"] <= law(800) + noise(800) <= found["accuracy"]["high"]
    assert hits / 150 >= 0.88


def test_on_digits_the_curve_rises_and_the_sentence_says_so():
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y, held = x[order] / 16, y[order], slice(400, 1200)

    def accuracy_at(rows):
        assert set(y[rows]) == set(range(10))
        return LogisticRegression(max_iter=200).fit(x[rows], y[rows]).predict(x[held]) == y[held]

    found = learning_curve(np.arange(400), y[:400], accuracy_at, draws=300)
    assert [p["n"] for p in found["points"]] == [40, 100, 200, 400]
    values = [p["accuracy"]["value"] for p in found["points"]]
    assert values == sorted(values) and values[-1] > 0.9
    at_800 = (
        LogisticRegression(max_iter=200)
        .fit(x[[*range(400), *range(1200, 1600)]], y[[*range(400), *range(1200, 1600)]])
        .predict(x[held])
        == y[held]
    ).mean()
    assert found["forecast"]["accuracy"]["low"] <= at_800 <= found["forecast"]["accuracy"]["high"]
    assert found["sentence"].startswith("Doubling the labels from 400 to 800 would")
    assert [p["n"] for p in found["forecast"]["fitted"]] == sorted(p["n"] for p in found["forecast"]["fitted"])


def test_parts_are_stratified_with_every_class_and_of_the_size_asked():
    y = np.repeat([0, 1, 2], [160, 36, 4])
    seen = []
    learning_curve(np.arange(1000, 1200), y, lambda rows: seen.append(rows) or np.ones(9), repeats=1, draws=10)
    assert [len(rows) for rows in seen] == [20, 50, 100, 200]
    for rows in seen:
        counts = np.bincount(y[rows - 1000], minlength=3)
        assert counts.min() >= 1 and counts[0] / len(rows) == pytest.approx(0.8, abs=0.06)
        assert len(np.unique(rows)) == len(rows)


@pytest.mark.parametrize(
    ("values", "words"),
    [([0.9, 0.9, 0.9, 0.9], "would hardly help"), ([0.3, 0.5, 0.65, 0.75], "would bring about +")],
)
def test_the_sentence_is_plain(values, words):
    level = (np.arange(4000) + 0.5) / 4000
    found = learning_curve(
        np.arange(400), np.arange(400) % 2, lambda rows: level < values[[40, 100, 200, 400].index(len(rows))]
    )
    assert words in found["sentence"]


def test_when_it_cannot_tell_it_says_so():
    rng = np.random.default_rng(0)
    found = learning_curve(np.arange(40), np.arange(40) % 2, lambda rows: rng.random(12) < 0.4 + len(rows) / 90)
    assert "can't be told" in found["sentence"] or "may bring nothing" in found["sentence"]


def test_too_few_sizes_give_no_forecast():
    found = learning_curve(np.arange(4), np.arange(4), lambda rows: np.ones(5))
    assert found["forecast"] is None and "too few" in found["sentence"]
    assert [p["n"] for p in found["points"]] == [4]


def test_bad_input_is_named():
    with pytest.raises(DataError, match=r"\(3,\) and \(2,\)"):
        learning_curve(np.arange(3), np.arange(2), lambda rows: np.ones(1))
