"""Are the intervals and the promotion rule honest? Simulated, so that the truth is known.

Run: `python benchmarks/honesty.py` (under two minutes on one core). It prints markdown tables:

1. how often the 95 % interval of accuracy covers the truth, on 500 simulated test sets for each cell;
2. how often the rule promotes any of K challengers that are truly no better (wanted: at most 5 %);
3. how often it promotes one that is truly better by 2, 5 or 10 points;
4. how often the other intervals cover the truth.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from torchgraft.evaluate import beaten_by, score, softmax, wilson

CLASSES = 5
SIGNAL = 2.6  # distance of the true class's logit from the others: accuracy about 0.86
SIZES = (50, 150, 500, 2000)
Answers = tuple[np.ndarray, np.ndarray, list[np.ndarray]]  # labels, incumbent, challengers


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=500, help="simulated data sets for each cell")
    arguments.add_argument("--seed", type=int, default=0)
    options = arguments.parse_args()
    started = time.perf_counter()
    coverage_of_accuracy(options.runs, np.random.default_rng(options.seed))
    equal_rungs(options.runs, np.random.default_rng(options.seed + 1))
    better_rungs(options.runs // 2, np.random.default_rng(options.seed + 2))
    coverage_of_the_rest(options.runs // 2, np.random.default_rng(options.seed + 3))
    print(f"\n{time.perf_counter() - started:.0f} s")


def coverage_of_accuracy(runs: int, rng: np.random.Generator) -> None:
    truths, sizes = (0.6, 0.7, 0.8, 0.9, 0.95, 0.97), (50, 100, 200, 500)
    print(f"\n## 95 % interval of accuracy: share of {runs} test sets where it covers the truth\n")
    header(["true accuracy", *(f"M = {m}" for m in sizes)])
    every = []
    for truth in truths:
        shares = [np.mean([covers(wilson(n, m), truth) for n in rng.binomial(m, truth, runs)]) for m in sizes]
        every += shares
        row([f"{truth:.2f}", *(f"{share:.3f}" for share in shares)])
    mixed = [
        covers(wilson(rng.binomial(m, p), m), p)
        for m, p in zip(rng.integers(50, 501, runs), rng.uniform(0.6, 0.97, runs), strict=True)
    ]
    print(f"\nmean of the cells {np.mean(every):.3f}; {runs} sets of mixed size and accuracy {np.mean(mixed):.3f}")


def equal_rungs(runs: int, rng: np.random.Generator) -> None:
    print(
        f"\n## Challengers that are truly equal: share of {runs} runs with any promotion\n\n"
        "Wanted for one: <= 0.05. Each is judged by itself, so of six equals some one is promoted more often.\n"
    )
    header(["how equal", "K", *(f"{s}, M = {m}" for s in ("brier", "accuracy") for m in SIZES)])
    every: list[dict[str, float]] = []
    for name, make in EQUAL.items():
        for k in (1, 6):
            cells = [promoted(make, m, k, runs, rng) for m in SIZES]
            every += cells if k == 1 and make is not same_errors else []  # there the difference is 0 by construction
            row([name, str(k), *(f"{cell[s]:.3f}" for s in ("brier", "accuracy") for cell in cells)])
    means = ", ".join(f"{s} {np.mean([cell[s] for cell in every]):.3f}" for s in ("brier", "accuracy"))
    noise = 2 * (0.05 * 0.95 / runs) ** 0.5
    print(f"\nmean with K = 1 (last kind left out): {means}; a cell is known to about {noise:.3f} (two sigma)")


def better_rungs(runs: int, rng: np.random.Generator) -> None:
    print(f"\n## A challenger that is truly better: share of {runs} runs that promote it\n")
    header(["better by", *(f"{s}, M = {m}" for s in ("brier", "accuracy") for m in SIZES)])
    for points, signal in signals((2, 5, 10)).items():
        cells = [promoted(partial(better, signal=signal), m, 1, runs, rng) for m in SIZES]
        row([f"{points} points", *(f"{cell[s]:.2f}" for s in ("brier", "accuracy") for cell in cells)])


def coverage_of_the_rest(runs: int, rng: np.random.Generator) -> None:
    print(f"\n## The other 95 % intervals: share of {runs} test sets where they cover the truth\n")
    names = ("balanced_accuracy", "macro_precision", "macro_f1", "brier", "ece", "log_loss")
    header(["classes", "true accuracy", "M", *names])
    for classes, signal in ((2, 1.8), (5, 2.6), (10, 4.0)):
        prior = np.linspace(1, 3, classes) / np.linspace(1, 3, classes).sum()
        labels = tuple(str(c) for c in range(classes))
        truth = score(*skewed(100_000, prior, signal, rng), labels, draws=2)
        for m in (50, 200, 500):
            hits = np.zeros(len(names))
            for seed in range(runs):
                found = score(*skewed(m, prior, signal, rng), labels, seed=seed, draws=300)
                hits += [found[n]["low"] <= truth[n]["value"] <= found[n]["high"] for n in names]
            row([str(classes), f"{truth['accuracy']['value']:.2f}", str(m), *(f"{hit / runs:.2f}" for hit in hits)])


def promoted(make: Callable, m: int, k: int, runs: int, rng: np.random.Generator) -> dict:
    found = {"brier": 0, "accuracy": 0}
    for _ in range(runs):
        y, incumbent, challengers = make(m, k, rng)
        for statistic in found:
            beats = [r["beats"] for r in beaten_by(y, incumbent, challengers, statistic=statistic, draws=700)]
            found[statistic] += any(beats)
    return {statistic: count / runs for statistic, count in found.items()}


def shared_noise(m: int, k: int, rng: np.random.Generator, shared: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """Labels and the logits of 1 + K models whose noise has unit variance, of which a part `shared` is the same."""
    y = rng.integers(0, CLASSES, m)
    common = np.sqrt(shared) * rng.normal(size=(m, CLASSES)) + SIGNAL * np.eye(CLASSES)[y]
    return y, [common + np.sqrt(1 - shared) * rng.normal(size=(m, CLASSES)) for _ in range(1 + k)]


def calibrated(y: np.ndarray, logits: list[np.ndarray]) -> Answers:
    """Each rung's exact posterior, as a well fitted temperature would give it."""
    probabilities = [softmax(SIGNAL * z) for z in logits]
    return y, probabilities[0], probabilities[1:]


def independent(m: int, k: int, rng: np.random.Generator) -> Answers:
    return calibrated(*shared_noise(m, k, rng, 0.0))


def perturbed(m: int, k: int, rng: np.random.Generator) -> Answers:
    return calibrated(*shared_noise(m, k, rng, 0.7))


def near_copies(m: int, k: int, rng: np.random.Generator) -> Answers:
    return calibrated(*shared_noise(m, k, rng, 0.98))


def hot(m: int, k: int, rng: np.random.Generator) -> Answers:
    """Not calibrated and heavy-tailed: sure of every answer, so that a few samples make all the difference."""
    y, logits = shared_noise(m, k, rng, 0.7)
    probabilities = [softmax(6 * z) for z in logits]
    return y, probabilities[0], probabilities[1:]


def sharper(m: int, k: int, rng: np.random.Generator) -> Answers:
    """Challengers far too sure, an incumbent too unsure, in a way that gives both the same expected Brier loss.

    No rung looks like this once its temperature is fitted; it is the hardest equality for the rule, since the
    challengers gain a little on most samples and lose much on a few.
    """
    y, logits = shared_noise(m, k, rng, 0.7)
    return y, softmax(1.27 * logits[0]), [softmax(16 * z) for z in logits[1:]]


def same_errors(m: int, k: int, rng: np.random.Generator) -> Answers:
    """Exactly the incumbent's number of errors, on other samples; losses as of the incumbent up to noise."""
    y, (base,) = shared_noise(m, 0, rng, 0.0)
    swapped = []
    for _ in range(k):
        order = np.lexsort((rng.random(m), y))
        z = np.empty_like(base)
        z[np.lexsort((rng.random(m), y))] = base[order]
        swapped.append(z)
    noisy = [z + 0.1 * rng.normal(size=z.shape) * (z.max(1) - np.sort(z)[:, -2])[:, None] for z in (base, *swapped)]
    return calibrated(y, noisy)


def better(m: int, k: int, rng: np.random.Generator, signal: float) -> Answers:
    y, logits = shared_noise(m, k, rng, 0.7)
    logits[1] = logits[1] + (signal - SIGNAL) * np.eye(CLASSES)[y]
    return calibrated(y, logits)


def signals(points: tuple[int, ...]) -> dict[int, float]:
    """The signal at which accuracy is larger by so many points, by a large simulation."""
    rng = np.random.default_rng(9)
    noise = rng.normal(size=(200_000, CLASSES))
    margin = noise[:, 1:].max(1) - noise[:, 0]
    base = (margin < SIGNAL).mean()
    return {p: float(np.quantile(margin, base + p / 100)) for p in points}


def skewed(m: int, prior: np.ndarray, signal: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Labels with unequal shares and the exact posterior, made too sure by a tenth."""
    y = rng.choice(len(prior), size=m, p=prior)
    z = rng.normal(size=(m, len(prior))) + signal * np.eye(len(prior))[y]
    return y, softmax(1.1 * (signal * z + np.log(prior)))


EQUAL = {
    "independent errors": independent,
    "70 % of the noise shared": perturbed,
    "near copies (98 % shared)": near_copies,
    "overconfident, heavy tails": hot,
    "same Brier, opposite miscalibration": sharper,
    "same number of errors": same_errors,
}


def covers(estimate: object, truth: float) -> bool:
    return estimate.low <= truth <= estimate.high


def header(names: list[str]) -> None:
    row(names)
    row(["---"] * len(names))


def row(cells: list[str]) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
