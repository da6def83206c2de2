"""Two views that each show half of a scene: joined they are told apart as one whole view is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from torchgraft.core.errors import OptionError
from torchgraft.data import view_beside
from torchgraft.model import SceneGraft
from torchgraft.tune import _view_fusion, pixel_probe, view_fusion
from torchgraft.tune.base import Problem, Skip


@pytest.fixture
def two_views(scene_problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Problem:
    """Left half of each scene blanked in `images/`, right half in `views/other/`, which is darker; one view missing."""
    monkeypatch.setattr(_view_fusion, "PENALTIES", (1.0, 10.0))
    problem = scene_problem(n=16)
    images, views = [], []
    for path in problem.blocks["image"]:
        x = np.asarray(Image.open(path)).copy()
        dark = x // 2
        x[:, :24], dark[:, 24:] = 128, 128
        for files, folder, one in ((images, "d/images", x), (views, "d/views/other", dark)):
            files.append(tmp_path / folder / path.name)
            files[-1].parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(one).save(files[-1])
    views[3].unlink()
    views[3] = None
    return replace(problem, blocks={"image": images}, views={"other": tuple(views)})


def _right(counts: np.ndarray) -> float:
    return np.trace(counts.sum(0)) / counts.sum()


def _graft(problem: Problem, found) -> SceneGraft:
    backbone = problem.resources.backbones["test/scene"]
    graft = SceneGraft(
        source="test/scene", decoder=found.decoder, scale=found.scale, classes=problem.classes,
        colours=problem.masks.colours, method="view_fusion", views=found.views,
        backbones={"test/scene": {"revision": "1", "licence": "none"}},
    )  # fmt: skip
    graft.__dict__["backbone"] = backbone
    return graft


@pytest.mark.parametrize("fusion", ["gated", "concat", "attention"])
def test_halves_joined_show_the_whole(two_views: Problem, fusion: str) -> None:
    alone = pixel_probe.fit(replace(two_views, views=None), pixel_probe.Options(per_scene=60))
    found = view_fusion.fit(two_views, view_fusion.Options(per_scene=60, fusion=fusion))
    assert found.views == ("other",) and found.decoder.name == fusion
    assert _right(found.counts) > _right(alone.counts) + 0.03
    assert found.counts.sum() == alone.counts.sum()

    graft = _graft(two_views, found)
    again = SceneGraft.from_state(*graft.state())
    again.__dict__["backbone"] = graft.backbone
    path = two_views.blocks["image"][0]
    assert view_beside(path, "other") == two_views.views["other"][0]
    (beside,), (given,), (without,) = (
        tuple(again.scenes([path], views=views)) for views in (None, two_views.views, {"other": [None]})
    )
    assert np.array_equal(beside.classes, given.classes) and beside.classes.shape == (40, 48)
    truth = two_views.masks.read(0)
    known = truth < 3
    assert (beside.classes == truth)[known].mean() > 0.9
    right = known.copy()
    right[:, :24] = False
    assert (without.classes == truth)[right].mean() > 0.6
    assert not np.array_equal(without.classes, beside.classes)


def test_auto_takes_the_least_loss_and_folds_repeat(two_views: Problem) -> None:
    options = view_fusion.Options(per_scene=40)
    found = view_fusion.fit(two_views, options)
    losses = found.chosen["losses"]
    assert set(losses) == {"gated", "concat", "attention"}
    assert found.decoder.name == min(losses, key=losses.get) == found.chosen["fusion"]
    again = view_fusion.fit(replace(two_views, resources=replace(two_views.resources, shared={})), options)
    assert np.array_equal(found.counts, again.counts)
    assert all(np.array_equal(a, again.decoder.arrays[name]) for name, a in found.decoder.arrays.items())


def test_it_says_when_there_is_nothing_to_join(scene_problem, two_views: Problem) -> None:
    assert "one view" in view_fusion.applies(scene_problem())
    assert view_fusion.applies(two_views) == ""
    with pytest.raises(OptionError, match="gated"):
        view_fusion.fit(two_views, view_fusion.Options(fusion="gate"))


def test_a_view_of_one_scene_is_no_view(two_views: Problem) -> None:
    files = (two_views.views["other"][0], *([None] * 15))
    with pytest.raises(Skip, match="view rare is there in [01] of the scenes"):
        view_fusion.fit(replace(two_views, views={"rare": files}), view_fusion.Options())


def test_pixels_of_a_missing_view_are_never_looked_at(two_views: Problem) -> None:
    network = _graft(two_views, view_fusion.fit(two_views, view_fusion.Options(per_scene=30, fusion="gated"))).network
    x, a, b = torch.randint(0, 256, (3, 1, 3, 32, 64), dtype=torch.uint8)
    there = torch.tensor([[True, False]])
    assert torch.equal(network(x, a, there), network(x, b, there))
