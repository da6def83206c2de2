"""Are the alignments those of the published tables, how fast are they, and does the test of a gap hold its level?

`--part surf`: Office-Caltech10 SURF, all 12 tasks, ours under the published row. `--part scale`: CPU seconds and peak
memory on generated features, and the rank-reduced TCA and JDA against the n x n form. `--part null`: how often the MMD
test rejects equal distributions at 0.05. Target labels are used to print accuracies, and for nothing else. Run it with
OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.linalg import eig, eigh
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

from torchgraft.align import Domains, align, coral
from torchgraft.align._classify import nearest
from torchgraft.align._embedding import Rows, class_factors, domain_factor, embed
from torchgraft.features.gap import mmd_test

FILES = {"C": "caltech10", "A": "amazon", "W": "webcam", "D": "dslr"}
TASKS = ("C>A", "C>W", "C>D", "A>C", "A>W", "A>D", "W>C", "W>A", "W>D", "D>C", "D>A", "D>W")
PUBLISHED = {
    "1NN": (23.7, 25.8, 25.5, 26.0, 29.8, 25.5, 19.9, 23.0, 59.2, 26.3, 28.5, 63.4),
    "PCA k=30": (39.5, 34.6, 44.6, 39.0, 35.9, 33.8, 28.2, 29.1, 89.2, 29.7, 33.2, 86.1),
    "PCA k=100": (37.0, 32.5, 38.2, 34.7, 35.6, 27.4, 26.4, 31.0, 77.1, 29.7, 32.1, 75.9),
    "TCA": (45.6, 39.3, 45.9, 42.0, 40.0, 35.7, 31.5, 30.5, 91.1, 33.0, 32.8, 87.5),
    "JDA k=30": (43.1, 39.3, 49.0, 40.9, 38.0, 42.0, 33.0, 29.8, 92.4, 31.2, 33.4, 89.2),
    "JDA k=100": (44.78, 41.69, 45.22, 39.36, 37.97, 39.49, 31.17, 32.78, 89.17, 31.52, 33.09, 89.49),
    "RBF SVM": (53.1, 41.7, 47.8, 41.7, 31.9, 44.6, 21.2, 27.6, 78.3, 26.4, 26.2, 52.5),
    "CORAL": (52.1, 46.4, 45.9, 45.1, 44.4, 39.5, 33.7, 36.0, 86.6, 33.8, 37.7, 84.7),
    "GFK": (41.0, 40.7, 38.9, 40.3, 39.0, 36.3, 30.7, 29.8, 80.9, 30.3, 32.1, 75.6),
    "SA": (44.9, 41.0, 39.5, 37.4, 39.0, 36.3, 31.0, 34.4, 62.4, 34.3, 32.9, 65.1),
}
SCALED = ("standardise", "pca", "coral", "sa")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("surf", "scale", "null"), default="surf")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/office_caltech10_surf"))
    parser.add_argument("--n", type=int, default=10_000, help="scale: samples of each domain")
    parser.add_argument("--d", type=int, default=1280, help="scale: features")
    parser.add_argument("--general", action="store_true", help="scale: the general n x n solver too (many minutes)")
    parser.add_argument("--one", choices=SCALED, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        _one(arguments.one, arguments.n, arguments.d)
    elif arguments.part == "surf":
        _surf(arguments.data)
    elif arguments.part == "scale":
        _scale(arguments.n, arguments.d)
        for size in (128, 800, 1280):
            _reduced_against_plain(general=arguments.general, d=size)
    else:
        _null()


def _surf(folder: Path) -> None:
    loaded = {letter: _histograms(folder / f"{name}.mat") for letter, name in FILES.items()}
    print(f"| accuracy, % | {' | '.join(TASKS)} | mean | largest gap | tasks within 0.3 |\n|{'---|' * 16}")
    for row, measure in _rows().items():
        ours = []
        for task in TASKS:
            (xs, ys), (xt, yt) = (loaded[letter] for letter in task.split(">"))
            ours.append(100 * float((measure(Domains(xs=xs, ys=ys, xt=xt)) == yt).mean()))
        published, found = np.array(PUBLISHED[row]), np.array(ours)
        gaps = np.abs(published - found)
        _line(f"{row}, published", published, "")
        _line(f"{row}, ours", found, f"{gaps.max():.2f} | {(gaps <= 0.3).sum()}")


def _line(name: str, values: np.ndarray, rest: str) -> None:
    print(f"| {name} | {' | '.join(f'{v:.1f}' for v in values)} | {values.mean():.2f} | {rest or ' | '} |", flush=True)


def _histograms(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Rows of sum 1, then standardised with the domain's own mean and deviation; labels from 0 on."""
    file = loadmat(path)
    x = file["fts"].astype(np.float64)
    x /= x.sum(axis=1, keepdims=True)
    return (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-12), file["labels"].ravel().astype(np.int64) - 1


def _rows() -> dict[str, Callable[[Domains], np.ndarray]]:
    return {
        "1NN": _by_neighbour("none"),
        "PCA k=30": _by_neighbour("pca", k=30),
        "PCA k=100": _by_neighbour("pca", k=100),
        "TCA": _by_neighbour("tca"),
        "JDA k=30": _by_neighbour("jda"),
        "JDA k=100": _by_neighbour("jda", k=100),
        "RBF SVM": lambda d: SVC(C=10, gamma=1 / d.dimension).fit(d.xs, d.ys).predict(d.xt),
        "CORAL": _coral_kernel,
        "GFK": _by_neighbour("gfk"),
        "SA": _by_neighbour("sa"),
    }


def _by_neighbour(method: str, **options: float) -> Callable[[Domains], np.ndarray]:
    def measure(domains: Domains) -> np.ndarray:
        aligned = align(method, domains.xs, domains.ys, domains.xt, options=options)
        return nearest(aligned.zs.astype(np.float64), domains.ys, aligned.zt.astype(np.float64))

    return measure


def _coral_kernel(domains: Domains) -> np.ndarray:
    """An SVM on the asymmetric kernel, C of 1e-3 ... 1e4 by two-fold cross-validation on the source (the paper)."""
    fitted, asked = coral.asymmetric_kernels(domains.xs, domains.xt)
    folds = list(StratifiedKFold(2, shuffle=True, random_state=0).split(fitted, domains.ys))

    def right(c: float) -> float:
        hits = [
            SVC(C=c, kernel="precomputed")
            .fit(fitted[np.ix_(rows, rows)], domains.ys[rows])
            .score(fitted[np.ix_(held, rows)], domains.ys[held])
            for rows, held in folds
        ]
        return float(np.mean(hits))

    best = max(np.logspace(-3, 4, 8), key=right)
    return SVC(C=best, kernel="precomputed").fit(fitted, domains.ys).predict(asked)


def _scale(n: int, d: int) -> None:
    print(f"| {n} x {d} source and target | CPU s | peak memory above that of making the data, MB |\n|---|---|---|")
    for name in SCALED:
        command = [sys.executable, __file__, "--one", name, "--n", str(n), "--d", str(d)]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(), flush=True)


def _one(name: str, n: int, d: int) -> None:
    """One method in a process of its own, so that the peak is its own. Data in float64, which are not copied."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(d, d)) / np.sqrt(d)
    domains = Domains(xs=rng.normal(size=(n, d)) @ mix, xt=rng.normal(size=(n, d)) @ mix.T + 0.5)
    align(name, domains.xs[:50], None, domains.xt[:50])  # what a first call imports is not counted
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    align(name, domains.xs, None, domains.xt)
    seconds = time.process_time() - start
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"| {name} | {seconds:.2f} | {peak:.0f} |")


def _reduced_against_plain(*, general: bool, n: int = 2500, d: int = 128, k: int = 30, classes: int = 10) -> None:
    """One solve of TCA and of JDA: ours with its factorisation of the rows, and K M K, K H K of n x n written out."""
    rng = np.random.default_rng(0)
    half = n // 2
    xs = rng.normal(size=(half, d)) * np.geomspace(1, 0.1, d)
    xt = rng.normal(size=(half, d)) * np.geomspace(1, 0.1, d)[::-1] + 0.2
    labels = np.arange(half) % classes
    marginal = domain_factor(half, n)[:, None]
    joint = np.hstack([np.sqrt(classes) * marginal, class_factors(labels, labels, np.arange(classes))])
    print(f"\n| n = {n}, D = {d}, k = {k} | rank-reduced, CPU s | n x n, CPU s | ratio | largest difference of z |")
    print("|---|---|---|---|---|")
    solvers = {"symmetric": eigh} | ({"general": eig} if general else {})
    for name, factors in (("TCA", marginal), ("JDA, one round", joint)):
        start = time.process_time()
        ours = embed(Rows.of(xs, xt), factors, k=k, ridge=1.0)
        seconds = time.process_time() - start
        for kind, solver in solvers.items():
            start = time.process_time()
            z = _plain(np.concatenate([xs, xt]), factors, k, solver)
            plain = time.process_time() - start
            gap = np.abs(ours.z * np.sign((ours.z * z).sum(axis=0)) - z).max()
            print(
                f"| {name}, {kind} solver | {seconds:.3f} | {plain:.1f} | {plain / seconds:.0f} | {gap:.1e} |",
                flush=True,
            )


def _plain(x: np.ndarray, factors: np.ndarray, k: int, solver: Callable) -> np.ndarray:
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    matrix = factors @ factors.T
    kernel = x @ x.T
    left = kernel @ (matrix / np.linalg.norm(matrix)) @ kernel + np.eye(len(x))
    right = kernel @ (np.eye(len(x)) - 1 / len(x)) @ kernel
    if solver is eigh:  # largest of right a = mu left a: the left side is the definite one
        vectors = eigh(right, left, subset_by_index=[len(x) - k, len(x) - 1])[1][:, ::-1]
    else:
        values, vectors = solver(left, right)
        values = np.where(np.isfinite(values) & (values.real > 0), values.real, np.inf)
        vectors = vectors[:, np.argsort(values)[:k]].real
    return kernel @ (vectors / np.linalg.norm(vectors, axis=0))


def _null(draws: int = 200) -> None:
    print(f"| MMD test at 0.05, {draws} draws, 200 relabellings | rejected, equal | mean p | rejected, moved by 0.5 |")
    print("|---|---|---|---|")
    for n, m, d in ((50, 50, 2), (60, 90, 20), (100, 100, 384)):
        rng = np.random.default_rng(0)
        equal = [_p(rng, n, m, d, 0.0, seed) for seed in range(draws)]
        moved = [_p(rng, n, m, d, 0.5, seed) for seed in range(draws)]
        rates = (
            f"{np.mean(np.array(equal) <= 0.05):.3f} | {np.mean(equal):.2f} | {np.mean(np.array(moved) <= 0.05):.2f}"
        )
        print(f"| n = {n}, m = {m}, D = {d} | {rates} |", flush=True)


def _p(rng: np.random.Generator, n: int, m: int, d: int, mu: float, seed: int) -> float:
    return mmd_test(rng.normal(size=(n, d)), rng.normal(size=(m, d)) + mu / np.sqrt(d), seed=seed).p_value


if __name__ == "__main__":
    main()
