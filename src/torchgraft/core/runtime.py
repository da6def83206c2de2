"""The process we run in: seeds, threads, device, and memory that is kept instead of given back."""

from __future__ import annotations

import ctypes
import os
import platform
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8  # malloc.h of glibc


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch (where loaded already)."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def keep_memory() -> bool:
    """Tell glibc to keep freed memory for the next batch instead of giving it back to the kernel.

    Every batch of a CPU forward pass asks for the same few large blocks; by default glibc maps and unmaps each,
    and the page faults cost more than the arithmetic of a small network. New threads share one arena, since the arenas
    that glibc makes for threads can't keep large blocks. Affects this process alone, from now on.
    Returns whether it took effect (Linux with glibc only; `TORCHGRAFT_KEEP_MEMORY=0` leaves it off).
    """
    if os.environ.get("TORCHGRAFT_KEEP_MEMORY") == "0" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    gigabyte = 1 << 30
    settings = {
        _M_MMAP_THRESHOLD: gigabyte,
        _M_TRIM_THRESHOLD: 2 * gigabyte - 1,
        _M_TOP_PAD: 64 << 20,
        _M_ARENA_MAX: 1,
    }
    return all(mallopt(setting, value) == 1 for setting, value in settings.items())


def wait_passively() -> None:
    """Let OpenMP's threads sleep, not spin, while they wait for one another. Before torch is loaded, else of no effect.

    A training step has hundreds of parallel regions. Where another process wants the cores too, a spinning thread keeps
    the one it waits for from running: steps of MiniLM took 8 s on a busy two-core machine, and 0.75 s with this.
    `OMP_WAIT_POLICY` in the environment is respected.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@contextmanager
def one_thread() -> Iterator[None]:
    """Let the matrix libraries use one thread inside the block.

    The matrices of a head are small: a second thread would spend its time spinning until the first is done, which
    doubles the CPU time and saves none of the wall time. Extraction has threads of its own.
    """
    import scipy.linalg  # noqa: F401 - its copy of the matrix library must be loaded to be limited
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield


def peak_memory(*, reset: bool = False) -> int:
    """The largest resident size of this process in bytes, since the last `reset` where the system has that (Linux)."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        return _peak_so_far()


def _peak_so_far() -> int:
    try:
        import resource  # not on Windows
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def versions() -> dict[str, str]:
    """What a result depends on: interpreter, processor, cores, and the versions of the packages that do the work."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "cores": str(os.cpu_count())}
    for package in ("torchgraft", "torch", "timm", "transformers", "scikit-learn", "numpy", "onnxruntime", "openvino"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
