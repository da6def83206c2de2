"""The feature store: features on disk, named by what they were computed from, shared by runs, data sets and processes.

Layout: `<root>/<key>/<random>.safetensors`, one folder per backbone, preprocessing and pooling (the key is a digest of
them), one shard per few hundred samples. A shard holds `keys` (n x 32 uint8, the digest of each sample's content),
`z` (n x D float32), `sums` (n uint32, CRC-32 of each row of z) and `flags` (n uint8). Shards are written under a
temporary name and renamed, never changed afterwards; so no locks are needed, two processes may use one store, and what
was finished survives a kill. A shard that is damaged or has vanished is passed over: its samples are computed again.
Beside them, `<digest>.plan` says how an extraction that is not done yet goes on (see `_plan`).
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from torchgraft.core.errors import StorageError
from torchgraft.core.files import cache_root, replacing
from torchgraft.features import _plan

_SUFFIX = ".safetensors"
_FLUSH_ROWS, _FLUSH_SECONDS = 256, 5.0
_SMALL_ROWS, _MANY_SMALL = 64, 32
_STALE_SECONDS = 24 * 3600
_DAMAGED = (OSError, SafetensorError, ValueError, KeyError)


@dataclass(frozen=True, eq=False)
class Block:
    """Stored rows: `at` are positions in what was asked for (n,), `z` n x D float32, `flags` n uint8."""

    at: np.ndarray
    z: np.ndarray
    flags: np.ndarray


class Store:
    """A feature store in the folder `root` (None: `features` in the cache, see `core.files.cache_root`)."""

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root) if root is not None else cache_root() / "features"

    def shelf(self, key: str, width: int) -> Shelf:
        """The part of the store for one backbone, preprocessing and pooling (`key`), with D = `width`."""
        return Shelf(self.root / key, width)

    def size(self) -> int:
        """Bytes on disk."""
        return sum(status.st_size for _, status in self._files())

    def prune(self, max_bytes: int) -> int:
        """Remove shards, the least recently used first, until at most `max_bytes` are left; returns the bytes freed.

        Remains of killed processes that are older than a day go too. Safe beside running extractions: what they
        miss they compute again.
        """
        for remains in (*self.root.glob("*/.*"), *self.root.glob(f"*/*{_plan.SUFFIX}")):
            if time.time() - _modified(remains) > _STALE_SECONDS:
                shutil.rmtree(remains, ignore_errors=True) if remains.is_dir() else _plan.remove(remains)
        files = sorted(self._files(), key=lambda found: found[1].st_mtime_ns)
        total = sum(status.st_size for _, status in files)
        freed = 0
        for path, status in files:
            if total - freed <= max_bytes:
                break
            path.unlink(missing_ok=True)
            freed += status.st_size
        return freed

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        found = []
        for path in self.root.glob(f"*/*{_SUFFIX}"):
            try:
                found.append((path, path.stat()))
            except FileNotFoundError:  # another process pruned it just now
                continue
        return found


class Shelf:
    """Features of one kind. Reading and writing are for one thread; other processes may do the same at once."""

    def __init__(self, folder: Path, width: int) -> None:
        self.folder = folder
        self.width = width
        self._pending: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._rows = 0
        self._flushed = time.monotonic()

    def take(self, keys: np.ndarray) -> Iterator[Block]:
        """What is stored of `keys` (N, dtype S32), shard by shard: one shard at a time is in memory."""
        index = _Index.read(self._shards(), self.width)
        shard, row = index.find(keys)
        for number in np.unique(shard[shard >= 0]):
            at = np.flatnonzero(shard == number)
            block = _rows(index.paths[number], at, row[at], self.width)
            if len(block.at):
                yield block

    def add(self, keys: np.ndarray, z: np.ndarray, flags: np.ndarray) -> None:
        """Keep n rows; on disk after at most 256 rows or 5 seconds of calls to `add`, or at `flush`.

        Raises `StorageError` where the disk is full or not writable; shards written before stay.
        """
        self._pending.append((keys, z, flags))
        self._rows += len(keys)
        if self._rows >= _FLUSH_ROWS or time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is pending as one shard. Raises like `add`."""
        pending, self._pending, self._rows = self._pending, [], 0
        self._flushed = time.monotonic()
        if pending:
            keys, z, flags = (np.concatenate(parts) for parts in zip(*pending, strict=True))
            self._write(keys, z, flags)

    def tidy(self) -> None:
        """Join many small shards (of runs over a few samples) into one."""
        index = _Index.read(self._shards(), self.width)
        small = [number for number in range(len(index.paths)) if index.rows[number] < _SMALL_ROWS]
        if len(small) < _MANY_SMALL:
            return
        for number in small:
            rows = np.arange(index.rows[number])
            block = _rows(index.paths[number], rows, rows, self.width)
            self._pending.append((index.keys[number][block.at], block.z, block.flags))
        self.flush()
        for number in small:
            index.paths[number].unlink(missing_ok=True)

    def _shards(self) -> list[Path]:
        return sorted(path for path in self.folder.glob(f"*{_SUFFIX}") if not path.name.startswith("."))

    def _write(self, keys: np.ndarray, z: np.ndarray, flags: np.ndarray) -> None:
        z = np.ascontiguousarray(z, dtype=np.float32)
        shard = {
            "keys": np.ascontiguousarray(keys).view(np.uint8).reshape(-1, 32),
            "z": z,
            "sums": _sums(z),
            "flags": flags.astype(np.uint8),
        }
        try:
            with replacing(self.folder / f"{uuid.uuid4().hex}{_SUFFIX}") as new:
                new.write_bytes(save(shard))
        except StorageError as error:
            raise StorageError(f"{error} The folder is set by the environment variable TORCHGRAFT_CACHE.") from error


@dataclass(frozen=True, eq=False)
class _Index:
    """Keys of every readable shard."""

    paths: list[Path]
    keys: list[np.ndarray]

    @classmethod
    def read(cls, paths: list[Path], width: int) -> _Index:
        found = [(path, keys) for path in paths if (keys := _keys(path, width)) is not None]
        return cls([path for path, _ in found], [keys for _, keys in found])

    @property
    def rows(self) -> list[int]:
        return [len(keys) for keys in self.keys]

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shard number and row of each key; -1 where there is none."""
        nowhere = np.full(len(keys), -1)
        if not self.keys or not len(keys):
            return nowhere, nowhere
        known = np.concatenate(self.keys)
        shard = np.repeat(np.arange(len(self.keys)), self.rows)
        row = np.concatenate([np.arange(n) for n in self.rows])
        order = np.argsort(known, kind="stable")
        place = np.minimum(np.searchsorted(known, keys, sorter=order), len(known) - 1)
        hit = known[order[place]] == keys
        return np.where(hit, shard[order[place]], -1), np.where(hit, row[order[place]], -1)


def _keys(path: Path, width: int) -> np.ndarray | None:
    try:
        with safe_open(path, framework="np") as shard:
            keys = shard.get_tensor("keys")
            n, d = shard.get_slice("z").get_shape()
    except _DAMAGED:
        return None
    fits = keys.dtype == np.uint8 and keys.shape == (n, 32) and d == width and n
    return np.ascontiguousarray(keys).view("S32").ravel() if fits else None


def _rows(path: Path, at: np.ndarray, rows: np.ndarray, width: int) -> Block:
    """The rows of a shard whose checksum is right; none where the shard is gone or damaged."""
    try:
        with safe_open(path, framework="np") as shard:
            z, sums, flags = (shard.get_tensor(name) for name in ("z", "sums", "flags"))
        os.utime(path)  # `prune` removes what has not been used for longest
        z, sums, flags = z[rows], sums[rows], flags[rows]
    except (*_DAMAGED, IndexError):
        return Block(at[:0], np.empty((0, width), np.float32), np.empty(0, np.uint8))
    whole = _sums(z) == sums
    return Block(at[whole], z[whole], flags[whole])


def _sums(z: np.ndarray) -> np.ndarray:
    return np.array([zlib.crc32(row) for row in z], dtype=np.uint32)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
