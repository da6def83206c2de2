from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from torchgraft import backbones
from torchgraft.backbones import timm
from torchgraft.core.errors import UnknownName, UserError

TINY = "test_resnet.r160_in1k"
"""timm's own network for tests: 0.5 million weights."""

# architecture, options, image side, layout, width, side or tokens of the output, prefix, pooling
FAMILIES = [
    ("inception_v3", {}, 75, "map", 2048, 1, 0, "avg"),
    ("resnet50", {}, 32, "map", 2048, 1, 0, "avg"),
    ("resnetv2_50", {}, 32, "map", 2048, 1, 0, "avg"),
    ("densenet121", {}, 32, "map", 1024, 1, 0, "avg"),
    ("mobilenetv1_100", {}, 32, "map", 1024, 1, 0, "avg"),
    ("mobilenetv2_100", {}, 32, "map", 1280, 1, 0, "avg"),
    ("mobilenetv3_small_100", {}, 32, "map", 576, 1, 0, "avg"),
    ("efficientnet_b0", {}, 32, "map", 1280, 1, 0, "avg"),
    ("convnext_atto", {}, 32, "map", 320, 1, 0, "avg"),
    ("swin_tiny_patch4_window7_224", {"img_size": 56, "window_size": 2}, 56, "map", 768, 2, 0, "avg"),
    ("vit_tiny_patch16_224", {"img_size": 32}, 32, "tokens", 192, 5, 1, "cls"),
    ("vit_small_patch14_dinov2", {"img_size": 28}, 28, "tokens", 384, 5, 1, "cls"),
    ("vit_small_patch14_reg4_dinov2", {"img_size": 28}, 28, "tokens", 384, 9, 5, "cls"),
    ("mixer_s32_224", {"img_size": 64}, 64, "tokens", 512, 4, 0, "mean"),
]


@pytest.mark.parametrize(("name", "options", "size", "layout", "width", "places", "prefix", "pooling"), FAMILIES)
def test_families_give_features_of_the_stated_shape(
    name, options, size, layout, width, places, prefix, pooling
) -> None:
    torch.manual_seed(0)
    model = timm.build(name, **options).eval()
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        logits = model(x)
        network = timm.cut(model, size)
        z = network.module(x)
        expected = (2, width, places, places) if layout == "map" else (2, places, width)
        assert tuple(z.shape) == expected
        assert (network.layout, network.width, network.prefix, network.pooling) == (layout, width, prefix, pooling)
        assert not any(parameter.requires_grad for parameter in network.module.parameters())
        if network.classifier is None:  # DINOv2 was trained without labels
            assert "dinov2" in name
            return
        # Trunk, pooling and classifier together are the model that they were cut from.
        pooled = z.mean((2, 3)) if layout == "map" else z[:, 0] if pooling == "cls" else z[:, prefix:].mean(1)
        torch.testing.assert_close(network.classifier(pooled), logits, rtol=1e-4, atol=1e-5)
        own = {id(p) for p in network.module.parameters()}
        assert not own & {id(p) for p in network.classifier.parameters()}


def test_a_width_multiplier_gives_the_narrow_network() -> None:
    network = timm.cut(timm.build("mobilenetv1_100", channel_multiplier=0.25, pad_type="same", num_classes=1001), 128)
    assert network.width == 256
    assert network.classifier(torch.zeros(1, 256)).shape == (1, 1001)
    with pytest.raises(UserError, match="channel_multiplier is known for mobilenetv1_100"):
        timm.build("resnet18", channel_multiplier=0.5)


def test_trunks_can_be_traced() -> None:
    for name, options in (("test_resnet", {}), ("test_vit", {"img_size": 32})):
        module = timm.cut(timm.build(name, **options), 32).module
        x = torch.randn(3, 3, 32, 32)
        with torch.no_grad():
            traced = torch.jit.trace(module, torch.randn(1, 3, 32, 32))
            torch.testing.assert_close(traced(x), module(x))


def test_unknown_names_get_near_misses() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'resnet50'"):
        timm.load("resnet5O")
    with pytest.raises(UnknownName, match=r"timm/resnet18 has no 'a1_in1'.*Did you mean 'a1_in1k'"):
        timm.load("resnet18.a1_in1")
    with pytest.raises(UserError, match=r"no pretrained weights for 'resnet10t_none'|no 'resnet10t_none'"):
        timm.load("resnet10t_none")


def test_offline_without_weights() -> None:
    assert timm.names() == []
    with pytest.raises(UserError, match=r"'timm/resnet18.a1_in1k' is not on this machine"):
        timm.load("resnet18.a1_in1k")


def test_weights_in_the_cache_are_offered_and_loaded(snapshot) -> None:
    torch.manual_seed(0)
    model = timm.build("test_resnet").eval()
    path = snapshot(f"timm/{TINY}") / "model.safetensors"
    save_file(model.state_dict(), path)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model.forward_features(x)

    (offer,) = timm.names()
    backbone = timm.load(TINY)
    assert (offer.name, offer.width, offer.parameters) == (backbone.name, backbone.width, backbone.parameters)
    assert offer.size == path.stat().st_size
    assert (offer.licence, backbone.licence) == ("apache-2.0", "apache-2.0")
    torch.testing.assert_close(backbone.module(x), expected)
    assert timm.load("test_resnet").revision == backbone.revision  # the tag that timm takes by default

    known = timm.library().models.get_pretrained_cfg(TINY)
    steps = backbone.preprocessing
    assert steps.size == known.input_size[-1]
    assert steps.resize == int(steps.size / known.crop_pct)
    assert (steps.mean, steps.std, steps.interpolation) == (known.mean, known.std, known.interpolation)


def test_what_timm_does_not_know_is_not_offered(snapshot) -> None:
    save_file({"w": torch.ones(1)}, snapshot("timm/resnet18.some_later_tag") / "model.safetensors")
    assert timm.names() == []


def test_a_damaged_file_in_the_cache(snapshot) -> None:
    folder: Path = snapshot(f"timm/{TINY}")
    (folder / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(UserError, match=r"can't be loaded as timm's .*damaged"):
        timm.load(TINY)


def hub_folder(folder: Path) -> torch.nn.Module:
    """Write a model as the hub has it for timm."""
    model = timm.build("test_resnet", num_classes=5).eval()
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {
        "input_size": [3, 96, 96],
        "crop_pct": 0.75,
        "interpolation": "bilinear",
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
    }
    about = {
        "architecture": "test_resnet",
        "num_classes": 5,
        "pretrained_cfg": config | {"num_classes": 5, "license": "mit"},
    }
    (folder / "config.json").write_text(json.dumps(about))
    return model


def test_a_folder_copied_from_the_hub(tmp_path: Path) -> None:
    model = hub_folder(tmp_path)
    backbone = backbones.load(f"local/{tmp_path}")
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone.classifier(backbone.module(x).mean((2, 3))), model(x))
    steps = backbone.preprocessing
    assert (steps.size, steps.resize, steps.interpolation) == (96, 128, "bilinear")
    assert (steps.mean, steps.std, backbone.licence) == ((0.5,) * 3, (0.25,) * 3, "mit")


def test_a_folder_from_the_hub_that_lacks_something(tmp_path: Path) -> None:
    hub_folder(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"holds no weights. Expected model.safetensors"):
        backbones.load(f"local/{tmp_path}")
    (tmp_path / "other.safetensors").rename(tmp_path / "model.safetensors")
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace("test_resnet", "test_resnot"))
    with pytest.raises(UnknownName, match="Did you mean 'test_resnet'"):
        backbones.load(f"local/{tmp_path}")
    (tmp_path / "config.json").write_text(text.replace("test_resnet", "test_vit"))
    with pytest.raises(UserError, match="damaged or of another model"):
        backbones.load(f"local/{tmp_path}")
