"""The N x D result of an extraction, on disk from the start: memory stays flat whatever N is."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from torchgraft.core.files import storage

_ROWS = 1024


class Rows:
    """N x D float32 rows in a file without a name: it goes with the last array that maps it, or with the process."""

    def __init__(self, n: int, width: int, folder: Path) -> None:
        self._row = 4 * width
        self.width = width
        self.folder = folder
        self.done = np.zeros(n, dtype=bool)
        with storage(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - lives as long as the array

    def write(self, at: np.ndarray, z: np.ndarray) -> None:
        """Put rows at positions `at`. Raises `StorageError` where the disk is full."""
        z = np.ascontiguousarray(z, dtype=np.float32)
        with storage(self.folder):
            for position, row in zip(at.tolist(), z, strict=True):
                self._file.seek(position * self._row)
                self._file.write(row.data)
        self.done[at] = True

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows that were written, memory-mapped (n x D; writing to it stays in memory), and their positions."""
        kept = np.flatnonzero(self.done)
        with storage(self.folder):
            if len(kept) < len(self.done):
                self._close_gaps(kept)
            self._file.flush()
        if not len(kept):
            return np.empty((0, self.width), dtype=np.float32), kept
        return np.asarray(np.memmap(self._file, np.float32, mode="c", shape=(len(kept), self.width))), kept

    def _close_gaps(self, kept: np.ndarray) -> None:
        for start in range(0, len(kept), _ROWS):
            rows = []
            for position in kept[start : start + _ROWS].tolist():
                self._file.seek(position * self._row)
                rows.append(self._file.read(self._row))
            self._file.seek(start * self._row)
            self._file.write(b"".join(rows))
