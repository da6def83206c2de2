"""Predictions as rows: by hand, in chunks, with what can't be read, as csv and jsonl."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from torchgraft.core.errors import OptionError
from torchgraft.model import Graft
from torchgraft.serve import Item, Row, open_inputs, predict, shifted, write_csv, write_jsonl


def _items(x: np.ndarray) -> list[Item]:
    return [Item(id=f"row {i}", value=row) for i, row in enumerate(x)]


def test_rows_by_hand(numbers: Graft) -> None:
    sure, unsure = predict(numbers, _items(np.array([[np.log(9), 0], [0, np.log(1.5)]])))
    assert (sure.id, sure.label, sure.abstained) == ("row 0", "cat", False)
    np.testing.assert_allclose(sure.probabilities, [0.9, 0.1], rtol=1e-6)
    assert sure.confidence == pytest.approx(0.9)
    assert (unsure.label, unsure.abstained) == ("dog", True)


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_chunks_change_nothing(numbers: Graft, chunk: int) -> None:
    x = np.random.default_rng(0).normal(size=(20, 2))
    items = _items(x)
    items[4] = Item(id="row 4", value=None, error="lost")
    rows = list(predict(numbers, items, chunk=chunk))
    whole = numbers.predict(x)
    assert [row.id for row in rows] == [item.id for item in items]
    assert rows[4] == rows[4] and rows[4].error == "lost"
    kept = [i for i in range(20) if i != 4]
    np.testing.assert_allclose([rows[i].probabilities for i in kept], whole.probabilities[kept], rtol=1e-12)
    assert [rows[i].label for i in kept] == [whole.labels[i] for i in kept]


def test_items_are_asked_for_a_chunk_at_a_time(numbers: Graft) -> None:
    asked = []

    def items():
        for item in _items(np.zeros((10, 2))):
            asked.append(item.id)
            yield item

    rows = predict(numbers, items(), chunk=4)
    next(rows)
    assert len(asked) == 4


def test_photos_that_cannot_be_read_keep_their_place(photos: Graft, album: Path) -> None:
    rows = list(predict(photos, open_inputs([str(album)], "image").items))
    assert [(Path(row.id).name, row.label) for row in rows] == [
        ("a.png", "red"),
        ("broken.jpg", ""),
        ("b.png", "blue"),
        ("c.jpg", "red"),
    ]
    assert rows[1].error
    assert rows[1].probabilities is None
    assert rows[1].confidence is None


def test_csv_reads_back(numbers: Graft) -> None:
    stream = io.StringIO(newline="")
    rows = [
        Row(id='=cmd|" /C"!A0, "x"', label="cat", abstained=True, probabilities=np.array([0.75, 0.25])),
        Row(id="line\nbreak", error="can't be read"),
    ]
    assert list(write_csv(stream, rows, ("cat", "dog"))) == rows
    stream.seek(0)
    first, second = csv.DictReader(stream)
    assert first == {
        "id": '=cmd|" /C"!A0, "x"', "label": "cat", "confidence": "0.75", "abstained": "true",
        "p_cat": "0.75", "p_dog": "0.25", "error": "",
    }  # fmt: skip
    assert (second["id"], second["label"], second["error"]) == ("line\nbreak", "", "can't be read")


def test_jsonl_reads_back() -> None:
    stream = io.StringIO()
    rows = [Row(id="é", label="cat", probabilities=np.array([0.75, 0.25])), Row(id="b", error="gone")]
    list(write_jsonl(stream, rows, ("cat", "dog")))
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [
        {
            "id": "é",
            "label": "cat",
            "confidence": 0.75,
            "abstained": False,
            "probabilities": {"cat": 0.75, "dog": 0.25},
        },
        {"id": "b", "error": "gone"},
    ]


def test_label_shift_finds_the_new_frequencies_and_keeps_what_failed(numbers: Graft) -> None:
    """Two Gaussians at -1 and 1: log p(dog)/p(cat) = 2 x. The graft knows equal classes, the samples are 90 to 10."""
    graft = replace(numbers, prior=(0.5, 0.5), temperature=1.0)
    rng = np.random.default_rng(0)
    y = (rng.random(4000) < 0.1).astype(int)
    x = rng.normal(size=4000) + np.where(y == 1, 1.0, -1.0)
    items = [*_items(np.stack([-x, x], axis=1)), Item(id="gone", value=None, error="lost")]
    plain = list(predict(graft, items))
    rows, prior = shifted(graft, plain)
    np.testing.assert_allclose(prior, [0.9, 0.1], atol=0.02)
    assert [row.id for row in rows] == [row.id for row in plain]
    assert rows[-1].error == "lost"
    right = [np.mean([row.label == graft.classes[k] for row, k in zip(r, y, strict=False)]) for r in (plain, rows)]
    assert right[1] > right[0] + 0.02
    same, prior = shifted(graft, [plain[-1]])
    assert (same[0].error, prior.tolist()) == ("lost", [0.5, 0.5])


def test_label_shift_needs_the_frequencies_of_training(numbers: Graft) -> None:
    with pytest.raises(OptionError, match="Fit it again"):
        shifted(replace(numbers, prior=()), [])
