from __future__ import annotations

import inspect
import subprocess
import sys

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_mutual_info_score, mutual_info_score

from torchgraft.core.errors import DataError, OptionError
from torchgraft.train import select

SCORES = (select.entropy, select.information_maximisation, select.bnm, select.snd)


def predictions(n=60, c=4, seed=0, sharp=0.5):
    return np.random.default_rng(seed).dirichlet(np.full(c, sharp), n)


def uniform(n=30, c=4):
    return np.full((n, c), 1 / c)


def one_hot(labels, c=4):
    return np.eye(c)[labels]


def dense_snd(p, temperature):
    """The published recipe, n x n: the diagonal gets cosine -1."""
    z = p / np.sqrt((p**2).sum(axis=1, keepdims=True))
    s = z @ z.T
    np.fill_diagonal(s, -1)
    w = np.exp(s / temperature)
    w /= w.sum(axis=1, keepdims=True)
    return -(w * np.log(w)).sum(axis=1).mean()


def blobs(n=40, seed=0, moved=0.0):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(3), n)
    centres = np.array([[6.0, 0], [0, 6], [-6, -6]])
    return centres[y] + rng.normal(size=(3 * n, 2)) + moved, y


def logistic(z, y):
    return LogisticRegression().fit(z, y).predict


def test_entropy_of_uniform_and_sure_rows():
    assert select.entropy(uniform()) == pytest.approx(-np.log(4))
    assert select.entropy(one_hot([0, 1, 1])) == 0


def test_entropy_hand_worked():
    assert select.entropy([[0.5, 0.5], [1, 0]]) == pytest.approx(-np.log(2) / 2)
    p = predictions()
    assert select.entropy(p) == pytest.approx(np.mean([sum(v * np.log(v) for v in row) for row in p]))


def test_information_maximisation_of_extremes():
    assert select.information_maximisation(uniform()) == pytest.approx(0, abs=1e-12)
    assert select.information_maximisation(one_hot([2] * 9)) == pytest.approx(0, abs=1e-12)
    assert select.information_maximisation(one_hot([0, 1, 2, 3] * 3)) == pytest.approx(np.log(4))


def test_information_maximisation_hand_worked():
    """H(3/4, 1/4) - ln 2 / 2."""
    expected = 0.75 * np.log(4 / 3) + 0.25 * np.log(4) - np.log(2) / 2
    assert select.information_maximisation([[0.5, 0.5], [1, 0]]) == pytest.approx(expected)


def test_information_maximisation_is_the_mutual_information_of_sample_and_class():
    """Reference: scikit-learn's mutual information of the joint table p(n, c) = p_nc / N, here of whole counts."""
    counts = np.random.default_rng(0).multinomial(12, [0.4, 0.3, 0.2, 0.1], 25)
    rows, columns = np.repeat(np.indices(counts.shape).reshape(2, -1), counts.ravel(), axis=1)
    assert select.information_maximisation(counts / 12) == pytest.approx(mutual_info_score(rows, columns))


def test_bnm_of_extremes():
    assert select.bnm(uniform(30, 4)) == pytest.approx(np.sqrt(30) * 0.5 / 30)
    assert select.bnm(one_hot([0, 1, 2, 3] * 25)) == pytest.approx(np.sqrt(4 / 100))
    assert select.bnm(one_hot([1] * 100)) == pytest.approx(np.sqrt(1 / 100))


def test_bnm_hand_worked():
    """One-hot counts 1 and 4: singular values 1 and 2 over 5 samples."""
    assert select.bnm(one_hot([0, 1, 1, 1, 1], 2)) == pytest.approx(3 / 5)


@pytest.mark.parametrize(("n", "c"), [(200, 5), (4, 9), (1, 3), (300, 65)])
def test_bnm_is_numpy_s_nuclear_norm(n, c):
    p = predictions(n, c)
    assert select.bnm(p) == pytest.approx(np.linalg.norm(p, "nuc") / n, rel=1e-7)


def test_snd_of_equal_rows_is_the_largest():
    """Trap 11: the model that says the same of everything wins; that is why `collapsed` comes first."""
    assert select.snd(uniform(30)) == pytest.approx(np.log(29))
    assert select.snd(one_hot([1] * 30)) == pytest.approx(np.log(29))
    assert select.snd(predictions(30)) < np.log(29)
    assert select.collapsed(one_hot([1] * 30), np.full(4, 0.25))


def test_snd_hand_worked():
    """Three samples, two alike: weights e^(1/T) and e^0 for those, one half each for the third."""
    t = 0.5
    a = np.exp(1 / t) / (1 + np.exp(1 / t))
    alike = -a * np.log(a) - (1 - a) * np.log(1 - a)
    assert select.snd(one_hot([0, 0, 1], 2), t) == pytest.approx((2 * alike + np.log(2)) / 3)
    assert select.snd(predictions(2)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_snd_is_the_dense_one(temperature, monkeypatch):
    p = predictions(90, 6)
    tolerance = 1e-6 if temperature == 0.05 else 0.05  # cosine -1 on the diagonal still weighs something at 0.5
    assert select.snd(p, temperature) == pytest.approx(dense_snd(p, temperature), abs=tolerance)
    whole = select.snd(p, temperature)
    monkeypatch.setattr(select, "_CELLS", 7 * 90)
    assert select.snd(p, temperature) == pytest.approx(whole, abs=1e-12)


def test_snd_at_small_temperatures_is_finite():
    assert select.snd(predictions(20), 1e-5) == pytest.approx(0, abs=1e-6)
    with pytest.raises(OptionError, match="temperature"):
        select.snd(predictions(), 0)


def test_snd_holds_no_n_by_n_matrix():
    """6000 x 6000 float64 would be 288 MB; the traced peak stays under a third of that."""
    import tracemalloc

    p = predictions(6000, 3)
    tracemalloc.start()
    select.snd(p)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 96e6


def test_class_ami_of_the_clusters_themselves():
    z, y = blobs()
    assert select.class_ami(z, one_hot(y, 3)) == pytest.approx(1)
    assert select.class_ami(z, one_hot(2 - y, 3)) == pytest.approx(1)


def test_class_ami_of_what_knows_nothing_and_of_collapse():
    z, _ = blobs()
    noise = np.random.default_rng(1).integers(0, 3, len(z))
    assert abs(select.class_ami(z, one_hot(noise, 3))) < 0.05
    assert select.class_ami(z, one_hot([1] * len(z), 3)) == 0
    assert select.class_ami(np.ones_like(z), one_hot([1] * len(z), 3)) == 0


def test_class_ami_hand_worked():
    """Four points in two places, one of them labelled against its place: scikit-learn's AMI of 0011 and 0001."""
    z = np.array([[0.0], [0], [9], [9]])
    expected = adjusted_mutual_info_score([0, 0, 1, 1], [0, 0, 0, 1])
    assert select.class_ami(z, one_hot([0, 0, 0, 1], 2)) == pytest.approx(expected)


def test_class_ami_is_scikit_learn_s():
    rng = np.random.default_rng(0)
    z, p = rng.normal(size=(80, 5)), predictions(80, 3)
    clusters = KMeans(3, n_init=4, random_state=7).fit_predict(z)
    assert select.class_ami(z, p, 7) == pytest.approx(adjusted_mutual_info_score(p.argmax(1), clusters))
    assert np.isfinite(select.class_ami(z[:2], p[:2]))


def test_reverse_validation_of_the_truth():
    (z_s, y_s), (z_t, y) = blobs(seed=1), blobs(seed=2)
    assert select.reverse_validation(logistic, z_s, y_s, z_t, one_hot(y, 3)) == 1


def test_reverse_validation_falls_with_swapped_classes():
    (z_s, y_s), (z_t, y) = blobs(seed=1), blobs(seed=2)
    swapped = one_hot(np.array([1, 0, 2])[y], 3)
    assert select.reverse_validation(logistic, z_s, y_s, z_t, swapped) == pytest.approx(1 / 3)


def test_reverse_validation_hand_worked():
    """Nearest of target points 0 (class 0) and 10 (class 1); source 1, 4, 6, 9 of classes 0, 1, 0, 1: two right."""

    def nearest(z, y):
        return lambda rows: y[np.abs(rows - z.T).argmin(axis=1)]

    z_s, y_s = np.array([[1.0], [4], [6], [9]]), [0, 1, 0, 1]
    assert select.reverse_validation(nearest, z_s, y_s, [[0.0], [10]], one_hot([0, 1], 2)) == 0.5


def test_reverse_validation_of_one_class_is_its_share_and_fits_nothing():
    z, y = blobs()

    def never(z, y):
        raise AssertionError

    assert select.reverse_validation(never, z[:60], y[:60], z, one_hot([1] * len(z), 3)) == pytest.approx(20 / 60)


def test_reverse_validation_is_scikit_learn_s():
    (z_s, y_s), (z_t, _) = blobs(seed=1), blobs(seed=2, moved=3.0)
    p = predictions(len(z_t), 3)
    expected = LogisticRegression().fit(z_t, p.argmax(1)).score(z_s, y_s)
    assert select.reverse_validation(logistic, z_s, y_s, z_t, p) == pytest.approx(expected)


def test_mixval_of_a_model_whose_classes_are_far_apart():
    """Mixed with 0.55, the larger part is always nearer: 1 for nearest means of tight, even clusters."""
    centres = np.array([[4.0, 0], [-4, 0], [0, 7]])
    y = np.repeat([0, 1, 2], 20)

    def nearest(z):
        return np.linalg.norm(z[:, None] - centres, axis=2).argmin(axis=1)

    assert select.mixval(nearest, centres[y], one_hot(y, 3)) == 1


def test_mixval_hand_worked():
    """Class 0 at 0, class 1 at 10, border at 3: mixes 4.5 and 5.5 are both called 1, so inter is 1/2 and intra 1."""
    z, y = np.array([[0.0], [0], [10], [10]]), np.array([0, 0, 1, 1])
    assert select.mixval(lambda rows: (rows[:, 0] > 3).astype(int), z, one_hot(y, 2)) == pytest.approx(0.75)


def test_mixval_by_all_pairs():
    """Reference: the expectation over all pairs, of a model that is not linear."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(400, 2))

    def rings(rows):
        return (np.linalg.norm(rows, axis=1) > 1).astype(int)

    y, share = rings(z), 0.55
    right = rings((share * z[:, None] + (1 - share) * z).reshape(-1, 2)).reshape(400, 400) == y[:, None]
    same = y[:, None] == y
    inter = np.mean([right[i][~same[i]].mean() for i in range(400)])
    np.fill_diagonal(same, False)
    intra = np.mean([right[i][same[i]].mean() for i in range(400)])
    found = np.mean([select.mixval(rings, z, one_hot(y, 2), seed) for seed in range(30)])
    assert found == pytest.approx((intra + inter) / 2, abs=0.01)


def test_mixval_of_one_class_and_of_single_samples():
    z = np.random.default_rng(0).normal(size=(6, 2))
    assert select.mixval(lambda rows: np.zeros(len(rows), int), z, one_hot([0] * 6)) == 0
    assert select.mixval(lambda rows: np.zeros(len(rows), int), z[:2], one_hot([0, 1])) == 0.5


def test_scores_do_not_depend_on_the_order_of_samples_or_classes():
    p = predictions(50, 5)
    rng = np.random.default_rng(3)
    mixed = p[rng.permutation(50)][:, rng.permutation(5)]
    for score in SCORES:
        assert score(mixed) == pytest.approx(score(p), abs=1e-10)


def test_better_predictions_score_higher():
    """Calibrated ones, of the same samples, from a weaker and a stronger model: IM and BNM see it."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 500)
    noise = rng.normal(size=(500, 4))

    def model(strength):
        logits = strength * (noise + strength * one_hot(y))
        return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    for score in (select.entropy, select.information_maximisation, select.bnm):
        assert score(model(1.0)) < score(model(2.0)) < score(model(3.0))


@pytest.mark.parametrize("score", SCORES)
def test_faults_of_predictions(score):
    with pytest.raises(DataError, match="2 of 3 rows are no probabilities"):
        score([[0.5, 0.5], [0.5, 0.6], [2, -1]])
    with pytest.raises(DataError, match="1 of 2 samples hold NaN"):
        score([[0.5, 0.5], [np.nan, 1]])


def test_all_faults_of_one_call_are_named_together():
    with pytest.raises(DataError) as caught:
        select.reverse_validation(logistic, np.ones((3, 2)), [0, 1], np.ones((5, 4)), uniform(6, 2))
    assert "samples, got z_s 3, y_s 2" in str(caught.value)
    assert "samples, got z_t 5, p_t 6" in str(caught.value)
    assert "columns, got z_s 2, z_t 4" in str(caught.value)
    with pytest.raises(DataError, match=r"z_t.*NaN.*p_t.*got shape"):
        select.class_ami([[np.nan], [1.0]], [0.5, 0.5])


def test_answers_of_callables_are_checked():
    z, y = blobs()
    for answer in (np.full(len(z), 3), np.zeros(5), np.zeros((len(z), 3))):
        with pytest.raises(DataError, match="the answers of predict"):
            select.reverse_validation(lambda _z, _y, a=answer: lambda rows: a, z, y, z, one_hot(y, 3))
    with pytest.raises(OptionError, match="share"):
        select.mixval(lambda rows: rows, z, one_hot(y, 3), share=0.5)


def test_no_function_takes_labels_of_the_target():
    functions = [getattr(select, name) for name in select.__all__ if inspect.isfunction(getattr(select, name))]
    assert len(functions) == 17
    for function in functions:
        names = set(inspect.signature(function).parameters)
        assert not [name for name in names if name.replace("_", "").lower() in ("yt", "ytarget", "targetlabels", "y")]


def test_all_names_are_there_and_documented():
    assert select.__all__ == sorted(select.__all__)
    assert all(getattr(select, name).__doc__ for name in select.__all__)


def test_importing_loads_neither_torch_nor_scikit_learn():
    code = (
        "import sys, torchgraft.train.select\n"
        "assert not {'torch', 'sklearn', 'timm', 'transformers'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_clearness_is_information_maximisation_of_what_has_not_collapsed() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 60)
    prior = np.full(3, 1 / 3)
    assert select.clearness(2 * p, prior) == pytest.approx(select.information_maximisation(p))
    assert np.isnan(select.clearness(np.tile([0.98, 0.01, 0.01], (60, 1)), prior))
