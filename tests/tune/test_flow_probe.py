"""Films in which one of two equal things moves: the frame before tells them apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from torchgraft.core.errors import OptionError
from torchgraft.data import FRAME_BEFORE
from torchgraft.model import SceneGraft
from torchgraft.model import flow as motion_room
from torchgraft.model.exported_scene import export_scene
from torchgraft.tune import _pixel_probe, flow_probe, pixel_probe
from torchgraft.tune.base import Problem, Skip


@pytest.fixture
def film(scene_problem: Callable[..., Problem], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Problem:
    """Things 1 and 2 are both green; what the frame before says at a place is written in it: things 1 moved by 6.

    So that it runs without OpenCV too, flow is read off the frame before.
    """
    monkeypatch.setattr(_pixel_probe, "PENALTIES", (1.0, 10.0))
    monkeypatch.setattr(flow_probe, "find_spec", lambda name: name)
    monkeypatch.setattr(motion_room, "dense_flow", lambda image, before: np.float32(6) * (before[..., :2] > 128))
    problem, images = scene_problem(), []
    rng = np.random.default_rng(0)
    for i in range(len(problem.y)):
        labels = problem.masks.read(i)
        x = np.where(labels[..., None] == 0, 40, [60, 200, 60]) + rng.integers(-30, 31, (*labels.shape, 3))
        images.append(tmp_path / f"film{i}_0002.png")
        Image.fromarray(np.clip(x, 0, 255).astype(np.uint8)).save(images[-1])
        before = np.where(labels[..., None] == 1, 255, 0) * np.ones(3)
        Image.fromarray(before.astype(np.uint8)).save(tmp_path / f"film{i}_0001.png")
    return replace(problem, blocks={"image": images})


def _right(counts: np.ndarray) -> float:
    return np.trace(counts.sum(0)) / counts.sum()


def test_motion_tells_equal_things_apart(film: Problem) -> None:
    plain = pixel_probe.fit(film, pixel_probe.Options(per_scene=60))
    found = flow_probe.fit(film, flow_probe.Options(per_scene=60))
    assert found.views == (FRAME_BEFORE,) and found.decoder.name == "flow"
    assert _right(found.counts) > _right(plain.counts) + 0.1
    assert found.chosen["C"] == plain.chosen["C"] and "flow" in found.note

    (backbone,) = film.resources.backbones.values()
    graft = SceneGraft(
        source="test/scene", decoder=found.decoder, scale=found.scale, classes=film.classes,
        colours=film.masks.colours, method="flow_probe", views=found.views,
        backbones={"test/scene": {"revision": "1", "licence": "none"}},
    )  # fmt: skip
    graft = SceneGraft.from_state(*graft.state())
    graft.__dict__["backbone"] = backbone
    path, truth = film.blocks["image"][0], film.masks.read(0)
    (beside,), (among,) = tuple(graft.scenes([path])), tuple(graft.scenes([path], views={"infrared": [None]}))
    assert (beside.classes == truth)[truth < 3].mean() > 0.9
    assert np.array_equal(beside.classes, among.classes)
    path.with_name("film0_0001.png").unlink()
    (alone,) = graft.scenes([path])
    assert not alone.error and (alone.classes != beside.classes).any()
    with pytest.raises(OptionError, match="frame_before"):
        export_scene(graft, {})


def test_scenes_without_a_film_are_left_alone(scene_problem: Callable[..., Problem], film: Problem) -> None:
    for path in film.blocks["image"]:
        path.with_name(path.name.replace("0002", "0001")).unlink()
    with pytest.raises(Skip, match="0 of the scenes"):
        flow_probe.fit(film, flow_probe.Options())


def test_it_needs_opencv(scene_problem: Callable[..., Problem], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_probe, "find_spec", lambda name: None)
    assert "torchgraft[flow]" in flow_probe.applies(scene_problem())
    with pytest.raises(Skip, match="OpenCV"):
        flow_probe.fit(scene_problem(), flow_probe.Options())
