"""Work on batches by several threads, each with a network of its own pace: inside a batch torch uses one thread."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")

_MAX_THREADS = 16


def cores() -> int:
    """Processor cores that this process may use, 16 at most."""
    free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(free, _MAX_THREADS)


def in_order(step: Callable[[T], U], items: Iterable[T], threads: int) -> Iterator[U]:
    """`map` over threads that stays only a few items ahead of who takes the results."""
    ahead: deque = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="torchgraft-extract")
    try:
        for item in items:
            ahead.append(pool.submit(step, item))
            if len(ahead) > 2 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Every thread decodes and runs its own batch: within a batch torch uses one thread."""
    import torch  # here, since what is in the store already needs none

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
