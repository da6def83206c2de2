"""What of a graft of scenes is exported: its network answers as the graft does, at any size."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from torchgraft import backbones
from torchgraft.core.errors import OptionError
from torchgraft.features.decode import resized
from torchgraft.model import Decoder, SceneGraft
from torchgraft.model.exported import Exported, png, random_photo
from torchgraft.model.scene_network import SceneNetwork

LITE0 = "packaged/efficientnet_lite0"


@pytest.fixture(scope="module")
def graft() -> SceneGraft:
    """EfficientNet-Lite0 under a linear decoder whose weights are random."""
    torch.manual_seed(0)
    network = SceneNetwork.of(backbones.load(LITE0), "linear", 3)
    for p in network.decoder.parameters():
        p.data.mul_(5)
    return SceneGraft(
        source=LITE0,
        decoder=Decoder(name="linear", arrays={k: v.numpy().copy() for k, v in network.decoder.state_dict().items()}),
        scale=1.0,
        classes=("sky", "road", "car"),
        colours=((128, 128, 128), (128, 64, 128), (0, 0, 192)),
        method="pixel_probe",
        temperature=1.5,
        backbones={LITE0: {"name": LITE0, "revision": backbones.load(LITE0).revision, "licence": "Apache-2.0"}},
    )


def _agrees(exported: Exported) -> None:
    for inputs, expected in exported.cases:
        with torch.inference_mode():
            classes, probability = exported.module(torch.from_numpy(inputs["image"]))
        assert (classes.numpy() != expected["classes"]).mean() <= 1e-3
        np.testing.assert_allclose(probability.numpy(), expected["probability"], atol=1e-4)


def _stored(*shapes: tuple[int, int]) -> dict[str, np.ndarray]:
    images = [random_photo(np.random.default_rng(i), shape) for i, shape in enumerate(shapes)]
    return {f"input.{i}": png(image) for i, image in enumerate(images)}


def test_images_of_any_size(graft: SceneGraft) -> None:
    exported = graft.exported(_stored((64, 96), (70, 90)))
    assert exported.inputs == {"image": {2: "H", 3: "W"}}
    assert exported.outputs == {"classes": {0: "H", 1: "W"}, "probability": {0: "H", 1: "W"}}
    assert [inputs["image"].shape for inputs, _ in exported.cases] == [(1, 3, 64, 96), (1, 3, 70, 90), (1, 3, 47, 71)]
    assert (exported.samples, exported.stored, exported.fixable) == (2, True, True)
    _agrees(exported)


def test_it_is_what_the_graft_answers(graft: SceneGraft) -> None:
    image = random_photo(np.random.default_rng(0), (64, 96))
    inputs, expected = graft.exported({"input.0": png(image)}).cases[0]
    np.testing.assert_array_equal(inputs["image"][0].transpose(1, 2, 0), image)
    classes, confidence = graft.answer(image)
    np.testing.assert_array_equal(expected["classes"], classes)
    np.testing.assert_allclose(expected["probability"], confidence / 255, atol=0.6 / 255)


def test_made_up_images(graft: SceneGraft) -> None:
    exported = graft.exported({})
    assert (exported.samples, exported.stored) == (1, False)
    _agrees(exported)


def test_one_size(graft: SceneGraft) -> None:
    exported = graft.exported(_stored((64, 96)), size=(50, 80))
    assert (exported.inputs, exported.outputs) == ({"image": {}}, {"classes": {}, "probability": {}})
    assert [inputs["image"].shape for inputs, _ in exported.cases] == [(1, 3, 50, 80)]
    assert (exported.samples, exported.fixable) == (1, False)
    assert "resize((80, 50)" in exported.usage
    _agrees(exported)


def test_fixed_keeps_the_size_of_the_first(graft: SceneGraft) -> None:
    fixed = graft.exported(_stored((64, 96), (70, 90))).fixed()
    assert (fixed.inputs, fixed.samples, fixed.fixable) == ({"image": {}}, 1, False)


def test_scaled_images(graft: SceneGraft) -> None:
    doubled = replace(graft, scale=2.0)
    image = random_photo(np.random.default_rng(0), (40, 60))
    exported = doubled.exported({"input.0": png(image)})
    inputs, expected = exported.cases[0]
    assert inputs["image"].shape == (1, 3, 80, 120)
    np.testing.assert_array_equal(resized(expected["classes"], (40, 60), smooth=False), doubled.answer(image)[0])
    assert exported.metadata["scale"] == "2.0"
    assert "round(2.0 * side)" in exported.usage


def test_metadata_say_what_it_is(graft: SceneGraft) -> None:
    about = graft.exported({}).metadata
    assert json.loads(about["classes"]) == ["sky", "road", "car"]
    assert json.loads(about["colours"])[2] == [0, 0, 192]
    assert json.loads(about["backbones"])[LITE0]["licence"] == "Apache-2.0"
    assert (about["task"], about["temperature"]) == ("segmentation", "1.5")
    assert json.loads(about["preprocessing"])["image"]["layout"] == "1 x 3 x H x W uint8"


@pytest.mark.parametrize(("scale", "size"), [(1.0, None), (2.0, None), (1.0, (64, 64))])
def test_the_lines_of_python_are_python(graft: SceneGraft, scale: float, size: tuple[int, int] | None) -> None:
    compile(replace(graft, scale=scale).exported(_stored((40, 60)), size=size).usage, "usage", "exec")


def test_what_can_not_be_exported_is_refused(graft: SceneGraft) -> None:
    with pytest.raises(OptionError, match=r"further views \(infrared\)"):
        replace(graft, views=("infrared",)).exported({})
    with pytest.raises(OptionError, match="32 x 32 pixels or more was expected, got 31x64"):
        graft.exported({}, size=(31, 64))
    constant = replace(graft, source=None, decoder=Decoder(name="constant", arrays={"bias": np.zeros(3)}))
    with pytest.raises(OptionError, match="same for every pixel"):
        constant.exported({})
