"""Heads against hand-worked cases and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.special import softmax
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier

from torchgraft.core.errors import ArtifactError, DataError
from torchgraft.model.heads import KNNHead, LinearHead, MlpHead, head_from_state


def _unit(z: np.ndarray) -> np.ndarray:
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def test_linear_head_by_hand() -> None:
    head = LinearHead(np.array([[1.0, 2.0], [0.0, -1.0]]), np.array([0.5, 0.0]))
    np.testing.assert_allclose(head.logits(np.array([[3.0, 1.0]])), [[5.5, -1.0]])


def test_linear_head_takes_sparse_rows() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(5, 4)) * (rng.random((5, 4)) > 0.5)
    head = LinearHead(rng.normal(size=(3, 4)), rng.normal(size=3))
    np.testing.assert_allclose(head.logits(sparse.csr_matrix(z)), head.logits(z))


def test_linear_head_without_features_gives_the_prior() -> None:
    prior = np.array([0.7, 0.2, 0.1])
    logits = LinearHead(np.zeros((3, 0)), np.log(prior)).logits(np.zeros((4, 0)))
    np.testing.assert_allclose(softmax(logits, axis=1), np.tile(prior, (4, 1)))


def test_mlp_head_by_hand() -> None:
    head = MlpHead(np.array([[1.0, 2.0], [0.0, -1.0]]), np.array([0.5, 0.0]), np.array([[2.0, 7.0]]), np.array([1.0]))
    np.testing.assert_allclose(head.logits(np.array([[3.0, 1.0]])), [[2 * 5.5 + 0 + 1]])  # the second unit is off
    np.testing.assert_allclose(head.logits(sparse.csr_matrix([[3.0, 1.0]])), [[12.0]])


def test_mlp_head_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(60, 4)), np.arange(60) % 3
    reference = MLPClassifier((5,), solver="lbfgs", max_iter=20000, random_state=0, alpha=1.0).fit(z, y)
    (inner, weight), (inner_bias, bias) = reference.coefs_, reference.intercepts_
    head = MlpHead(inner.T, inner_bias, weight.T, bias)
    np.testing.assert_allclose(softmax(head.logits(z), axis=1), reference.predict_proba(z))


def test_knn_votes_by_hand() -> None:
    stored = _unit(np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]))
    head = KNNHead(stored, np.array([0, 0, 1]), k=2, n_classes=2)
    shares = np.exp(head.logits(np.array([[2.0, 0.0]])))
    np.testing.assert_allclose(shares, [[2.5 / 3, 0.5 / 3]])


def test_knn_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    z, y, new = rng.normal(size=(60, 8)), rng.integers(0, 3, 60), rng.normal(size=(700, 8))
    head = KNNHead(_unit(z), y, k=5, n_classes=3)
    reference = KNeighborsClassifier(5, metric="cosine").fit(z, y).predict_proba(new)
    np.testing.assert_allclose((np.exp(head.logits(new)) * 6 - 1 / 3) / 5, reference, atol=1e-9)


@pytest.mark.parametrize(
    "head",
    [
        LinearHead(np.ones((2, 3)), np.array([0.0, 1.0])),
        MlpHead(np.eye(3)[:2], np.array([0.0, 1.0]), np.ones((4, 2)), np.arange(4.0)),
        KNNHead(_unit(np.eye(3)), np.array([0, 1, 1]), k=1, n_classes=2),
    ],
)
def test_state_makes_the_same_head(head) -> None:
    config, arrays = head.state()
    again = head_from_state(head.kind, config, arrays)
    z = np.random.default_rng(2).normal(size=(6, 3))
    np.testing.assert_allclose(again.logits(z), head.logits(z), rtol=1e-6)


@pytest.mark.parametrize(
    "head",
    [
        LinearHead(np.ones((2, 3)), np.zeros(2)),
        MlpHead(np.ones((4, 3)), np.zeros(4), np.ones((2, 4)), np.zeros(2)),
        KNNHead(np.eye(3), np.arange(3), k=1, n_classes=3),
    ],
)
@pytest.mark.parametrize("width", [0, 2, 4])
def test_another_width_is_refused(head, width: int) -> None:
    with pytest.raises(DataError, match=f"fitted on 3 features a sample, got {width}"):
        head.logits(np.zeros((5, width)))


def test_an_unknown_head_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"'tree'.*knn, linear, mlp"):
        head_from_state("tree", {}, {})
