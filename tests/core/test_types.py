"""What crosses floors is frozen and becomes plain values."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import pytest

from torchgraft.core.types import DataSpec, Estimate, ImagePreprocessing, TextPreprocessing

_SPEC = DataSpec(
    modality="text", task="single_label", classes=("a", "b"), counts={"train": 2}, root="r", content_hash="0"
)
_IMAGE = ImagePreprocessing(size=224, resize=256, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))


def test_an_estimate_reads_well() -> None:
    estimate = Estimate(0.94, 0.9012, 0.9749)
    assert str(estimate) == "0.940 [0.901, 0.975]"
    assert estimate.to_dict() == {"value": 0.94, "low": 0.9012, "high": 0.9749}
    assert Estimate(**estimate.to_dict()) == estimate


def test_a_data_spec_is_plain_json() -> None:
    assert json.loads(json.dumps(_SPEC.to_dict())) == {
        "modality": "text",
        "task": "single_label",
        "classes": ["a", "b"],
        "counts": {"train": 2},
        "root": "r",
        "content_hash": "0",
    }


@pytest.mark.parametrize("value", [Estimate(0.5, 0.4, 0.6), _SPEC, _IMAGE])
def test_they_are_frozen(value) -> None:
    with pytest.raises(FrozenInstanceError):
        value.modality = "other"


def test_preprocessing_knows_its_modality() -> None:
    assert _IMAGE.modality == "image"
    assert _IMAGE.interpolation == "bicubic"
    assert TextPreprocessing(tokenizer="x", max_tokens=256).modality == "text"
    with pytest.raises(TypeError):
        TextPreprocessing(tokenizer="x", max_tokens=256, modality="image")


def test_equal_preprocessing_reads_the_same() -> None:
    assert repr(_IMAGE) == repr(ImagePreprocessing(size=224, resize=256, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)))
