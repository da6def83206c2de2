"""The main job on scenes, with a tiny random network: fitted, reported, predicted from the command line, resumed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import torchgraft as tg
from torchgraft.fit import FitOptions, Run, fit, resume
from torchgraft.fit import run as run_module


@pytest.fixture(scope="module")
def backbone(small_backbone: Callable[[int], str]) -> str:
    return small_backbone(64)


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory, street: Callable) -> Path:
    """Two drives of train and one of val: sky above road, with a red car; index masks, void at the edge."""
    folder, rng = tmp_path_factory.mktemp("streets"), np.random.default_rng(0)
    for part, drive, count in (("train", "a", 8), ("train", "b", 8), ("val", "c", 6)):
        for kind in ("images", "masks"):
            (folder / part / kind).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels, labels = street(rng, 40)
            labels[:, 0] = 9
            Image.fromarray(pixels).save(folder / part / "images" / f"{drive}_{i:03d}.png")
            Image.fromarray(labels).save(folder / part / "masks" / f"{drive}_{i:03d}.png")
    (folder / "classes.txt").write_text("sky\nroad\ncar\nvoid\n")
    return folder


def _options(streets: Path, backbone: str, out: Path, **more) -> FitOptions:
    return FitOptions(target=str(streets), backbone=backbone, out=str(out), **more)


@pytest.fixture(scope="module")
def run(streets: Path, backbone: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "streets"
    return fit(_options(streets, backbone, out, settings="epochs=2,batch=4,rate=0.001"))


def test_the_ladder_of_scenes_is_climbed_and_told(run: Run) -> None:
    report = run.report.data
    assert report["task"] == "segmentation" and report["primary"] == {"metric": "miou", "title": "mIoU"}
    methods = ["pixel_majority", "pixel_probe", "saliency_probe", "scene_lp_ft"]
    assert [row["method"] for row in report["ladder"]] == methods
    value = [row["metrics"]["miou"]["value"] for row in report["ladder"]]
    assert value[1] > value[0] + 0.1, "a probe on random features sees colours"
    shipped = next(row for row in report["ladder"] if row["chosen"])
    assert shipped["method"] != "pixel_majority" and "mIoU" in report["verdict"]["sentence"]
    assert report["test"] is None and report["held_out"]["miou"]["value"] == pytest.approx(
        shipped["metrics"]["miou"]["value"]
    )
    assert {len(one["pictures"]) for one in report["pictures"]} == {4}
    html = run.report.html.read_text(encoding="utf-8")
    assert all(word in html for word in ("mIoU", "car", "What it sees"))
    assert "MIoU" not in (run.path / "model" / "README.md").read_text()


def test_what_was_shipped_answers_as_it_was_measured(run: Run, streets: Path) -> None:
    """The shipped graft, fitted on all scenes, is about as right on val as its fold was."""
    graft = tg.load(run.path)
    assert graft.classes == ("sky", "road", "car")
    scenes = graft.predict(sorted((streets / "val" / "images").iterdir()))
    truth = [np.asarray(Image.open(path)) for path in sorted((streets / "val" / "masks").iterdir())]
    right = np.mean([(s.classes == y)[y < 3].mean() for s, y in zip(scenes, truth, strict=True)])
    chosen = run.report.chosen["metrics"]["pixel_accuracy"]["value"]
    assert right > chosen - 0.1


def test_the_command_line_goes_from_fit_to_masks(run: Run, streets: Path, tmp_path: Path) -> None:
    def graft(*words: str) -> str:
        done = subprocess.run([sys.executable, "-m", "torchgraft", *words], capture_output=True, text=True, check=True)
        return done.stdout

    graft("predict", str(run.path), str(streets / "val" / "images"), "--out", str(tmp_path / "masks"))
    mask = Image.open(tmp_path / "masks" / "c_000.png")
    assert mask.size == (64, 48) and set(np.unique(np.asarray(mask))) <= {0, 1, 2}
    scores = json.loads(graft("evaluate", str(run.path), str(streets), "--json"))
    assert scores["images"] == 6 and {"miou", "per_class", "pixel_accuracy"} <= set(scores)


def test_a_run_that_stopped_goes_on_to_the_same_graft(
    run: Run, streets: Path, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_) -> None:
        raise KeyboardInterrupt

    options = _options(streets, backbone, tmp_path / "run", settings="epochs=2,batch=4,rate=0.001")
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "_ship", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(options)
    assert (tmp_path / "run" / "model" / "graft.json").is_file(), "the best so far is on disk"
    again = resume(tmp_path / "run")
    for name in ("model.safetensors", "graft.json"):
        assert (again.path / "model" / name).read_bytes() == (run.path / "model" / name).read_bytes()


def test_a_test_set_of_its_own_is_touched_once(streets: Path, backbone: str, tmp_path: Path) -> None:
    """It has no list of classes: the target's holds for both."""
    target = shutil.copytree(streets / "train", tmp_path / "target")
    shutil.copy(streets / "classes.txt", target)
    methods = "pixel_majority,pixel_probe"
    run = fit(_options(target, backbone, tmp_path / "run", test=str(streets / "val"), method=methods))
    test = run.report.data["test"]
    assert test["images"] == 6 and 0 <= test["boundary_f1"]["value"] <= 1
    assert [row["class"] for row in test["per_class"]] == ["sky", "road", "car"]
    assert run.report.data["data"]["counts"] == {"train": 16, "test": 6}
    assert len(run.report.data["data"]["classes"]) == 3


def test_scenes_of_another_domain_are_answered_without_their_masks(
    streets: Path, backbone: str, tmp_path: Path
) -> None:
    dark = tmp_path / "dark" / "images"
    dark.mkdir(parents=True)
    for path in (streets / "val" / "images").iterdir():
        Image.fromarray((np.asarray(Image.open(path)) * 0.3).astype(np.uint8)).save(dark / path.name)
    source = shutil.copytree(streets / "train", tmp_path / "day")
    shutil.copy(streets / "classes.txt", source)
    run = fit(_options(dark.parent, backbone, tmp_path / "run", source=(str(source),)))
    report = run.report.data
    assert report["ladder"][0]["method"] == "source_only" and len(report["domains"]["tests"]) >= 1
    assert report["test"] is None and "No label of the target was used" in report["verdict"]["sentence"]
    (scene, *_) = run.graft.predict(sorted(dark.iterdir())[:1])
    assert scene.classes.shape == (48, 64)
