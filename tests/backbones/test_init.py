"""The room's front door: names, offers, and how little is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from torchgraft import backbones
from torchgraft.core import registry
from torchgraft.core.errors import UnknownName, UserError


def test_every_provider_offers_names_and_load() -> None:
    providers = registry.names("backbones")
    assert {"local", "packaged", "timm", "torchvision", "transformers"} <= set(providers)
    for provider in providers:
        module = registry.get("backbones", provider)
        assert callable(module.load)
        assert all(offer.name.startswith(f"{provider}/") for offer in module.names())


def test_offers_are_sorted_by_size_and_filtered_by_modality() -> None:
    offers = backbones.offers()
    assert [offer.parameters for offer in offers] == sorted(offer.parameters for offer in offers)
    assert backbones.at_hand("image")[0] == "packaged/efficientnet_lite0"
    assert {offer.modality for offer in backbones.offers("text")} <= {"text"}
    assert backbones.at_hand("array") == []


def test_a_name_without_provider_gets_the_full_name() -> None:
    with pytest.raises(UserError, match="Did you mean 'packaged/efficientnet_lite0'"):
        backbones.load("efficientnet_lite0")
    with pytest.raises(UserError, match="provider/name"):
        backbones.load("")


def test_an_unknown_provider_gets_a_near_miss() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'timm'"):
        backbones.load("tim/resnet50")


def test_importing_and_listing_load_no_heavy_library() -> None:
    code = (
        "import sys; from torchgraft import backbones; backbones.offers();"
        "print([m for m in ('torch', 'timm', 'torchvision', 'transformers') if m in sys.modules])"
    )
    # An empty home: what is in the user's caches would have to be described by its library.
    environment = {"HOME": "/nonexistent", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"
