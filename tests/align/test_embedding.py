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
    factors = np.column_stack([np.sqrt(3) * domain_factor(30, 54), class_factors(ys, guessed, np.arange(3))])
    x = np.concatenate([xs, xt])
    return (xs, xt), factors, x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("kernel", ["linear", "primal"])
@pytest.mark.parametrize("ridge", [0.1, 1.0])
def test_is_the_plain_form(made, kernel, ridge):
    parts, factors, x = made
    found = embed(Rows.of(*parts, kernel), factors, k=5, ridge=ridge)
    z, values = plain(x, factors, 5, ridge, kernel)
    np.testing.assert_allclose(found.values, values, rtol=1e-6)
    np.testing.assert_allclose(found.z * np.sign((found.z * z).sum(axis=0)), z, atol=1e-6)


@pytest.mark.parametrize("kernel", ["linear", "primal"])
def test_the_projection_gives_the_same_rows(made, kernel):
    parts, factors, x = made
    found = embed(Rows.of(*parts, kernel), factors, k=5, ridge=1.0)
    np.testing.assert_allclose(x @ found.projection, found.z, atol=1e-10)


def test_eigenvectors_have_length_one(made):
    """Not unit in the metric of the penalty, nor of the scatter: columns would be scaled otherwise, and rows turned."""
    parts, factors, x = made
    found = embed(Rows.of(*parts), factors, k=4, ridge=1.0)
    coefficients = np.linalg.lstsq(x @ x.T, found.z, rcond=1e-10)[0]  # a, the shortest with z = K a
    np.testing.assert_allclose(np.linalg.norm(coefficients, axis=0), 1, rtol=1e-9)


@pytest.mark.parametrize("kernel", ["linear", "primal"])
@pytest.mark.parametrize("shape", [(20, 15, 6), (4, 5, 12), (20, 15, 40)])
def test_rows_of_less_than_full_rank(shape, kernel):
    """Three directions in all: as many columns as there are directions, and those of the plain form."""
    n, m, d = shape
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n + m, 3)) @ rng.normal(size=(3, d))
    rows = Rows.of(x[:n], x[n:], kernel)
    factors = domain_factor(n, n + m)[:, None]
    assert rows.basis.shape == (d, 3)
    found = embed(rows, factors, k=30, ridge=1.0)
    z, values = plain(rows.x, factors, 3, 1.0, kernel)
    np.testing.assert_allclose(found.values, values, rtol=1e-6)
    np.testing.assert_allclose(found.z * np.sign((found.z * z).sum(axis=0)), z, atol=1e-6)


@pytest.mark.parametrize("kernel", ["linear", "primal"])
@pytest.mark.parametrize("d", [8, 60])
def test_the_square_and_the_projected_are_those_of_w(kernel, d):
    rng = np.random.default_rng(2)
    rows = Rows.of(rng.normal(size=(20, d)), rng.normal(size=(25, d)), kernel)
    w = rows.x @ rows.basis
    np.testing.assert_allclose(rows.square, w.T @ w, atol=1e-10)
    p = rows.x @ rows.x.T if kernel == "linear" else rows.x
    np.testing.assert_allclose(w @ w.T, p @ p.T, atol=1e-10, err_msg="W is P turned by an orthonormal basis")
    np.testing.assert_allclose(rows.projected(np.eye(45)), w.T, atol=1e-12)


@pytest.mark.shared
def test_another_scale_of_the_eigenvectors_loses_points(surf):
    """Whitened columns (a^T K H K a = 1) lose several points on average: published numbers need those of length 1."""
    lost = []
    for task in ("C>A", "W>D", "D>W", "A>C"):
        domains, yt = surf(task)
        rows = Rows.of(domains.xs, domains.xt)
        z = embed(rows, domain_factor(rows.n_source, len(rows.x))[:, None], k=100, ridge=1.0).z
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
