"""`TransferClassifier` among scikit-learn's own tools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from torchgraft.fit import TransferClassifier


@parametrize_with_checks([TransferClassifier()])
def test_scikit_learn_contract(estimator, check) -> None:
    check(estimator)


def test_it_learns_digits_in_cross_validation() -> None:
    x, y = load_digits(return_X_y=True)
    scores = cross_val_score(TransferClassifier(method="lda"), x[:600], y[:600], cv=3)
    reference = cross_val_score(LinearDiscriminantAnalysis("lsqr", shrinkage="auto"), x[:600], y[:600], cv=3)
    assert scores.mean() > reference.mean() - 0.02


def test_it_stands_in_a_pipeline() -> None:
    x, y = load_digits(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), TransferClassifier(method="lda,knn"))
    assert pipeline.fit(x[:300], y[:300]).score(x[300:600], y[300:600]) > 0.78


def test_texts_without_a_pretrained_network() -> None:
    texts = ["lovely warm coat", "great fine fit", "awful torn seam", "cheap cold cloth"] * 8
    labels = ["good", "good", "bad", "bad"] * 8
    model = TransferClassifier(modality="text", method="tfidf").fit(texts, labels)
    assert model.predict(["a warm and lovely fit", "torn, cheap"]).tolist() == ["good", "bad"]
    np.testing.assert_allclose(model.predict_proba(texts[:3]).sum(axis=1), 1.0)


def test_labels_keep_their_type() -> None:
    x, y = load_digits(return_X_y=True)
    predicted = TransferClassifier(method="lda").fit(x[:200], y[:200]).predict(x[:5])
    assert predicted.dtype == y.dtype


def test_paths_are_images(tmp_path: Path) -> None:
    from PIL import Image

    paths = []
    for i in range(12):
        paths.append(tmp_path / f"{i}.png")
        Image.new("RGB", (40, 40), (255, 0, 0) if i % 2 else (0, 0, 255)).save(paths[-1])
    model = TransferClassifier(method="majority").fit(paths, [i % 2 for i in range(12)])
    assert model.graft_.modality == "image"


def test_a_clone_has_the_same_options() -> None:
    model = TransferClassifier(backbone="packaged/minilm_l6", random_state=3)
    assert clone(model).get_params() == model.get_params()


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="one class"):
        TransferClassifier().fit(np.zeros((4, 2)), [1, 1, 1, 1])
