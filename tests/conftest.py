"""What tests of every room share: the development data, and a feature store of their own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import hypothesis
import numpy as np
import pytest

hypothesis.settings.register_profile("any machine", deadline=None)  # a busy one is no failure
hypothesis.settings.load_profile("any machine")

SHARED = Path(os.environ.get("TORCHGRAFT_SHARED", Path(__file__).parent.parent.parent / "shared"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if (SHARED / "data").is_dir():
        return
    skip = pytest.mark.skip(reason=f"the development data is not at {SHARED}")
    for item in items:
        if "shared" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; for tests marked `shared`."""
    return SHARED / "data"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep tests out of the user's feature store, and share one store among them."""
    os.environ["TORCHGRAFT_CACHE"] = str(tmp_path_factory.mktemp("cache"))


def gaussian(n: int, d: int, c: int, *, gap: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """N x D rows around C random means at `gap` standard deviations, on an ill-conditioned basis."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % c
    mix = rng.normal(size=(d, d)) * np.geomspace(1, 0.05, d)[:, None]
    z = (rng.normal(size=(c, d)) * gap / np.sqrt(d))[y] @ mix + rng.normal(size=(n, d)) @ mix / np.sqrt(d)
    return (z + rng.normal(size=d)).astype(np.float32), y.astype(np.int64)


@pytest.fixture
def blobs() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """`gaussian`, for tests that want features alone."""
    return gaussian
