"""One ONNX file of a graft: it answers as the graft does, in ONNX Runtime, or it is not written."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from torchgraft import serve
from torchgraft.core.errors import MissingExtra, OptionError, StorageError, UserError
from torchgraft.features.decode import decode
from torchgraft.model import Graft, as_samples
from torchgraft.model.artifact import read
from torchgraft.model.exported import Exported
from torchgraft.serve import Written, export
from torchgraft.serve import export as exporting
from torchgraft.serve.export import difference

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")


def _session(path: Path) -> runtime.InferenceSession:
    return runtime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_numbers(numbers: Graft, tmp_path: Path) -> None:
    written = export(numbers, tmp_path / "deep" / "model.onnx")
    assert (written.path, written.size) == (tmp_path / "deep" / "model.onnx", written.path.stat().st_size)
    (given,), (answer,) = written.inputs, written.outputs
    assert (given.name, given.type, given.shape) == ("features", "float32", ("B", 2))
    assert (answer.name, answer.type, answer.shape) == ("probabilities", "float32", ("B", 2))
    assert written.differences["probabilities"] < 1e-5
    x = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    found = _session(written.path).run(None, {"features": x})[0]
    np.testing.assert_allclose(found, numbers.predict(x).probabilities, atol=1e-5)
    assert [path.name for path in written.path.parent.iterdir()] == ["model.onnx"]


def test_photos(photos: Graft, album: Path, tmp_path: Path) -> None:
    paths = sorted([*album.rglob("*.png"), album / "deep" / "er" / "c.jpg"])
    photos.save(tmp_path / "graft", check=as_samples(paths, "image"))
    written = export(photos, tmp_path / "model.onnx", check=read(tmp_path / "graft").check)
    assert (written.samples, written.stored) == (3, True)
    how = photos.loaded["test/mean"].preprocessing
    x = np.stack([decode(path.read_bytes(), how).permute(1, 2, 0).numpy() for path in paths])
    found = _session(written.path).run(None, {"image": x})[0]
    np.testing.assert_allclose(found, photos.predict(paths).probabilities, atol=1e-5)


def test_the_file_says_what_it_is(numbers: Graft, tmp_path: Path) -> None:
    written = export(replace(numbers, classes=("cat", "Bär")), tmp_path / "model.onnx")
    about = {one.key: one.value for one in onnx.load(written.path).metadata_props}
    assert about == written.metadata
    assert json.loads(about["classes"]) == ["cat", "Bär"]
    assert about["threshold"] == "0.7"


def test_the_lines_of_python_run(
    numbers: Graft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("features.npy", np.array([[9.0, 0]]))
    exec(export(numbers, "it's.onnx").usage, {})
    assert capsys.readouterr().out.startswith("[[9.9987")


class _Kept(nn.Module):
    """Twice x, its places along the second axis counted in Python: exporters take their number for a constant."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x + torch.zeros(1, int(x.shape[1]))


class _Off(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x + self.by


class _Never(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("this network\nis strange")


@dataclass
class _Stub:
    """Says that 2 x is the answer, whatever its network does."""

    module: nn.Module
    shapes: tuple[tuple[int, int], ...] = ((1, 3), (1, 5))
    fixable: bool = True

    def exported(self, check: Mapping[str, np.ndarray], *, size: tuple[int, int] | None = None) -> Exported:
        axes = {1: "W"}
        x = [np.full(shape, 0.1, dtype=np.float32) for shape in self.shapes]
        cases = tuple(({"x": one}, {"y": 2 * one}) for one in x)
        more = {"samples": len(x), "stored": False, "metadata": {}, "usage": "", "fixable": self.fixable}
        return Exported(module=self.module.eval(), inputs={"x": axes}, outputs={"y": axes}, cases=cases, **more)


@pytest.fixture
def torchscript_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newer exporter takes long to say no."""
    room = importlib.import_module("torchgraft.serve.export")
    monkeypatch.setattr(room, "_EXPORTERS", {"TorchScript": room._EXPORTERS["TorchScript"]})


@pytest.mark.usefixtures("torchscript_alone")
def test_a_network_of_one_size_is_exported_for_that_size(tmp_path: Path) -> None:
    written = export(_Stub(_Kept()), tmp_path / "model.onnx")
    assert (written.inputs[0].shape, written.samples) == ((1, 3), 1)


@pytest.mark.usefixtures("torchscript_alone")
@pytest.mark.parametrize(
    ("module", "message"),
    [(_Off(0.002), "y off by 0.002"), (_Off(math.nan), "off by inf"), (_Never(), "RuntimeError: this network;")],
)
def test_a_file_that_answers_otherwise_is_not_written(module: nn.Module, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("older")
    with pytest.raises(UserError, match="no file was written") as refused:
        export(_Stub(module), path)
    assert message in f"{str(refused.value).removesuffix('.')};"
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_the_newer_exporter(monkeypatch: pytest.MonkeyPatch, numbers: Graft, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    room = importlib.import_module("torchgraft.serve.export")
    monkeypatch.setattr(room, "_EXPORTERS", {"torch.export": room._EXPORTERS["torch.export"]})
    written = export(numbers, tmp_path / "model.onnx")
    assert written.inputs[0].shape == ("B", 2)
    assert written.differences["probabilities"] < 1e-5
    assert export(_Stub(_Off(0.0)), tmp_path / "model.onnx").inputs[0].shape == (1, "W")


@pytest.mark.parametrize(
    ("found", "expected", "wanted"),
    [
        (np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5]), 0.25),
        (np.array([0.5, 0.2]), np.array([0.5, 0.3]), 0.1),
        (np.array([0.5, np.nan]), np.array([0.5, 0.3]), math.inf),
        (np.array([1, 2]), np.array([1, 2, 3]), math.inf),
    ],
)
def test_difference(found: np.ndarray, expected: np.ndarray, wanted: float) -> None:
    assert difference(found, expected) == pytest.approx(wanted)


def test_what_is_refused(numbers: Graft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="leave it out"):
        export(numbers, tmp_path / "model.onnx", size=(64, 64))
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="is a file, not a folder|file of that name"):
        export(numbers, tmp_path / "file" / "model.onnx")
    room = importlib.import_module("torchgraft.serve.export")
    monkeypatch.setattr(room, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"torchgraft\[onnx\]"):
        export(numbers, tmp_path / "model.onnx")


def test_it_is_offered_by_the_room() -> None:
    assert callable(exporting)
    assert {"export", "Written"} <= set(serve.__all__)
    assert serve.Written is Written
    assert isinstance(export, Callable)
