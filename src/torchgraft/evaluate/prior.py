"""What a table that was known before says of contestants, where few samples leave it open: partial pooling.

On a hundred samples two networks of 90 and 93 % can't be told apart; that one of them is ten points better on ImageNet
is then worth something, and how much the contestants themselves say. For each score, with y_i the log-odds of
contestant i's share of right samples and x_i those of its accuracy in the table,

    y | theta ~ N(theta, S)        S: the bootstrap's covariance; all were asked the same samples
    theta_i ~ N(a + b x_i, s^2)    a, b and s flat

(Fay and Herriot, "Estimates of income for small places", JASA 1979; a flat s after Gelman, "Prior distributions for
variance parameters", Bayesian Analysis 2006). Where the table tells the contestants' shares well, s is small and theta
goes with the table; where it doesn't, or where samples are many, S << s^2 and theta stays at y.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEAST = 5
"""Contestants that a table must know: with two numbers of the line unknown, fewer leave the spread without a mean."""

_SPREADS = 64


@dataclass(frozen=True, kw_only=True)
class Prior:
    """The line through a table, as learnt from one round: for each score draws of slope b and spread s.

    `table` holds the log-odds x of the contestants that it knows. Later rounds of fewer contestants keep b and s.
    """

    table: Mapping[str, float]
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]]

    def pooled(self, score: str, names: Sequence[str], drawn: np.ndarray, samples: int) -> np.ndarray:
        """Shares of right samples of all `names`, D x K draws: by theta where the table knows a name, else as given.

        `drawn` are D bootstrap draws of each one's share of right ones among `samples`, in [0, 1].
        """
        known = [i for i, name in enumerate(names) if name in self.table]
        if len(known) < 2:
            return drawn
        slope, spread = self.lines[score]
        line = slope[:, None] * np.array([self.table[names[i]] for i in known])
        odds = log_odds(drawn[:, known], samples)
        found = drawn.copy()
        found[:, known] = 1 / (1 + np.exp(-pool(odds, noise(odds, samples), line, spread)))
        return found


def learn(
    table: Mapping[str, float], names: Sequence[str], drawn: Mapping[str, np.ndarray], samples: int
) -> Prior | None:
    """The `Prior` that a round of `names` gives.

    `table` holds accuracies in (0, 1), `drawn` for each score D bootstrap draws of each one's share of right ones among
    `samples` (D x K). None where the table knows fewer than `LEAST` of them, or says the same of all.
    """
    known = [i for i, name in enumerate(names) if name in table]
    x = {names[i]: float(log_odds(np.array(table[names[i]]), 10_000)) for i in known}
    if len(known) < LEAST or len(set(x.values())) < 2:
        return None
    design = np.stack([np.ones(len(x)), list(x.values())], axis=1)
    lines = {}
    for score, shares in drawn.items():
        found = log_odds(shares[:, known], samples)
        coefficients, spread = fit(found, noise(found, samples), design)
        lines[score] = coefficients[:, 1], spread
    return Prior(table=x, lines=lines)


def log_odds(share: np.ndarray, samples: int) -> np.ndarray:
    """log(p / (1 - p)); of none or all of the samples, that of half a sample more or less."""
    p = np.clip(share, 0.5 / samples, 1 - 0.5 / samples)
    return np.log(p / (1 - p))


def noise(drawn: np.ndarray, samples: int) -> np.ndarray:
    """S: the covariance of D x K draws of log-odds, with 1 / (n p (1 - p)) at least for each.

    Of samples that are all right every bootstrap draw is all right: that there is no noise would be wrong.
    """
    found = np.atleast_2d(np.cov(drawn.T))
    p = (samples / (1 + np.exp(-drawn.mean(axis=0))) + 1) / (samples + 2)
    at = np.arange(len(found))
    found[at, at] = np.maximum(found[at, at], 1 / (samples * p * (1 - p)))
    return found


def fit(
    drawn: np.ndarray, covariance: np.ndarray, design: np.ndarray, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draws of the line's coefficients (D x P) and of the spread (D), given what contestants showed.

    `drawn` are D x K draws of y around its mean with `covariance` S, `design` X is K x P. The spread is drawn from
    its marginal posterior on a grid,

        p(s | y) ~ |V|^-1/2 |X'V^-1 X|^-1/2 exp(-r'V^-1 r / 2),    V = S + s^2 I,  r = y - X b_hat

    and the coefficients, given s, as the least squares of y perturbed by both noises (Papandreou and Yuille, "Gaussian
    sampling by local perturbations", NIPS 2010).
    """
    rng = np.random.default_rng(seed)
    y = drawn.mean(axis=0)
    typical = float(np.sqrt(np.diag(covariance).mean()))
    spreads = np.geomspace(1e-2 * typical, 10 * typical + 5 * np.ptp(y), _SPREADS)
    steps = [_Solved.of(covariance + s * s * np.eye(len(y)), design) for s in spreads]
    logs = np.array([step.evidence(y) for step in steps])
    weights = np.exp(logs - logs.max()) * spreads  # a flat density over s, on a grid that is even in log s
    chosen = rng.choice(_SPREADS, size=len(drawn), p=weights / weights.sum())
    apart = drawn[rng.permutation(len(drawn))]  # other noise than `pool` will meet in the same draw
    apart = apart + rng.normal(size=apart.shape) * spreads[chosen][:, None]
    coefficients = np.stack([steps[c].solve @ row for c, row in zip(chosen, apart, strict=True)])
    return coefficients, spreads[chosen]


def pool(
    drawn: np.ndarray, covariance: np.ndarray, line: np.ndarray, spread: np.ndarray, *, seed: int = 1
) -> np.ndarray:
    """D x K draws of theta ~ N(a + line, s^2) given y, one for each draw of the line (D x K) and its spread (D).

    With m = line + u, u ~ N(0, s^2): theta = m + a + s^2 V^-1 (y - m - a), a by least squares. The u make the draws
    spread as the posterior does; their mean is the estimate that shrinks y towards the line.
    """
    middle = line + np.random.default_rng(seed).normal(size=line.shape) * spread[:, None]
    found = np.empty_like(drawn)
    for s in np.unique(spread):
        at = spread == s
        step = _Solved.of(covariance + s * s * np.eye(drawn.shape[1]), np.ones((drawn.shape[1], 1)))
        rest = drawn[at] - middle[at]
        rest = rest - rest @ step.solve.T
        found[at] = drawn[at] - rest @ (np.eye(len(covariance)) - s * s * step.inverse)
    return found


@dataclass(frozen=True)
class _Solved:
    """V^-1, its least squares (P x K: coefficients of y), and what both add to the evidence of any y."""

    inverse: np.ndarray
    design: np.ndarray
    solve: np.ndarray
    constant: float

    @classmethod
    def of(cls, v: np.ndarray, design: np.ndarray) -> _Solved:
        inverse = np.linalg.inv(v)
        gram = design.T @ inverse @ design
        constant = -0.5 * (np.linalg.slogdet(v)[1] + np.linalg.slogdet(gram)[1])
        return cls(inverse, design, np.linalg.solve(gram, design.T @ inverse), float(constant))

    def evidence(self, y: np.ndarray) -> float:
        rest = y - self.design @ (self.solve @ y)
        return self.constant - 0.5 * float(rest @ self.inverse @ rest)
