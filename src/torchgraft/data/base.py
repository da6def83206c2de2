"""What every reader returns, and what a reader file offers.

A reader is one file in this room. It offers:

- `accepts(path: Path) -> bool`: a cheap look (names and suffixes, no decoding);
- `read(path: Path, options: ReadOptions) -> Samples`: the samples with their labels, not yet decoded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from torchgraft.core.files import digest
from torchgraft.core.types import DataSpec

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """Which columns mean what; None: found by name, or by looking at the values.

    `every_row` is for predictions: rows that can't be used (texts that are missing are then empty, numbers NaN or Inf)
    stay in their place, and labels are not read.
    """

    text: str | None = None
    label: str | None = None
    group: str | None = None
    every_row: bool = False


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that the reader or the data check noticed: `count` samples, a few of them named, and what was done.

    `kind` is a stable word (unreadable, duplicate, leak, rare_class, ...); `severity` is error, warning or note;
    `action` says what torchgraft did about it (left out, removed from test, nothing).
    """

    kind: str
    severity: str
    count: int
    message: str
    action: str = ""
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Samples:
    """N samples of one modality, not yet decoded.

    `x` is a sequence of N paths (image), N texts (text) or an N x D float32 array (array). `y` holds N class
    indices (int64, -1: unlabelled) into `classes`. `split` holds train, val, test or '' (not said) for each sample;
    `group` a name for each sample where samples belong together (frames of one video, texts of one author).
    """

    modality: str
    ids: tuple[str, ...]
    x: Sequence[Path] | Sequence[str] | np.ndarray
    y: np.ndarray
    classes: tuple[str, ...]
    split: np.ndarray
    root: Path
    group: np.ndarray | None = None
    findings: tuple[Finding, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: np.ndarray | Sequence[int]) -> Samples:
        """The samples at `index` (positions or a boolean mask of N), in that order; classes stay as they are."""
        index = np.asarray(index)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        x = self.x[index] if isinstance(self.x, np.ndarray) else [self.x[i] for i in index]
        return replace(
            self,
            ids=tuple(self.ids[i] for i in index),
            x=x,
            y=self.y[index],
            split=self.split[index],
            group=None if self.group is None else self.group[index],
        )

    def of(self, split: str) -> Samples:
        """The samples of one split."""
        return self.take(self.split == split)

    @property
    def labelled(self) -> bool:
        """Whether every sample has a label."""
        return bool(len(self)) and bool((self.y >= 0).all())

    def spec(self) -> DataSpec:
        """The description of this data set. The hash covers ids, labels, splits and (text, array) the values."""
        counts = Counter(self.split.tolist())
        values = [self.x.tobytes()] if isinstance(self.x, np.ndarray) else [str(x) for x in self.x]
        if self.modality == "image":
            values = []  # decoding is what reads the bytes; ids name the files
        rows = (f"{i}\t{y}\t{s}" for i, y, s in zip(self.ids, self.y.tolist(), self.split.tolist(), strict=True))
        return DataSpec(
            modality=self.modality,
            task="single_label",
            classes=self.classes,
            counts={split or "unsplit": counts[split] for split in (*SPLITS, "") if counts[split]},
            root=str(self.root),
            content_hash=digest([*self.classes, *rows, *values]),
        )
