"""What every reader ends with: labels as class indices, the same classes in all splits."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from torchgraft.core.errors import DataError
from torchgraft.data._names import EXAMPLES, shown, shown_all
from torchgraft.data.base import Finding, Samples

_WHOLE = re.compile(r"([+-]?\d+)\.0+")
_NUMBER = re.compile(r"\s*[+-]?\d+(\.\d*)?\s*")


def assemble(
    *,
    modality: str,
    ids: Sequence[str],
    x: Any,
    labels: Sequence[str | None],
    split: Sequence[str],
    root: Path,
    group: Sequence[str] | None = None,
    findings: Sequence[Finding] = (),
    every_label: bool = False,
) -> Samples:
    """Samples from parallel lists of N; a label of None means unlabelled.

    The classes are the labels of all splits but test, sorted (as numbers where all are numbers); samples of test
    with another label are left out and reported. With `every_label` those of test are classes too, and no label
    decides whether a sample is there. Raises `DataError` where nothing is left.
    """
    if not len(ids):
        raise DataError(
            f"{shown(str(root), 200)} holds no samples. {' '.join(finding.message for finding in findings)}".rstrip()
        )
    parts = np.array(split, dtype="<U5")
    labels = _whole_numbers(_numbers_that_are(labels))
    every = {label for label in labels if label is not None}
    learnt = {label for label, part in zip(labels, parts, strict=True) if label is not None and part != "test"}
    classes = sort_labels(every if every_label else learnt or every)
    index = {name: i for i, name in enumerate(classes)}
    y = np.array([index.get(label, -1) if label is not None else -1 for label in labels], dtype=np.int64)
    unknown = np.array([label is not None and label not in index for label in labels], dtype=bool)
    samples = Samples(
        modality=modality,
        ids=tuple(ids),
        x=x,
        y=y,
        classes=classes,
        split=parts,
        root=root,
        group=None if group is None else np.array(group, dtype=str),
    )
    found = [*findings, *_unknown(samples, unknown, labels), *_unlabelled(samples, (y < 0) & ~unknown)]
    return replace(samples.take(~unknown) if unknown.any() else samples, findings=tuple(found))


def sort_labels(labels: set[str]) -> tuple[str, ...]:
    """Sorted by value where every label is a number, else as text."""
    try:
        return tuple(sorted(labels, key=lambda label: (_number(label), label)))
    except ValueError:
        return tuple(sorted(labels))


def _number(label: str) -> float:
    value = float(label)
    if not math.isfinite(value):
        raise ValueError(label)
    return value


def _numbers_that_are(labels: Sequence[str | None]) -> Sequence[str | None]:
    """NaN -> None where all other labels are numbers: written to a csv, a missing number may read `nan`."""
    distinct = {label for label in labels if label is not None}
    missing = {label for label in distinct if label.strip().lower() == "nan"}
    if not missing or missing == distinct or any(_NUMBER.fullmatch(label) is None for label in distinct - missing):
        return labels
    return [None if label in missing else label for label in labels]


def _whole_numbers(labels: Sequence[str | None]) -> Sequence[str | None]:
    """1.0 -> 1 where all labels are whole numbers: missing cells turn a column of integers into floats."""
    distinct = {label for label in labels if label is not None}
    if not any(_WHOLE.fullmatch(label) for label in distinct):
        return labels
    if not all(_WHOLE.fullmatch(label) or re.fullmatch(r"[+-]?\d+", label) for label in distinct):
        return labels
    return [label if label is None else label.partition(".")[0] for label in labels]


def _unknown(samples: Samples, which: np.ndarray, labels: Sequence[str | None]) -> list[Finding]:
    if not which.any():
        return []
    names = sort_labels({str(labels[i]) for i in np.flatnonzero(which)})
    return [
        Finding(
            kind="unknown_label",
            severity="warning",
            count=int(which.sum()),
            message=f"Test samples with a label that no other split has: {which.sum()} ({shown_all(names)}).",
            action="left out of test",
            examples=_some(samples, which),
        )
    ]


def _unlabelled(samples: Samples, which: np.ndarray) -> list[Finding]:
    if not samples.classes or not which.any():
        return []
    return [
        Finding(
            kind="unlabelled",
            severity="warning",
            count=int(which.sum()),
            message=f"{which.sum()} of {len(samples)} samples have no label.",
            action="kept as unlabelled",
            examples=_some(samples, which),
        )
    ]


def _some(samples: Samples, which: np.ndarray) -> tuple[str, ...]:
    return tuple(samples.ids[i] for i in np.flatnonzero(which)[:EXAMPLES])
