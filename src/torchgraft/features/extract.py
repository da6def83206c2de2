"""Extraction: the pooled features of samples under a backbone, computed once and kept in the store."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from torchgraft.backbones import Backbone
from torchgraft.core.errors import DataError, OptionError, UnknownName
from torchgraft.core.files import digest
from torchgraft.core.progress import SILENT, Progress
from torchgraft.core.runtime import keep_memory
from torchgraft.data import Finding, Samples
from torchgraft.features import _plan
from torchgraft.features._batches import CUT, ENGINE, source, typical
from torchgraft.features._result import Rows
from torchgraft.features._threads import cores, in_order, one_thread_each
from torchgraft.features.engine import ENGINES, Engine, choose
from torchgraft.features.pooling import resolve, width
from torchgraft.features.store import Store

LAYOUT = "1"
"""Part of every key; raised when the same sample would give other features than before."""

_NAMED = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """Pooled features of the samples that could be read.

    `z` is N_kept x D float32, memory-mapped; `kept` holds their positions (int64, ascending) among the samples asked
    for. `failed` reports what could not be read, `noted` what could but deserves a word (texts over the token limit).
    `engine` is what computed most of them, now or in an earlier run (`store` where the store doesn't know);
    `computed` the number of samples that were new, `seconds` the wall time, and `computing` what of it went into new
    samples, the building of network and engine left out.
    """

    z: np.ndarray
    kept: np.ndarray
    failed: tuple[Finding, ...]
    noted: tuple[Finding, ...] = ()
    engine: str
    computed: int
    seconds: float
    computing: float = 0.0


def extract(
    samples: Samples,
    backbone: Backbone,
    *,
    pooling: str | None = None,
    engine: str = "auto",
    store: Store | None = None,
    progress: Progress = SILENT,
    threads: int | None = None,
) -> Features:
    """Features of every sample that can be read: from the store where they are there, else computed and kept there.

    `pooling` None is the backbone's own; `engine` one of torch, onnxruntime, openvino, or auto (see
    `features.engine`); `store` None the user's; `threads` None one for each processor core, 16 at most. Samples of
    equal content are computed once. An extraction that was cut goes on where it stopped, with the same engine, and
    ends with the same bits as one that was not: called again with the same samples in the same order, it computes in
    the same batches, whatever the number of threads.

    Raises `OptionError` for a pooling or modality that doesn't fit the backbone, `UnknownName` or `MissingExtra` for
    an engine that isn't there, `StorageError` where the store can't be written (what was finished stays).
    """
    started = time.perf_counter()
    pooling = _checked(samples, backbone, pooling, engine, threads)
    store = store or Store()
    keep_memory()
    work = _Work(samples, backbone, pooling, store, threads or cores())
    work.look_up()
    if len(work.missing):
        work.compute(engine, progress)
    z, kept = work.rows.finish()
    return Features(
        z=z,
        kept=kept,
        failed=work.failures(),
        noted=work.notes(),
        engine=work.engine,
        computed=work.computed,
        seconds=time.perf_counter() - started,
        computing=work.computing,
    )


def store_key(backbone: Backbone, pooling: str) -> str:
    """The name of a shelf: changes with the weights, the preprocessing and the pooling."""
    return digest([LAYOUT, backbone.revision, repr(backbone.preprocessing), resolve(backbone, pooling)])


class _Work:
    """One extraction: what is known of each of N samples, and where its row goes. For one thread."""

    def __init__(self, samples: Samples, backbone: Backbone, pooling: str, store: Store, threads: int) -> None:
        self.samples = samples
        self.backbone = backbone
        self.pooling = pooling
        self.threads = threads
        self.source = source(samples.x, backbone)
        size = width(backbone, pooling)
        self.shelf = store.shelf(store_key(backbone, pooling), size)
        self.rows = Rows(len(samples), size, store.root)
        self.keys = np.zeros(len(samples), dtype="S32")
        self.flags = np.zeros(len(samples), dtype=np.uint8)
        self.failed: dict[int, str] = {}
        self.twins = _Twins(self.keys, np.empty(0, dtype=np.int64))
        self.computed = 0
        self.computing = 0.0

    def look_up(self) -> None:
        """Digest every sample, fetch what the store has, and list the first of each missing content."""
        pieces = np.array_split(np.arange(len(self.samples)), max(len(self.samples) // 64, 1))
        with ThreadPoolExecutor(self.threads) as pool:
            for piece, found in zip(pieces, pool.map(self._digests, pieces), strict=True):
                for position, key in zip(piece.tolist(), found, strict=True):
                    self._note_key(position, key)
        for block in self.shelf.take(self.keys):
            self._keep(block.at, block.z, block.flags)
        self.twins = _Twins(self.keys, np.flatnonzero(~self.rows.done & (self.keys != b"")))

    @property
    def missing(self) -> np.ndarray:
        """Positions to compute: the first of each content that the store doesn't have."""
        return self.twins.first

    def compute(self, engine: str, progress: Progress) -> None:
        """Features of what is missing. Finished batches are kept whatever ends it, and how to go on."""
        place = _plan.path(self.shelf.folder, self.keys)
        plan = _plan.read(place, self.missing, len(self.keys))
        with one_thread_each():
            runner = self._engine(engine, plan, progress)
            if runner is not None:
                _plan.write(place, replace(plan, form=runner.form), len(self.keys))
            begun = time.perf_counter()
            try:
                self._run(runner, plan, progress)
            finally:
                self.shelf.flush()
            self.computing = time.perf_counter() - begun
        _plan.remove(place)
        self.shelf.tidy()

    def _engine(self, engine: str, plan: _plan.Plan, progress: Progress) -> Engine | None:
        """None where nothing that is missing can be read."""
        batches = typical(self.source, plan.at)
        if not batches:
            return None
        return choose(
            self.backbone,
            self.pooling,
            batches,
            samples=len(plan.at),
            engine=engine,
            form=plan.form,
            threads=self.threads,
            progress=progress,
        )

    def _run(self, engine: Engine | None, plan: _plan.Plan, progress: Progress) -> None:
        def step(item: Any) -> tuple[Any, np.ndarray]:
            batch = self.source.load(item)
            return batch, engine(*batch.inputs) if len(batch.at) else np.empty((0, self.rows.width), np.float32)

        wanted = np.zeros(len(self.keys), dtype=bool)
        wanted[self.missing] = True
        made_by = ENGINE * (1 + ENGINES.index(engine.name)) if engine else 0
        total = len(self.missing)
        with progress.bar(f"features of {total} {self.backbone.modality}s by {self.backbone.name}", total) as bar:
            for batch, z in in_order(step, self.source.plan(plan.at, wanted), self.threads):
                new = wanted[batch.at]
                failed = {position: reason for position, reason in batch.failed.items() if wanted[position]}
                self.failed |= failed
                self._arrived(batch.at[new], batch.keys[new], z[new], batch.flags[new] | made_by)
                bar.advance(int(new.sum()) + len(failed))

    def _arrived(self, at: np.ndarray, keys: np.ndarray, z: np.ndarray, flags: np.ndarray) -> None:
        finite = np.isfinite(z).all(axis=1)
        self.failed |= dict.fromkeys(at[~finite].tolist(), "its features are not finite numbers")
        at, keys, z, flags = at[finite], keys[finite], z[finite], flags[finite]
        if not len(at):
            return
        self.shelf.add(keys, z, flags)
        self.computed += len(at)
        self._keep(at, z, flags)
        for i, position in enumerate(at.tolist()):
            others = self.twins.of(position)
            if len(others):
                self._keep(others, z[i : i + 1].repeat(len(others), axis=0), flags[i : i + 1].repeat(len(others)))

    def _keep(self, at: np.ndarray, z: np.ndarray, flags: np.ndarray) -> None:
        self.rows.write(at, z)
        self.flags[at] = flags

    @property
    def engine(self) -> str:
        """The engine that computed most of the rows, by their flags."""
        counts = np.bincount(self.flags[self.rows.done] // ENGINE, minlength=len(ENGINES) + 1)
        return ("store", *ENGINES)[int(counts[: len(ENGINES) + 1].argmax())]

    def _digests(self, piece: np.ndarray) -> list[bytes | str]:
        found: list[bytes | str] = []
        for position in piece.tolist():
            try:
                found.append(self.source.key(position))
            except DataError as error:
                found.append(str(error))
        return found

    def _note_key(self, position: int, found: bytes | str) -> None:
        if isinstance(found, str):
            self.failed[position] = found
        else:
            self.keys[position] = found

    def failures(self) -> tuple[Finding, ...]:
        """One finding for all samples that have no features, twins of unreadable ones included."""
        for position in list(self.failed):
            for twin in self.twins.of(position).tolist():
                self.failed.setdefault(twin, self.failed[position])
        named = [f"{self.samples.ids[i]}: {reason}" for i, reason in sorted(self.failed.items())]
        if not named:
            return ()
        message = f"{len(named)} of {len(self.samples)} {self.samples.modality}s can't be read. First: {named[0]}"
        return (_finding("unreadable", "warning", named, message, "left out"),)

    def notes(self) -> tuple[Finding, ...]:
        """One finding for the texts that fill the token limit."""
        cut = [self.samples.ids[i] for i in np.flatnonzero((self.flags & CUT > 0) & self.rows.done)]
        if not cut:
            return ()
        limit = self.backbone.preprocessing.max_tokens
        message = f"{len(cut)} of {len(self.samples)} texts reach the {limit} tokens that {self.backbone.name} can take"
        return (_finding("long_text", "note", cut, message, "what comes after is not seen"),)


class _Twins:
    """Samples of equal content among those `waiting` (positions, ascending): the first of each is computed."""

    def __init__(self, keys: np.ndarray, waiting: np.ndarray) -> None:
        _, first, group, counts = np.unique(keys[waiting], return_index=True, return_inverse=True, return_counts=True)
        self.first = waiting[np.sort(first)]
        groups = np.split(waiting[np.argsort(group, kind="stable")], np.cumsum(counts)[:-1])
        self._rest = {int(found[0]): found[1:] for found in groups if len(found) > 1}

    def of(self, position: int) -> np.ndarray:
        """The others of equal content, for the first of them."""
        return self._rest.get(position, np.empty(0, dtype=np.int64))


def _checked(samples: Samples, backbone: Backbone, pooling: str | None, engine: str, threads: int | None) -> str:
    if engine not in ("auto", *ENGINES):
        raise UnknownName("engines", engine, ("auto", *ENGINES))
    if samples.modality != backbone.modality:
        more = " Arrays are features already." if samples.modality == "array" else ""
        raise OptionError(f"{backbone.name} takes {backbone.modality} samples, got {samples.modality} samples.{more}")
    if threads is not None and threads < 1:
        raise OptionError(f"threads expects a whole number of at least 1, got {threads}.")
    return resolve(backbone, pooling)


def _finding(kind: str, severity: str, named: list[str], message: str, action: str) -> Finding:
    return Finding(
        kind=kind, severity=severity, count=len(named), message=message, action=action, examples=tuple(named[:_NAMED])
    )
