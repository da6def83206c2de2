"""Which scenes are held out when: whole sequences, or blocks of frames where there is one sequence alone."""

from __future__ import annotations

import numpy as np

from torchgraft.core.errors import DataError
from torchgraft.data._names import shown
from torchgraft.data._sequences import in_order
from torchgraft.data._split import Fold, _assign
from torchgraft.data.base import Finding, Samples

_LARGEST = 0.75  # share of the frames above which one sequence is cut into blocks: else a fold would fit on too few


def scene_folds(samples: Samples, seed: int, *, k: int = 5) -> tuple[tuple[Fold, ...], tuple[Finding, ...]]:
    """Rows to fit on and rows held out, of N samples with masks; and what there is to say about them.

    - samples called val: one fold, (the others, val);
    - several sequences: up to `k` folds of whole sequences, as equal in size as these allow;
    - one sequence (or one with more than three quarters of the frames): it is cut into `k` blocks of frames that follow
      each other, so that neighbours, nearly the same picture, part at few places only; a finding says so;
    - images that are alone (each is a sequence of its own): `k` random folds.

    Rows without a mask and rows called test are in no fold. Deterministic in `seed`. Raises `DataError` where fewer
    than two rows are left, and where all of them are val.
    """
    rows = np.flatnonzero((samples.y >= 0) & (samples.split != "test"))
    val = samples.split[rows] == "val"
    if len(rows) < 2 or val.all():
        what = "all of them val" if len(rows) and val.all() else f"{len(rows)} with a mask"
        raise DataError(
            f"{shown(str(samples.root), 200)}: {len(samples)} images, {what}. Expected at least one to fit on and one "
            "to measure on."
        )
    if val.any():
        return ((rows[~val], rows[val]),), ()
    names = np.array(samples.ids)[rows]
    group = names if samples.group is None else samples.group[rows]
    units, cut = _units(names, group, k)
    k = min(k, len(np.unique(units)))
    part = _assign(np.zeros(len(rows), dtype=np.int64), units, k, seed)
    pairs = tuple((rows[part != i], rows[part == i]) for i in range(k))
    return pairs, (_blocks(samples, rows[cut]),) if cut.any() else ()


def _units(names: np.ndarray, group: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The unit of each row that no fold tears apart, and a mask of the rows whose sequence was cut into blocks."""
    _, units, size = np.unique(group, return_inverse=True, return_counts=True)
    units = units.ravel()
    cut = (size[units] > max(1, _LARGEST * len(names))) if len(size) > 1 else np.ones(len(names), dtype=bool)
    where = np.flatnonzero(cut)
    for i, block in enumerate(np.array_split(where[in_order(names[where].tolist())], min(k, max(1, len(where))))):
        units[block] = len(size) + i
    return units, cut


def _blocks(samples: Samples, rows: np.ndarray) -> Finding:
    name = shown(str(samples.root.name if samples.group is None else samples.group[rows[0]]))
    return Finding(
        kind="one_sequence",
        severity="warning",
        count=len(rows),
        message=f"{len(rows)} of {len(samples)} images are frames of one sequence ({name}). Parts held out are blocks "
        "of frames from it, so that they resemble what is fitted on.",
        action="kept; numbers may be too good for other places and days. --group names what belongs together",
        examples=tuple(samples.ids[i] for i in rows[:3]),
    )
