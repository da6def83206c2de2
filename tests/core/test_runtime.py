"""Seeds, kept memory, versions."""

from __future__ import annotations

import platform
import random

import numpy as np
import pytest
import torch

from torchgraft import __version__
from torchgraft.core.runtime import keep_memory, seed_everything, versions


def test_one_seed_for_all_generators() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    seed_everything(7)
    first = draw()
    assert draw() != first
    seed_everything(7)
    assert draw() == first


def test_memory_is_kept_with_glibc_and_left_alone_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    assert keep_memory() == (platform.libc_ver()[0] == "glibc")
    monkeypatch.setenv("TORCHGRAFT_KEEP_MEMORY", "0")
    assert keep_memory() is False


def test_versions_name_what_a_result_depends_on() -> None:
    found = versions()
    assert {"python", "machine", "cores", "torch", "numpy", "scikit-learn"} <= set(found)
    assert found["torchgraft"] == __version__
    assert found["torch"] == torch.__version__
