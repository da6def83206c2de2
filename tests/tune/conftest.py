"""Small problems with a known answer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from torchgraft.tune import Problem


def stratified(y: np.ndarray, k: int, seed: int = 0) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """k folds, each holding out every k-th sample of every class."""
    part = np.zeros(len(y), dtype=int)
    order = np.random.default_rng(seed).permutation(len(y))
    for c in np.unique(y):
        members = order[y[order] == c]
        part[members] = np.arange(len(members)) % k
    return tuple((np.flatnonzero(part != i), np.flatnonzero(part == i)) for i in range(k))


def gaussian(n: int, d: int, c: int, *, gap: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """N x D rows around C random means at `gap` standard deviations, on an ill-conditioned basis."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % c
    mix = rng.normal(size=(d, d)) * np.geomspace(1, 0.05, d)[:, None]
    z = (rng.normal(size=(c, d)) * gap / np.sqrt(d))[y] @ mix + rng.normal(size=(n, d)) @ mix / np.sqrt(d)
    return (z + rng.normal(size=d)).astype(np.float32), y.astype(np.int64)


@pytest.fixture
def make_problem() -> Callable[..., Problem]:
    """A problem from its blocks and labels, with stratified folds unless given."""

    def make(blocks: dict, y: np.ndarray, *, k: int = 3, classes: int | None = None, folds: tuple = ()) -> Problem:
        names = tuple(f"class {i}" for i in range(classes or int(y.max()) + 1))
        return Problem(blocks=blocks, y=np.asarray(y, dtype=np.int64), classes=names, folds=folds or stratified(y, k))

    return make


@pytest.fixture
def blobs() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """`gaussian`, for tests that want features alone."""
    return gaussian


@pytest.fixture
def dense_problem(make_problem) -> Problem:
    """120 samples of 4 classes under one backbone."""
    z, y = gaussian(120, 12, 4)
    return make_problem({"packaged/net": z}, y)


@pytest.fixture
def text_problem(make_problem) -> Problem:
    """90 short texts of 3 classes whose words give them away, with weak features beside them."""
    rng = np.random.default_rng(0)
    words = (("apple", "pear"), ("train", "bus"), ("cat", "dog"))
    y = np.arange(90) % 3
    texts = [f"the {rng.choice(words[c])} is {rng.choice(['red', 'big', 'new'])}" for c in y]
    z = rng.normal(size=(90, 6)) + np.eye(6)[y]
    return make_problem({"packaged/net": z.astype(np.float32), "text": texts}, y)
