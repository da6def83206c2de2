"""The rank-reduced embedding against the plain n x n form, which is written out here."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import eig

from torchgraft.align import Domains
from torchgraft.align._classify import nearest
from torchgraft.align._embedding import Rows, class_factors, domain_factor, embed, fit_embedding
from torchgraft.core.errors import DataError


def plain(x, factors, k, ridge, kernel):
    """Eigenvectors of length 1 of (K M K^T + ridge I) a = phi K H K^T a, by the general solver of published code."""
    n = len(x)
    matrix = factors @ factors.T
    matrix /= np.linalg.norm(matrix)
    centre = np.eye(n) - 1 / n
    rows = x @ x.T if kernel == "linear" else x.T
    values, vectors = eig(rows @ matrix @ rows.T + ridge * np.eye(len(rows)), rows @ centre @ rows.T)
    values = np.where(np.isfinite(values) & (values.real > 0), values.real, np.inf)
    order = np.argsort(values)[:k]
    vectors = vectors[:, order].real
    return rows.T @ (vectors / np.linalg.norm(vectors, axis=0)), 1 / values[order]


@pytest.fixture
def made():
    rng = np.random.default_rng(0)
    xs, xt = rng.normal(size=(30, 12)) @ np.diag(np.geomspace(1, 0.2, 12)), rng.normal(size=(24, 12)) + 0.4
    ys, guessed = np.arange(30) % 3, np.arange(24) % 2  # nobody guesses class 2
    rows = Rows.of(xs, xt)
    factors = np.column_stack([np.sqrt(3) * domain_factor(30, 54), class_factors(ys, guessed, np.arange(3))])
    x = np.concatenate([xs, xt])
    return rows, factors, x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("kernel", ["linear", "primal"])
@pytest.mark.parametrize("ridge", [0.1, 1.0])
def test_is_the_plain_form(made, kernel, ridge):
    rows, factors, x = made
    found = embed(rows, factors, k=5, ridge=ridge, kernel=kernel)
    z, values = plain(x, factors, 5, ridge, kernel)
    np.testing.assert_allclose(found.values, values, rtol=1e-6)
    np.testing.assert_allclose(found.z * np.sign((found.z * z).sum(axis=0)), z, atol=1e-6)


@pytest.mark.parametrize("kernel", ["linear", "primal"])
def test_the_projection_gives_the_same_rows(made, kernel):
    rows, factors, x = made
    found = embed(rows, factors, k=5, ridge=1.0, kernel=kernel)
    np.testing.assert_allclose(x @ found.projection, found.z, atol=1e-10)


def test_eigenvectors_have_length_one(made):
    """Not unit in the metric of the penalty, nor of the scatter: columns would be scaled otherwise, and rows turned."""
    rows, factors, _ = made
    found = embed(rows, factors, k=4, ridge=1.0, kernel="linear")
    left = rows.x @ rows.right / rows.singular
    np.testing.assert_allclose(rows.projected(factors), left.T @ factors, atol=1e-12)
    coefficients = left @ (left.T @ found.z / rows.singular[:, None] ** 2)  # a, from z = K a
    np.testing.assert_allclose(np.linalg.norm(coefficients, axis=0), 1, rtol=1e-9)


@pytest.mark.shared
def test_another_scale_of_the_eigenvectors_loses_points(surf):
    """Whitened columns (a^T K H K a = 1) lose several points on average: published numbers need those of length 1."""
    lost = []
    for task in ("C>A", "W>D", "D>W", "A>C"):
        domains, yt = surf(task)
        rows = Rows.of(domains.xs, domains.xt)
        z = embed(rows, domain_factor(rows.n_source, len(rows.x))[:, None], k=100, ridge=1.0, kernel="linear").z
        score = []
        for scaled in (z, z / z.std(axis=0)):
            unit = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
            score.append(100 * (nearest(unit[: rows.n_source], domains.ys, unit[rows.n_source :]) == yt).mean())
        lost.append(score[0] - score[1])
    assert np.mean(lost) > 3


def test_factors_hand_worked():
    np.testing.assert_allclose(domain_factor(2, 6), [0.5, 0.5, -0.25, -0.25, -0.25, -0.25])
    found = class_factors(np.array([0, 0, 1]), np.array([0, 0]), np.array([0, 1]))
    np.testing.assert_allclose(found, [[0.5, 0], [0.5, 0], [0, 1], [-0.5, 0], [-0.5, 0]])


def test_more_features_than_samples_cut_k_at_the_rank():
    rng = np.random.default_rng(0)
    pair = Domains(xs=rng.normal(size=(5, 40)), xt=rng.normal(size=(4, 40)))
    options = {"ridge": 1.0, "kernel": "linear", "balance": (1.0, 0.0), "rounds": 1, "classifier": "nearest"}
    assert fit_embedding(pair, k=30, **options).zs.shape == (5, 9)


def test_nothing_but_zeros_is_told():
    with pytest.raises(DataError, match="every sample of both domains is 0"):
        Rows.of(np.zeros((3, 2)), np.zeros((4, 2)))
