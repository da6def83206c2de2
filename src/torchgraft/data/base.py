"""What every reader returns, and what a reader file offers.

A reader is one file in this room. It offers:

- `accepts(path: Path) -> bool`: a cheap look (names and suffixes, no decoding);
- `read(path: Path, options: ReadOptions) -> Samples`: the samples with their labels, not yet decoded.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from torchgraft.core.files import digest
from torchgraft.core.types import DataSpec
from torchgraft.data._names import plain

if TYPE_CHECKING:
    from torchgraft.data._masks import Masks

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """Which columns mean what; None: found by name, or by looking at the values.

    `every_row` is for predictions: rows that can't be used (texts that are missing are then empty, numbers NaN or Inf)
    stay in their place, and labels are not read. `every_label` is for a target of adaptation, whose labels must not
    decide what is there: test samples are kept whatever their label, and the classes are those of all splits.
    """

    text: str | None = None
    label: str | None = None
    group: str | None = None
    every_row: bool = False
    every_label: bool = False


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

    `task` is single_label or segmentation. For a dense task, `masks` holds the labels, `classes` are those of their
    pixels, and `y` is 0 for a sample with a mask and -1 for one without. `views` holds other pictures of the same
    scenes, aligned with `x`: for each view, by name, a file for each sample, None where it is missing.
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
    masks: Masks | None = None
    task: str = "single_label"
    views: Mapping[str, tuple[Path | None, ...]] | None = None

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
            masks=None if self.masks is None else self.masks.take(index),
            views=self.views and {name: tuple(files[i] for i in index) for name, files in self.views.items()},
        )

    def of(self, split: str) -> Samples:
        """The samples of one split."""
        return self.take(self.split == split)

    @property
    def numbered(self) -> bool:
        """Whether classes of masks are named by the values that they are written as, since nothing names them."""
        return self.masks is not None and self.classes == tuple(map(str, self.masks.values))

    @property
    def labelled(self) -> bool:
        """Whether every sample has a label."""
        return bool(len(self)) and bool((self.y >= 0).all())

    def spec(self) -> DataSpec:
        """The description of this data set. The hash covers ids, labels, splits and (text, array) the values."""
        counts = Counter(self.split.tolist())
        values = [self.x.tobytes()] if isinstance(self.x, np.ndarray) else [str(x) for x in self.x]
        if self.modality == "image":
            values = [] if self.masks is None else self._mask_names()  # decoding reads the bytes; names are covered
        rows = (f"{i}\t{y}\t{s}" for i, y, s in zip(self.ids, self.y.tolist(), self.split.tolist(), strict=True))
        return DataSpec(
            modality=self.modality,
            task=self.task,
            classes=self.classes,
            counts={split or "unsplit": counts[split] for split in (*SPLITS, "") if counts[split]},
            root=str(self.root),
            content_hash=digest([*self.classes, *rows, *values]),
        )

    def _mask_names(self) -> list[str]:
        paths = (None if path is None else os.path.relpath(path, self.root) for path in self.masks.paths)
        views = (
            f"{name}:{file and os.path.relpath(file, self.root)}"
            for name in self.views or ()
            for file in self.views[name]
        )
        return [self.task, str(self.masks.values), *(plain(path or "") for path in paths), *map(plain, views)]
