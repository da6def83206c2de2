"""Feature arrays: .npz or .mat with X and y, or .npy with X alone."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from scipy import io, sparse

from torchgraft.core.errors import DataError, OptionError, did_you_mean
from torchgraft.data._assemble import assemble
from torchgraft.data._names import ARRAYS, EXAMPLES, shown, shown_all, split_of
from torchgraft.data.base import SPLITS, Finding, ReadOptions, Samples

_X = ("x", "features", "feature", "fts", "feats", "fea", "embeddings", "data", "z")
_Y = ("y", "labels", "label", "targets", "target", "gnd", "classes")
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def accepts(path: Path) -> bool:
    """A .npz, .npy or .mat file."""
    return path.suffix.lower() in ARRAYS and path.is_file()


def read(path: Path, options: ReadOptions) -> Samples:
    """X as N x D float32 and the labels as text; `ids` are `file[row]`, counted from 0.

    Keys may carry a split (X_train, y_test). Rows with NaN or Inf are left out and reported, unless `every_row` is
    asked for. Raises `DataError` for damaged files, object arrays (they would have to be unpickled), and shapes that
    don't fit.
    """
    arrays = _load(path)
    groups = None if options.group is None else _named(path, arrays, options.group, "--group")
    parts = _parts(path, arrays, options)
    x, labels, split, ids = [], [], [], []
    for part, features, targets in parts:
        features, targets = _checked(path, part, features, targets)
        x.append(features)
        labels += targets
        split += [part] * len(features)
        ids += [f"{shown(path.name, 200)}[{part + ' ' if part else ''}{i}]" for i in range(len(features))]
    if len({features.shape[1] for features in x}) > 1:
        widths = ", ".join(f"X_{part} {_shape(array)}" for (part, _, _), array in zip(parts, x, strict=True))
        raise DataError(f"{shown(str(path), 200)}: {widths}. Expected the same number of features in every part.")
    if options.every_row:
        return assemble(
            modality="array", ids=ids, x=np.concatenate(x), labels=[None] * len(ids), split=split, root=path
        )
    group = _group_names(path, groups, len(ids))
    return _finite(path, np.concatenate(x), labels, split, ids, group, every_label=options.every_label)


def _finite(
    path: Path,
    x: np.ndarray,
    labels: list[str | None],
    split: list[str],
    ids: list[str],
    group: list[str] | None,
    *,
    every_label: bool,
) -> Samples:
    good = np.isfinite(x).all(axis=1)
    bad = np.flatnonzero(~good)
    findings = []
    if len(bad):
        message = f"{len(bad)} of {len(x)} rows hold NaN or Inf. First: {ids[bad[0]]}."
        examples = tuple(ids[i] for i in bad[:EXAMPLES])
        findings.append(
            Finding(
                kind="not_finite",
                severity="warning",
                count=len(bad),
                message=message,
                action="left out",
                examples=examples,
            )
        )
    keep = np.flatnonzero(good)
    return assemble(
        modality="array",
        ids=[ids[i] for i in keep],
        x=x if not len(bad) else x[keep],
        labels=[labels[i] for i in keep],
        split=[split[i] for i in keep],
        root=path,
        group=None if group is None else [group[i] for i in keep],
        findings=findings,
        every_label=every_label,
    )


def _parts(
    path: Path, arrays: Mapping[str, np.ndarray], options: ReadOptions
) -> list[tuple[str, np.ndarray, np.ndarray | None]]:
    """(split, X, y) for each split that the keys name, or once with split ''."""
    label = None if options.label is None else _named(path, arrays, options.label, "--label")
    if path.suffix.lower() == ".npy":
        return [("", next(iter(arrays.values())), None)]
    whole = _find(arrays, _X)
    if whole is not None:
        return [("", whole, label if label is not None else _find(arrays, _Y))]
    parts = []
    for part in SPLITS:
        features = _find(arrays, _X, part)
        if features is not None:
            parts.append((part, features, _find(arrays, _Y, part)))
    if not parts:
        raise DataError(
            f"{shown(str(path), 200)} has no array called X. Expected X (N x D) and y (N), or X_train, y_train, "
            f"X_test, y_test. Found {_described(arrays)}."
        )
    return parts


def _find(arrays: Mapping[str, np.ndarray], names: Sequence[str], part: str = "") -> np.ndarray | None:
    by_key = {_key(key): array for key, array in arrays.items()}
    return next((by_key[name, part] for name in names if (name, part) in by_key), None)


def _key(key: str) -> tuple[str, str]:
    """X_train -> (x, train); trainX is left alone."""
    name, _, part = key.lower().rpartition("_")
    return (name, split_of(part)) if name and split_of(part) else (key.lower(), "")


def _named(path: Path, arrays: Mapping[str, np.ndarray], name: str, option: str) -> np.ndarray:
    if name not in arrays:
        raise OptionError(
            f"{option} '{shown(name)}': {shown(path.name)} has no such array.{did_you_mean(name, arrays)} "
            f"Arrays: {shown_all(arrays)}."
        )
    return arrays[name]


def _group_names(path: Path, groups: np.ndarray | None, count: int) -> list[str] | None:
    if groups is None:
        return None
    if groups.size != count:
        raise DataError(
            f"{shown(str(path), 200)}: the group array is {_shape(groups)}. "
            f"Expected a name for each of N = {count} rows."
        )
    return [str(name) for name in groups.ravel().tolist()]


def _checked(path: Path, part: str, x: np.ndarray, y: np.ndarray | None) -> tuple[np.ndarray, list[str | None]]:
    """X as float32 and y as N labels. Raises `DataError` with the shapes where they don't fit."""
    name = f"{shown(str(path), 200)}{': ' + part if part else ''}"
    if x.dtype.kind not in "fiub":
        raise DataError(f"{name}: X holds values of type {x.dtype}. Expected numbers (float32).")
    if x.ndim != 2 or not x.size:
        raise DataError(
            f"{name}: X must be N x D, N samples with D features each; got {_shape(x)}."
            + (" Make one row of each sample: X.reshape(len(X), -1)." if x.ndim > 2 else "")
        )
    with np.errstate(over="ignore"):  # beyond float32 becomes Inf and is reported with its row
        x = np.ascontiguousarray(x, dtype=np.float32)
    return x, [None] * len(x) if y is None else _labels(name, x, y)


def _labels(name: str, x: np.ndarray, y: np.ndarray) -> list[str | None]:
    if y.size != len(x) or sum(side > 1 for side in y.shape) > 1:
        hint = ""
        if y.ndim == 2 and len(y) == len(x):
            hint = " If y is one-hot, save y.argmax(1)."
        elif x.shape[1] == y.size:
            hint = " X seems to be D x N: save X.T."
        raise DataError(
            f"{name}: y must hold one label for each of N = {len(x)} rows of X ({_shape(x)}); got {_shape(y)}.{hint}"
        )
    y = y.ravel()
    if y.dtype.kind not in "iubfUS":
        raise DataError(f"{name}: y holds values of type {y.dtype}. Expected integers or text (y.astype(str)).")
    if y.dtype.kind == "f":
        missing = ~np.isfinite(y)
        if (y[~missing] % 1).any():
            first = y[~missing & (y % 1 != 0)][0]
            raise DataError(f"{name}: y holds numbers with decimals, such as {first}: a quantity, not classes.")
        return [None if gone else str(int(value)) for value, gone in zip(y.tolist(), missing.tolist(), strict=True)]
    if y.dtype.kind == "S":
        y = np.char.decode(y, "utf-8", "backslashreplace")
    return [str(value) if str(value).strip() else None for value in y.tolist()]


def _load(path: Path) -> dict[str, np.ndarray]:
    if not path.stat().st_size:
        raise DataError(f"{shown(str(path), 200)} is empty. Expected arrays X (N x D) and y (N).")
    load = {".npz": _npz, ".npy": _npy, ".mat": _mat}[path.suffix.lower()]
    try:
        return load(path)
    except (DataError, PermissionError):
        raise
    except MemoryError:
        raise DataError(f"{shown(str(path), 200)} does not fit into memory.") from None
    except Exception as error:  # the boundary: a damaged file makes these parsers raise almost anything
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise DataError(f"{shown(str(path), 200)} is damaged or no {path.suffix} file: {shown(reason, 120)}.") from None


def _npy(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as stream:
        _refuse_header(path, "X", stream, path.stat().st_size)
    return {"X": np.load(path, allow_pickle=False)}


def _npz(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as stream:
                _refuse_header(path, entry.filename.removesuffix(".npy"), stream, entry.file_size)
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _refuse_header(path: Path, key: str, stream: Any, size: int) -> None:
    """Look at type and shape before anything is allocated: a header of a few bytes may promise terabytes."""
    version = npy.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"array {key} is of npy version {version[0]}.{version[1]}")
    shape, _, dtype = _HEADERS[version](stream)
    if dtype.hasobject:
        raise DataError(
            f"{shown(str(path), 200)}: array '{shown(key)}' holds Python objects: reading it means unpickling, "
            "which runs whatever code is in it. Save it with a plain type: X.astype('float32'), y.astype(str)."
        )
    _refuse_large(path, key, shape, dtype.itemsize)
    if int(np.prod(shape, dtype=object)) * dtype.itemsize > size:
        raise ValueError(f"array {key} is cut off: its header promises {' x '.join(map(str, shape))}")


def _refuse_large(path: Path, key: str, shape: Sequence[int], itemsize: int) -> None:
    needed = int(np.prod(shape, dtype=object)) * max(itemsize, 4)
    if needed > _memory():
        sides = " x ".join(map(str, shape))
        raise DataError(
            f"{shown(str(path), 200)}: array '{shown(key)}' ({sides}) takes {needed / 2**30:,.0f} GiB, "
            "more memory than this machine has."
        )


def _memory() -> float:
    """Bytes of memory in this machine; endless where the system does not tell."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else float("inf")


def _mat(path: Path) -> dict[str, np.ndarray]:
    try:
        for name, shape, _ in io.whosmat(path):
            _refuse_large(path, name, shape, 8)
        found = io.loadmat(path)
    except NotImplementedError:
        raise DataError(
            f"{shown(str(path), 200)} is a MATLAB v7.3 file, which is HDF5. "
            "Save it as version 7: save('x.mat', 'X', 'y', '-v7')."
        ) from None
    arrays = {name: value for name, value in found.items() if not name.startswith("__")}
    return {name: _dense(path, name, value) for name, value in arrays.items()}


def _dense(path: Path, name: str, value: Any) -> np.ndarray:
    if sparse.issparse(value):
        _refuse_large(path, name, value.shape, 8)
        return value.toarray()
    return np.asarray(value)


def _shape(array: np.ndarray) -> str:
    return " x ".join(map(str, array.shape)) or "a single value"


def _described(arrays: Mapping[str, np.ndarray]) -> str:
    return shown_all(f"{name} ({_shape(array)})" for name, array in arrays.items())
