"""Seeds, versions, and memory that is kept."""

from __future__ import annotations

import platform
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from torchgraft.core import runtime


def _draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(1))


@pytest.mark.parametrize("seed", [0, 7, 2**32 + 5])
def test_one_seed_gives_one_sequence(seed: int) -> None:
    runtime.seed_everything(seed)
    first = _draw()
    runtime.seed_everything(seed)
    assert _draw() == first
    runtime.seed_everything(seed + 1)
    assert _draw() != first


def test_seeding_loads_no_torch() -> None:
    code = "import sys; from torchgraft.core import runtime; runtime.seed_everything(1); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_keeping_memory_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHGRAFT_KEEP_MEMORY", "0")
    assert not runtime.keep_memory()


def test_memory_is_kept_on_glibc_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHGRAFT_KEEP_MEMORY", raising=False)
    assert runtime.keep_memory() == (platform.libc_ver()[0] == "glibc")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not runtime.keep_memory()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_not_given_back() -> None:
    code = """
import sys, resource
from torchgraft.core.runtime import keep_memory
keep_memory()
import numpy as np
np.ones(4_000_000); before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5): np.ones(4_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert faults < 5000, "five blocks of 32 MB are 39000 pages: they must not be mapped afresh"


def test_versions_name_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = runtime.versions()
    assert found["python"] == platform.python_version()
    assert found["numpy"] == np.__version__
    assert int(found["cores"]) >= 1

    def nothing(package: str) -> str:
        raise runtime.PackageNotFoundError(package)

    monkeypatch.setattr(runtime, "version", nothing)
    assert set(runtime.versions()) == {"python", "machine", "cores"}
