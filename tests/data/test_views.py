"""Folders of views beside the images: which file belongs to which scene, and what is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from torchgraft.data import FRAME_BEFORE, check, joined_views, read, view_beside


def test_files_of_the_same_name_are_views(scenes, image) -> None:
    root = scenes("a_1", "b_1")
    image("d/views/infrared/a_1.jpg", 7)
    image("d/views/infrared/b_1.png", 8)
    image("d/views/depth/a_1.png", 9)
    samples = read(root)
    assert samples.views == {
        "depth": (root / "views/depth/a_1.png", None),
        "infrared": (root / "views/infrared/a_1.jpg", root / "views/infrared/b_1.png"),
    }
    (finding,) = samples.findings
    assert (finding.kind, finding.count, finding.examples) == ("missing_view", 1, ("images/b_1.png",))
    assert "views/depth" in finding.message


def test_views_lie_in_each_split_and_follow_take(scenes, image) -> None:
    scenes("a_1", "b_1", split="train")
    image("d/train/views/other/b_1.png", 3)
    image("d/val/views/other/a_2.png", 4)
    samples = read(scenes("a_2", split="val"))
    names = [path and path.name for path in samples.views["other"]]
    assert names == [None, "b_1.png", "a_2.png"]
    taken = samples.take([2, 0])
    assert [path and path.name for path in taken.views["other"]] == ["a_2.png", None]
    checked, _ = check(samples)
    assert len(checked.views["other"]) == len(checked)


def test_without_the_folder_there_are_none(scenes, image) -> None:
    root = scenes("a_1")
    assert read(root).views is None
    before = read(root).spec().content_hash
    image("d/views/other/strange.png", 1)
    assert read(root).views is None
    image("d/views/other/a_1.png", 1)
    assert read(root).spec().content_hash != before


def test_the_view_of_an_image_by_its_path(scenes, image) -> None:
    root = scenes("a_1", "a[2]")
    image("d/views/other/a_1.jpg", 1)
    image("d/views/other/a[2].png", 1)
    assert view_beside(root / "images/a_1.png", "other") == root / "views/other/a_1.jpg"
    assert view_beside(root / "images/a[2].png", "other") == root / "views/other/a[2].png"
    assert view_beside(root / "images/a_1.png", "depth") is None
    assert view_beside(root / "images/a_9.png", "other") is None
    image("d/images/deep/c.png", 2)
    image("d/views/other/deep/c.png", 2)
    assert view_beside(root / "images/deep/c.png", "other") == root / "views/other/deep/c.png"
    assert view_beside(Path("c.png"), "other") is None


def test_two_data_sets_are_joined_name_by_name() -> None:
    a, b = {"x": (Path("1"), None)}, {"y": (Path("2"),)}
    assert joined_views(a, 2, b, 1) == {"x": (Path("1"), None, None), "y": (None, None, Path("2"))}
    assert joined_views(None, 2, None, 1) is None
    assert joined_views(None, 2, b, 1) == {"y": (None, None, Path("2"))}
    assert np.array(joined_views(a, 2, None, 1)["x"]).shape == (3,)


def test_the_frame_before_is_of_the_same_sequence(tmp_path: Path) -> None:
    for name in ("a_10.png", "a_9.png", "a_2.jpg", "b_3.png", "b_4.png", "kerb.png", "notes.txt"):
        (tmp_path / name).touch()
    before = {p.name: view_beside(p, FRAME_BEFORE) for p in tmp_path.iterdir()}
    assert before["a_10.png"] == tmp_path / "a_9.png" and before["a_9.png"] == tmp_path / "a_2.jpg"
    assert before["b_4.png"] == tmp_path / "b_3.png"
    assert not any(before[name] for name in ("a_2.jpg", "b_3.png", "kerb.png", "notes.txt"))
    (tmp_path / "a_9.png").unlink()
    assert view_beside(tmp_path / "a_10.png", FRAME_BEFORE) in (None, tmp_path / "a_2.jpg")
