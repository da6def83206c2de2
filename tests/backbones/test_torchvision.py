from __future__ import annotations

import copy
from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from torchgraft.backbones import torchvision
from torchgraft.backbones._trunk import without_computing
from torchgraft.core.errors import UnknownName, UserError

TINY = "shufflenet_v2_x0_5"
FILE = "shufflenetv2_x0.5-f707e7126e.pth"


@pytest.mark.parametrize(
    ("name", "size", "width", "classifies"),
    [
        ("alexnet", 64, 256, False),
        ("vgg16", 32, 512, False),
        ("googlenet", 64, 1024, True),
        ("resnet18", 64, 512, True),
        ("mobilenet_v3_small", 64, 576, True),
        ("densenet121", 64, 1024, True),
        ("squeezenet1_1", 64, 512, False),
    ],
)
def test_families_give_maps_of_the_stated_width(name: str, size: int, width: int, classifies: bool) -> None:
    torch.manual_seed(0)
    # VGG's and AlexNet's heads are 100 million weights that nobody looks at here.
    options = {"num_classes": 1000} if classifies else {"num_classes": 2}
    model = torchvision.build(name, **options).eval()
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        logits = model(x)
        network = torchvision.cut(model, size)
        z = network.module(x)
        assert (network.layout, network.width, network.pooling, z.shape[:2]) == ("map", width, "avg", (2, width))
        assert (network.classifier is not None) is classifies
        if classifies:
            torch.testing.assert_close(network.classifier(z.mean((2, 3))), logits, rtol=1e-4, atol=1e-5)


def test_transformers_give_tokens_and_swin_a_map() -> None:
    with torch.device("meta"):
        vit, swin = torchvision.build("vit_b_16"), torchvision.build("swin_t")
    network = torchvision.cut(vit, 224)
    assert (network.layout, network.width, network.prefix, network.pooling) == ("tokens", 768, 1, "cls")
    network = torchvision.cut(swin, 224)
    assert (network.layout, network.width, network.prefix, network.pooling) == ("map", 768, 0, "avg")


@pytest.mark.parametrize(
    ("name", "size", "width"), [("inception_v3", 96, 2048), ("resnet18", 32, 512), ("swin_t", 32, 768)]
)
def test_a_map_of_one_place_is_where_it_is_cut(name: str, size: int, width: int) -> None:
    with torch.device("meta"):
        model = torchvision.build(name)
    network = torchvision.cut(model, size)
    assert (network.layout, network.width) == ("map", width)
    assert without_computing(network.module, size).shape == (1, width, 1, 1)
    assert network.classifier is not None


@pytest.mark.parametrize(("name", "size"), [("inception_v3", 32), ("vit_b_16", 96), ("maxvit_t", 96)])
def test_a_size_that_the_network_does_not_take(name: str, size: int) -> None:
    with torch.device("meta"):
        model = torchvision.build(name)
    with pytest.raises(UserError, match=f"does not take images of {size} x {size} pixels .*most networks"):
        torchvision.cut(model, size)


def test_inception_undoes_the_normalisation_inside_for_its_own_weights() -> None:
    model = torchvision.build("googlenet", pretrained_form=True).eval()
    assert model.transform_input
    assert torchvision.build("googlenet").transform_input is False
    x = torch.randn(1, 3, 64, 64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    undone = ((x * std.view(3, 1, 1) + mean.view(3, 1, 1)) - 0.5) / 0.5
    torch.testing.assert_close(model._transform_input(x), undone)


def test_old_names_and_training_heads_are_mended() -> None:
    z = torch.ones(1)
    renamed = torchvision.renamed(
        {"features.denseblock1.denselayer2.norm.1.weight": z, "aux1.conv.weight": z, "fc.bias": z}
    )
    assert set(renamed) == {"features.denseblock1.denselayer2.norm1.weight", "fc.bias"}


def test_weights_in_the_download_folder_are_offered_and_loaded(downloads: Path) -> None:
    torch.manual_seed(0)
    model = torchvision.build(TINY).eval()
    torch.save(model.state_dict(), downloads / FILE)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(x)
    (offer,) = torchvision.names()
    backbone = torchvision.load(TINY)
    assert (offer.name, offer.width, offer.parameters) == (backbone.name, backbone.width, backbone.parameters)
    torch.testing.assert_close(backbone.classifier(backbone.module(x).mean((2, 3))), expected)
    steps = backbone.preprocessing
    assert (steps.size, steps.resize, steps.interpolation) == (224, 256, "bilinear")
    assert steps.mean == (0.485, 0.456, 0.406)
    assert backbone.licence == "BSD-3-Clause"


def test_offline_without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    assert torchvision.names() == []
    with pytest.raises(UserError, match=r"is not on this machine.*no route to host.*Put the file from https"):
        torchvision.load(TINY)


def test_a_damaged_download(monkeypatch: pytest.MonkeyPatch, downloads: Path) -> None:
    (downloads / FILE).write_bytes(b"half")
    with pytest.raises(UserError, match="can't be read"):
        torchvision.load(TINY)


def test_unknown_names_get_near_misses() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'vgg16'"):
        torchvision.load("vgg_16")


def test_the_download_folder_is_found_without_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(torchvision.sys.modules, "torch")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert torchvision._downloads() == tmp_path / "hub" / "checkpoints"


def test_a_copy_computes_the_same() -> None:
    """Engines and training copy the network; a traced graph that is copied alone falls into training mode."""
    torch.manual_seed(0)
    module = torchvision.cut(torchvision.build(TINY), 64).module
    copied = copy.deepcopy(module)
    assert not any(part.training for part in copied.modules())
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(copied(x), module(x))
