"""Is the linear probe's minimum scikit-learn's, and what does it cost?

For each set: the objective C sum_i loss_i + 1/2 ||W||^2 (float64) of our head relative to that of scikit-learn's lbfgs
at tolerance 1e-6, for every C of the path, and the CPU seconds of a whole path: ours (one rotation, warm starts),
scikit-learn's from cold starts at its default tolerance, and the ratio. Run it with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy import sparse
from sklearn.datasets import load_digits, make_classification
from sklearn.linear_model import LogisticRegression

from torchgraft.model.softmax import Block, Softmax
from torchgraft.tune._path import PENALTIES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="*", help="names of the sets to run (default: all)")
    parser.add_argument("--features", nargs="*", default=[], help="more sets: .npz files with x_train and y_train")
    arguments = parser.parse_args()
    print("| set | N x D, C | largest relative excess | ours, s | scikit-learn, s | ratio |\n|---|---|---|---|---|---|")
    for name, (z, y) in (_made() | {path: _cached(path) for path in arguments.features}).items():
        if not arguments.sets or name in arguments.sets:
            _row(name, z, y)


def _made() -> dict:
    digits, y_digits = load_digits(return_X_y=True)
    wide, y_wide = make_classification(240, 1280, n_informative=60, n_classes=3, random_state=0)
    tall, y_tall = make_classification(5000, 384, n_informative=60, n_classes=6, random_state=0)
    thin = sparse.random(4000, 20000, 0.004, format="csr", random_state=0, dtype=np.float32)
    y_thin = (thin @ np.random.default_rng(0).normal(size=(20000, 5))).argmax(axis=1)
    return {
        "digits": (digits, y_digits), "D > N": (wide, y_wide), "N > D": (tall, y_tall), "sparse": (thin, y_thin),
    }  # fmt: skip


def _cached(path: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as file:
        return file["x_train"], file["y_train"]


def _row(name: str, z, y: np.ndarray) -> None:
    if not sparse.issparse(z):
        z = (z - z.mean(axis=0)) / np.sqrt(np.maximum(z.var(axis=0), 1e-12)) / np.sqrt(z.shape[1])
        z = z.astype(np.float32)
    start = time.process_time()
    solver = Softmax([Block(z)], [1.0], y, np.ones(len(y)), int(y.max()) + 1)
    heads = [solver.solve(c) for c in PENALTIES]
    ours = time.process_time() - start
    start = time.process_time()
    for c in PENALTIES:
        _reference(z, y, c, tolerance=1e-4)
    theirs = time.process_time() - start
    gaps = [_objective(*_of(head), z, y, c) for head, c in zip(heads, PENALTIES, strict=True)]
    for i, c in enumerate(PENALTIES):
        gaps[i] = gaps[i] / _objective(*_reference(z, y, c, tolerance=1e-6), z, y, c) - 1
    shape = f"{z.shape[0]} x {z.shape[1]}, {y.max() + 1}"
    print(f"| {name} | {shape} | {max(gaps):+.1e} | {ours:.2f} | {theirs:.2f} | {theirs / ours:.1f} |", flush=True)


def _of(head) -> tuple[np.ndarray, np.ndarray]:
    return head.weight, head.bias


def _reference(z, y: np.ndarray, c: float, *, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Two classes: scikit-learn has one weight vector w, softmax has -w/2 and w/2, so its C counts double."""
    two = y.max() == 1
    fitted = LogisticRegression(C=2 * c if two else c, tol=tolerance, max_iter=5000).fit(z.astype(np.float64), y)
    weight, bias = fitted.coef_, fitted.intercept_
    return (np.vstack([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2) if two else (weight, bias)


def _objective(weight: np.ndarray, bias: np.ndarray, z, y: np.ndarray, c: float) -> float:
    logits = np.asarray(z.astype(np.float64) @ weight.T) + bias
    loss = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(y)), y]
    return c * float(loss.sum()) + 0.5 * float((weight**2).sum())


if __name__ == "__main__":
    main()
