"""What crosses floors, as plain values."""

from __future__ import annotations

import dataclasses
import json

import pytest

from torchgraft.core.types import DataSpec, Estimate, ImagePreprocessing, TextPreprocessing


def test_an_estimate_for_people_and_for_json() -> None:
    estimate = Estimate(0.94, 0.9, 0.9667)
    assert str(estimate) == "0.940 [0.900, 0.967]"
    assert estimate.to_dict() == {"value": 0.94, "low": 0.9, "high": 0.9667}


def test_a_data_spec_as_json() -> None:
    spec = DataSpec(
        modality="image", task="single_label", classes=("a", "b"), counts={"train": 3}, root="photos", content_hash="00"
    )
    assert json.loads(json.dumps(spec.to_dict())) == {
        "modality": "image", "task": "single_label", "classes": ["a", "b"], "counts": {"train": 3}, "root": "photos",
        "content_hash": "00",
    }  # fmt: skip


def test_preprocessing_knows_its_modality_and_does_not_change() -> None:
    image = ImagePreprocessing(size=224, resize=256, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert (image.modality, image.interpolation) == ("image", "bicubic")
    assert TextPreprocessing(tokenizer="abc", max_tokens=256).modality == "text"
    with pytest.raises(dataclasses.FrozenInstanceError):
        image.size = 10
    assert image == dataclasses.replace(image)
    assert repr(image) != repr(dataclasses.replace(image, size=192)), "the repr is part of the store's key"
