"""The self-check of scenes: what is stored, what passes, what fails."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from torchgraft.core.errors import ArtifactError
from torchgraft.model import Decoder, SceneGraft
from torchgraft.model._scene_check import saved_scenes, verify_scenes


class _Halves(SceneGraft):
    """Red pixels are 1, the others 0; as sure as `temperature` says, and wrong in the first `scale` rows."""

    def answer(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        classes = (image[..., 0] > 127).astype(np.uint8)
        classes[: int(self.scale)] ^= 1
        return classes, np.full(classes.shape, self.temperature, dtype=np.uint8)


@pytest.fixture
def graft() -> SceneGraft:
    return _Halves(
        source=None,
        decoder=Decoder(name="constant", arrays={}),
        scale=0,
        classes=("a", "b"),
        colours=((0, 0, 0), (9, 9, 9)),
        method="by hand",
        temperature=200,
    )


def _photo(path: Path, size: tuple[int, int]) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def test_the_image_itself_is_stored_with_its_answers(graft: SceneGraft, tmp_path: Path) -> None:
    path = _photo(tmp_path / "a.png", (30, 20))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG and no more")
    stored = saved_scenes(graft, [tmp_path / "broken.png", path, tmp_path / "gone.png", path])
    assert set(stored) == {f"{what}.{i}" for what in ("input", "classes", "confidence") for i in (0, 1)}
    with Image.open(path) as image, Image.open(io.BytesIO(stored["input.1"].tobytes())) as kept:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(kept))
    np.testing.assert_array_equal(stored["classes.0"], stored["classes.1"])
    assert (stored["confidence.0"] == 200).all()
    verify_scenes(graft, stored)


def test_of_a_large_image_the_middle_is_stored(graft: SceneGraft, tmp_path: Path) -> None:
    path = _photo(tmp_path / "a.png", (700, 100))
    stored = saved_scenes(graft, [path])
    with Image.open(path) as image, Image.open(io.BytesIO(stored["input.0"].tobytes())) as kept:
        np.testing.assert_array_equal(np.asarray(image)[:, 94 : 94 + 512], np.asarray(kept))
    assert stored["classes.0"].shape == (100, 512)


@pytest.mark.parametrize(
    ("wrong", "sure", "message"),
    [
        (2, 200, ""),
        (3, 200, "only 97.0% .* the stored class"),
        (0, 205, ""),
        (0, 206, "only 0.0% .* the stored confidence"),
    ],
)
def test_few_pixels_and_small_differences_pass(graft, tmp_path: Path, wrong: int, sure: int, message: str) -> None:
    """100 rows: two that differ are 2 %; a confidence of 5 of 255 is 0.02."""
    stored = saved_scenes(graft, [_photo(tmp_path / "a.png", (40, 100))])
    other = replace(graft, scale=wrong, temperature=sure)
    if not message:
        verify_scenes(other, stored)
        return
    with pytest.raises(ArtifactError, match=message):
        verify_scenes(other, stored)


def test_what_is_damaged_is_said(graft: SceneGraft, tmp_path: Path) -> None:
    stored = saved_scenes(graft, [_photo(tmp_path / "a.png", (30, 20))])
    for change in ({"input.0": np.zeros(9, dtype=np.uint8)}, {"input.1": stored["input.0"]}):
        with pytest.raises(ArtifactError, match=r"check\.safetensors is damaged"):
            verify_scenes(graft, stored | change)
    with pytest.raises(ArtifactError, match=r"only 0\.0%"):
        verify_scenes(graft, stored | {"classes.0": np.zeros((3, 3), dtype=np.uint8)})


def test_nothing_stored_is_nothing_checked(graft: SceneGraft) -> None:
    assert saved_scenes(graft, []) == {}
    verify_scenes(graft, {})
