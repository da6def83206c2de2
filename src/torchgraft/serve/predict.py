"""Predictions as rows, a chunk of samples at a time: memory stays flat however many there are."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any

import numpy as np

from torchgraft.core.errors import OptionError
from torchgraft.core.progress import SILENT, Progress
from torchgraft.model import Graft, Predictions, estimate_prior
from torchgraft.serve.inputs import Item

CHUNK = 2048
"""Samples predicted together: enough that starting an engine pays, few enough that their rows are small."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """What the graft says of one sample: the most probable `label`, its probability, all C `probabilities`.

    Where the sample can't be used, `error` says why, and there is no label and no probability.
    """

    id: str
    label: str = ""
    abstained: bool = False
    probabilities: np.ndarray | None = None
    error: str = ""

    @property
    def confidence(self) -> float | None:
        """The probability of `label`, in 0..1."""
        return None if self.probabilities is None else float(self.probabilities.max())


def predict(graft: Graft, items: Iterable[Item], *, chunk: int = CHUNK, progress: Progress = SILENT) -> Iterator[Row]:
    """One row for each item, in order. Raises `DataError` where the items are of another modality than the graft's."""
    waiting = iter(items)
    while part := list(islice(waiting, chunk)):
        usable = [item for item in part if not item.error]
        rows = iter(_rows(graft, usable, progress))
        for item in part:
            yield Row(id=item.id, error=item.error) if item.error else next(rows)


def shifted(graft: Graft, rows: Iterable[Row]) -> tuple[list[Row], np.ndarray]:
    """All rows under the class frequencies of these samples, and these C frequencies, estimated by EM without a label.

    Right where classes look as they did in training and only their frequencies differ (Saerens et al. 2002, see
    `model.estimate_prior`); every row is held in memory. Raises `OptionError` where the graft's own frequencies are
    not known.
    """
    if not graft.prior:
        raise OptionError("--label-shift needs the class frequencies of training; this model has none. Fit it again.")
    rows = list(rows)
    known = [row for row in rows if row.probabilities is not None]
    if not known:
        return rows, np.array(graft.prior)
    found = estimate_prior(np.stack([row.probabilities for row in known]), np.array(graft.prior))
    adjusted = iter(found.adjusted)
    known = [row if row.probabilities is None else with_probabilities(graft, row, next(adjusted)) for row in rows]
    return known, found.prior


def with_probabilities(graft: Graft, row: Row, p: np.ndarray) -> Row:
    """The row of the same sample with other probabilities (C,): label and abstention follow from them."""
    label, unsure = graft.classes[int(p.argmax())], bool(p.max() < graft.threshold)
    return Row(id=row.id, label=label, abstained=unsure, probabilities=p)


def write_csv(stream: IO[str], rows: Iterable[Row], classes: Sequence[str]) -> Iterator[Row]:
    """Write id, label, confidence, abstained, p_<class> for each class, error; give each row on once it is written."""
    writer = csv.writer(stream)
    writer.writerow(["id", "label", "confidence", "abstained", *(f"p_{name}" for name in classes), "error"])
    for row in rows:
        if row.probabilities is None:
            writer.writerow([row.id, "", "", "", *("" for _ in classes), row.error])
        else:
            shares = [f"{p:.6g}" for p in (row.confidence, *row.probabilities)]
            writer.writerow([row.id, row.label, shares[0], str(row.abstained).lower(), *shares[1:], ""])
        yield row


def write_jsonl(stream: IO[str], rows: Iterable[Row], classes: Sequence[str]) -> Iterator[Row]:
    """Write one JSON object a line; give each row on once it is written."""
    for row in rows:
        stream.write(json.dumps(_plain(row, classes), ensure_ascii=False, allow_nan=False) + "\n")
        yield row


def _plain(row: Row, classes: Sequence[str]) -> dict[str, Any]:
    if row.probabilities is None:
        return {"id": row.id, "error": row.error}
    return {
        "id": row.id,
        "label": row.label,
        "confidence": row.confidence,
        "abstained": row.abstained,
        "probabilities": dict(zip(classes, row.probabilities.tolist(), strict=True)),
    }


def _rows(graft: Graft, items: Sequence[Item], progress: Progress) -> Iterator[Row]:
    if not items:
        return
    values: Any = [item.value for item in items]
    predictions = graft.predict(np.stack(values) if graft.modality == "array" else values, progress=progress)
    found = {int(position): i for i, position in enumerate(predictions.kept)}
    labels = predictions.labels
    for position, item in enumerate(items):
        i = found.get(position)
        if i is None:
            yield Row(id=item.id, error=_reason(predictions, item))
            continue
        shares, unsure = predictions.probabilities[i], bool(predictions.abstained[i])
        yield Row(id=item.id, label=labels[i], abstained=unsure, probabilities=shares)


def _reason(predictions: Predictions, item: Item) -> str:
    """Why the item has no prediction; a finding names only the first few samples it is about."""
    for finding in predictions.failed:
        for example in finding.examples:
            if example.startswith(f"{item.id}: "):
                return example.removeprefix(f"{item.id}: ")
    return "can't be read"
