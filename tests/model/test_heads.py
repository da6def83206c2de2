"""Heads against hand-worked cases and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.special import softmax
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier

from torchgraft.core.errors import ArtifactError, DataError
from torchgraft.model.heads import FusedHead, KNNHead, LinearHead, MlpHead, head_from_state


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


_CLASSES = {"classes.weight": np.eye(2), "classes.bias": np.zeros(2)}


def _plain(sources: int, width: int) -> dict[str, np.ndarray]:
    """Maps that change nothing: the features are the tokens."""
    named = {f"project.{i}.weight": np.eye(width) for i in range(sources)}
    return named | {f"project.{i}.bias": np.zeros(width) for i in range(sources)}


def test_mix_by_hand() -> None:
    """softmax(0, ln 3) = (1/4, 3/4), times gamma = 2."""
    arrays = {**_CLASSES, **_plain(2, 2), "scores": np.log([1.0, 3.0]), "gamma": np.array([2.0])}
    logits = FusedHead("mix", (2, 2), arrays).logits(np.array([[4.0, 0.0, 0.0, 8.0]]))
    np.testing.assert_allclose(logits, [[2.0, 12.0]])


def test_a_mix_of_one_is_a_linear_head() -> None:
    rng = np.random.default_rng(0)
    z, weight = rng.normal(size=(5, 4)), rng.normal(size=(3, 4))
    classes = {"classes.weight": weight, "classes.bias": np.arange(3.0)}
    arrays = {**classes, **_plain(1, 4), "scores": np.ones(1), "gamma": np.array([0.5])}
    reference = LinearHead(weight / 2, np.arange(3.0)).logits(z)
    np.testing.assert_allclose(FusedHead("mix", (4,), arrays).logits(z), reference)


def test_attention_by_hand() -> None:
    """Tokens (ln 3 sqrt 2, 0) and 0 meet the query (1, 0) as ln 3 and 0: weights 3/4 and 1/4."""
    arrays = {**_CLASSES, **_plain(2, 2), "query": np.array([1.0, 0.0])}
    first = np.log(3) * np.sqrt(2)
    logits = FusedHead("attention", (2, 2), arrays).logits(np.array([[first, 4.0, 0.0, 8.0]]))
    np.testing.assert_allclose(logits, [[0.75 * first, 0.75 * 4 + 0.25 * 8]])


def test_attention_over_equal_tokens_is_their_mean() -> None:
    token = np.array([[1.0, -2.0]])
    head = FusedHead("attention", (2, 2, 2), {**_CLASSES, **_plain(3, 2), "query": np.array([3.0, 5.0])})
    np.testing.assert_allclose(head.logits(np.hstack([token] * 3)), token)


def test_a_step_of_the_gru_by_hand() -> None:
    """From h = 0 with x = 1: r = sigmoid(0), u = sigmoid(ln 3) = 3/4, n = tanh(2 + r 1), h = n / 4."""
    arrays = {
        **_plain(1, 1), "classes.weight": np.ones((1, 1)), "classes.bias": np.zeros(1),
        "recurrent.weight_ih_l0": np.array([[0.0], [np.log(3)], [2.0]]), "recurrent.bias_ih_l0": np.zeros(3),
        "recurrent.weight_hh_l0": np.ones((3, 1)), "recurrent.bias_hh_l0": np.array([0.0, 0.0, 1.0]),
    }  # fmt: skip
    np.testing.assert_allclose(FusedHead("gru", (1,), arrays).logits(np.ones((1, 1))), [[np.tanh(2.5) / 4]])


def test_gru_agrees_with_torch() -> None:
    torch.manual_seed(0)
    reference, z = torch.nn.GRU(3, 4, batch_first=True), torch.randn(6, 5, 3)
    arrays = {f"recurrent.{name}": p.detach().numpy() for name, p in reference.named_parameters()}
    arrays |= {**_plain(5, 3), "classes.weight": np.eye(4), "classes.bias": np.zeros(4)}
    head = FusedHead("gru", (3,) * 5, arrays)
    np.testing.assert_allclose(head.logits(z.flatten(1).numpy()), reference(z)[1][0].detach().numpy(), atol=1e-6)


def test_a_neck_of_a_later_version_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"'bilinear'.*attention, gru, mix"):
        FusedHead.from_state({"how": "bilinear", "widths": [2]}, _CLASSES)


_FUSED = FusedHead(
    "mix",
    (2, 1),
    {
        "classes.weight": np.ones((2, 2)), "classes.bias": np.zeros(2), "scores": np.zeros(2), "gamma": np.ones(1),
        "project.0.weight": np.eye(2), "project.0.bias": np.zeros(2),
        "project.1.weight": np.ones((2, 1)), "project.1.bias": np.ones(2),
    },
)  # fmt: skip


@pytest.mark.parametrize(
    "head",
    [
        _FUSED,
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
        _FUSED,
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
    with pytest.raises(ArtifactError, match=r"'tree'.*fused, knn, linear, mlp"):
        head_from_state("tree", {}, {})
