from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import torchgraft as tg
from torchgraft.core.errors import DataError, OptionError
from torchgraft.fit import FitOptions


def _blobs(n: int, *, seed: int, turn: float = 0.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Three tight classes on the corners of a triangle, in 6 dimensions; the target's are turned and moved."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    angle = 2 * np.pi * y / 3 + turn
    x = rng.normal(scale=0.35, size=(n, 6))
    x[:, 0] += 3 * np.cos(angle) + shift
    x[:, 1] += 3 * np.sin(angle)
    return x.astype(np.float32), np.array([f"c{label}" for label in y])


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    x, y = _blobs(150, seed=0)
    np.savez(folder / "old.npz", X=x, y=y)
    return tg.fit(folder / "old.npz", method="linear_probe", out=folder / "run").path


def _target(folder: Path, *, turn: float, shift: float = 0.0, labels: bool = True, name: str = "new") -> Path:
    x, y = _blobs(120, seed=1, turn=turn, shift=shift)
    file = folder / f"{name}.npz"
    np.savez(file, X=x, y=y) if labels else np.savez(file, X=x)
    return file


@pytest.fixture(scope="module")
def turned(model, tmp_path_factory) -> tg.Run:
    """A target whose classes are still clusters, each nearest to its own old place, many on the wrong side."""
    folder = tmp_path_factory.mktemp("turned")
    target = _target(folder, turn=0.85)
    return tg.fit(target, from_model=str(model), test=str(target), out=folder / "run")


def test_clusters_that_were_cut_are_mended(model, turned):
    before = tg.load(model).predict(_blobs(120, seed=1, turn=0.85)[0])
    right = np.mean([a == b for a, b in zip(before.labels, _blobs(120, seed=1, turn=0.85)[1], strict=True)])
    report = turned.report.data
    assert report["verdict"]["method"] == "shot"
    assert report["test"]["accuracy"]["value"] > right + 0.02
    assert [row["chosen"] for row in report["ladder"]] == [False, True]
    assert "No label of the target was used." in report["verdict"]["sentence"]


def test_what_is_shipped_is_a_graft_as_sure_as_the_model(model, turned):
    x = _blobs(120, seed=1, turn=0.85)[0]
    loaded, old = tg.load(turned.path), tg.load(model)
    changed = np.mean([a != b for a, b in zip(loaded.predict(x).labels, old.predict(x).labels, strict=True)])
    assert changed == pytest.approx(turned.report.data["ladder"][1]["metrics"]["changed"]["value"])
    assert loaded.predict(x).confidence.mean() <= old.predict(x).confidence.mean() + 0.05
    assert "not measured" not in (turned.path / "model" / "README.md").read_text()
    assert "What was tried" in turned.report.html.read_text()


def test_labels_of_the_target_change_nothing(model, turned, tmp_path):
    target = _target(tmp_path, turn=0.85, labels=False)
    blind = tg.fit(target, from_model=str(model), out=tmp_path / "run")
    own, other = ((run.path / "model" / "model.safetensors").read_bytes() for run in (turned, blind))
    assert own == other
    assert blind.report.data["test"] is None


def test_classes_that_are_no_clusters_are_left_alone(model, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "noise.npz", X=rng.normal(size=(120, 6)).astype(np.float32))
    run = tg.fit(tmp_path / "noise.npz", from_model=str(model), out=tmp_path / "run")
    assert run.report.data["verdict"]["method"] == "as it is"
    assert "no clusters of the target" in str(run.report)
    x = rng.normal(size=(5, 6)).astype(np.float32)
    assert np.array_equal(run.graft.predict(x).probabilities, tg.load(model).predict(x).probabilities)


def test_a_target_like_the_old_data_changes_too_little(model, tmp_path):
    run = tg.fit(_target(tmp_path, turn=0.0), from_model=str(model), out=tmp_path / "run")
    assert run.report.data["verdict"]["method"] == "as it is"


def test_few_labels_decide(model, tmp_path):
    target = _target(tmp_path, turn=0.85)
    run = tg.fit(target, from_model=str(model), few_labels=str(target), out=tmp_path / "run")
    tests = {one["name"]: one for one in run.report.data["domains"]["tests"]}
    assert tests["labels"]["passed"]
    assert "A few labels of the target decided." in str(run.report)


def test_json_has_the_object(turned):
    written = json.loads((turned.path / "report.json").read_text())
    assert {"schema", "data", "domains", "ladder", "verdict", "test", "seconds"} <= set(written)
    assert "gap" not in written["domains"]


def test_what_can_not_be_used_is_told(model, tmp_path):
    with pytest.raises(OptionError, match="--source and --from"):
        FitOptions(target="x", source=("y",), from_model="z")
    with pytest.raises(OptionError, match="--few-labels goes with"):
        FitOptions(target="x", few_labels="y")
    (tmp_path / "texts.csv").write_text("text\n" + "\n".join(f"word {i}" for i in range(9)))
    with pytest.raises(DataError, match="the model takes array samples"):
        tg.fit(tmp_path / "texts.csv", text="text", from_model=str(model), out=tmp_path / "a")
    np.savez(tmp_path / "three.npz", X=np.zeros((3, 6), dtype=np.float32))
    with pytest.raises(DataError, match="4 are needed"):
        tg.fit(tmp_path / "three.npz", from_model=str(model), out=tmp_path / "b")
    np.savez(tmp_path / "strange.npz", X=np.ones((9, 6), dtype=np.float32), y=np.array(["zebra"] * 9))
    with pytest.raises(DataError, match="with a class of the model"):
        tg.fit(
            _target(tmp_path, turn=0.5), from_model=str(model), test=str(tmp_path / "strange.npz"), out=tmp_path / "c"
        )
