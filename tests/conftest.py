"""What tests of every room share: the development data, and a feature store of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
