"""Plain values (paths, texts, arrays) as unlabelled samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from torchgraft.core.errors import DataError
from torchgraft.data import Samples


def as_samples(items: Sequence[str | Path] | np.ndarray, modality: str) -> Samples:
    """Unlabelled samples from plain values. Raises `DataError` where the values don't fit the modality."""
    if modality == "array":
        x: Any = _numbers(items)
        if x.ndim != 2 or not np.isfinite(x).all():
            raise DataError(
                f"features must be N x D and finite, got shape {x.shape}, {int((~np.isfinite(x)).sum())} not finite."
            )
    elif (
        isinstance(items, str | Path)
        or not isinstance(items, Iterable)
        or not all(isinstance(item, str | Path) for item in items)
    ):
        raise DataError(
            f"predict expects a list of {'paths' if modality == 'image' else 'texts'}, got {type(items).__name__}."
        )
    else:
        x = [Path(item) for item in items] if modality == "image" else [str(item) for item in items]
    return Samples(
        modality=modality,
        ids=tuple(str(item) for item in x) if modality == "image" else tuple(str(i) for i in range(len(x))),
        x=x,
        y=np.full(len(x), -1, dtype=np.int64),
        classes=(),
        split=np.full(len(x), "", dtype="<U5"),
        root=Path(),
    )


def _numbers(items: Any) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
            return np.asarray(items, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"features must be N x D numbers, got {type(items).__name__} ({error}).") from error
