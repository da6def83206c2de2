"""A test part kept aside, and the rows held out when: seeded, stratified, groups never torn apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from torchgraft.core.errors import DataError
from torchgraft.data.base import Samples

Fold = tuple[np.ndarray, np.ndarray]
"""(rows to fit on, rows held out), both sorted positions in 0..N-1."""

_FEWEST = 50  # labelled samples below which no test part is set aside
_FEWEST_OF_CLASS = 5  # members below which a class stays in train as a whole
_LARGEST_HELD_OUT = 5000
_FEWEST_SEQUENCES = 5  # of dense samples, below which no test part is set aside


def split(samples: Samples, *, seed: int, test: bool = True) -> Samples:
    """Say for each sample whether it is train, val or test.

    What is said already stays. Where no sample is test and `test` is asked for, one in five labelled samples of train
    is set aside: stratified, whole groups at a time, the same for the same seed. With fewer than 50 samples none is;
    classes with fewer than 5 stay in train, as do groups without which train would lack a class. Val is never made:
    the ladder cross-validates. Raises `DataError` where all samples are test.

    Of samples with masks, a test part is set aside only where there are 5 sequences or more, and none is called val.
    """
    parts = np.where(samples.split == "", "train", samples.split).astype("<U5")
    if len(samples) and not (parts == "train").any():
        there = ", ".join(sorted(set(parts.tolist())))
        raise DataError(f"{samples.root} has no train part, only {there}. Expected samples to learn from.")
    if test and samples.masks is not None:
        parts[_test_scenes(samples, parts, seed)] = "test"
    elif test and not (parts == "test").any():
        rows = np.flatnonzero((parts == "train") & (samples.y >= 0))
        rows = rows[np.bincount(samples.y[rows], minlength=1)[samples.y[rows]] >= _FEWEST_OF_CLASS]
        if len(rows) >= _FEWEST:
            group = None if samples.group is None else samples.group[rows]
            held = _held_out(samples.y[rows], group, 5, seed)
            parts[rows[held if group is None else _no_class_alone(samples.y[rows], group, held)]] = "test"
    return replace(samples, split=parts)


def _test_scenes(samples: Samples, parts: np.ndarray, seed: int) -> np.ndarray:
    """Positions of the dense samples to set aside: of five parts made of whole sequences, the one nearest a fifth."""
    rows = np.flatnonzero(samples.y >= 0)
    group = np.array(samples.ids) if samples.group is None else samples.group
    sequences = np.unique(group[rows], return_inverse=True)[1].ravel()
    if (parts != "train").any() or len(rows) < _FEWEST or len(np.unique(sequences)) < _FEWEST_SEQUENCES:
        return rows[:0]
    part = _assign(samples.y[rows], sequences, 5, seed)
    nearest = int(np.abs(np.bincount(part, minlength=5) - len(rows) / 5).argmin())
    return rows[part == nearest]


def folds(
    y: np.ndarray,
    *,
    group: np.ndarray | None = None,
    seed: int,
    val: np.ndarray | None = None,
    max_rows: int = 2000,
    k: int = 5,
) -> tuple[Fold, ...]:
    """Which of N rows are fitted on and which held out; `y` holds class indices, `val` a mask of N or None.

    - `val` given: one fold, (the others, val);
    - N <= `max_rows`: k stratified folds, k at most the size of the smallest class that can be split, at least 2;
    - else: one stratified fold of a fifth of the rows, at most 5000.

    Rows of one group stay together. Held-out parts are disjoint, and every class held out is also fitted on: rows of a
    class with one member (or one group) are in the fit rows of every fold. Deterministic in `seed`. Raises `DataError`
    for one class only, and where no row can be held out.
    """
    y = np.asarray(y)
    if (y < 0).any():
        raise DataError(f"{int((y < 0).sum())} of {len(y)} samples have no label. Leave them out before making folds.")
    if len(np.unique(y)) < 2:
        raise DataError(f"the {len(y)} samples are of one class only. Expected at least two classes to tell apart.")
    units = np.arange(len(y)) if group is None else np.unique(np.asarray(group), return_inverse=True)[1].ravel()
    if val is not None and np.any(val):
        parts = np.where(val, 0, -1)
        return _pairs(y, units, parts, 1)
    pinned = _only_home(y, units)
    free = np.flatnonzero(~pinned)
    if len(np.unique(units[free])) < 2:
        what, copies = ("sample", "") if group is None else ("group", " (copies of one sample are a group)")
        raise DataError(
            f"no class has a second {what}{copies}, so nothing can be held out to measure on. "
            f"Expected two {what}s a class."
        )
    parts = np.full(len(y), -1)
    if len(y) <= max_rows:
        k = max(2, min(k, _smallest(y, units, pinned)))
        parts[free] = _assign(y[free], units[free], k, seed)
    else:
        k, parts[free] = 1, np.where(_held_out(y[free], units[free], 5, seed, _LARGEST_HELD_OUT), 0, -1)
    return _pairs(y, units, parts, k)


def _pairs(y: np.ndarray, units: np.ndarray, parts: np.ndarray, k: int) -> tuple[Fold, ...]:
    """Folds from the part (-1: always fitted) of each row; a group whose class would go unfitted is fitted."""
    pairs = []
    for part in range(k):
        held = parts == part
        held = held if held.all() else _no_class_alone(y, units, held)
        if held.any() and not held.all():
            pairs.append((np.flatnonzero(~held), np.flatnonzero(held)))
    if not pairs:
        raise DataError(
            "no row can be held out without losing a class. Expected at least two samples (or groups) of a class, "
            "and not all of them in val."
        )
    return tuple(pairs)


def _no_class_alone(y: np.ndarray, units: np.ndarray, held: np.ndarray) -> np.ndarray:
    """The mask `held` without the groups whose class the other rows lack."""
    while (unseen := held & ~np.isin(y, y[~held])).any():
        held = held & ~np.isin(units, units[unseen])
    return held


def _only_home(y: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Mask of the rows in groups that are the only ones with some class."""
    cells = np.unique(np.stack([y, units], axis=1), axis=0)  # (pairs of class and group) x 2
    _, first, count = np.unique(cells[:, 0], return_index=True, return_counts=True)
    return np.isin(units, cells[first[count == 1], 1])


def _smallest(y: np.ndarray, units: np.ndarray, pinned: np.ndarray) -> int:
    """The least number of groups over the classes that no pinned row has."""
    cells = np.unique(np.stack([y, units], axis=1)[~np.isin(y, y[pinned])], axis=0)
    total = len(np.unique(units[~pinned]))
    return min(total, int(np.unique(cells[:, 0], return_counts=True)[1].min())) if len(cells) else total


def _held_out(y: np.ndarray, group: np.ndarray | None, k: int, seed: int, limit: int | None = None) -> np.ndarray:
    """Mask of one part in k, or of as much less as keeps it under `limit` rows."""
    units = np.arange(len(y)) if group is None else np.unique(group, return_inverse=True)[1].ravel()
    k = k if limit is None else max(k, -(-len(y) // limit))
    return _assign(y, units, k, seed) == 0


def _assign(y: np.ndarray, units: np.ndarray, k: int, seed: int) -> np.ndarray:
    """The part 0..k-1 of each row: parts are equal in size and in classes as far as groups allow.

    Without groups, rows are shuffled, sorted by class and dealt out like cards: class counts and sizes differ by at
    most one. With groups, the largest first, each goes where it leaves the class counts most even (least sum of
    squares of counts in units of the class's size).
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]
    if len(np.unique(units)) == len(units):
        parts = np.empty(len(y), dtype=np.int64)
        parts[order] = np.arange(len(y)) % k
        return parts
    return _assign_groups(y, np.unique(units, return_inverse=True)[1].ravel(), k, rng)


def _assign_groups(y: np.ndarray, units: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    codes = np.unique(y, return_inverse=True)[1]
    share = 1 / np.bincount(codes)  # C
    members = np.argsort(units, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(units))])
    shuffled = rng.permutation(len(starts) - 1)
    order = shuffled[np.argsort(-np.diff(starts)[shuffled], kind="stable")]
    filled = np.zeros((k, len(share)))  # share of each class that each part holds
    parts = np.empty(len(y), dtype=np.int64)
    for unit in order:
        rows = members[starts[unit] : starts[unit + 1]]
        classes, count = np.unique(codes[rows], return_counts=True)
        cost = (filled[:, classes] * (count * share[classes])).sum(
            axis=1
        )  # what the sum of squares grows by, but a constant
        best = int(np.lexsort((filled.sum(axis=1), cost))[0])
        filled[best, classes] += count * share[classes]
        parts[rows] = best
    return parts
