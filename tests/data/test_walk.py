from __future__ import annotations

import os
from pathlib import Path

import pytest

from torchgraft.data import _walk
from torchgraft.data._walk import has_image, is_image, walk


def names(paths) -> list[str]:
    return [str(path) for path in paths]


def test_images_other_files_and_folders_sorted(write) -> None:
    for name in ("b/2.JPG", "b/1.jpeg", "a/x.TIFF", "notes.txt", ".hidden.jpg", "__MACOSX/b/._1.jpg", "b/.git/x.jpg"):
        write(name, b"-")
    root = write("empty/deep/x", b"-").parents[2]
    tree = walk(root)
    assert names(tree.images) == ["a/x.TIFF", "b/1.jpeg", "b/2.JPG"]
    assert names(tree.others) == ["empty/deep/x", "notes.txt"]
    assert names(tree.folders) == ["a", "b", "empty", "empty/deep"]
    assert tree.closed == []


def test_links_in_a_ring_end(write) -> None:
    root = write("a/1.jpg", b"-").parents[1]
    (root / "a" / "up").symlink_to(root)
    (root / "b").symlink_to(root / "a")
    (root / "self").symlink_to(root / "self")
    (root / "gone.jpg").symlink_to(root / "nowhere")
    tree = walk(root)
    assert names(tree.images) == ["a/1.jpg"]
    assert names(tree.closed) == ["gone.jpg", "self"]


def test_a_linked_folder_and_file_are_read(write, tmp_path: Path) -> None:
    write("far/1.jpg", b"-")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").symlink_to(tmp_path / "far")
    (tmp_path / "d" / "2.jpg").symlink_to(tmp_path / "far" / "1.jpg")
    assert names(walk(tmp_path / "d").images) == ["2.jpg", "a/1.jpg"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_called_like_an_image_is_not_opened(write) -> None:
    root = write("1.jpg", b"-").parent
    os.mkfifo(root / "pipe.jpg")
    tree = walk(root)
    assert names(tree.images) == ["1.jpg"]
    assert names(tree.others) == ["pipe.jpg"]


def test_a_folder_called_like_an_image_is_a_folder(write) -> None:
    tree = walk(write("x.jpg/1.jpg", b"-").parents[1])
    assert names(tree.images) == ["x.jpg/1.jpg"]
    assert names(tree.folders) == ["x.jpg"]


def test_a_folder_that_may_not_be_opened(write, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write("a/1.jpg", b"-").parents[1]
    write("b/1.jpg", b"-")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(_walk.os, "scandir", refuse)
    tree = walk(root)
    assert names(tree.images) == ["a/1.jpg"]
    assert names(tree.closed) == ["b"]


def test_has_image_and_is_image(write) -> None:
    root = write("a/b/c/1.webp", b"-").parents[3]
    assert has_image(root)
    assert not has_image(write("t/.git/1.jpg", b"-").parents[1])
    assert is_image("A.JPeG")
    assert not is_image("a.jpg.txt")
    assert not is_image("jpg")


def test_deep_folders(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(400):
        folder = folder / "d"
    folder.mkdir(parents=True)
    (folder / "1.jpg").touch()
    assert len(walk(tmp_path).images) == 1
