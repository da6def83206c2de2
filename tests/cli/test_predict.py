"""`graft predict`: rows on stdout and in files, mistakes, texts on stdin."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest


def test_rows_on_stdout(graft, run: Path, rows: Path) -> None:
    done = graft("predict", run, rows)
    table = list(csv.DictReader(io.StringIO(done.out)))
    assert done.code == 0
    assert len(table) == 150
    assert list(table[0]) == ["id", "label", "confidence", "abstained", "p_ant", "p_bee", "p_cat", "error"]
    shares = np.array([[float(row[f"p_{name}"]) for name in ("ant", "bee", "cat")] for row in table])
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-4)
    assert [row["label"] for row in table] == [("ant", "bee", "cat")[i] for i in shares.argmax(axis=1)]
    assert "150 predicted" in done.err


def test_jsonl_by_the_name_of_the_file(graft, run: Path, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "rows.jsonl"
    done = graft("predict", run, rows, "--out", out, "--quiet")
    assert (done.out, done.err) == ("", "")
    first = json.loads(out.read_text().splitlines()[0])
    assert set(first) == {"id", "label", "confidence", "abstained", "probabilities"}
    assert first["confidence"] == max(first["probabilities"].values())


def test_texts_on_stdin(graft, sentences: Path, monkeypatch) -> None:
    typed = io.TextIOWrapper(io.BytesIO("a warm coat\n\n=cold\xff, cold\nnothing known\n".encode("latin-1")))
    monkeypatch.setattr(sys, "stdin", typed)
    done = graft("predict", sentences, "-")
    table = list(csv.DictReader(io.StringIO(done.out)))
    assert [row["id"] for row in table] == ["stdin:1", "stdin:3", "stdin:4"]
    assert [row["label"] for row in table] == ["good", "", "good"]
    assert [row["abstained"] for row in table] == ["false", "", "true"]
    assert table[1]["error"] == "not UTF-8: byte 0xff"
    assert "1 of them abstained on, 1 unreadable" in done.err


def test_a_table_of_texts_with_a_named_column(graft, sentences: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("n,said,other\n1,so warm a thing,x y z\n2,so cold a thing,x y w\n", encoding="utf-8")
    done = graft("predict", sentences, path, "--text", "said")
    assert [row["label"] for row in csv.DictReader(io.StringIO(done.out))] == ["good", "bad"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.npz", "rows.npz"), "1 of 2 paths do not exist: nowhere.npz"),
        (("row.npz",), "Did you mean 'rows.npz'"),
        (("-",), "'-' gives texts"),
        (("rows.npz", "--out", "."), "is a folder"),
        (("rows.npz", "--format", "cvs"), "Did you mean 'csv'"),
    ],
)
def test_mistakes_end_with_2(graft, run: Path, rows: Path, monkeypatch, arguments, message: str) -> None:
    monkeypatch.chdir(rows.parent)
    done = graft("predict", run, *arguments)
    assert done.code == 2
    assert message in done.err
    assert done.out == ""


def test_a_model_that_is_none(graft, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"\x80\x04")
    done = graft("predict", tmp_path / "model.pt", tmp_path)
    assert done.code == 2
    assert "Pickled models" in done.err


def test_nothing_readable_is_a_mistake_told_with_its_rows(graft, sentences: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"\xff\n\xfe\n")
    done = graft("predict", sentences, tmp_path / "bad.txt")
    assert done.code == 2
    assert "nothing could be predicted: 2 samples given" in done.err
    assert done.out.count("not UTF-8") == 2
