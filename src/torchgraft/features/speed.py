"""How fast a backbone is on this machine: one sample at a time, many, and how long all of them would take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from torchgraft.backbones import Backbone
from torchgraft.core.errors import DataError
from torchgraft.data import Samples
from torchgraft.features._batches import source, typical
from torchgraft.features._threads import cores, in_order, one_thread_each
from torchgraft.features.engine import ENGINES, choose
from torchgraft.features.extract import extract
from torchgraft.features.pooling import resolve

_ASKED = 64
"""Samples that are measured at most."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """`latency`: seconds for one sample, from its file or text to its features, median of several, one thread.

    `throughput`: samples a second in batches, all cores at work. `engine`: what ran the network.
    """

    latency: float
    throughput: float
    engine: str


def speed(samples: Samples, backbone: Backbone, *, engine: str = "auto", repeats: int = 7) -> Speed:
    """Measure on the first samples that can be read (64 at most), wall time, after a warm-up; `repeats` >= 1.

    `engine` as for `extract`; auto takes what a job of this size would, torch runs in the form that a single sample
    has: one for all networks, with nothing to trace. Raises `DataError` where no sample can be read, and what
    `engine.choose` raises.
    """
    some = source(samples.x[:_ASKED], backbone)
    at = np.arange(min(len(samples), _ASKED))
    batches = typical(some, at)
    if not batches:
        raise DataError(f"{samples.root}: none of the first {len(at)} samples can be read, so speed is not known.")
    with one_thread_each():
        named = engine if engine in ENGINES else "auto"
        job = 1 if named == "torch" else len(samples)
        runner = choose(backbone, resolve(backbone, None), batches, samples=job, engine=named, threads=cores())

        def run(item: Any) -> int:
            batch = some.load(item)
            if len(batch.at):
                runner(*batch.inputs)
            return len(batch.at)

        batches_at = list(some.plan(at))
        run(batches_at[0])  # warms up
        alone = (next(iter(some.plan(at[i : i + 1]))) for i in range(min(repeats, len(at))))
        latencies = [took for took, done in (_timed(run, item) for item in alone) if done]
        took, done = _timed(lambda items: sum(in_order(run, items, cores())), batches_at)
    return Speed(latency=float(np.median(latencies)), throughput=done / took, engine=runner.name)


def expected_seconds(
    samples: Samples, backbone: Backbone, *, engine: str = "auto", pooling: str | None = None
) -> float:
    """Wall time that features of all samples would take, by the rate of a few; 0 where there are few.

    Those few stay in the store, so the time is not lost. Raises like `extract`.
    """
    if len(samples) < 8 * _ASKED:
        return 0.0
    some = samples.take(np.linspace(0, len(samples) - 1, _ASKED).astype(int))
    one = extract(some, backbone, engine=engine, pooling=pooling)
    # the network is built again for the rest, but once: only what each sample takes grows with their number
    return one.seconds + one.computing / one.computed * len(samples) if one.computed else 0.0


def _timed(run: Callable[[Any], int], item: Any) -> tuple[float, int]:
    """Wall seconds, and what `run` says: the samples that were read."""
    start = time.perf_counter()
    done = run(item)
    return time.perf_counter() - start, done
