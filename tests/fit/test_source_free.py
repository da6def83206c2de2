from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import torchgraft as tg
from torchgraft.backbones import timm
from torchgraft.core.errors import DataError, OptionError, UnknownName
from torchgraft.fit import FitOptions, _guard, source_free


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


def test_a_method_by_name(model, turned, tmp_path):
    """SHOT by name is what is left to the run; its settings are heard."""
    named = tg.fit(_target(tmp_path, turn=0.85), from_model=str(model), method="shot", out=tmp_path / "a")
    own, other = ((run.path / "model" / "model.safetensors").read_bytes() for run in (turned, named))
    assert own == other
    once = tg.fit(
        _target(tmp_path, turn=0.85), from_model=str(model), method="shot", epochs=1, settings="beta=0",
        out=tmp_path / "b",
    )  # fmt: skip
    changed = [run.report.data["ladder"][1]["metrics"]["changed"]["value"] for run in (named, once)]
    assert changed[0] != changed[1]


@pytest.mark.parametrize(
    ("method", "error", "words"),
    [
        ("adabn", OptionError, "--method adabn can't adapt .*changes BatchNorm in the backbone, and it takes array"),
        ("shot,tent", OptionError, "--method tent can't adapt"),
        ("dann", OptionError, "learns from the source's data"),
        ("shoot", UnknownName, "Did you mean 'shot'"),
    ],
)
def test_a_method_that_does_not_fit_is_refused(model, tmp_path, method, error, words):
    with pytest.raises(error, match=words):
        tg.fit(_target(tmp_path, turn=0.85), from_model=str(model), method=method, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> tuple[Path, Path]:
    """Reddish and bluish pictures, dimmer ones, and a model of the first with a tiny random network."""
    folder = tmp_path_factory.mktemp("photos")
    torch.manual_seed(0)
    save_file(timm.build("mobilenetv3_small_050").state_dict(), folder / "weights.safetensors")
    (folder / "backbone.toml").write_text(
        'architecture = "timm/mobilenetv3_small_050"\nweights = "weights.safetensors"\n'
        "size = 32\nmean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\n"
    )
    rng = np.random.default_rng(0)
    for place, light in (("day", 100), ("night", 40)):
        for name, tint in (("red", (90, 0, 0)), ("blue", (0, 0, 90))):
            (folder / place / name).mkdir(parents=True)
            for i in range(24):
                pixels = rng.integers(0, 60, (32, 32, 3)) + np.array(tint) + light
                Image.fromarray(pixels.astype(np.uint8)).save(folder / place / name / f"{i}.png")
    model = tg.fit(folder / "day", backbone=f"local/{folder}", method="linear_probe", out=folder / "run").path
    return model, folder / "night"


def test_batch_norm_alone_by_name(photos, tmp_path, monkeypatch):
    """AdaBN and TENT go through the backbone; what is shipped has their weights, and the model's head."""
    model, night = photos
    monkeypatch.setattr(_guard, "refusal", lambda tests: None)
    fits = iter([0.1, 0.2, 0.9])  # of the model as it is, adabn, tent
    monkeypatch.setattr(source_free, "class_ami", lambda z, p, seed: next(fits))
    run = tg.fit(
        night, from_model=str(model), method="adabn,tent", settings="batch=16", test=str(night), out=tmp_path / "run"
    )
    data = run.report.data
    assert [row["method"] for row in data["ladder"]] == ["as it is", "adabn", "tent"]
    assert data["verdict"]["method"] == "tent"
    assert "test" in data and data["ladder"][2]["note"] == "adapted from linear_probe, BatchNorm alone"
    shipped, old = tg.load(run.path), tg.load(model)
    (tuned,) = shipped.tuned.values()
    assert tuned.arrays and all("bn" in name or "norm" in name for name in tuned.arrays)
    np.testing.assert_array_equal(shipped.head.weight, old.head.weight)
    paths = sorted(night.rglob("*.png"))
    changed = np.mean([a != b for a, b in zip(shipped.predict(paths).labels, old.predict(paths).labels, strict=True)])
    assert changed == pytest.approx(data["ladder"][2]["metrics"]["changed"]["value"])


def test_of_several_that_are_refused_each_is_told_why(photos, tmp_path, monkeypatch):
    model, night = photos
    monkeypatch.setattr(source_free, "class_ami", lambda z, p, seed: 0.1)
    run = tg.fit(night, from_model=str(model), method="adabn,shot", settings="batch=16", out=tmp_path / "run")
    assert run.report.data["verdict"]["method"] == "as it is"
    assert "adabn is not: its classes are no clusters" in str(run.report)
    assert "Nor is shot: its classes are no clusters" in str(run.report)
