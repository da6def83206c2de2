"""`graft evaluate`: one model, two models, and data that does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from torchgraft.evaluate import score
from torchgraft.features.mapping import Identity
from torchgraft.model import Decoder, Graft, LinearHead, Part, SceneGraft, load


def test_json_is_the_object_under_test(graft, run: Path, rows: Path) -> None:
    done = graft("evaluate", run, rows, "--json")
    data = np.load(rows)
    expected = score(np.repeat([0, 1, 2], 50), load(run).predict(data["X"]).probabilities, ("ant", "bee", "cat"))
    assert json.loads(done.out) == json.loads(json.dumps(expected))


def test_for_people(graft, run: Path, rows: Path) -> None:
    done = graft("evaluate", run, rows)
    assert done.code == 0
    assert "accuracy" in done.out.splitlines()[0]
    assert [line.split()[0] for line in done.out.splitlines()[-3:]] == ["ant", "bee", "cat"]


def test_two_models(graft, run: Path, rows: Path) -> None:
    scores = json.loads(graft("evaluate", run, run, "--data", rows, "--json").out)
    assert set(scores) == {"a", "b", "paired"}
    assert scores["a"] == scores["b"]
    assert (scores["paired"]["fixed"], scores["paired"]["broken"]) == (0, 0)
    assert "within the noise" in graft("evaluate", run, run, "--data", rows).out


def test_who_gained_and_lost_is_said_by_class(graft, run: Path, rows: Path, tmp_path: Path) -> None:
    good = load(run)
    head = LinearHead(np.zeros((3, 6)), np.array([1.0, 0.0, 0.0]))
    Graft(parts=(Part("array", Identity()),), head=head, classes=good.classes, modality="array", method="x").save(
        tmp_path / "ants"
    )
    scores = json.loads(graft("evaluate", tmp_path / "ants", run, "--data", rows, "--json").out)["paired"]
    assert [row["class"] for row in scores["lost"]] == ["ant"] and len(scores["gained"]) == 2
    lines = graft("evaluate", tmp_path / "ants", run, "--data", rows).out.splitlines()
    first = scores["gained"][0]
    assert f"gained {first['class']} ({first['fixed']} fixed, 0 broken)" in "\n".join(lines)
    assert f"lost   ant (0 fixed, {scores['lost'][0]['broken']} broken)" in lines
    assert lines[-1] == "The second is better."


@pytest.mark.parametrize("arguments", [("a",), ("a", "b", "c"), ("a", "b", "c", "--data", "d")])
def test_a_wrong_number_of_arguments(graft, arguments) -> None:
    done = graft("evaluate", *arguments)
    assert done.code == 2
    assert "expected MODEL DATA, or MODEL MODEL2 --data DATA" in done.err


def test_unknown_labels_get_a_near_miss(graft, run: Path, tmp_path: Path) -> None:
    path = tmp_path / "more.npz"
    np.savez(path, X=np.zeros((4, 6), dtype=np.float32), y=np.array(["ants", "bee", "bee", "dog"]))
    done = graft("evaluate", run, path)
    assert done.code == 2
    assert "does not know: 'ants' Did you mean 'ant'?; 'dog'" in done.err


def test_masks(graft, streets: Path, ground: tuple[Path, Path]) -> None:
    """By hand: of 2 x 12 pixels of sky and road, one half each, the first model calls all road, the second all sky."""
    road, _ = ground
    done = graft("evaluate", road, streets, "--json")
    scores = json.loads(done.out)
    assert (scores["miou"]["value"], scores["pixel_accuracy"]["value"], scores["images"]) == (0.25, 0.5, 2)
    assert [row["iou"]["value"] for row in scores["per_class"]] == [0.0, 0.5]
    assert "warning: 1 samples have no label (left out)" in done.err
    assert "2 samples of" in done.err
    shown = graft("evaluate", road, streets).out
    assert shown.startswith("mIoU               25.0 [")
    assert [line.split()[0] for line in shown.splitlines()[-2:]] == ["sky", "road"]


def test_two_models_of_masks(graft, streets: Path, ground: tuple[Path, Path]) -> None:
    scores = json.loads(graft("evaluate", *ground, "--data", streets, "--json").out)
    assert set(scores) == {"a", "b", "paired"}
    assert scores["paired"]["miou"]["value"] == 0.0
    done = graft("evaluate", *ground, "--data", streets)
    assert "Difference in mIoU, second minus first: 0.0 [" in done.out
    assert done.out.endswith("The difference is within the noise.\n")


def test_masks_and_rows_do_not_mix(graft, streets: Path, ground: tuple[Path, Path], run: Path, rows: Path) -> None:
    done = graft("evaluate", ground[0], rows)
    assert (done.code, done.out) == (2, "")
    assert "Expected images/ and masks/" in done.err
    assert graft("evaluate", run, streets).code == 2
    done = graft("evaluate", ground[0], run, "--data", streets)
    assert done.code == 2
    assert "two grafts are compared where they answer alike" in done.err


@pytest.fixture
def streets(tmp_path: Path) -> Path:
    """Two scenes 4 x 3 whose upper halves are sky and the others road, and one without a mask."""
    y = np.repeat([[0], [1]], 2, axis=0) * np.ones((1, 3))
    for name in ("a", "b", "c"):
        for kind in ("images", "masks"):
            (tmp_path / "streets" / kind).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3, 4), "grey").save(tmp_path / "streets/images" / f"{name}.png")
        if name != "c":
            Image.fromarray(y.astype(np.uint8)).save(tmp_path / "streets/masks" / f"{name}.png")
    (tmp_path / "streets/classes.txt").write_text("sky\nroad\n")
    return tmp_path / "streets"


@pytest.fixture
def ground(tmp_path: Path) -> tuple[Path, Path]:
    """Two saved models: every pixel is road, every pixel is sky."""
    paths = tmp_path / "road", tmp_path / "sky"
    for path, bias in zip(paths, ([0.0, 1.0], [1.0, 0.0]), strict=True):
        SceneGraft(
            source=None,
            decoder=Decoder(name="constant", arrays={"bias": np.array(bias, dtype=np.float32)}),
            scale=1.0,
            classes=("sky", "road"),
            colours=((128, 128, 128), (128, 64, 128)),
            method="pixel_majority",
        ).save(path)
    return paths
