"""Samples that come twice: the same content, almost the same picture, the same in two splits, the same with two labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from torchgraft.data._names import EXAMPLES, shown
from torchgraft.data.base import Finding, Samples

_BITS = 64
_BANDS = 4
_CROWD = 2048
"""Distinct hashes that share a band; larger crowds share it because it is empty (black borders), not as copies."""


def alike(keys: Sequence[str]) -> list[np.ndarray]:
    """Positions that have the same key, for each key that comes more than once; in order of appearance."""
    places: dict[str, list[int]] = {}
    for i, key in enumerate(keys):
        places.setdefault(key, []).append(i)
    return [np.array(rows) for rows in places.values() if len(rows) > 1]


def near(hashes: np.ndarray, limit: int = 3) -> np.ndarray:
    """M x 2 positions (i < j) whose 64-bit hashes (N, uint64) differ in at most `limit` bits, `limit` <= 3.

    The hash is cut into four bands of 16 bits. Two hashes that differ in three bits agree in one band at least, so
    only hashes that share a band are compared, not all N^2 / 2 pairs. Positions with the very same hash are paired
    with the first of them only.
    """
    values, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    inverse = inverse.ravel()
    again = np.flatnonzero(first[inverse] != np.arange(len(hashes)))
    found = [np.stack([first[inverse[again]], again], axis=1)]
    for band in range(_BANDS):
        keys = (values >> np.uint64(band * _BITS // _BANDS)) & np.uint64(0xFFFF)
        for crowd in _crowds(keys):
            i, j = np.triu_indices(len(crowd), 1)
            close = _ones(values[crowd[i]] ^ values[crowd[j]]) <= limit
            found.append(np.stack([first[crowd[i[close]]], first[crowd[j[close]]]], axis=1))
    pairs = np.concatenate(found)
    return np.unique(np.sort(pairs, axis=1), axis=0) if len(pairs) else pairs.reshape(0, 2)


def _crowds(keys: np.ndarray) -> Iterator[np.ndarray]:
    order = np.argsort(keys, kind="stable")
    for crowd in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
        if 1 < len(crowd) <= _CROWD:
            yield crowd


def _ones(x: np.ndarray) -> np.ndarray:
    """Number of set bits of each uint64: sums over pairs, nibbles, bytes (numpy 1 has no bitwise_count)."""
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)


def leaks(samples: Samples, groups: Sequence[np.ndarray]) -> np.ndarray:
    """Mask of the test samples whose content is in train or val too."""
    mask = np.zeros(len(samples), dtype=bool)
    test = samples.split == "test"
    for rows in groups:
        if test[rows].any() and not test[rows].all():
            mask[rows[test[rows]]] = True
    return mask


def conflicts(samples: Samples, groups: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The groups of the same content with different labels (unlabelled ones don't count)."""
    return [rows for rows in groups if len({label for label in samples.y[rows].tolist() if label >= 0}) > 1]


def bound(samples: Samples, groups: Sequence[np.ndarray]) -> np.ndarray | None:
    """Groups under which copies never part, so that none of them is learnt from and measured on at once.

    Samples that were grouped already keep their groups; without copies there is nothing to bind.
    """
    if samples.group is not None or not groups:
        return samples.group
    names = np.array(samples.ids, dtype=object)
    for rows in groups:
        names[rows] = samples.ids[rows[0]]
    return names.astype(str)


def findings(
    samples: Samples, exact: Sequence[np.ndarray], same: Sequence[np.ndarray], pairs: np.ndarray
) -> list[Finding]:
    """What to report of copies: `exact` groups of equal content, `same` groups of content equal but for case, spaces
    and punctuation (they contain `exact`), `pairs` (M x 2) of pictures that look alike.
    """
    test = samples.split == "test"
    copies = sum(len(rows) - 1 for rows in exact)
    looser = sum(len(rows) - 1 for rows in same) - copies
    leak = leaks(samples, same)
    clash = conflicts(samples, same)
    across = pairs[test[pairs[:, 0]] != test[pairs[:, 1]]] if len(pairs) else pairs
    total = len(samples)
    train, val = samples.split == "train", samples.split == "val"
    shared = [rows for rows in same if train[rows].any() and val[rows].any()]
    lines = (
        (
            "leak",
            "warning",
            int(leak.sum()),
            f"{leak.sum()} of {test.sum()} test samples are in train or val too",
            "removed from test",
            [r for r in same if leak[r].any()],
        ),
        (
            "conflict",
            "warning",
            sum(map(len, clash)),
            f"{len(clash)} samples come more than once with different labels",
            "nothing; look at them",
            clash,
        ),
        (
            "duplicate",
            "note",
            copies,
            f"{copies} of {total} samples are exact copies of others",
            "copies stay in one split",
            exact,
        ),
        (
            "near_duplicate",
            "note",
            looser,
            f"{looser} of {total} samples are copies but for case, spaces or punctuation",
            "copies stay in one split",
            [r for r in same if len({samples.x[i] for i in r}) > 1] if looser else [],
        ),
        (
            "near_duplicate",
            "note",
            len(np.unique(pairs)),
            f"{len(np.unique(pairs))} of {total} images look almost the same as another one",
            "nothing",
            pairs,
        ),
        (
            "near_leak",
            "warning",
            len(np.unique(across)),
            f"{len(across)} test images look almost the same as one of train or val",
            "nothing; the test score may flatter",
            across,
        ),
        (
            "val_duplicate",
            "warning",
            len(shared),
            f"{len(shared)} samples are in both train and val",
            "nothing; the choice may flatter",
            shared,
        ),
    )
    return [_finding(samples, *line) for line in lines if line[2]]


def _finding(
    samples: Samples, kind: str, severity: str, count: int, message: str, action: str, groups: Sequence[np.ndarray]
) -> Finding:
    examples = tuple(" = ".join(samples.ids[i] for i in rows[:3]) for rows in groups[:EXAMPLES])
    first = f" First: {shown(examples[0], 160)}." if examples else "."
    return Finding(
        kind=kind,
        severity=severity,
        count=count,
        message=message + (f".{first}" if examples else first),
        action=action,
        examples=examples,
    )
