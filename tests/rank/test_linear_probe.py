"""The cross-validated probe as a score: against scikit-learn, on noise, and on samples it can't hold out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from torchgraft.core.errors import DataError
from torchgraft.data import folds
from torchgraft.rank import Evidence, linear_probe


def test_it_is_cross_validated_logistic_regression(evidence) -> None:
    given = evidence(n=200, c=4, gap=1.5)
    z = given.z / np.linalg.norm(given.z, axis=1, keepdims=True)
    best, accuracy = np.inf, 0.0
    for c in linear_probe.PENALTIES:
        loss, right = 0.0, np.zeros(200)
        for fit, held in folds(given.y, seed=0, k=10):
            centred = z - z[fit].mean(axis=0)
            scale = 1 / np.sqrt((centred[fit] ** 2).mean(axis=0).sum())
            model = LogisticRegression(C=c, max_iter=5000, tol=1e-8).fit(centred[fit] * scale, given.y[fit])
            p = model.predict_proba(centred[held] * scale)
            loss -= np.log(p[np.arange(len(held)), given.y[held]]).sum()
            right[held] = p.argmax(axis=1) == given.y[held]
        if loss < best:
            best, accuracy = loss, right.mean()
    assert linear_probe.score(given) == pytest.approx(accuracy, abs=0.011)


def test_noise_is_right_by_chance_only(evidence) -> None:
    given = evidence(n=600, c=3, gap=0.0)
    assert linear_probe.score(given) == pytest.approx(1 / 3, abs=0.07)


def test_separated_classes_are_all_right(evidence) -> None:
    assert linear_probe.score(evidence(gap=50.0)) == 1.0


def test_a_class_with_one_sample_is_never_right(evidence) -> None:
    """It is in the fit rows of every fold, so it is not asked, and counts as wrong."""
    given = evidence(n=60, c=2, gap=50.0)
    y = given.y.copy()
    y[0] = 2
    assert linear_probe.outcomes(Evidence(z=given.z, y=y, n_classes=3))[0] == 0.0


def test_one_class_only_is_told(evidence) -> None:
    given = evidence()
    with pytest.raises(DataError, match="one class only"):
        linear_probe.score(Evidence(z=given.z, y=np.zeros(120, dtype=int), n_classes=1))


def test_intervals_are_widened_as_nadeau_and_bengio_have_it() -> None:
    """By hand: ten folds, n_held / n_fit = 1 / 9, so (1 / 10 + 1 / 9) over 1 / 10."""
    assert linear_probe.correction(200) == pytest.approx(np.sqrt((1 / 10 + 1 / 9) / (1 / 10)))
    assert linear_probe.correction(5000) == pytest.approx(1.5)
