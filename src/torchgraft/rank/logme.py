"""LogME: how probable the labels are under the best Bayesian linear model of the features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from torchgraft.rank.base import Evidence

_LOWEST, _HIGHEST, _STEP = 1e-18, 1e12, 0.25
_RANK = float(np.finfo(np.float32).eps) ** 2  # eigenvalues that float32 features can't tell from 0, to the largest
_ROUNDING = 1e-15  # of a Gram matrix's eigenvalues, relative to the largest
_DOUBT = 1e-9  # in the evidence per sample: from here on the Gram matrix is not good enough


def score(evidence: Evidence) -> float:
    """Mean over classes of the largest log evidence per sample; mostly in [-1, 5], without an upper bound.

    max over alpha, beta of (1/N) [D/2 ln alpha + N/2 ln beta - 1/2 ln |A| - beta/2 ||y - z m||^2 - alpha/2 ||m||^2
    - N/2 ln 2 pi] with A = alpha I + beta z^T z, D x D, and m = beta A^-1 z^T y, for y in {0, 1}^N of one class (You et
    al., ICML 2021). Exact for any N and D: see `log_evidence`. Classes without a sample are left out, and so are copies
    (equal features and label), which say nothing new and, where D reaches N, make the evidence infinite. Costs
    N D min(N, D) + min(N, D)^3.
    """
    rows = list({(row.tobytes(), c): i for i, (row, c) in enumerate(zip(evidence.z, evidence.y, strict=True))}.values())
    present, codes = np.unique(evidence.y[rows], return_inverse=True)
    return float(log_evidence(evidence.z[rows], np.eye(len(present))[codes]).mean())


def log_evidence(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The largest log evidence per sample of each column of y (N x C) given z (N x D): C numbers.

    Integrated over the weights, y is normal with covariance (I + z z^T / t) / beta, t = alpha / beta. With l_i the
    eigenvalues of z z^T that are not 0 and c_i the squared projection of y on their eigenvectors,
    Q(t) = ||y||^2 - sum_i c_i l_i / (t + l_i) and the best beta is N / Q(t), which leaves
    L(t) = -1/2 [N ln(2 pi e Q(t) / N) + sum_i ln(1 + l_i / t)] to be maximised: a grid over ln t (L can have several
    maxima), then Newton's method from the best point. Columns of y aren't 0.

    t lies in [1e-18, 1e12] times the largest l_i, beyond what float32 features can tell. Where some weights give y
    without error and N is above the rank, L has no upper bound: below the smallest l_i that is not 0 it grows with
    -ln t alone, and t is kept above a thousandth of that.

    l_i and c_i come from the eigenvectors of the smaller Gram matrix. Where the best t is so small that the rounding
    of its small eigenvalues would be seen, they come from the singular value decomposition of z: slower, and exact.
    """
    z, y = z.astype(np.float64), y.astype(np.float64)
    spectrum = _by_gram(z, y)
    best = _maximise(spectrum)
    if _doubt(spectrum, best) > _DOUBT:
        spectrum = _by_svd(z, y)
        best = _maximise(spectrum)
    return spectrum.evidence(best) / len(z)


@dataclass(frozen=True, eq=False)
class _Spectrum:
    """`values` l_i (k, scaled to a largest of 1), `along` c_i (C x k), `beyond` what of ||y||^2 they leave (C,)."""

    n: int
    values: np.ndarray
    along: np.ndarray
    beyond: np.ndarray

    @classmethod
    def of(cls, n: int, values: np.ndarray, projected: np.ndarray, beyond: np.ndarray) -> _Spectrum:
        """From l_i (k) as they came, and the projections of y (k x C)."""
        return cls(n, np.maximum(values / (values.max() or 1.0), 0.0), projected.T**2, beyond)

    def floors(self) -> np.ndarray:
        """The least t that each class may have (C,)."""
        counted = self.values > _RANK
        left = self.beyond + self.along[:, ~counted].sum(axis=1)
        unbounded = (counted.sum() < self.n) & (left <= 1e-10 * (self.along.sum(axis=1) + self.beyond))
        return np.where(unbounded, 1e-3 * self.values[counted].min(initial=1.0), _LOWEST)

    def residual(self, t: np.ndarray) -> np.ndarray:
        """Q at t (C,)."""
        return self.beyond + (self.along * (t[:, None] / (t[:, None] + self.values))).sum(axis=1)

    def evidence(self, t: np.ndarray) -> np.ndarray:
        """L at t (C,)."""
        return self._evidence(self.residual(t), np.log1p(self.values / t[:, None]).sum(axis=1))

    def grid(self, t: np.ndarray) -> np.ndarray:
        """L of every class at every t (G,): C x G."""
        shares = t / (t + self.values[:, None])  # k x G
        return self._evidence(self.beyond[:, None] + self.along @ shares, -np.log(shares).sum(axis=0))

    def _evidence(self, residual: np.ndarray, volume: np.ndarray) -> np.ndarray:
        return -0.5 * (self.n * np.log(2 * np.pi * np.e * np.maximum(residual, 1e-300) / self.n) + volume)

    def slopes(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and second derivative of L by ln t, at t (C,)."""
        share = t[:, None] / (t[:, None] + self.values)
        fitted = 1 - share
        bend = share * fitted
        residual = np.maximum(self.beyond + (self.along * share).sum(axis=1), 1e-300)
        first = (self.along * bend).sum(axis=1) / residual
        second = (self.along * bend * (fitted - share)).sum(axis=1) / residual
        return (
            0.5 * (fitted.sum(axis=1) - self.n * first),
            -0.5 * (bend.sum(axis=1) + self.n * (second - first**2)),
        )


def _by_gram(z: np.ndarray, y: np.ndarray) -> _Spectrum:
    n, d = z.shape
    if n <= d:
        values, axes = eigh(z @ z.T, driver="evd", overwrite_a=True)
        return _Spectrum.of(n, values, axes.T @ y, np.zeros(y.shape[1]))
    values, axes = eigh(z.T @ z, driver="evd", overwrite_a=True)
    root = np.sqrt(np.where(values > _ROUNDING * values[-1], values, np.inf))
    projected = (axes.T @ (z.T @ y)) / root[:, None]
    return _Spectrum.of(n, values, projected, np.maximum((y**2).sum(axis=0) - (projected**2).sum(axis=0), 0.0))


def _by_svd(z: np.ndarray, y: np.ndarray) -> _Spectrum:
    left, singular, _ = np.linalg.svd(z, full_matrices=False)
    projected = left.T @ y
    return _Spectrum.of(len(z), singular**2, projected, ((y - left @ projected) ** 2).sum(axis=0))


def _maximise(spectrum: _Spectrum) -> np.ndarray:
    """The t (C,) of the largest evidence: Newton's method in ln t, halving the bracket where it would leave it."""
    grid = np.arange(np.log(_LOWEST), np.log(_HIGHEST), _STEP)
    value = spectrum.grid(np.exp(grid))
    first = np.searchsorted(grid, np.log(spectrum.floors()))
    at = np.where(np.arange(len(grid)) >= first[:, None], value, -np.inf).argmax(axis=1)
    x, low, high = grid[at], grid[np.maximum(at - 1, first)], grid[np.minimum(at + 1, len(grid) - 1)]
    for _ in range(60):
        slope, second = spectrum.slopes(np.exp(x))
        low, high = np.where(slope > 0, x, low), np.where(slope > 0, high, x)
        newton = x - slope / np.where(second < 0, second, -np.inf)
        step = np.where((second < 0) & (newton > low) & (newton < high), newton, (low + high) / 2)
        moved, x = np.abs(step - x).max(), step
        if moved < 1e-9:  # the evidence is flat here: its error is the square of this
            break
    return np.exp(x)


def _doubt(spectrum: _Spectrum, t: np.ndarray) -> float:
    """How far off the evidence per sample may be, at most, if the Gram matrix was off by `_ROUNDING`: to first order.

    1/2 tr (G + t I)^-1 / N by the volume and 1/2 (||m|| + ||y||)^2 / Q by the residual, for a largest l_i of 1.
    """
    reach = 1 / (t[:, None] + spectrum.values)
    weights = np.sqrt((spectrum.along * spectrum.values * reach**2).sum(axis=1))  # ||m||
    norm = np.sqrt(spectrum.along.sum(axis=1) + spectrum.beyond)
    residual = np.maximum(spectrum.residual(t), 1e-300)
    return float(0.5 * _ROUNDING * (reach.sum(axis=1) / spectrum.n + (weights + norm) ** 2 / residual).max())
