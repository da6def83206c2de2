"""How far apart two domains are: distances between two sets of features, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from torchgraft.core.errors import DataError, OptionError

_ROWS = 512  # rows of a kernel matrix at once: memory stays flat whatever N is


@dataclass(frozen=True, kw_only=True)
class MMDTest:
    """`mmd2` of two samples, and the share `p_value` of random relabellings in which it is at least as large."""

    mmd2: float
    p_value: float
    bandwidth: float


def median_bandwidth(x: np.ndarray, y: np.ndarray, *, most: int = 1000) -> float:
    """sigma: the median distance ||a - b|| over pairs of different rows of [x; y], of at most `most` of each.

    The kernel it is meant for is k(a, b) = exp(-||a - b||^2 / (2 sigma^2)). Rows are taken at even steps. 1 where
    all rows are equal.
    """
    x, y = _pair(x, y)
    z = np.concatenate([x[_even(len(x), most)], y[_even(len(y), most)]])
    distances = np.sqrt(_squared(z, z)[np.triu_indices(len(z), 1)])
    middle = float(np.median(distances)) or float(distances.mean())
    return middle or 1.0


def mmd2(
    x: np.ndarray,
    y: np.ndarray,
    *,
    kernel: str = "gaussian",
    bandwidth: float | None = None,
    unbiased: bool = True,
) -> float:
    """Squared maximum mean discrepancy of n x D and m x D rows (Gretton et al., JMLR 2012).

    sum_(i != j) k(x_i, x_j) / (n (n - 1)) + sum_(i != j) k(y_i, y_j) / (m (m - 1)) - 2 sum k(x_i, y_j) / (n m), whose
    mean is the true value: it may be negative. `unbiased=False` keeps the diagonals and divides by n^2 and m^2; it is
    never negative. `kernel`: `gaussian`, k = exp(-||a - b||^2 / (2 sigma^2)) with sigma = `bandwidth` (None:
    `median_bandwidth`), or `linear`, k = a . b. All pairs are used, 512 rows at a time.
    """
    x, y = _pair(x, y)
    sigma = _sigma(x, y, kernel, bandwidth)
    n, m = len(x), len(y)
    cross = 2 * sum(float(block.sum()) for _, block in _blocks(x, y, kernel, sigma)) / (n * m)
    return _within(x, kernel, sigma, unbiased) + _within(y, kernel, sigma, unbiased) - cross


def mmd_test(
    x: np.ndarray,
    y: np.ndarray,
    *,
    kernel: str = "gaussian",
    bandwidth: float | None = None,
    permutations: int = 200,
    most: int = 1000,
    seed: int = 0,
) -> MMDTest:
    """Are both samples drawn from one distribution? The unbiased `mmd2` against that of random relabellings.

    p = (1 + how many of the `permutations` are at least as large) / (1 + permutations). At most `most` random rows of
    each are used. One pass over the kernel matrix, 512 rows at a time, serves all relabellings.
    """
    if permutations < 1:
        raise OptionError(f"permutations expects at least 1, got {permutations}.")
    x, y = _pair(x, y)
    rng = np.random.default_rng(seed)
    x, y = (z if len(z) <= most else z[rng.choice(len(z), most, replace=False)] for z in (x, y))
    sigma = _sigma(x, y, kernel, bandwidth)
    z, n, m = np.concatenate([x, y]), len(x), len(y)
    first = np.zeros((n + m, permutations + 1))
    first[:n, 0] = 1
    for i in range(permutations):
        first[rng.permutation(n + m)[:n], i + 1] = 1
    inside, sums, total = np.zeros(permutations + 1), np.zeros(n + m), 0.0
    for start, block in _blocks(z, z, kernel, sigma):
        rows = np.arange(len(block))
        block[rows, rows + start] = 0
        inside += ((block @ first) * first[start : start + len(block)]).sum(axis=0)
        sums[start : start + len(block)] = block.sum(axis=1)
        total += float(block.sum())
    touching = sums @ first  # pairs with one end in the first sample: inside + cross
    cross = touching - inside
    found = inside / (n * (n - 1)) + (total - inside - 2 * cross) / (m * (m - 1)) - 2 * cross / (n * m)
    larger = int((found[1:] >= found[0] - 1e-12 * abs(found[0])).sum())
    return MMDTest(mmd2=float(found[0]), p_value=(1 + larger) / (1 + permutations), bandwidth=sigma)


def coral_distance(x: np.ndarray, y: np.ndarray) -> float:
    """||C_x - C_y||_F^2 / (4 D^2), covariances with N - 1 (Sun and Saenko 2016); blind to the means."""
    x, y = _pair(x, y)
    gap = np.atleast_2d(np.cov(x, rowvar=False)) - np.atleast_2d(np.cov(y, rowvar=False))
    return float((gap**2).sum()) / (4 * x.shape[1] ** 2)


def proxy_a_distance(x: np.ndarray, y: np.ndarray, *, most: int = 2000, seed: int = 0) -> float:
    """2 (1 - 2 eps): 0 where no linear classifier tells the domains apart, 2 where one does it without fault.

    eps is the held-out error, each domain counting one half, of ridge regression to +-1: fitted on a random half of at
    most `most` rows of each domain, its penalty the best of 1e-5 ... 1e4 times the mean variance, which makes it
    slightly too small; an error above one half counts as one half less so (Ben-David et al., NIPS 2006).
    """
    x, y = _pair(x, y)
    rng = np.random.default_rng(seed)
    x, y = (rng.permutation(z)[:most] for z in (x, y))
    if min(len(x), len(y)) < 4:
        raise DataError(f"the proxy A-distance needs at least 4 samples of each domain, got {len(x)} and {len(y)}.")
    (x, x_held), (y, y_held) = ((z[: len(z) // 2], z[len(z) // 2 :]) for z in (x, y))
    z = np.concatenate([x, y])
    side = np.concatenate([np.full(len(x), 1 / len(x)), np.full(len(y), -1 / len(y))])
    weight = np.abs(side) / 2
    mean = weight @ z
    scale = np.sqrt(weight @ (z - mean) ** 2)
    scale[scale < 1e-12] = 1.0
    values, axes = np.linalg.eigh(((z - mean) / scale).T * weight @ ((z - mean) / scale))
    slope = axes.T @ (((z - mean) / scale).T @ side)
    penalties = np.maximum(values, 0)[:, None] + np.logspace(-5, 4, 10) * max(values.mean(), 1e-300)
    coefficients = axes @ (slope[:, None] / penalties)  # D x 10
    wrong = [
        (((held - mean) / scale @ coefficients) * sign <= 0).mean(axis=0) for held, sign in ((x_held, 1), (y_held, -1))
    ]
    error = np.minimum(sum(wrong) / 2, 1 - sum(wrong) / 2).min()
    return float(2 * (1 - 2 * error))


def class_gaps(xs: np.ndarray, ys: np.ndarray, xt: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """How far each class moved (C,): ||m_s,c - m_t,c|| over the spread of the class in the source.

    The target's class means are weighted by `probabilities` (Nt x C), a classifier's; the spread is the root of the
    mean squared distance to m_s,c. NaN for a class with fewer than 2 source samples, or nothing in the target.
    """
    xs, xt = _pair(xs, xt)
    gaps = np.full(probabilities.shape[1], np.nan)
    mass = probabilities.sum(axis=0)
    for c in range(len(gaps)):
        members = xs[ys == c]
        if len(members) < 2 or mass[c] < 1e-9:
            continue
        mean = members.mean(axis=0)
        spread = np.sqrt(((members - mean) ** 2).sum(axis=1).mean())
        gaps[c] = np.linalg.norm(mean - probabilities[:, c] @ xt / mass[c]) / max(spread, 1e-12)
    return gaps


def _within(z: np.ndarray, kernel: str, sigma: float, unbiased: bool) -> float:
    total, diagonal, n = 0.0, 0.0, len(z)
    for start, block in _blocks(z, z, kernel, sigma):
        total += float(block.sum())
        diagonal += float(np.trace(block[:, start : start + len(block)]))
    return (total - diagonal) / (n * (n - 1)) if unbiased else total / n**2


def _blocks(a: np.ndarray, b: np.ndarray, kernel: str, sigma: float) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(a), _ROWS):
        rows = a[start : start + _ROWS]
        yield start, rows @ b.T if kernel == "linear" else np.exp(-_squared(rows, b) / (2 * sigma**2))


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    gaps = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * (a @ b.T)
    return np.maximum(gaps, 0.0, out=gaps)


def _sigma(x: np.ndarray, y: np.ndarray, kernel: str, bandwidth: float | None) -> float:
    if kernel not in ("gaussian", "linear"):
        raise OptionError(f"kernel expects gaussian or linear, got {kernel!r}.")
    if bandwidth is not None and not bandwidth > 0:
        raise OptionError(f"bandwidth expects a distance above 0, got {bandwidth!r}.")
    if kernel == "linear":
        return 1.0
    return median_bandwidth(x, y) if bandwidth is None else float(bandwidth)


def _even(n: int, most: int) -> np.ndarray:
    return np.linspace(0, n - 1, min(n, most)).astype(int)


def _pair(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1:] != y.shape[1:] or min(len(x), len(y)) < 2:
        shapes = " and ".join(" x ".join(map(str, z.shape)) or "()" for z in (x, y))
        raise DataError(f"expected two sets of features N x D of one width, with 2 rows or more, got {shapes}.")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise DataError("the features have NaN or infinite values; leave these samples out.")
    return x, y
