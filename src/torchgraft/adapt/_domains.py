"""Batches of two domains: labelled source above unlabelled target, whatever the loaders hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from torchgraft.core.errors import DataError
from torchgraft.train.loader import Subset
from torchgraft.train.step import Batch, Loader


@dataclass(frozen=True, eq=False)
class Target:
    """B samples of the target, without any label: there is no field for one.

    `inputs` are as the network takes them, `rows` their positions in the target's own loader (0..Nt-1). `strong` is a
    second view of the same samples, augmented more strongly, where the loader was given one.
    """

    inputs: tuple[Tensor, ...]
    rows: np.ndarray
    strong: tuple[Tensor, ...] | None = None

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class DomainBatch:
    """Samples of both domains; `source` is None where there is no source data."""

    source: Batch | None
    target: Target

    @property
    def y(self) -> Tensor | None:
        """The classes of the source samples; those of the target are nowhere."""
        return None if self.source is None else self.source.y

    def __len__(self) -> int:
        return len(self.target) + (0 if self.source is None else len(self.source))

    def to(self, device: torch.device) -> DomainBatch:
        """The same batch on another device."""
        if device.type == "cpu":
            return self
        target = Batch(self.target.inputs, None, self.target.rows).to(device)
        strong = None if self.target.strong is None else Batch(self.target.strong, None, target.rows).to(device).inputs
        source = None if self.source is None else self.source.to(device)
        return DomainBatch(source, Target(target.inputs, target.rows, strong))


class Unlabelled:
    """A loader that has forgotten its labels."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)

    def plan(self, batch: int, seed: int | None, among: np.ndarray | None = None) -> list[np.ndarray]:
        """See `train.step.Loader`."""
        return self._loader.plan(batch, seed, among)

    def load(self, rows: np.ndarray, generator: torch.Generator | None) -> Batch:
        """See `train.step.Loader`; `y` is None."""
        batch = self._loader.load(rows, generator)
        return Batch(batch.inputs, None, batch.rows)


class DomainLoader:
    """A source and a target as one `train.step.Loader`.

    Positions 0..Ns-1 are the source's, Ns.. the target's, Ns being the length of the whole source loader (of a
    `train.loader.Subset` too, of which only the subset's rows are planned). A batch is half source and half target,
    all target without source; the source stands above the target, so that every second row of it, or every third,
    is as balanced. Don't cut it into smaller pieces (`LoopOptions.micro`): they would hold one domain.

    An epoch is as many batches as the larger domain needs; the smaller domain is gone through again and again.
    `strong` is the target once more, with stronger augmentation.

    Raises `DataError` for a domain of fewer than 2 samples, a source without labels, or a `strong` of other length.
    """

    def __init__(self, source: Loader | None, target: Loader, *, strong: Loader | None = None) -> None:
        _check(source, target, strong)
        self._source, self._source_rows = (None, np.empty(0, dtype=np.int64)) if source is None else _whole(source)
        inner, self._target_rows = _whole(target)
        self.target: Loader = Unlabelled(inner)
        self.strong: Loader | None = None if strong is None else Unlabelled(_whole(strong)[0])
        self.offset = 0 if self._source is None else len(self._source)

    @property
    def target_rows(self) -> np.ndarray:
        """Positions, in the target's own loader, of the samples adapted to."""
        return self._target_rows

    def __len__(self) -> int:
        """Ns + Nt, of the rows that are planned."""
        return len(self._source_rows) + len(self._target_rows)

    def plan(self, batch: int, seed: int | None, among: np.ndarray | None = None) -> list[np.ndarray]:
        """The positions of each batch of one epoch, the source's first; see the class for how often each comes.

        `batch` is at least 2 with a source. With `among`, only those positions.
        """
        source, target = self._source_rows, self._target_rows
        if among is not None:
            among = np.asarray(among)
            source = np.intersect1d(source, among[among < self.offset])
            target = np.intersect1d(target, among[among >= self.offset] - self.offset)
        if not len(target) or not len(source):
            return self._alone(batch, seed, source, target)
        half = max(batch // 2, 1)
        longer, shorter = (self._source, source), (self.target, target)
        if len(target) > len(source):
            longer, shorter = shorter, longer
        first = longer[0].plan(half, seed, longer[1])
        other = _repeated(*shorter, [len(rows) for rows in first], half, seed)
        pairs = zip(first, other, strict=True) if longer[0] is self._source else zip(other, first, strict=True)
        return [np.concatenate([s, t + self.offset]) for s, t in pairs]

    def _alone(self, batch: int, seed: int | None, source: np.ndarray, target: np.ndarray) -> list[np.ndarray]:
        if len(source):
            return self._source.plan(batch, seed, source)
        return [rows + self.offset for rows in self.target.plan(batch, seed, target)] if len(target) else []

    def load(self, rows: np.ndarray, generator: torch.Generator | None) -> DomainBatch:
        """The samples at `rows`. Raises `DataError` where none of them is of the target."""
        rows = np.asarray(rows)
        of_source, of_target = rows[rows < self.offset], rows[rows >= self.offset] - self.offset
        if not len(of_target):
            raise DataError("a batch needs samples of the target, got those of the source alone. Use a larger batch.")
        source = self._source.load(of_source, generator) if len(of_source) else None
        batch = self.target.load(of_target, generator)
        strong = None if self.strong is None else self.strong.load(of_target, generator).inputs
        return DomainBatch(source, Target(batch.inputs, batch.rows, strong))


def side_by_side(above: tuple[Tensor, ...], below: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The samples of both as one batch. Texts of unlike length are filled with 0 on the right, as is their mask."""
    return tuple(torch.cat(_even(a, b)) for a, b in zip(above, below, strict=True))


def _even(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if a.ndim != 2 or a.shape[1] == b.shape[1] or a.is_floating_point():
        return a, b
    width = max(a.shape[1], b.shape[1])
    return functional.pad(a, (0, width - a.shape[1])), functional.pad(b, (0, width - b.shape[1]))


def _whole(loader: Loader) -> tuple[Loader, np.ndarray]:
    """The loader that a subset is of, and the positions in it."""
    if isinstance(loader, Subset):
        inner, _ = _whole(loader.loader)
        return inner, np.asarray(loader.rows)
    return loader, np.arange(len(loader))


def _repeated(
    loader: Loader, among: np.ndarray, sizes: Sequence[int], batch: int, seed: int | None
) -> list[np.ndarray]:
    """Runs of these sizes out of one epoch after another, each in an order of its own."""
    found: list[np.ndarray] = []
    have, epoch = 0, 0
    while have < sum(sizes):
        more = loader.plan(batch, None if seed is None else seed + 7919 * (epoch + 1), among)
        found += more
        have, epoch = have + sum(map(len, more)), epoch + 1
    return np.split(np.concatenate(found)[: sum(sizes)], np.cumsum(sizes)[:-1])


def _check(source: Loader | None, target: Loader, strong: Loader | None) -> None:
    problems = []
    for name, loader in (("source", source), ("target", target)):
        if loader is not None and len(loader) < 2:
            problems.append(f"the {name} expects at least 2 samples, got {len(loader)}")
    if source is not None and len(source) and source.load(_whole(source)[1][:1], None).y is None:
        problems.append("the source expects a class for every sample, got none")
    if strong is not None and len(_whole(strong)[0]) != len(_whole(target)[0]):
        problems.append(f"the strong view expects the target's {len(target)} samples, got {len(strong)}")
    if problems:
        raise DataError("; ".join(problems) + ".")
