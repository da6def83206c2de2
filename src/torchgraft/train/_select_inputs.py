"""What the scores of `select` are given, checked: all that is wrong with one call in one message."""

from __future__ import annotations

from typing import Any

import numpy as np

from torchgraft.core.errors import DataError


class Inputs:
    """The inputs of one call; what is wrong with them is collected until `check` raises it.

    Each method gives its input back as float64 (or int64 labels), and an empty array in place of a faulty one. `least`
    is the fewest rows allowed.
    """

    def __init__(self, *, least: int = 1) -> None:
        self.least = least
        self.faults: list[str] = []
        self.rows: dict[str, int] = {}

    def probabilities(self, name: str, value: Any) -> np.ndarray:
        """N x C, C of 2 or more, no value under 0; rows that sum to 1 within 1e-3 are brought to 1 exactly."""
        p = self._numbers(name, value, "N x C probabilities", 2)
        if not p.size:
            return p
        if p.shape[1] < 2:
            return self._fault(f"{name} expects 2 or more columns, one for each class, got {p.shape[1]}")
        wrong = (p < 0).any(axis=1) | (np.abs(p.sum(axis=1) - 1) > 1e-3)
        if wrong.any():
            row = int(wrong.argmax())
            return self._fault(
                f"{name}: {int(wrong.sum())} of {len(p)} rows are no probabilities (0 or more, sum 1; first: row {row}"
                f", {np.round(p[row, :8], 4).tolist()}); take the softmax of logits first"
            )
        return p / p.sum(axis=1, keepdims=True)

    def features(self, name: str, value: Any) -> np.ndarray:
        """N x D finite numbers."""
        return self._numbers(name, value, "N x D features", 2)

    def amounts(self, name: str, value: Any) -> np.ndarray:
        """N finite numbers, none under 0."""
        v = self._numbers(name, value, "N numbers", 1)
        if (v < 0).any():
            return self._fault(f"{name} expects numbers of 0 or more, got {v.min():g}", 1)
        return v

    def labels(self, name: str, value: Any, n_classes: int) -> np.ndarray:
        """N class indices in 0..n_classes - 1."""
        y = self._numbers(name, value, "N class indices", 1)
        if y.size and ((y != np.floor(y)).any() or y.min() < 0 or y.max() >= n_classes):
            return self._fault(f"{name} expects class indices in 0..{n_classes - 1}, got {y.min():g} to {y.max():g}", 1)
        return y.astype(np.int64)

    def flags(self, name: str, value: Any) -> np.ndarray:
        """N values that are each true or false (or 1 or 0)."""
        v = self._numbers(name, value, "N values, each true or false", 1)
        if not np.isin(v, (0, 1)).all():
            return self._fault(f"{name} expects true or false for each sample, got {v[~np.isin(v, (0, 1))][0]:g}", 1)
        return v

    def frequencies(self, name: str, value: Any, p: np.ndarray) -> np.ndarray:
        """The C class frequencies, sum 1, that go with the N x C probabilities `p`."""
        q = self._numbers(name, value, "C class frequencies", 1)
        if not q.size:
            return q
        if (p.size and len(q) != p.shape[1]) or (q < 0).any() or abs(q.sum() - 1) > 1e-3:
            wanted = f"{p.shape[1]} " if p.size else ""
            got = f"{len(q)}: {np.round(q[:8], 4).tolist()}"
            return self._fault(f"{name} expects {wanted}class frequencies that sum to 1, got {got}", 1)
        return q / q.sum()

    def same_rows(self, *names: str) -> None:
        """The inputs of these names need the same number of rows."""
        self._same("samples", {name: self.rows[name] for name in names if name in self.rows})

    def same_width(self, **arrays: np.ndarray) -> None:
        """These N x D (or N x C) arrays need the same number of columns."""
        self._same("columns", {name: array.shape[1] for name, array in arrays.items() if array.size})

    def check(self) -> None:
        """Raises `DataError` with all that was wrong."""
        if self.faults:
            raise DataError("; ".join(self.faults) + ".")

    def _numbers(self, name: str, value: Any, wanted: str, axes: int) -> np.ndarray:
        try:
            array = np.asarray(value)
            if array.dtype.kind not in "fiub":
                raise TypeError
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            return self._fault(f"{name} expects {wanted}, a dense array of numbers, got {type(value).__name__}", axes)
        if array.ndim != axes or 0 in array.shape:
            return self._fault(f"{name} expects {wanted}, none of them empty, got shape {array.shape}", axes)
        self.rows[name] = len(array)
        if len(array) < self.least:
            return self._fault(f"{name} expects {self.least} samples or more, got {len(array)}", axes)
        bad = ~np.isfinite(array)
        if bad.any():
            rows = bad.reshape(len(array), -1).any(axis=1)
            return self._fault(f"{name}: {int(rows.sum())} of {len(array)} samples hold NaN or infinite values", axes)
        return array

    def _same(self, what: str, sizes: dict[str, int]) -> None:
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
            self.faults.append(f"expected the same number of {what}, got {listed}")

    def _fault(self, message: str, axes: int = 2) -> np.ndarray:
        self.faults.append(message)
        return np.empty((0,) * axes)
