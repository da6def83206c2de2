"""Source samples weighted so that their mean in a kernel's space is the target's (KMM, Huang et al., NIPS 2006)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from torchgraft.align._classify import squared_distances
from torchgraft.align.base import Aligned, Domains, check_range, inductive
from torchgraft.align.reweight import normalised
from torchgraft.features.gap import median_bandwidth
from torchgraft.features.mapping import Identity, Standardise

MOST_SAMPLES = 5000
"""Source samples that are still tried: their kernel matrix takes 200 MB."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be set.

    `largest`: B > 0, the largest weight. `bandwidth`: of the Gaussian kernel, in units of the median distance, > 0.
    `rounds`: most steps of the solver (at least 1).
    """

    largest: float = 1000.0
    bandwidth: float = 1.0
    rounds: int = 2000


def applies(domains: Domains) -> str:
    """The kernel of the source with itself is Ns x Ns, and is held whole."""
    n = len(domains.xs)
    return (
        "" if n <= MOST_SAMPLES else f"its kernel matrix is {n} x {n}; at most {MOST_SAMPLES} source samples are tried"
    )


def fit(domains: Domains, options: Options) -> Aligned:
    """Weights b of `match`, brought to mean 1, from the jointly standardised features; these stay as they are."""
    check_range(
        largest=(options.largest, 1e-6, 1e12), bandwidth=(options.bandwidth, 1e-6, 1e6), rounds=(options.rounds, 1, 1e6)
    )
    mapping = Standardise.fit(np.concatenate([domains.xs, domains.xt]))
    xs, xt = (mapping.transform(x).astype(np.float64) for x in (domains.xs, domains.xt))
    gamma = 1 / (2 * (options.bandwidth * median_bandwidth(xs, xt)) ** 2)
    kernel = np.exp(-gamma * squared_distances(xs, xs))
    kappa = np.zeros(len(xs))
    for i in range(0, len(xt), 1024):
        kappa += np.exp(-gamma * squared_distances(xs, xt[i : i + 1024])).sum(axis=1)
    kappa *= len(xs) / len(xt)
    weights = normalised(match(kernel, kappa, options.largest, options.rounds))
    aligned = inductive(domains, Identity(), Identity(), weights=weights)
    note = f"effective sample size {aligned.effective_size:.0f} of {len(xs)}"
    return inductive(domains, Identity(), Identity(), weights=weights, note=note)


def match(kernel: np.ndarray, kappa: np.ndarray, largest: float, rounds: int, *, tolerance: float = 1e-7) -> np.ndarray:
    """Argmin of b^T K b / 2 - kappa^T b over 0 <= b <= `largest`, |sum b - n| <= n (sqrt(n) - 1) / sqrt(n).

    By accelerated projected gradient steps (Beck and Teboulle 2009), restarted where they overshoot; ends where a step
    changes no weight by more than `tolerance` of the largest.
    """
    n = len(kernel)
    slack = n * (1 - 1 / np.sqrt(n))
    step = 1 / float(np.linalg.norm(kernel, 2)) if n <= 500 else 1 / float(kernel.sum(axis=1).max())
    b = momentum = np.ones(n)
    t = 1.0
    for _ in range(rounds):
        fresh = _project(momentum - step * (kernel @ momentum - kappa), largest, n - slack, n + slack)
        if np.dot(momentum - fresh, fresh - b) > 0:
            t = 1.0
        t_next = (1 + np.sqrt(1 + 4 * t**2)) / 2
        moved = np.abs(fresh - b).max()
        momentum, b, t = fresh + (t - 1) / t_next * (fresh - b), fresh, t_next
        if moved <= tolerance * max(b.max(), 1e-300):
            break
    return b


def _project(b: np.ndarray, largest: float, low: float, high: float) -> np.ndarray:
    """The nearest point with all entries in [0, largest] and their sum in [low, high]."""
    clipped = np.clip(b, 0, largest)
    total = clipped.sum()
    if low <= total <= high:
        return clipped
    wanted = low if total < low else high
    left, right = (b.min() - largest, b.max())  # the shift that makes all entries `largest`, and all 0
    for _ in range(100):
        middle = (left + right) / 2
        left, right = (middle, right) if np.clip(b - middle, 0, largest).sum() > wanted else (left, middle)
    return np.clip(b - (left + right) / 2, 0, largest)
