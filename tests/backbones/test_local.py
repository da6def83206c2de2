from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from torchgraft import backbones
from torchgraft.backbones import timm, torchvision
from torchgraft.core.errors import OptionError, UserError

HALF = "[0.5, 0.5, 0.5]"


def describe(folder: Path, **lines: object) -> str:
    """Write backbone.toml; returns the backbone's name."""
    given = {
        "architecture": '"timm/test_resnet"',
        "weights": '"w.safetensors"',
        "size": 64,
        "mean": HALF,
        "std": HALF,
    } | lines
    text = "\n".join(f"{name} = {value}" for name, value in given.items() if value is not None)
    (folder / "backbone.toml").write_text(text)
    return f"local/{folder}"


def test_described_timm_weights_give_the_network_they_were_saved_from(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = timm.build("test_resnet", num_classes=7).eval()
    half = {name: z.half() if z.is_floating_point() else z for name, z in model.state_dict().items()}
    save_file(half, tmp_path / "w.safetensors")
    name = describe(tmp_path, num_classes=7, licence='"mit"', interpolation='"bilinear"', imagenet=72)
    backbone = backbones.load(name)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        logits = backbone.classifier(backbone.module(x).mean((2, 3)))
        torch.testing.assert_close(logits, model(x), rtol=0.02, atol=0.02)  # float16 on disk
    assert logits.dtype == torch.float32
    assert backbone.name == name
    steps = backbone.preprocessing
    assert (steps.size, steps.resize, steps.mean, steps.interpolation) == (64, 73, (0.5,) * 3, "bilinear")
    assert (backbone.licence, backbone.imagenet) == ("mit", 72.0)


def test_described_torchvision_weights(tmp_path: Path) -> None:
    model = torchvision.build("shufflenet_v2_x0_5").eval()
    torch.save({"state_dict": model.state_dict()}, tmp_path / "w.pth")
    backbone = backbones.load(describe(tmp_path, architecture='"torchvision/shufflenet_v2_x0_5"', weights='"w.pth"'))
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone.classifier(backbone.module(x).mean((2, 3))), model(x))


def test_the_revision_follows_weights_and_how_they_are_used(tmp_path: Path) -> None:
    save_file(timm.build("test_vit", img_size=32).state_dict(), tmp_path / "w.safetensors")
    name = describe(tmp_path, architecture='"timm/test_vit"', size=32, img_size=32)
    first = backbones.load(name)
    assert backbones.load(name).revision == first.revision
    assert first.imagenet is None
    assert (first.layout, first.prefix) == ("tokens", 1)
    save_file(timm.build("test_vit", img_size=32).state_dict(), tmp_path / "w.safetensors")
    assert backbones.load(name).revision != first.revision


def test_weights_of_another_architecture_are_refused_with_what_differs(tmp_path: Path) -> None:
    save_file(timm.build("test_vit").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"don't fit the architecture. missing: .*not expected: "):
        backbones.load(describe(tmp_path))


def test_a_file_that_needs_unpickling_is_refused_with_the_way_out(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"never unpickled.*safetensors\.torch\.save_file"):
        backbones.load(describe(tmp_path, weights='"w.pt"'))


def test_a_bad_description_lists_every_problem(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"lacks mean, std\. It needs architecture, weights, size, mean, std"):
        backbones.load(describe(tmp_path, mean=None, std=None))
    with pytest.raises(OptionError, match=r"no option 'sise'.*weights expects text, got 3"):
        backbones.load(describe(tmp_path, sise=4, weights=3))
    bad = {
        "architecture": '"keras/x"',
        "size": 0,
        "std": "[0.0, 1.0, 1.0]",
        "interpolation": '"nearest"',
        "mean": "[1.0]",
        "imagenet": 172.3,
    }
    with pytest.raises(OptionError) as error:
        backbones.load(describe(tmp_path, **bad))
    for part in ("timm/NAME or", "1 to 4096", "three numbers", "above 0", "bicubic or bilinear", "at most 100"):
        assert part in str(error.value)
    with pytest.raises(OptionError, match="resize expects at least size"):
        backbones.load(describe(tmp_path, resize=10))
    (tmp_path / "backbone.toml").write_text("size = ")
    with pytest.raises(OptionError, match="not a readable TOML file"):
        backbones.load(f"local/{tmp_path}")


def test_options_that_the_architecture_does_not_take(tmp_path: Path) -> None:
    save_file(timm.build("test_resnet").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(OptionError, match="timm/test_resnet does not take one of img_size"):
        backbones.load(describe(tmp_path, img_size=32))


def test_missing_folders_files_and_contents(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not exist. Expected a folder"):
        backbones.load(f"local/{tmp_path / 'none'}")
    with pytest.raises(UserError, match=r"holds neither backbone.toml"):
        backbones.load(f"local/{tmp_path}")
    with pytest.raises(UserError, match=r"w.safetensors does not exist"):
        backbones.load(describe(tmp_path))
    with pytest.raises(UserError, match=r"is a file. Expected a folder"):
        backbones.load(f"local/{tmp_path / 'backbone.toml'}")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("file", "size", "multiplier", "accuracy"),
    [("mobilenetv1_025_128", 128, 0.25, 0.50), ("mobilenetv1_050_160", 160, 0.5, 0.72)],
)
def test_real_weights_reach_their_accuracy(tmp_path, top1, shared_data: Path, file, size, multiplier, accuracy) -> None:
    mean = [128 / 255] * 3
    name = describe(
        tmp_path,
        architecture='"timm/mobilenetv1_100"',
        weights=f"'{shared_data.parent / 'weights' / file}.safetensors'",
        size=size,
        mean=mean,
        std=mean,
        licence='"apache-2.0"',
        num_classes=1001,
        channel_multiplier=multiplier,
        pad_type='"same"',
    )
    # The first of the 1001 classes is the background.
    assert top1(backbones.load(name), shared_data / "imagenet_200", offset=1) == pytest.approx(accuracy, abs=0.011)
