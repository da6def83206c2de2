"""Batches of pictures with a label for each pixel: decoded and scaled once, kept as bytes."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from torchgraft.core.errors import DataError
from torchgraft.core.progress import SILENT, Progress
from torchgraft.data import IGNORE, Masks
from torchgraft.features.decode import pixels, resized, scaled_shape
from torchgraft.train.dense_augment import DenseAugment
from torchgraft.train.loader import evenly
from torchgraft.train.step import Batch

KEEP = 4 << 30
"""Bytes of decoded pictures that are kept; where all need more, they are decoded anew in every epoch."""

_FILL = 128  # grey levels beside a picture that is smaller than the largest of its batch


class DenseLoader:
    """N pictures and their masks, at `scale` times their size; a `train.step.Loader`.

    A batch holds x B x 3 x H x W uint8 (channels last in memory; float32 where colours are augmented) and y
    B x H x W int64 with `IGNORE` where there is no label (None without masks). Augmented batches have the size of
    `augment`; plain ones that of the largest picture in them, the others being filled below and to the right.
    `plan` without a seed puts pictures of one size together.

    Raises `DataError`, naming the file, where one can't be read.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        masks: Masks | None,
        *,
        scale: float = 1.0,
        keep: int = KEEP,
        progress: Progress = SILENT,
    ) -> None:
        self.paths, self.masks, self.scale = list(paths), masks, scale
        self.augment: DenseAugment | None = None
        self.pool = ThreadPoolExecutor(min(os.cpu_count() or 1, 16), thread_name_prefix="torchgraft-decode")
        self.kept: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}
        self.sizes = np.zeros((len(self.paths), 2), dtype=np.int64)
        held = 0
        with progress.bar(f"decoding {len(self.paths)} scenes", len(self.paths)) as bar:
            for i, found in enumerate(self.pool.map(self._decoded, range(len(self.paths)))):
                self.sizes[i] = found[0].shape[:2]
                held += 4 * self.sizes[i].prod()
                if held <= keep:
                    self.kept[i] = found
                bar.advance()

    def augmented(self, augment: DenseAugment) -> DenseLoader:
        """The same pictures, decoded already, augmented otherwise."""
        other = copy.copy(self)
        other.augment = augment
        return other

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def largest(self) -> tuple[int, int]:
        """(H, W) that holds every picture."""
        height, width = self.sizes.max(axis=0)
        return int(height), int(width)

    def plan(self, batch: int, seed: int | None, among: np.ndarray | None = None) -> list[np.ndarray]:
        """See `step.Loader`."""
        rows = np.arange(len(self)) if among is None else np.asarray(among)
        if seed is not None:
            return evenly(rows[np.random.default_rng(seed).permutation(len(rows))], batch)
        _, size = np.unique(self.sizes[rows], axis=0, return_inverse=True)
        return [part for one in np.unique(size) for part in evenly(rows[size.ravel() == one], batch)]

    def load(self, rows: np.ndarray, generator: torch.Generator | None) -> Batch:
        """See `step.Loader`."""
        found = list(self.pool.map(self.picture, rows.tolist()))
        height, width = np.max([image.shape[:2] for image, _ in found], axis=0).tolist()
        x = _stacked([image for image, _ in found], (len(found), height, width, 3), _FILL)
        y = None
        if self.masks is not None:
            y = _stacked([labels for _, labels in found], (len(found), height, width), IGNORE)
            if self.augment is not None and generator is not None:
                x, y = self.augment(x, y, generator)
            y = y.long()
        return Batch((x.permute(0, 3, 1, 2),), y, rows)

    def picture(self, row: int) -> tuple[np.ndarray, np.ndarray | None]:
        """H x W x 3 uint8, and H x W uint8 labels where there are masks."""
        return self.kept.get(row) or self._decoded(row)

    def _decoded(self, row: int) -> tuple[np.ndarray, np.ndarray | None]:
        path = self.paths[row]
        try:
            image = pixels(Path(path).read_bytes())
            labels = self.masks.read(row) if self.masks is not None and self.masks.paths[row] is not None else None
        except (OSError, DataError) as error:
            raise DataError(f"{path} can't be read any more: {error}. Was it changed during the run?") from error
        if self.masks is not None and labels is None:
            labels = np.full(image.shape[:2], IGNORE, dtype=np.uint8)
        if labels is not None and labels.shape != image.shape[:2]:
            raise DataError(f"{path} is {image.shape[:2]} pixels, its mask {labels.shape}. Was it changed?")
        shape = scaled_shape(image.shape, self.scale)
        return resized(image, shape), None if labels is None else resized(labels, shape, smooth=False)


def _stacked(arrays: Sequence[np.ndarray], shape: tuple[int, ...], fill: int) -> Tensor:
    whole = np.full(shape, fill, dtype=np.uint8)
    for i, one in enumerate(arrays):
        whole[i, : one.shape[0], : one.shape[1]] = one
    return torch.from_numpy(whole)
