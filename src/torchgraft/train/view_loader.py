"""Batches of scenes with several aligned pictures each, of which some may be missing."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from torchgraft.core.errors import DataError
from torchgraft.features.decode import pixels
from torchgraft.train.dense_loader import KEEP, DenseLoader
from torchgraft.train.step import Batch

BLANK = 128
"""Grey levels of a view that is missing; nothing reads them."""


class Redrawn(DenseLoader):
    """The scenes of another loader, with the picture H x W x 3 uint8 of its size that `draw(row)` gives."""

    def __init__(self, scenes: DenseLoader, draw: Callable[[int], np.ndarray], *, keep: int = KEEP) -> None:
        self.__dict__.update(scenes.__dict__)
        self.scenes, self.draw, self.kept, self.room = scenes, draw, {}, keep
        # its own: drawing may load other scenes, and would wait for a worker that waits for it
        self.pool = ThreadPoolExecutor(min(os.cpu_count() or 1, 16), thread_name_prefix="torchgraft-draw")

    def picture(self, row: int) -> tuple[np.ndarray, np.ndarray | None]:
        """See `DenseLoader.picture`."""
        if row in self.kept:
            return self.kept[row]
        found = self.draw(row), self.scenes.picture(row)[1]
        self.room -= found[0].size
        if self.room > 0:
            self.kept[row] = found
        return found


class ViewLoader(Redrawn):
    """The scenes of a loader and further views of them: `inputs` are V pictures and which of them are there (B x V).

    A view is scaled to the size of its image. `there` is N x V bool; the first view is the image, and always there.
    Raises `DataError`, naming the file, where a view can't be read.
    """

    def __init__(self, scenes: DenseLoader, views: Mapping[str, Sequence[Path | None]]) -> None:
        super().__init__(scenes, lambda row: scenes.picture(row)[0], keep=0)
        self.files = tuple(views.values())
        there = [[True] * len(scenes), *([file is not None for file in files] for files in self.files)]
        self.there = np.array(there).T
        self.each = (scenes, *(Redrawn(scenes, self._reader(files)) for files in self.files))

    def load(self, rows: np.ndarray, generator: torch.Generator | None) -> Batch:
        """See `step.Loader`; nothing is augmented."""
        batches = [one.load(rows, None) for one in self.each]
        present = torch.from_numpy(self.there[rows])
        return Batch((*(batch.inputs[0] for batch in batches), present), batches[0].y, rows)

    def _reader(self, files: Sequence[Path | None]) -> Callable[[int], np.ndarray]:
        def draw(row: int) -> np.ndarray:
            shape = self.scenes.picture(row)[0].shape
            return np.full(shape, BLANK, np.uint8) if files[row] is None else read_view(files[row], shape[:2])

        return draw


def read_view(file: Path, size: tuple[int, int]) -> np.ndarray:
    """A view as H x W x 3 uint8 of a given size, antialiased. Raises `DataError`, naming the file."""
    try:
        image = pixels(Path(file).read_bytes())
    except (OSError, DataError) as error:
        raise DataError(f"{file}, a view, can't be read: {error}. Remove it, and it counts as missing.") from error
    if image.shape[:2] == tuple(size):
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))
