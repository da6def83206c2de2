"""Batches for training: photos decoded once and kept in memory, texts tokenised once and sorted by length."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from torchgraft.backbones import Backbone
from torchgraft.core.errors import DataError
from torchgraft.core.progress import SILENT, Progress
from torchgraft.core.types import ImagePreprocessing
from torchgraft.features.decode import decode
from torchgraft.train.augment import AugmentOptions, ImageAugment
from torchgraft.train.mix import MixOptions, mix
from torchgraft.train.step import Batch, Loader
from torchgraft.train.tokens import TokenOptions, augment_tokens

KEEP = 2 << 30
"""Bytes of decoded photos that are kept; where all need more, they are decoded anew in every epoch."""

_WINDOW = 32
"""Batches of texts that are sorted by length together: short texts meet short ones, and the order stays random."""


class _Labelled:
    """N samples with classes `y` in 0..C-1 (None: unlabelled), mixed where asked."""

    def __init__(self, y: np.ndarray | None, classes: int, mixing: MixOptions) -> None:
        self.y = None if y is None else torch.from_numpy(np.asarray(y, dtype=np.int64))
        self.classes, self.mixing = classes, mixing

    def labels(self, rows: np.ndarray) -> Tensor | None:
        return None if self.y is None else self.y[torch.from_numpy(rows)]

    def mixed(self, x: Tensor, y: Tensor | None, generator: torch.Generator | None) -> tuple[Tensor, Tensor | None]:
        if generator is None or y is None or not (self.mixing.mixup or self.mixing.cutmix):
            return x, y
        return mix(x, torch.nn.functional.one_hot(y, self.classes).float(), self.mixing, generator)


class ImageLoader(_Labelled):
    """Photos as B x size x size x 3 uint8, decoded once with a margin so that crops can move.

    Float32 in 0..255 where augmentation or mixing makes other values.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        y: np.ndarray | None,
        preprocessing: ImagePreprocessing,
        *,
        classes: int = 0,
        mixing: MixOptions | None = None,
        keep: int = KEEP,
        progress: Progress = SILENT,
    ) -> None:
        """Raises `DataError`, naming the file, where one can't be read."""
        super().__init__(y, classes, mixing or MixOptions())
        self.paths = list(paths)
        self.augment = ImageAugment(AugmentOptions(), preprocessing.size)
        margin = max(preprocessing.resize - preprocessing.size, 0) // 4 * 4  # so that both centres are rounded alike
        side = preprocessing.size + margin
        self.large = replace(preprocessing, size=side)
        shape = (len(self.paths), side, side, 3)
        self.kept = np.empty(shape, dtype=np.uint8) if np.prod(shape) <= keep else None
        self.pool = ThreadPoolExecutor(min(os.cpu_count() or 1, 16), thread_name_prefix="torchgraft-decode")
        if self.kept is not None:
            with progress.bar(f"decoding {len(self.paths)} images", len(self.paths)) as bar:
                for i, image in enumerate(self.pool.map(self._decoded, range(len(self.paths)))):
                    self.kept[i] = image
                    bar.advance()

    def augmented(self, options: AugmentOptions) -> ImageLoader:
        """The same photos, decoded already, augmented otherwise."""
        other = copy.copy(self)
        other.augment = ImageAugment(options, self.augment.size)
        return other

    def __len__(self) -> int:
        return len(self.paths)

    def plan(self, batch: int, seed: int | None, among: np.ndarray | None = None) -> list[np.ndarray]:
        """See `step.Loader`."""
        return evenly(_order(len(self), seed, among), batch)

    def load(self, rows: np.ndarray, generator: torch.Generator | None) -> Batch:
        """See `step.Loader`."""
        found = self.kept[rows] if self.kept is not None else np.stack(list(self.pool.map(self._decoded, rows)))
        x = torch.from_numpy(found)
        x = self.augment.plain(x) if generator is None else self.augment(x, generator)
        x, y = self.mixed(x, self.labels(rows), generator)
        return Batch((x,), y, rows)

    def _decoded(self, row: int) -> np.ndarray:
        path = Path(self.paths[row])
        try:
            return decode(path.read_bytes(), self.large).permute(1, 2, 0).numpy()
        except (OSError, DataError) as error:
            raise DataError(f"{path} can't be read any more: {error}. Was it changed during the run?") from error


class TextLoader(_Labelled):
    """Texts as ids B x T and mask B x T, T being the longest of the batch."""

    def __init__(
        self,
        texts: Sequence[str],
        y: np.ndarray | None,
        backbone: Backbone,
        *,
        classes: int = 0,
        tokens: TokenOptions | None = None,
    ) -> None:
        super().__init__(y, classes, MixOptions())
        self.ids = [np.asarray(row, dtype=np.int64) for row in backbone.tokenizer(list(texts))]
        self.lengths = np.array([len(row) for row in self.ids], dtype=np.int64)
        self.padding = backbone.tokenizer.padding
        self.tokens = tokens or TokenOptions()

    def __len__(self) -> int:
        return len(self.ids)

    def plan(self, batch: int, seed: int | None, among: np.ndarray | None = None) -> list[np.ndarray]:
        """See `step.Loader`. With a seed, lengths are sorted within windows of 32 batches."""
        order = _order(len(self), seed, among)
        if seed is None:
            return evenly(order[np.argsort(-self.lengths[order], kind="stable")], batch)
        rng = np.random.default_rng(seed + 1)
        batches: list[np.ndarray] = []
        for window in evenly(order, batch * _WINDOW):
            batches += evenly(window[np.argsort(-self.lengths[window], kind="stable")], batch)
        return [batches[i] for i in rng.permutation(len(batches))]

    def load(self, rows: np.ndarray, generator: torch.Generator | None) -> Batch:
        """See `step.Loader`."""
        lengths = self.lengths[rows]
        ids = np.full((len(rows), max(int(lengths.max()), 1)), self.padding, dtype=np.int64)
        for i, row in enumerate(rows):
            ids[i, : lengths[i]] = self.ids[row]
        mask = torch.from_numpy((np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64))
        x = torch.from_numpy(ids)
        if generator is not None:
            x = augment_tokens(x, mask, self.tokens, generator, replacement=self.padding)
        return Batch((x, mask), self.labels(rows), rows)


class ArrayLoader(_Labelled):
    """Features N x ... float32 that are at hand already."""

    def __init__(
        self, z: np.ndarray, y: np.ndarray | None, *, classes: int = 0, mixing: MixOptions | None = None
    ) -> None:
        super().__init__(y, classes, mixing or MixOptions())
        self.z = z

    def __len__(self) -> int:
        return len(self.z)

    def plan(self, batch: int, seed: int | None, among: np.ndarray | None = None) -> list[np.ndarray]:
        """See `step.Loader`."""
        return evenly(_order(len(self), seed, among), batch)

    def load(self, rows: np.ndarray, generator: torch.Generator | None) -> Batch:
        """See `step.Loader`."""
        x, y = self.mixed(torch.from_numpy(np.asarray(self.z[rows])), self.labels(rows), generator)
        return Batch((x,), y, rows)


class Subset:
    """Some rows of a loader as a loader; positions stay those of the whole."""

    def __init__(self, loader: Loader, rows: np.ndarray) -> None:
        self.loader, self.rows = loader, rows

    def __len__(self) -> int:
        return len(self.rows)

    def plan(self, batch: int, seed: int | None, among: np.ndarray | None = None) -> list[np.ndarray]:
        """See `step.Loader`."""
        return self.loader.plan(batch, seed, self.rows if among is None else among)

    def load(self, rows: np.ndarray, generator: torch.Generator | None) -> Batch:
        """See `step.Loader`."""
        return self.loader.load(rows, generator)


def outputs(
    loader: Loader, rows: np.ndarray, compute: Callable[[Batch], Tensor], *, batch: int, device: torch.device
) -> np.ndarray:
    """`compute` over the samples at `rows`, plain and without gradients: M x ... float32 in the order of `rows`.

    Raises `DataError` where there are no rows.
    """
    if not len(rows):
        raise DataError("there is nothing to compute: expected at least one sample.")
    unique, places = np.unique(rows, return_inverse=True)
    order, values = [], []
    with torch.no_grad():  # not inference mode: what a network keeps from here must serve in training too
        for some in loader.plan(batch, None, unique):
            order.append(some)
            values.append(compute(loader.load(some, None).to(device)).float().cpu().numpy())
    return np.concatenate(values)[np.argsort(np.concatenate(order))][places]


def _order(n: int, seed: int | None, among: np.ndarray | None) -> np.ndarray:
    rows = np.arange(n) if among is None else np.asarray(among)
    return rows if seed is None else rows[np.random.default_rng(seed).permutation(len(rows))]


def evenly(order: np.ndarray, batch: int) -> list[np.ndarray]:
    """Runs of at most `batch`, as equal as can be: a last batch of one sample would have all the rate of a full one."""
    return np.array_split(order, -(-len(order) // batch)) if len(order) else []
