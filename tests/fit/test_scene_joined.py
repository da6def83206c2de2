"""The main job on scenes with two backbones and with maps of edges, with tiny random networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import torchgraft as tg
from torchgraft.data import ReadOptions, read
from torchgraft.fit import FitOptions, fit, plan
from torchgraft.tasks import segmentation


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory, street: Callable) -> Path:
    """Sky above road, with a red car."""
    folder, rng = tmp_path_factory.mktemp("streets"), np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 6)):
        for kind in ("images", "masks"):
            (folder / part / kind).mkdir(parents=True)
        for i in range(count):
            pixels, labels = street(rng, 40)
            Image.fromarray(pixels).save(folder / part / "images" / f"s{i:03d}.png")
            Image.fromarray(labels).save(folder / part / "masks" / f"s{i:03d}.png")
    (folder / "classes.txt").write_text("sky\nroad\ncar\n")
    return folder


def _shipped(streets: Path, backbone: str, out: Path, **more) -> tg.Run:
    """A run whose last rung is shipped, whatever it is worth."""
    run = fit(FitOptions(target=str(streets), backbone=backbone, out=str(out), **more))
    assert run.report.chosen["method"] == more["method"]
    return run


def _as_measured(run: tg.Run, streets: Path) -> None:
    graft = tg.load(run.path)
    scores, _ = segmentation.evaluate(graft, read(streets, ReadOptions()).of("val"))
    assert scores["miou"]["value"] > run.report.chosen["metrics"]["miou"]["value"] - 0.1


def test_two_backbones_are_joined_and_shipped(
    streets: Path, small_backbone: Callable[[int], str], tmp_path: Path
) -> None:
    names = [small_backbone(64), small_backbone(96)]
    run = _shipped(streets, ",".join(names), tmp_path / "run", method="backbone_fusion")
    graft = tg.load(run.path)
    assert graft.source == names[0] and graft.joined == (names[1],) and set(graft.backbones) == set(names)
    assert run.report.chosen["backbone"] == " + ".join(names)
    assert all(name in (run.path / "model" / "README.md").read_text() for name in names)
    _as_measured(run, streets)


def test_edges_are_shipped_with_the_network(
    streets: Path, small_backbone: Callable[[int], str], tmp_path: Path
) -> None:
    run = _shipped(streets, small_backbone(64), tmp_path / "run", method="saliency_probe", settings="least=0")
    graft = tg.load(run.path)
    assert graft.saliency == ("edges",) and graft.joined == ()
    _as_measured(run, streets)


def test_what_several_backbones_give_as_rungs() -> None:
    """A probe on each of them, and one rung that joins them."""
    names = ["packaged/efficientnet_lite0", "packaged/efficientnet_lite1"]
    rungs = plan.rungs(plan.methods("auto", "segmentation"), names, {"fusion": "gated", "joining": "concat"})
    assert [rung.source for rung in rungs if rung.method == "pixel_probe"] == names
    assert [rung.source for rung in rungs if rung.method == "backbone_fusion"] == [None]
    order = list(dict.fromkeys(rung.method for rung in rungs))
    assert order == [name for name in segmentation.LADDER if name in order]
    assert "saliency_probe" in order
