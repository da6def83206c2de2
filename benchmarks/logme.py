"""Is our LogME the true maximum of the evidence, and what does it cost beside the form by singular values?

First, on small sets of every shape (N > D, N < D, less rank than either): the largest relative difference of our
evidence from brute force: the normal density of y with its dense N x N covariance I / beta + z z^T / alpha, maximised
over (log alpha, log beta) from several starts.
Then the CPU seconds for N x D features of C classes, medians of alternating runs in one process: ours, and a thin
`numpy.linalg.svd` of the same float64 matrix followed by the usual fixed point for each class. Run it with
OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy.optimize import minimize

from torchgraft.rank import Evidence
from torchgraft.rank.logme import log_evidence, score

SHAPES = ((300, 20, 20), (120, 60, 60), (60, 60, 60), (60, 200, 200), (30, 250, 250), (200, 40, 10), (40, 100, 12))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs=3, type=int, default=(10_000, 1280, 100), metavar=("N", "D", "C"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--features", help="an .npz file with x_train and y_train, in place of made features")
    arguments = parser.parse_args()
    _agreement()
    if arguments.features:
        with np.load(arguments.features) as file:
            z, y = file["x_train"], file["y_train"]
    else:
        z, y = made(*arguments.shape)
    _cost(z, y, arguments.repeats)


def made(n: int, d: int, c: int, *, rank: int | None = None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features like those of a network after ReLU and pooling: not negative, not centred, a falling spectrum."""
    rng = np.random.default_rng(seed)
    rank = rank or d
    y = rng.permutation(np.arange(n) % c)
    hidden = (rng.normal(size=(c, rank))[y] + rng.normal(size=(n, rank))) * np.geomspace(1, 0.01, rank)
    mixed = hidden @ rng.normal(size=(rank, d)) / np.sqrt(rank)
    return (mixed if rank < d else np.maximum(mixed + 0.3, 0)).astype(np.float32), y


def _agreement() -> None:
    print("| N x D, rank | evidence of 3 classes | largest relative difference from brute force |\n|---|---|---|")
    for n, d, rank in SHAPES:
        z, y = made(n, d, 3, rank=rank)
        targets = np.eye(3)[y]
        ours = log_evidence(z, targets)
        truth = np.array([brute_force(z.astype(np.float64), column) for column in targets.T])
        values = " ".join(f"{value:.6f}" for value in ours)
        print(f"| {n} x {d}, {rank} | {values} | {np.abs(ours / truth - 1).max():.1e} |", flush=True)


def brute_force(z: np.ndarray, y: np.ndarray) -> float:
    n, gram = len(z), z @ z.T

    def loss(logs: np.ndarray) -> float:
        covariance = np.exp(-logs[1]) * np.eye(n) + np.exp(-logs[0]) * gram
        fit = y @ np.linalg.solve(covariance, y) + np.linalg.slogdet(covariance)[1]
        return (fit + n * np.log(2 * np.pi)) / (2 * n)

    options = {"xatol": 1e-8, "fatol": 1e-14, "maxiter": 4000}
    starts = [(alpha, 2.0) for alpha in (-4.0, 0.0, 4.0, 10.0)]
    bounds = [(-30.0, 30.0)] * 2
    return -min(minimize(loss, s, method="Nelder-Mead", bounds=bounds, options=options).fun for s in starts)


def _cost(z: np.ndarray, y: np.ndarray, repeats: int) -> None:
    given = Evidence(z=z, y=y.astype(np.int64), n_classes=int(y.max()) + 1)
    targets = np.eye(given.n_classes)[y]
    forms = {"ours": lambda: score(given), "svd": lambda: fixed_point(z, targets)}
    seconds: dict = {name: [] for name in forms}
    for _ in range(repeats):
        for name, form in forms.items():
            start = time.process_time()
            form()
            seconds[name].append(time.process_time() - start)
    ours, svd = (float(np.median(taken)) for taken in seconds.values())
    exact, other = log_evidence(z, targets), fixed_point(z, targets)
    print(f"\n{len(z)} x {z.shape[1]}, {given.n_classes} classes, medians of {repeats} in CPU seconds")
    print(f"ours {ours:.2f}, by singular values {svd:.2f}: {ours / svd:.3f} of it")
    print(f"LogME {exact.mean():.8f} and {other.mean():.8f}, a class {np.abs(exact - other).max():.1e} at most")


def fixed_point(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """For N >= D: alpha and beta in turns, 11 times or until their ratio moves by less than a thousandth."""
    z = z.astype(np.float64)
    left, s, _ = np.linalg.svd(z, full_matrices=False)
    return np.array([_one_class(s**2, (left.T @ column) ** 2, column, z.shape) for column in y.T])


def _one_class(values: np.ndarray, along: np.ndarray, y: np.ndarray, shape: tuple[int, int]) -> float:
    n, d = shape
    beyond = max(float(y @ y - along.sum()), 0.0)
    alpha = beta = 1.0
    for _ in range(11):
        t = alpha / beta
        gamma = (values / (values + t)).sum()
        m = (values * along / (values + t) ** 2).sum()
        residual = (along / (1 + values / t) ** 2).sum() + beyond
        alpha, beta = gamma / (m + 1e-5), (n - gamma) / (residual + 1e-5)
        if abs(alpha / beta - t) <= 1e-3 * t:
            break
    logs = d * np.log(alpha) + n * np.log(beta) - np.log(alpha + beta * values).sum()
    return (logs - beta * residual - alpha * m - n * np.log(2 * np.pi)) / (2 * n)


if __name__ == "__main__":
    main()
