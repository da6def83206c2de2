"""Two domains with a known shift, and the SURF features of Office-Caltech10 as the published tables want them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from torchgraft.align import Domains

SURF_DOMAINS = {"C": "caltech10", "A": "amazon", "W": "webcam", "D": "dslr"}
SURF_TASKS = ("C>A", "C>W", "C>D", "A>C", "A>W", "A>D", "W>C", "W>A", "W>D", "D>C", "D>A", "D>W")


def shifted(
    n: int = 90, d: int = 6, c: int = 3, *, seed: int = 0, gap: float = 4.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """xs, ys, xt, yt: C Gaussian classes; the target is stretched, turned a little and moved."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(c, d)) * gap / np.sqrt(2)
    ys, yt = np.arange(n) % c, np.arange(n + 7) % c
    turn = np.linalg.qr(np.eye(d) + 0.15 * rng.normal(size=(d, d)))[0]
    turn *= np.sign(np.diag(turn))
    xs = centres[ys] + rng.normal(size=(len(ys), d))
    xt = (centres[yt] + rng.normal(size=(len(yt), d))) @ turn * np.linspace(0.7, 1.6, d) + 2.0
    return xs, ys, xt, yt


@pytest.fixture
def make_shifted() -> Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """`shifted`."""
    return shifted


@pytest.fixture
def domains() -> Domains:
    """90 source and 97 target samples of 3 classes."""
    xs, ys, xt, _ = shifted()
    return Domains(xs=xs, ys=ys, xt=xt)


@pytest.fixture
def same() -> Domains:
    """A domain with itself."""
    xs, ys, _, _ = shifted()
    return Domains(xs=xs, ys=ys, xt=xs)


@pytest.fixture(scope="session")
def surf(shared_data: Path) -> Callable[[str], tuple[Domains, np.ndarray]]:
    """The task of a name like `C>A`: its domains, and the target's labels to score with.

    Histograms are brought to sum 1, then each domain is standardised with its own mean and deviation (N).
    """
    loaded: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for letter, name in SURF_DOMAINS.items():
        file = loadmat(shared_data / "office_caltech10_surf" / f"{name}.mat")
        x = file["fts"].astype(np.float64)
        x /= x.sum(axis=1, keepdims=True)
        loaded[letter] = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-12), file["labels"].ravel().astype(int) - 1

    def task(name: str) -> tuple[Domains, np.ndarray]:
        (xs, ys), (xt, yt) = (loaded[letter] for letter in name.split(">"))
        return Domains(xs=xs, ys=ys, xt=xt), yt

    return task
