"""Stored inputs give their stored outputs again, or the graft is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn

from torchgraft.backbones import Backbone, Network
from torchgraft.core.errors import ArtifactError
from torchgraft.core.types import ImagePreprocessing
from torchgraft.features.mapping import Identity
from torchgraft.features.tfidf import TfIdf
from torchgraft.model import Graft, LinearHead, Part, as_samples, tuned
from torchgraft.model._selfcheck import TOLERANCE, saved_check, verify_check

_TEXTS = ["good film", "", "bad é film", "good", "half \ud800"]


def _arrays(bias: float = 0.0) -> Graft:
    return Graft(
        parts=(Part("array", Identity()),), head=LinearHead(np.eye(2), np.array([bias, 0.0])),
        classes=("a", "b"), modality="array", method="lda",
    )  # fmt: skip


def _texts() -> Graft:
    words = TfIdf.fit(_TEXTS)
    weight = np.random.default_rng(0).normal(size=(2, words.transform(_TEXTS).shape[1]))
    return Graft(
        parts=(Part("text", words),), head=LinearHead(weight, np.zeros(2)),
        classes=("a", "b"), modality="text", method="tfidf",
    )  # fmt: skip


@pytest.fixture
def rows():
    return as_samples(np.random.default_rng(0).normal(size=(4, 2)), "array")


def test_rows_are_stored_with_their_outputs(rows) -> None:
    check = saved_check(_arrays(), rows)
    assert set(check) == {"probabilities", "input.0", "input.1", "input.2", "input.3"}
    np.testing.assert_allclose(check["probabilities"].sum(1), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(check["input.2"], rows.x[2])
    verify_check(_arrays(), check)


def test_texts_are_stored_as_bytes() -> None:
    check = saved_check(_texts(), as_samples(_TEXTS, "text"))
    assert check["input.2"].tobytes().decode() == "bad é film"
    verify_check(_texts(), check)


def test_small_differences_between_machines_pass(rows) -> None:
    check = saved_check(_arrays(), rows)
    verify_check(_arrays(bias=2 * TOLERANCE), check)
    with pytest.raises(ArtifactError, match=r"up to 0\.\d+ away from the stored outputs \(at most 0.02 is normal\)"):
        verify_check(_arrays(bias=1.0), check)


def test_outputs_that_are_no_numbers_fail(rows) -> None:
    check = saved_check(_arrays(), rows)
    with pytest.raises(ArtifactError, match="the self-check failed"):
        verify_check(_arrays(bias=float("nan")), check)


def test_another_number_of_classes_fails(rows) -> None:
    check = saved_check(_arrays(), rows)
    with pytest.raises(ArtifactError, match=r"graft.json names 2 classes, check.safetensors holds probabilities of 3"):
        verify_check(_arrays(), {**check, "probabilities": np.full((4, 3), 1 / 3)})


@pytest.mark.parametrize("gone", ["probabilities", "input.1"])
def test_a_check_that_lacks_something_is_damaged(rows, gone: str) -> None:
    check = {name: value for name, value in saved_check(_arrays(), rows).items() if name != gone}
    with pytest.raises(ArtifactError, match=rf"check.safetensors has no '{gone}'"):
        verify_check(_arrays(), check)


def test_nothing_to_check(rows) -> None:
    assert saved_check(_arrays(), rows.take([])) == {}


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Graft, list[Path]]:
    """A graft on a tiny network, three photos and a file that is none."""
    module = nn.Conv2d(3, 2, 4, stride=4).eval()
    backbone = Backbone(
        name="test/photo", layout="map", width=2, pooling="avg", parameters=98, licence="none", revision="1",
        preprocessing=ImagePreprocessing(size=16, resize=16, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)),
        build=lambda: Network(module=module),
    )  # fmt: skip
    monkeypatch.setattr(tuned.backbones, "load", lambda name: backbone)
    monkeypatch.setenv("TORCHGRAFT_CACHE", str(tmp_path / "cache"))
    paths = [tmp_path / f"{i}.jpg" for i in range(3)]
    for i, path in enumerate(paths):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    (tmp_path / "words.jpg").write_text("no picture")
    made = Graft(
        parts=(Part("test/photo", Identity()),), head=LinearHead(5 * np.eye(2), np.zeros(2)), classes=("a", "b"),
        modality="image", method="lda", backbones={"test/photo": {**backbone.describe(), "pooling": "avg"}},
    )  # fmt: skip
    return made, [*paths, tmp_path / "words.jpg"]


def test_photos_are_stored_as_their_files(photos: tuple[Graft, list[Path]]) -> None:
    made, paths = photos
    check = saved_check(made, as_samples(paths, "image"))
    assert sorted(check) == ["input.0", "input.1", "input.2", "probabilities"], "what can't be read is left out"
    assert check["input.1"].tobytes() == paths[1].read_bytes()
    for path in paths:
        path.unlink()
    verify_check(made, check)
    with pytest.raises(ArtifactError, match="up to nan away"):
        verify_check(made, {**check, "input.1": np.zeros(9, dtype=np.uint8)})
