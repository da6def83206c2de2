"""Labelled features in which the best of several is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from torchgraft.rank import Evidence


@pytest.fixture
def evidence(blobs) -> Callable[..., Evidence]:
    """N samples of C classes, `gap` standard deviations apart; with `source`, probabilities of S made-up classes."""

    def make(n: int = 120, d: int = 10, c: int = 4, *, gap: float = 2.0, seed: int = 0, source: int = 0) -> Evidence:
        z, y = blobs(n, d, c, gap=gap, seed=seed)
        given = None
        if source:
            logits = np.random.default_rng(seed).normal(size=(n, source)) + 2.0 * (y[:, None] == np.arange(source) % c)
            given = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return Evidence(z=z, y=y, n_classes=c, source=given, seed=seed)

    return make
