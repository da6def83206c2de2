"""`graft export`: a file for people and machines, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from torchgraft.model import load

pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")


def test_for_people(graft, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    done = graft("export", run, "--out", out)
    assert done.code == 0
    head, given, answer, _, *usage = done.out.splitlines()
    assert str(out) in head
    assert "stored samples" in head
    assert given.split() == ["input", "features", "float32", "B", "x", "6"]
    assert answer.split()[:6] == ["output", "probabilities", "float32", "B", "x", "3"]
    compile("\n".join(usage), "usage", "exec")
    assert "exporting" in done.err


def test_json_and_the_file_itself(graft, run: Path, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    said = json.loads(graft("export", run, "--out", out, "--json", "--quiet").out)
    assert (said["path"], said["bytes"]) == (str(out), out.stat().st_size)
    assert said["inputs"] == [{"name": "features", "type": "float32", "shape": ["B", 6]}]
    assert said["differences"]["probabilities"] < 1e-3
    assert json.loads(said["metadata"]["classes"]) == ["ant", "bee", "cat"]
    x = np.load(rows)["X"]
    found = runtime.InferenceSession(out, providers=["CPUExecutionProvider"]).run(None, {"features": x})[0]
    np.testing.assert_allclose(found, load(run).predict(x).probabilities, atol=1e-3)


def test_texts_are_refused(graft, sentences: Path, tmp_path: Path) -> None:
    done = graft("export", sentences, "--out", tmp_path / "model.onnx")
    assert (done.code, done.out) == (2, "")
    assert "it reads texts" in done.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "model.pt"], "ends in .onnx, got model.pt"),
        (["--out", "."], "is a folder"),
        (["--out", "m.onnx", "--size", "480"], "HEIGHTxWIDTH"),
        (["--out", "m.onnx", "--size", "0x640"], "HEIGHTxWIDTH"),
        (["--out", "m.onnx", "--size", "480x640"], "leave it out"),
        ([], "--out"),
    ],
)
def test_mistakes(
    graft, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = graft("export", run, *options)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert not list(tmp_path.iterdir())
