"""The saved folder: written in one step, refused with the reason where anything is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from torchgraft.core.errors import ArtifactError
from torchgraft.model.artifact import FORMAT, Artifact, read, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    eye = np.eye(2, dtype=np.float32)
    write(
        path,
        Artifact(config={"method": "lda"}, arrays={"head.weight": eye}, check={"probabilities": eye}),
        card="# A card",
    )
    return path


def test_reads_what_was_written(folder: Path) -> None:
    artifact = read(folder)
    assert artifact.config == {"method": "lda"}
    np.testing.assert_array_equal(artifact.arrays["head.weight"], np.eye(2))
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "check.safetensors",
        "graft.json",
        "model.safetensors",
    ]


def test_a_single_number_keeps_its_shape(tmp_path: Path) -> None:
    """BatchNorm counts its batches in one; a network refuses an array of length 1 in its place."""
    write(tmp_path / "model", Artifact(config={}, arrays={"count": np.array(3)}, check={}), card="")
    assert read(tmp_path / "model").arrays["count"].shape == ()


def test_the_folder_of_the_run_is_accepted(folder: Path) -> None:
    assert read(folder.parent).config == {"method": "lda"}


def test_an_older_folder_is_replaced(folder: Path) -> None:
    write(folder, Artifact(config={"method": "knn"}, arrays={}), card="")
    assert read(folder).config == {"method": "knn"}
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("name", ["graft.json", "model.safetensors", "check.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=f"has no {name}"):
        read(folder)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist. Expected the folder that `graft fit` wrote"):
        read(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["model.safetensors", "check.safetensors"])
@pytest.mark.parametrize("keep", [0, 5, 60])
def test_a_cut_file_is_damaged(folder: Path, name: str, keep: int) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:keep])
    with pytest.raises(ArtifactError, match=r"damaged or cut short"):
        read(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"method": "lda"}', '{"format": "x"}'])
def test_damaged_json(folder: Path, text: str) -> None:
    (folder / "graft.json").write_text(text)
    with pytest.raises(ArtifactError, match="graft.json is damaged"):
        read(folder)


def test_a_newer_format_is_refused(folder: Path) -> None:
    (folder / "graft.json").write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(ArtifactError, match="Update torchgraft"):
        read(folder)


def test_a_pickled_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"\x80\x04.")
    with pytest.raises(ArtifactError, match=r"Pickled models .* are never loaded"):
        read(path)


@pytest.mark.parametrize("name", ["graft.json", "model.safetensors"])
def test_a_file_without_permission_is_named(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def refused(path: Path, *args: object, **kwargs: object):
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(ArtifactError, match=rf"{name} can't be read: permission denied"):
        read(folder)
