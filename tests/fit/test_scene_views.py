"""The main job on scenes with two views, with a tiny random network: found, joined, shipped, predicted from files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

import torchgraft as tg
from torchgraft.fit import FitOptions, fit


def _streets(folder: Path, street: Callable) -> Path:
    """The left half of each image is grey, the right half of the view `other`; one view is missing."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 6)):
        for kind in ("images", "masks", "views/other"):
            (folder / part / kind).mkdir(parents=True)
        for i in range(count):
            pixels, labels = street(rng, 20)
            other = pixels.copy()
            pixels[:, :32], other[:, 32:] = 128, 128
            Image.fromarray(pixels).save(folder / part / "images" / f"s{i:03d}.png")
            Image.fromarray(other).save(folder / part / "views/other" / f"s{i:03d}.png")
            Image.fromarray(labels).save(folder / part / "masks" / f"s{i:03d}.png")
    (folder / "train/views/other/s003.png").unlink()
    (folder / "classes.txt").write_text("sky\nroad\ncar\n")
    return folder


def test_two_views_are_joined_and_shipped_where_they_pay(
    tmp_path: Path, street: Callable, small_backbone: Callable[[int], str]
) -> None:
    data = _streets(tmp_path / "streets", street)
    options = FitOptions(
        target=str(data), backbone=small_backbone(64), out=str(tmp_path / "run"),
        method="pixel_majority,pixel_probe,view_fusion",
    )  # fmt: skip
    run = fit(options)
    value = {row["method"]: row["metrics"]["miou"]["value"] for row in run.report.data["ladder"]}
    assert value["view_fusion"] > value["pixel_probe"] + 0.05 > value["pixel_majority"]
    assert run.report.chosen["method"] == "view_fusion"
    graft = tg.load(run.path)
    assert graft.views == ("other",)
    files = sorted((data / "val/images").iterdir())
    truth = [np.asarray(Image.open(path)) for path in sorted((data / "val/masks").iterdir())]
    both = np.mean([(s.classes == y).mean() for s, y in zip(graft.predict(files), truth, strict=True)])
    assert both > run.report.chosen["metrics"]["pixel_accuracy"]["value"] - 0.1
    alone = list(graft.scenes(files, views={}))
    assert np.mean([(s.classes == y).mean() for s, y in zip(alone, truth, strict=True)]) < both
    (data / "val/views/other/s000.png").write_bytes(b"no")
    assert "s000.png" in str(files[0]) and graft.predict(files[:1])[0].error
