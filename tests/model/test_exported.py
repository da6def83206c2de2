"""What of a graft of labels is exported: its network answers as the graft does, whatever its parts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from torchgraft import backbones
from torchgraft.backbones import Backbone, Network
from torchgraft.core.errors import ArtifactError, OptionError
from torchgraft.core.types import ImagePreprocessing
from torchgraft.features.mapping import L2, Chain, Identity, Standardise
from torchgraft.features.tfidf import TfIdf
from torchgraft.model import Graft, KNNHead, LinearHead, Part, as_samples
from torchgraft.model.artifact import read
from torchgraft.model.exported import Exported


def _answers(exported: Exported) -> list[tuple[np.ndarray, np.ndarray]]:
    """(what the module gives, what the graft gives) for every case."""
    with torch.inference_mode():
        return [
            (exported.module(*(torch.from_numpy(x) for x in inputs.values())).numpy(), expected["probabilities"])
            for inputs, expected in exported.cases
        ]


def _agrees(exported: Exported) -> None:
    for found, expected in _answers(exported):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.fixture
def numbers() -> Graft:
    """logits = the two standardised numbers and, beside them, their direction."""
    x = np.random.default_rng(0).normal(loc=5, size=(30, 2)).astype(np.float32)
    return Graft(
        parts=(Part("array", Standardise.fit(x)), Part("array", Chain.fit(x, steps=(Standardise.fit, L2.fit)))),
        head=LinearHead(np.array([[1.0, 0, 2, 0], [0, 1, 0, 2], [1, 1, -1, -1]]), np.array([0.1, -0.2, 0])),
        classes=("cat", "dog", "Bär"),
        modality="array",
        method="by hand",
        temperature=2.0,
        threshold=0.7,
        prior=(0.5, 0.25, 0.25),
    )


def test_numbers(numbers: Graft) -> None:
    exported = numbers.exported({})
    assert (exported.inputs, exported.outputs) == ({"features": {0: "B"}}, {"probabilities": {0: "B"}})
    assert not exported.stored
    assert [len(inputs["features"]) for inputs, _ in exported.cases] == [exported.samples, 1]
    x = exported.cases[0][0]["features"]
    np.testing.assert_allclose(exported.cases[0][1]["probabilities"], numbers.predict(x).probabilities)
    _agrees(exported)


def test_the_width_of_numbers_is_known_without_samples(numbers: Graft) -> None:
    plain = replace(numbers, parts=(Part("array", Identity()),), head=LinearHead(np.eye(3, 5), np.zeros(3)))
    assert plain.exported({}).cases[0][0]["features"].shape[1] == 5
    _agrees(plain.exported({}))


def test_stored_samples_are_the_cases(numbers: Graft, tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(loc=5, size=(7, 2)).astype(np.float32)
    numbers.save(tmp_path / "graft", check=as_samples(x, "array"))
    exported = numbers.exported(read(tmp_path / "graft").check)
    assert (exported.samples, exported.stored) == (7, True)
    np.testing.assert_array_equal(exported.cases[0][0]["features"], x)
    _agrees(exported)


def test_metadata_say_what_it_is(numbers: Graft) -> None:
    about = numbers.exported({}).metadata
    assert json.loads(about["classes"]) == ["cat", "dog", "Bär"]
    assert (about["task"], about["temperature"], about["threshold"]) == ("single_label", "2.0", "0.7")
    assert json.loads(about["prior"]) == [0.5, 0.25, 0.25]
    assert all(isinstance(value, str) for value in about.values())


@pytest.fixture
def photos(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Graft]:
    """A graft on photos of backbones of one random convolution each, prepared as given: name -> (size, resize)."""

    def make(**sizes: tuple[int, int]) -> Graft:
        made = {f"test/{name}": _backbone(name, *size) for name, size in sizes.items()}
        monkeypatch.setattr(backbones, "load", made.__getitem__)
        weight = np.random.default_rng(0).normal(size=(2, 4 * len(made)))
        about = {
            name: {"name": name, "revision": one.revision, "pooling": "avg", "licence": "MIT"}
            for name, one in made.items()
        }
        return Graft(
            parts=tuple(Part(name, L2()) for name in made),
            head=LinearHead(weight, np.zeros(2)),
            classes=("red", "blue"),
            modality="image",
            method="by hand",
            backbones=about,
        )

    return make


def _backbone(name: str, size: int, resize: int) -> Backbone:
    torch.manual_seed(len(name))
    network = Network(module=nn.Conv2d(3, 4, 3, stride=2).eval().requires_grad_(False))
    how = ImagePreprocessing(size=size, resize=resize, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    more = {"parameters": 112, "layout": "map", "width": 4, "pooling": "avg", "licence": "MIT"}
    return Backbone(name=f"test/{name}", revision=f"{name}-1", build=lambda: network, preprocessing=how, **more)


def test_photos(photos: Callable[..., Graft]) -> None:
    exported = photos(one=(24, 32)).exported({})
    assert list(exported.inputs) == ["image"]
    x = exported.cases[0][0]["image"]
    assert (x.shape[1:], x.dtype) == ((24, 24, 3), np.uint8)
    about = json.loads(exported.metadata["preprocessing"])["image"]
    assert (about["size"], about["resize"], about["interpolation"]) == (24, 32, "bicubic")
    assert json.loads(exported.metadata["backbones"])["test/one"]["licence"] == "MIT"
    assert ".crop((4, 4, 28, 28))" in exported.usage
    _agrees(exported)


def test_stored_photos(photos: Callable[..., Graft], tmp_path: Path) -> None:
    graft = photos(one=(24, 24))
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        Image.new("RGB", (30 + i, 40), (80 * i, 0, 200)).save(path)
    graft.save(tmp_path / "graft", check=as_samples(paths, "image"))
    exported = graft.exported(read(tmp_path / "graft").check)
    assert (exported.samples, exported.stored) == (3, True)
    np.testing.assert_allclose(exported.cases[0][1]["probabilities"], graft.predict(paths).probabilities, atol=1e-6)
    _agrees(exported)


def test_backbones_that_see_photos_alike_share_an_input(photos: Callable[..., Graft]) -> None:
    exported = photos(one=(24, 32), other=(24, 32)).exported({})
    assert list(exported.inputs) == ["image"]
    _agrees(exported)


def test_backbones_of_different_sizes_have_an_input_each(photos: Callable[..., Graft]) -> None:
    exported = photos(one=(24, 32), large=(40, 40)).exported({})
    assert [x.shape[1] for x in exported.cases[0][0].values()] == [24, 40]
    assert list(exported.inputs) == ["image_1", "image_2"]
    assert exported.usage.count("ImageOps.fit") == 2
    _agrees(exported)


def test_the_lines_of_python_are_python(photos: Callable[..., Graft], numbers: Graft) -> None:
    for graft in (photos(one=(24, 32), large=(40, 40)), numbers):
        compile(graft.exported({}).usage, "usage", "exec")


def test_what_can_not_be_exported_is_refused_with_all_reasons(numbers: Graft) -> None:
    knn = KNNHead(np.eye(2), np.arange(2), 1, 3)
    with pytest.raises(OptionError, match=r"knn.*nearest"):
        replace(numbers, head=knn).exported({})
    with pytest.raises(OptionError, match="same for every sample"):
        replace(numbers, parts=(), head=LinearHead(np.zeros((3, 0)), np.zeros(3))).exported({})
    with pytest.raises(OptionError, match="leave it out"):
        numbers.exported({}, size=(32, 32))
    words = TfIdf.fit(["a warm coat", "a cold coat"] * 5)
    with pytest.raises(OptionError) as refused:
        replace(numbers, parts=(Part("text", words),), modality="text", head=knn).exported({}, size=(32, 32))
    assert all(word in str(refused.value) for word in ("texts", "tfidf", "knn", "size"))


def test_a_damaged_sample_is_told_of(photos: Callable[..., Graft]) -> None:
    with pytest.raises(ArtifactError, match="damaged"):
        photos(one=(24, 24)).exported({"input.0": np.frombuffer(b"no photo", dtype=np.uint8)})
