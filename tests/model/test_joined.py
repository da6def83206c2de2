"""Networks side by side: each sees what it would see alone, weights sum to one, tiles fit, a graft is loaded again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

from torchgraft import backbones
from torchgraft.backbones import Levels, timm
from torchgraft.core.errors import ArtifactError, UnknownName
from torchgraft.core.types import ImagePreprocessing
from torchgraft.model import Decoder, SceneGraft, load
from torchgraft.model.exported_scene import export_scene
from torchgraft.model.joined import JoinedLevels, Weighed, joined_network
from torchgraft.model.saliency import Edges
from torchgraft.model.scene_network import SceneNetwork
from torchgraft.model.tiles import predict_map

LITE0 = "packaged/efficientnet_lite0"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small network with another mean and spread than Lite0's."""
    folder = tmp_path_factory.mktemp("small")
    torch.manual_seed(0)
    state = timm.build("mobilenetv3_small_050").state_dict()
    save_file({name: t.numpy() for name, t in state.items()}, folder / "weights.safetensors")
    (folder / "backbone.toml").write_text(
        'architecture = "timm/mobilenetv3_small_050"\nweights = "weights.safetensors"\n'
        "size = 64\nmean = [0.3, 0.4, 0.5]\nstd = [0.25, 0.2, 0.3]\n"
    )
    return f"local/{folder}"


def _network(names: list[str], decoder: str, saliency: tuple[str, ...] = ()) -> SceneNetwork:
    torch.manual_seed(0)
    network = joined_network([backbones.load(name) for name in names], decoder, 3, saliency=saliency)
    for p in network.decoder.parameters():
        nn.init.normal_(p, std=0.3)
    return network.requires_grad_(False)


def _graft(names: list[str], decoder: str, saliency: tuple[str, ...] = ()) -> SceneGraft:
    network = _network(names, decoder, saliency)
    return SceneGraft(
        source=names[0],
        decoder=Decoder(name=decoder, arrays={k: v.numpy().copy() for k, v in network.decoder.state_dict().items()}),
        scale=1.0,
        classes=("sky", "road", "car"),
        colours=((128, 128, 128), (128, 64, 128), (0, 0, 192)),
        method="backbone_fusion",
        backbones={name: backbones.load(name).describe() for name in names},
        joined=tuple(names[1:]),
        saliency=saliency,
    )


def test_each_network_sees_the_picture_as_it_would_alone(small: str) -> None:
    """A size that nothing is filled up at; the second network is normalised otherwise."""
    joined, x = _network([LITE0, small], "concat"), torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    alone = [SceneNetwork.of(backbones.load(name), "linear", 3) for name in (LITE0, small)]
    with torch.inference_mode():
        expected = [z for one in alone for z in one.features(x)]
        for found, wanted in zip(joined.features(x), expected, strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
        assert len(joined.features(x, 2)) == 2
    assert joined.levels.strides == alone[0].levels.strides + alone[1].levels.strides


def test_concat_is_one_linear_classifier_of_all_levels(small: str) -> None:
    joined, x = _network([LITE0, small], "concat"), torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    alone = [SceneNetwork.of(backbones.load(name), "linear", 3) for name in (LITE0, small)]
    weight, bias = joined.decoder.head()
    first = sum(alone[0].levels.channels)
    alone[0].decoder.from_head(weight[:, :first], bias)
    alone[1].decoder.from_head(weight[:, first:], np.zeros(3))
    with torch.inference_mode():
        torch.testing.assert_close(joined(x), alone[0](x) + alone[1](x), atol=2e-3, rtol=1e-4)


def test_weights_sum_to_one_over_the_networks_of_a_stride() -> None:
    """Networks of strides 2, 4 and of 4, 8: only stride 4 has two."""
    made = Weighed((3, 4, 5, 6), (2, 4, 4, 8), 2).requires_grad_(False)
    maps = [torch.randn(2, c, 32 // s, 48 // s) for c, s in zip(made.channels, made.strides, strict=True)]
    weights = made.weights(maps, (8, 12))
    assert (weights[0] == 1).all() and (weights[3] == 1).all()
    torch.testing.assert_close(weights[1] + weights[2], torch.ones(2, 1, 8, 12))
    made.scores[1].weight.zero_()
    made.scores[1].bias.fill_(60.0)
    made.scores[2].weight.zero_()
    levels = [made.levels[0], made.levels[1], made.levels[3]]
    torch.testing.assert_close(
        made(maps, (32, 48)), _linear(levels, (2, 4, 8), made.bias, [maps[0], maps[1], maps[3]]), atol=1e-5, rtol=1e-4
    )


def _linear(levels: list[nn.Module], strides: tuple[int, ...], bias: torch.Tensor, maps: list[torch.Tensor]):
    from torchgraft.model.decoders import Linear

    made = Linear(tuple(level.in_channels for level in levels), strides, len(bias)).requires_grad_(False)
    for own, level in zip(made.levels, levels, strict=True):
        own.weight.copy_(level.weight)
    made.bias.copy_(bias)
    return made(maps, (32, 48))


def test_maps_stand_beside_the_levels() -> None:
    look = ImagePreprocessing(size=64, resize=64, mean=(0.5,) * 3, std=(0.25,) * 3)
    levels = JoinedLevels(
        [Levels(nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 5, 3, 2, 1)), 64), Edges(look)], [look] * 2
    )
    assert levels.channels == (4, 5, 45) and levels.strides == (2, 4, 4) and levels.multiple == 4
    x = torch.randn(1, 3, 32, 64)
    assert [tuple(z.shape) for z in levels(x)] == [(1, 4, 16, 32), (1, 5, 8, 16), (1, 45, 8, 16)]
    torch.testing.assert_close(levels(x)[2], Edges(look)(x)[0])
    assert not levels.splits(1)


@pytest.mark.parametrize(("decoder", "saliency"), [("linear", ("edges",)), ("concat", ()), ("attention", ())])
def test_tiles_are_as_the_whole(decoder: str, saliency: tuple[str, ...]) -> None:
    names = [LITE0] if saliency else [LITE0, "packaged/efficientnet_lite1"]
    network = _network(names, decoder, saliency)
    image = np.random.default_rng(0).integers(0, 256, (40, 1700, 3), dtype=np.uint8)
    whole, parts = (np.empty(image.shape[:2], np.float32) for _ in range(2))
    predict_map(network, image, tile=2048, confidence=whole)
    predict_map(network, image, tile=256, confidence=parts)
    assert np.abs(whole - parts).max() < 1e-4


@pytest.mark.parametrize(("decoder", "saliency"), [("linear", ("edges",)), ("attention", ())])
def test_a_graft_is_saved_loaded_and_exported(
    decoder: str, saliency: tuple[str, ...], small: str, tmp_path: Path
) -> None:
    graft = _graft([LITE0] if saliency else [LITE0, small], decoder, saliency)
    graft.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert (again.joined, again.saliency) == (graft.joined, saliency)
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    for one, other in zip(graft.answer(image), again.answer(image), strict=True):
        assert np.array_equal(one, other)
    exported = export_scene(again, {})
    for inputs, expected in exported.cases:
        with torch.inference_mode():
            classes, p = exported.module(torch.from_numpy(inputs["image"]))
        assert (classes.numpy() == expected["classes"]).mean() > 0.999
        assert np.abs(p.numpy() - expected["probability"]).max() < 1e-3


def test_what_does_not_belong_together_is_refused(small: str) -> None:
    with pytest.raises(UnknownName, match="attention"):
        joined_network([backbones.load(LITE0)], "attentive", 3)
    config, arrays = _graft([LITE0, small], "concat").state()
    with pytest.raises(ArtifactError, match="not all are described"):
        SceneGraft.from_state({**config, "backbones": {LITE0: config["backbones"][LITE0]}}, arrays)
    other = {**config["backbones"], small: {**config["backbones"][small], "revision": "another"}}
    with pytest.raises(ArtifactError, match="other weights"):
        _ = SceneGraft.from_state({**config, "backbones": other}, arrays).network
    with pytest.raises(ArtifactError, match="not complete"):
        _ = SceneGraft.from_state({**config, "saliency": ["edges"]}, arrays).network
