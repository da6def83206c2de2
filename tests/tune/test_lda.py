from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NearestCentroid

from torchgraft.core.errors import OptionError
from torchgraft.tune import lda


def probabilities(logits):
    return np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))


@pytest.mark.parametrize("shape", [(90, 8), (40, 60)])
def test_agrees_with_scikit_learn_at_a_given_shrinkage(blobs, shape):
    """scikit-learn shrinks towards the same mean variance; with D > N too, where ours works in the span."""
    z, y = blobs(*shape, 3)
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3).fit(z.astype(float), y)
    head = lda.Scatter(z, y, "none").head(0.3, 3)
    np.testing.assert_allclose(probabilities(head.logits(z)), reference.predict_proba(z), atol=1e-4)


def test_full_shrinkage_is_the_nearest_mean(blobs):
    z, y = blobs(60, 7, 3)
    head = lda.Scatter(z, y, "none").head(1.0, 3)
    assert (head.logits(z).argmax(axis=1) == NearestCentroid().fit(z, y).predict(z)).all()


def test_hand_worked():
    """Two classes on a line at 0 and 4 with within-class variance 1: the border is at 2, the slope 4 / 1."""
    z = np.array([[-1.0], [1.0], [3.0], [5.0]], dtype=np.float32)
    head = lda.Scatter(z, np.array([0, 0, 1, 1]), "none").head(1.0, 2)
    logits = head.logits(np.array([[2.0], [3.0]]))
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], [0.0, 4.0], atol=1e-6)


def test_balanced_means_equal_priors(blobs):
    z, y = blobs(60, 4, 2)
    keep = np.concatenate([np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:3]])
    plain, equal = (lda.Scatter(z[keep], y[keep], w).head(0.5, 2) for w in ("none", "balanced"))
    gap = (plain.bias - equal.bias)[0] - (plain.bias - equal.bias)[1]
    assert gap == pytest.approx(np.log(30 / 3))


def test_one_sample_a_class_and_constant_columns():
    z = np.array([[1.0, 0, 5], [0, 1, 5], [1, 1, 5]], dtype=np.float32)
    head = lda.Scatter(z, np.arange(3), "none").head(None, 3)
    assert (head.logits(z).argmax(axis=1) == np.arange(3)).all()
    assert np.isfinite(head.weight).all()


def test_logits_are_no_surer_than_held_out_rows_allow(blobs, make_problem):
    """With D far above N the plain logits are in the hundreds; the fitted temperature brings them down."""
    z, y = blobs(40, 400, 4, gap=1.0)
    problem = make_problem({"packaged/net": z}, y)
    candidate = lda.fit(problem, lda.Options())
    confidence = probabilities(candidate.logits).max(axis=1).mean()
    accuracy = (candidate.logits.argmax(axis=1) == y[candidate.rows]).mean()
    assert abs(confidence - accuracy) < 0.2


def test_digits_near_scikit_learn(make_problem):
    z, y = load_digits(return_X_y=True)
    folds = ((np.arange(0, 600), np.arange(600, 1000)),)
    problem = make_problem({"array": z.astype(np.float32)[:1000]}, y[:1000], folds=folds)
    candidate = lda.fit(problem, lda.Options())
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(z[:600], y[:600])
    ours = (candidate.logits.argmax(axis=1) == y[600:1000]).mean()
    assert ours >= reference.score(z[600:1000], y[600:1000]) - 0.01


def test_unknown_source_gets_a_near_miss(dense_problem):
    with pytest.raises(OptionError, match="Did you mean 'packaged/net'"):
        lda.fit(dense_problem, lda.Options(source="packaged/nat"))


def test_needs_features(make_problem):
    assert "no features" in lda.applies(make_problem({"text": list("abcd")}, np.arange(4) % 2))
