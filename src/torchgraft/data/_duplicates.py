"""Samples that come twice: equal content, pictures that look alike, copies in two splits or with two labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from torchgraft.data._names import EXAMPLES, shown
from torchgraft.data.base import Finding, Samples

_BITS = 64
_BANDS = 4
_ENOUGH = 1_000_000  # pairs after which no more are looked for: frames of a fixed camera are all alike
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
    with the first of them only. The search ends early where a million pairs are found.
    """
    values, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    inverse = inverse.ravel()
    again = np.flatnonzero(first[inverse] != np.arange(len(hashes)))
    found = [np.stack([first[inverse[again]], again], axis=1)]
    total = len(again)
    for crowd in _crowds(values):
        i, j = np.triu_indices(len(crowd), 1)
        close = _ones(values[crowd[i]] ^ values[crowd[j]]) <= limit
        found.append(np.stack([first[crowd[i[close]]], first[crowd[j[close]]]], axis=1))
        total += int(close.sum())
        if total > _ENOUGH:
            break
    return _distinct(found)


def _distinct(found: list[np.ndarray]) -> np.ndarray:
    pairs = np.concatenate(found)
    return np.unique(np.sort(pairs, axis=1), axis=0) if len(pairs) else pairs.reshape(0, 2)


def _crowds(values: np.ndarray) -> Iterator[np.ndarray]:
    """Positions of the hashes that share a band, band by band."""
    for band in range(_BANDS):
        keys = (values >> np.uint64(band * _BITS // _BANDS)) & np.uint64(0xFFFF)
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
    """Group names (N,) under which copies never part, so that none of them is learnt from and measured on at once.

    Groups that the samples have already and that share a copy become one. None where there is nothing to bind.
    """
    if not groups:
        return samples.group
    names = np.array(samples.ids) if samples.group is None else samples.group
    _, first, unit = np.unique(names, return_index=True, return_inverse=True)
    unit = unit.ravel()
    start = np.concatenate([np.full(len(rows) - 1, unit[rows[0]]) for rows in groups])
    end = np.concatenate([unit[rows[1:]] for rows in groups])
    links = sparse.coo_matrix((np.ones(len(start)), (start, end)), shape=(len(first), len(first)))
    component = csgraph.connected_components(links, directed=False)[1][unit]
    return names[np.unique(component, return_index=True)[1]][component]


def findings(
    samples: Samples, exact: Sequence[np.ndarray], same: Sequence[np.ndarray], pairs: np.ndarray
) -> list[Finding]:
    """What to report of copies.

    `exact` holds groups of equal content, `same` groups of content equal but for case, spaces and punctuation (each
    exact group lies within one of them), `pairs` (M x 2) pictures that look alike.
    """
    return [*_across(samples, same, pairs), *_within(samples, exact, same, pairs)]


def _across(samples: Samples, same: Sequence[np.ndarray], pairs: np.ndarray) -> list[Finding]:
    """Copies in two splits."""
    test, val = samples.split == "test", samples.split == "val"
    train = ~test & ~val
    found = []
    leak = leaks(samples, same)
    if leak.any():
        message = f"{leak.sum()} of {test.sum()} test samples are in train or val too"
        groups = [rows for rows in same if leak[rows].any()]
        found.append(_finding(samples, "leak", "warning", int(leak.sum()), message, "removed from test", groups))
    shared = [rows for rows in same if train[rows].any() and val[rows].any()]
    if shared:
        count = sum(int(val[rows].sum()) for rows in shared)
        message = f"{count} of {val.sum()} val samples are in train too"
        found.append(
            _finding(samples, "val_duplicate", "warning", count, message, "nothing; scores on val may flatter", shared)
        )
    near_test = pairs[test[pairs[:, 0]] != test[pairs[:, 1]]]
    if len(near_test):
        count = len(np.unique(near_test[test[near_test]]))
        message = f"{count} of {test.sum()} test images look almost the same as one of train or val"
        action = "nothing; the test score may flatter"
        found.append(_finding(samples, "near_leak", "warning", count, message, action, near_test))
    return found


def _within(
    samples: Samples, exact: Sequence[np.ndarray], same: Sequence[np.ndarray], pairs: np.ndarray
) -> list[Finding]:
    """Copies anywhere, and copies whose labels differ."""
    found = []
    clash = conflicts(samples, same)
    if clash:
        count = sum(map(len, clash))
        message = f"{count} of {len(samples)} samples have a copy with another label"
        found.append(_finding(samples, "conflict", "warning", count, message, "nothing; look at them", clash))
    bind = "kept in one split and fold, where torchgraft makes them"
    copies = sum(len(rows) - 1 for rows in exact)
    if copies:
        message = f"{copies} of {len(samples)} samples are exact copies of others"
        found.append(_finding(samples, "duplicate", "note", copies, message, bind, exact))
    looser = sum(len(rows) - 1 for rows in same) - copies
    if looser:
        message = f"{looser} of {len(samples)} texts are copies but for case, spaces or punctuation"
        groups = [rows for rows in same if len({samples.x[i] for i in rows}) > 1]
        found.append(_finding(samples, "near_duplicate", "note", looser, message, bind, groups))
    if len(pairs):
        count = len(np.unique(pairs))
        message = f"{count} of {len(samples)} images look almost the same as another one"
        found.append(_finding(samples, "near_duplicate", "note", count, message, "nothing; look at them", pairs))
    return found


def _finding(
    samples: Samples,
    kind: str,
    severity: str,
    count: int,
    message: str,
    action: str,
    groups: Sequence[np.ndarray] | np.ndarray,
) -> Finding:
    examples = tuple(" = ".join(samples.ids[i] for i in rows[:3]) for rows in groups[:EXAMPLES])
    return Finding(
        kind=kind,
        severity=severity,
        count=count,
        message=f"{message}. First: {shown(examples[0], 160)}.",
        action=action,
        examples=examples,
    )
