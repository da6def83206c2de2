"""Two domains of scenes are read: sources joined, and of the target pictures alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from torchgraft.core.errors import DataError
from torchgraft.core.progress import SILENT
from torchgraft.data import Samples
from torchgraft.tasks._scene_domains import load_scenes


def _options(target: Path, *source: Path, **more: object) -> SimpleNamespace:
    plain = {
        "target": str(target),
        "source": tuple(map(str, source)),
        "group": None,
        "few_labels": None,
        "method": "auto",
    }
    return SimpleNamespace(**(plain | {"oracle_labels": False, "settings": ""} | more))


def test_both_domains_and_not_one_mask_of_the_target(streets: Callable[..., Samples]) -> None:
    source, target = streets(8), streets(6)
    found = load_scenes(_options(target.root, source.root), SILENT)
    assert (len(found.source), len(found.target)) == (8, 6)
    assert set(found.source.split) == {"train"} and found.source.masks.counts.sum() > 0
    assert found.target.masks is None and found.target.classes == () and (found.target.y == -1).all()
    assert found.oracle is None


def test_what_the_target_s_masks_hold_and_whether_they_are_there_changes_nothing(
    streets: Callable[..., Samples],
) -> None:
    source, target = streets(8).root, streets(6).root
    plain = load_scenes(_options(target, source), SILENT)
    for mask in (target / "masks").iterdir():
        Image.fromarray(np.full((3, 5), 2, dtype=np.uint8)).save(mask)  # not even of the image's size
    changed = load_scenes(_options(target, source), SILENT)
    shutil.rmtree(target / "masks")
    (target / "classes.txt").unlink()
    bare = load_scenes(_options(target, source), SILENT)
    for other in (changed, bare):
        assert other.target.ids == plain.target.ids
        assert list(other.target.x) == list(plain.target.x)
        assert other.findings == plain.findings


def test_a_plain_folder_of_pictures_is_a_target(streets: Callable[..., Samples]) -> None:
    source, target = streets(8).root, streets(6).root
    assert len(load_scenes(_options(target / "images", source), SILENT).target) == 6


def test_several_sources_are_one(streets: Callable[..., Samples]) -> None:
    a, b, target = streets(8), streets(7), streets(6)
    found = load_scenes(_options(target.root, a.root, b.root), SILENT)
    assert len(found.source) == 15 and len(set(found.source.ids)) == 15
    np.testing.assert_array_equal(found.source.masks.counts[8:], b.masks.counts)
    np.testing.assert_array_equal(found.source.masks.read(8), b.masks.read(0))


def test_sources_of_other_classes_are_refused(streets: Callable[..., Samples]) -> None:
    a, b, target = streets(8), streets(7), streets(6)
    (b.root / "classes.txt").write_text("sky\nroad\ntruck\n")
    with pytest.raises(DataError, match="truck"):
        load_scenes(_options(target.root, a.root, b.root), SILENT)


def test_the_oracle_is_in_the_target_s_order(streets: Callable[..., Samples]) -> None:
    source, target = streets(8), streets(6)
    found = load_scenes(_options(target.root, source.root, oracle_labels=True), SILENT)
    assert found.oracle.ids == found.target.ids
    (target.root / "masks" / f"{Path(target.ids[2]).stem}.png").unlink()
    with pytest.raises(DataError, match="has none"):
        load_scenes(_options(target.root, source.root, oracle_labels=True), SILENT)


def test_what_cannot_be_used_is_said(streets: Callable[..., Samples]) -> None:
    source, target, few = streets(8).root, streets(6).root, streets(3).root
    with pytest.raises(DataError, match="the target has 3 scenes"):
        load_scenes(_options(few, source), SILENT)
    with pytest.raises(DataError, match="holds no masks"):
        load_scenes(_options(target, source / "images"), SILENT)


def test_a_few_labelled_scenes_of_the_target_are_read_with_their_masks(streets: Callable[..., Samples]) -> None:
    source, target, few = streets(8), streets(6), streets(2)
    found = load_scenes(_options(target.root, source.root, few_labels=str(few.root)), SILENT)
    assert found.few.ids == few.ids and len(found.target) == 6
    np.testing.assert_array_equal(found.few.masks.read(1), few.masks.read(1))
    with pytest.raises(DataError, match="--few-labels .* holds no masks"):
        load_scenes(_options(target.root, source.root, few_labels=str(few.root / "images")), SILENT)
    (few.root / "classes.txt").write_text("sky\nroad\ntruck\n")
    with pytest.raises(DataError, match="truck"):
        load_scenes(_options(target.root, source.root, few_labels=str(few.root)), SILENT)
    for path in (few.root / "masks").iterdir():
        path.write_bytes(b"torn")
    (few.root / "classes.txt").write_text((source.root / "classes.txt").read_text())
    with pytest.raises(DataError, match="none of 2 masks can be read|no image with its mask can be used"):
        load_scenes(_options(target.root, source.root, few_labels=str(few.root)), SILENT)
