from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from torchgraft.rank import Evidence, logme
from torchgraft.rank.logme import log_evidence, score

SHAPES = {"N > D": (120, 15, 15), "N = D": (50, 50, 50), "D > N": (40, 120, 120), "rank": (90, 30, 8),
          "rank, D > N": (40, 90, 12)}  # fmt: skip

OPTIONS = {"xatol": 1e-7, "fatol": 1e-13, "maxiter": 3000}


def features(n: int, d: int, rank: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n + d)
    y = np.arange(n) % 3
    hidden = rng.normal(size=(n, rank)) + rng.normal(size=(3, rank))[y]
    return (hidden * np.geomspace(1, 0.02, rank)) @ rng.normal(size=(rank, d)), np.eye(3)[y]


def as_written(logs: np.ndarray, z: np.ndarray, y: np.ndarray) -> float:
    """The log evidence per sample, term by term, with dense D x D matrices."""
    (n, d), (alpha, beta) = z.shape, np.exp(logs)
    a = alpha * np.eye(d) + beta * z.T @ z
    m = beta * np.linalg.solve(a, z.T @ y)
    terms = d / 2 * logs[0] + n / 2 * logs[1] - 0.5 * np.linalg.slogdet(a)[1] - n / 2 * np.log(2 * np.pi)
    return (terms - beta / 2 * ((y - z @ m) ** 2).sum() - alpha / 2 * (m @ m)) / n


def as_normal(logs: np.ndarray, z: np.ndarray, y: np.ndarray) -> float:
    """The log density per sample of y ~ N(0, I / beta + z z^T / alpha)."""
    covariance = np.exp(-logs[1]) * np.eye(len(z)) + np.exp(-logs[0]) * z @ z.T
    fit = y @ np.linalg.solve(covariance, y) + np.linalg.slogdet(covariance)[1]
    return -(fit + len(z) * np.log(2 * np.pi)) / (2 * len(z))


def brute_force(form, z: np.ndarray, y: np.ndarray) -> float:
    def search(alpha: float) -> float:
        bounds = [(-25.0, 25.0)] * 2
        return -minimize(
            lambda p: -form(p, z, y), (alpha, 2.0), method="Nelder-Mead", bounds=bounds, options=OPTIONS
        ).fun

    return max(search(alpha) for alpha in (-3.0, 2.0, 7.0))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("form", [as_written, as_normal])
def test_is_the_brute_force_maximum(shape, form):
    z, y = features(*shape)
    np.testing.assert_allclose(log_evidence(z, y), [brute_force(form, z, c) for c in y.T], rtol=1e-8)


def test_the_score_is_the_mean_over_classes_that_are_there():
    z, y = features(60, 10, 10)
    given = Evidence(z=z.astype(np.float32), y=y.argmax(axis=1) * 2, n_classes=9)
    assert score(given) == pytest.approx(log_evidence(given.z, y).mean(), rel=1e-12)


def test_hand_worked():
    """One column z, c = (z^T y)^2 / ||z||^2, r = ||y||^2 - c: 1 + ||z||^2 / t = (N - 1) c / r, where that is above 1.

    For z = (1, 1, 1, 0) the classes (1, 1, 0, 0) and (0, 0, 1, 1) have c = 4/3, r = 2/3 (6) and c = 1/3, r = 5/3
    (below 1: t is infinite, the features are of no use).
    """
    z, y = np.array([[1.0], [1], [1], [0]]), np.array([[1.0, 1, 0, 0], [0, 0, 1, 1]]).T
    constant = -2 * (1 + np.log(2 * np.pi))
    used = (constant + 2 * np.log(3 / (2 / 3)) - 0.5 * np.log(6)) / 4
    unused = (constant + 2 * np.log(4 / 2)) / 4
    np.testing.assert_allclose(log_evidence(z, y), [used, unused], rtol=1e-11)


@pytest.mark.parametrize("shape", [(80, 12, 12), (30, 60, 60)])
def test_scale_rotation_and_empty_columns_do_not_matter(shape):
    z, y = features(*shape)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(z.shape[1],) * 2))[0]
    value = log_evidence(z, y)
    np.testing.assert_allclose(log_evidence(1000 * z, y), value, rtol=1e-10)
    np.testing.assert_allclose(log_evidence(z @ turn, y), value, rtol=1e-10)
    np.testing.assert_allclose(log_evidence(np.hstack([z, np.zeros_like(z)]), y), value, rtol=1e-10)
    np.testing.assert_allclose(log_evidence(np.hstack([z, z]), y), value, rtol=1e-10)


def fixed_point(z: np.ndarray, y: np.ndarray, *, forgotten: bool) -> float:
    """MacKay's fixed point to convergence; with `forgotten`, ln |A| lacks its D - k eigenvalues alpha."""
    (n, d), s = z.shape, np.linalg.svd(z, compute_uv=False)
    alpha = beta = 1.0
    for _ in range(500):
        m = np.linalg.solve(alpha / beta * np.eye(d) + z.T @ z, z.T @ y)
        gamma, residual = (s**2 / (s**2 + alpha / beta)).sum(), ((y - z @ m) ** 2).sum()
        alpha, beta = gamma / (m @ m), (n - gamma) / residual
    logs = np.log([alpha, beta])
    return as_written(logs, z, y) + (logs[0] * (d - len(s)) / 2 / n if forgotten else 0.0)


def test_is_the_fixed_point_and_not_the_one_that_forgets():
    for shape, differs in (((120, 15, 15), False), ((40, 120, 120), True)):
        z, y = features(*shape)
        value = log_evidence(z, y)[0]
        assert fixed_point(z, y[:, 0], forgotten=False) == pytest.approx(value, rel=1e-9)
        assert (abs(fixed_point(z, y[:, 0], forgotten=True) - value) > 0.5) == differs


def test_better_features_score_higher(evidence):
    scores = [score(evidence(200, 10, gap=gap)) for gap in (0.0, 1.0, 3.0)]
    assert scores == sorted(scores)


def test_falls_back_to_singular_values_where_a_gram_matrix_rounds(monkeypatch):
    """Labels that hang on directions a millionth as long as the longest, which a Gram matrix hardly sees."""
    rng = np.random.default_rng(0)
    left, turn = (np.linalg.qr(rng.normal(size=(n, 6)))[0] for n in (60, 6))
    lengths = np.array([1e3, 1, 1e-3, 1e-3, 1e-3, 1e-3])
    y = left @ [0, 0, 1, -1, 1, -1] + 0.01 * rng.normal(size=60)
    along, beyond = left.T @ y, y - left @ (left.T @ y)

    def loss(logs: np.ndarray) -> float:  # in the basis of `left`, where the covariance is diagonal
        variances = np.exp(-logs[1]) + np.exp(-logs[0]) * lengths**2
        fit = (along**2 / variances).sum() + np.exp(logs[1]) * (beyond @ beyond) + np.log(variances).sum()
        return (fit - 54 * logs[1] + 60 * np.log(2 * np.pi)) / 120

    truth = -minimize(loss, (-13.0, 9.0), method="Nelder-Mead", options=OPTIONS).fun
    z = (left * lengths) @ turn.T
    np.testing.assert_allclose(log_evidence(z, y[:, None]), truth, rtol=1e-8)
    monkeypatch.setattr(logme, "_DOUBT", np.inf)
    assert abs(log_evidence(z, y[:, None])[0] / truth - 1) > 1e-6


def test_labels_that_fit_without_error_stay_finite():
    """Some weights give the labels exactly: the evidence has no upper bound, and is cut."""
    y = np.eye(3)[np.arange(30) % 3]
    z = y @ np.random.default_rng(0).normal(size=(3, 5))
    value = log_evidence(z, y)
    assert np.isfinite(value).all()
    assert (value > 2).all()
    np.testing.assert_allclose(log_evidence(z @ np.linalg.qr(np.ones((5, 5)) + np.eye(5))[0], y), value, rtol=1e-6)


def test_copies_of_samples_count_once():
    """Where D > N they would make the evidence infinite."""
    z, y = features(40, 120, 120)
    z, y = z.astype(np.float32), y.argmax(axis=1)
    whole = Evidence(z=z, y=y, n_classes=3)
    copied = Evidence(z=np.vstack([z, z[:6]]), y=np.concatenate([y, y[:6]]), n_classes=3)
    assert score(copied) == pytest.approx(score(whole), rel=1e-8)
    assert log_evidence(copied.z, np.eye(3)[copied.y]).mean() > score(whole) + 0.3
    contradicted = Evidence(z=np.vstack([z, z[:1]]), y=np.append(y, y[0] + 1), n_classes=3)
    assert score(contradicted) == pytest.approx(score(whole), abs=0.3)


def test_features_of_no_use():
    """All zero: N(0, 1 / beta), beta = N / ||y||^2."""
    given = Evidence(z=np.zeros((8, 3), dtype=np.float32), y=np.arange(8) % 2, n_classes=2)
    assert score(given) == pytest.approx(-0.5 * np.log(np.pi * np.e), rel=1e-12)
