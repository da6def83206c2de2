"""Maps as files: masks that read back as labels, overlays, rows by hand, names, and what is refused."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from torchgraft.core.errors import OptionError, StorageError
from torchgraft.core.progress import Progress
from torchgraft.data import read
from torchgraft.serve import Item, MapRow, open_inputs, predict_maps, write_maps_csv


class _Red:
    """Pixels that are mostly red are `red`, sure at 204 of 255; the others `no red`, sure at 102."""

    classes = ("no red", "red")
    colours = ((0, 0, 0), (200, 10, 0))

    def answer(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        classes = (image[..., 0] > 127).astype(np.uint8)
        return classes, np.where(classes == 1, 204, 102).astype(np.uint8)

    def exact(self, shape: tuple[int, ...]) -> bool:
        return shape[1] <= 12

    def coloured(self, classes: np.ndarray) -> np.ndarray:
        return np.array(self.colours, dtype=np.uint8)[classes]


@pytest.fixture
def photo(tmp_path: Path) -> Callable[..., Path]:
    """A photo 12 x 8 (W x H), red in the left quarter and blue elsewhere."""

    def make(name: str, **save: object) -> Path:
        x = np.zeros((8, 12, 3), dtype=np.uint8)
        x[:, :3, 0] = x[:, 3:, 2] = 255
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(x).save(path, **save)
        return path

    return make


def _maps(paths: list[Path], out: Path, **more: object) -> list[MapRow]:
    inputs = open_inputs(list(map(str, paths)), "image")
    return list(predict_maps(_Red(), inputs.items, out, root=inputs.root, **more))


def _files(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def test_a_mask_holds_classes_and_shows_colours(photo, tmp_path: Path) -> None:
    [row] = _maps([photo("in/a.png")], tmp_path / "out")
    assert _files(tmp_path / "out") == ["a.png", "classes.txt"]
    with Image.open(tmp_path / "out/a.png") as mask:
        expected = np.zeros((8, 12), dtype=np.uint8)
        expected[:, :3] = 1
        assert mask.mode == "P"
        np.testing.assert_array_equal(np.asarray(mask), expected)
        np.testing.assert_array_equal(np.asarray(mask.convert("RGB")), _Red().coloured(expected))
    assert (tmp_path / "out/classes.txt").read_text() == "no red\nred\n"
    assert (row.id, row.file, row.error) == (str(tmp_path / "in/a.png"), "a.png", "")
    np.testing.assert_allclose(row.shares, [0.75, 0.25])
    assert row.confidence == pytest.approx((0.25 * 204 + 0.75 * 102) / 255)


def test_tiles_that_are_not_the_whole_are_said_once(photo, tmp_path: Path) -> None:
    class Said(Progress):
        said: ClassVar[list[str]] = []

        def say(self, message: str) -> None:
            self.said.append(message)

    paths = [photo("in/small.png"), tmp_path / "in/a.png", tmp_path / "in/b.png"]
    for path in paths[1:]:
        Image.new("RGB", (13, 8)).save(path)
    rows = _maps(paths, tmp_path / "out", progress=Said())
    assert sorted(Path(row.id).name for row in rows if not row.exact) == ["a.png", "b.png"]
    assert [("a.png" in line, "tiles" in line) for line in Said.said] == [(True, True)]


def test_an_overlay_is_half_image_and_half_map(photo, tmp_path: Path) -> None:
    _maps([photo("in/a.png")], tmp_path / "out", overlay=True)
    assert _files(tmp_path / "out") == ["a.png", "a_overlay.jpg", "classes.txt"]
    with Image.open(tmp_path / "out/a_overlay.jpg") as picture:
        x = np.asarray(picture).astype(int)
    assert np.abs(x[4, 0] - [227, 5, 0]).max() < 25
    assert np.abs(x[4, 10] - [0, 0, 127]).max() < 25


def test_many_rows_are_counted_in_parts(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (700, 9, 3), dtype=np.uint8)
    Image.fromarray(x).save(tmp_path / "long.png")
    [row] = _maps([tmp_path / "long.png"], tmp_path / "out", overlay=True)
    assert row.shares[1] == pytest.approx((x[..., 0] > 127).mean())
    with Image.open(tmp_path / "out/long_overlay.jpg") as picture:
        assert picture.size == (9, 700)


def test_what_is_sideways_is_answered_upright(photo, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    _maps([photo("in/a.jpg", exif=exif, quality=95)], tmp_path / "out")
    with Image.open(tmp_path / "out/a.png") as mask:
        x = np.asarray(mask)
    assert x.shape == (12, 8)
    assert x[0].all() and not x[5:].any(), "the left is now the top"


def test_masks_read_back_as_labels(photo, tmp_path: Path) -> None:
    photo("data/images/a.png"), photo("data/images/deep/b.png")
    _maps([tmp_path / "data/images"], tmp_path / "data/masks")
    (tmp_path / "data/masks/classes.txt").replace(tmp_path / "data/classes.txt")
    samples = read(tmp_path / "data")
    assert (samples.classes, samples.masks.colours) == (_Red.classes, _Red.colours)
    assert len(samples) == 2
    np.testing.assert_array_equal(samples.masks.read(1), _Red().answer(np.asarray(Image.open(samples.x[1])))[0])


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["in/a.png"], ["a"]),
        (["in"], ["a", "deep/b"]),
        (["in/a.png", "other/a.png"], ["in/a", "other/a"]),
        (["in/a.png", "other/a.png", "in"], ["in/a", "other/a", "in/a", "in/deep/b"]),
        (["twins"], ["A.JPG", "a.png", "c"]),
        (["twins/a.png"], ["a"]),
        (["in/deep/../a.png", "in/a.png"], ["a", "a"]),
        (["odd"], ["a.jpg", "a.jpg.png", "a.png"]),
    ],
)
def test_names_keep_the_folders_given_and_are_never_the_same(photo, tmp_path: Path, given, names, monkeypatch) -> None:
    photo("other/a.png"), photo("in/a.png"), photo("in/deep/b.png")
    photo("twins/A.JPG"), photo("twins/a.png"), photo("twins/c.jpg")
    photo("odd/a.jpg"), photo("odd/a.png"), photo("odd/a.jpg.png")
    for paths in (given, [str(tmp_path / path) for path in given]):
        monkeypatch.chdir(tmp_path)
        rows = _maps(paths, tmp_path / "out")
        assert [row.file for row in rows] == [f"{name}.png" for name in names]
        assert all((tmp_path / "out" / row.file).is_file() for row in rows)


def test_without_a_root_names_begin_below_the_folder_of_all(photo, tmp_path: Path) -> None:
    items = [Item(id=name, value=photo(name)) for name in ("in/x/a.png", "in/y/a.png")]
    assert [row.file for row in predict_maps(_Red(), items, tmp_path / "out")] == ["x/a.png", "y/a.png"]
    assert list(predict_maps(_Red(), [], tmp_path / "none")) == []


def test_what_cannot_be_read_has_a_row_with_the_reason(photo, album: Path, tmp_path: Path) -> None:
    (album / "empty.png").write_bytes(b"")
    rows = _maps([album], tmp_path / "out")
    assert [(Path(row.id).name, row.file) for row in rows if not row.error] == [
        ("a.png", "a.png"),
        ("b.png", "deep/b.png"),
        ("c.jpg", "deep/er/c.png"),
    ]
    assert [(Path(row.id).name, row.error) for row in rows if row.error][1] == ("empty.png", "an empty file")
    lost = [Item(id="gone", value=tmp_path / "gone.png"), Item(id="x", value=None, error="no image")]
    assert [row.error for row in predict_maps(_Red(), lost, tmp_path / "out")] == [
        "No such file or directory",
        "no image",
    ]


def test_one_image_at_a_time(photo, tmp_path: Path) -> None:
    """Nothing is decoded before its row is asked for, and what was answered is on disk."""
    photo("in/a.png"), photo("in/b.png")
    inputs = open_inputs([str(tmp_path / "in")], "image")
    rows = predict_maps(_Red(), inputs.items, tmp_path / "out", root=inputs.root)
    assert not (tmp_path / "out").exists()
    next(rows)
    assert _files(tmp_path / "out") == ["a.png", "classes.txt"]
    rows.close()
    assert _files(tmp_path / "out") == ["a.png", "classes.txt"]


def test_masks_never_replace_the_images(photo, tmp_path: Path) -> None:
    path = photo("in/a.png")
    before = path.read_bytes()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for out in ("in", "link"):
        with pytest.raises(
            OptionError, match=r"would replace images that were given: .*a\.png\. Choose another folder"
        ):
            predict_maps(_Red(), [Item(id="a", value=path)], tmp_path / out)
    assert path.read_bytes() == before
    other = photo("jpg/a.jpg")
    assert [row.file for row in predict_maps(_Red(), [Item(id="a", value=other)], tmp_path / "jpg")] == ["a.png"]
    clash = [Item(id=name, value=photo(f"jpg/{name}")) for name in ("b.png", "b_overlay.jpg")]
    with pytest.raises(OptionError, match=r"1 files to be written"):
        predict_maps(_Red(), clash, tmp_path / "jpg")
    with pytest.raises(OptionError, match=r"2 files to be written"):
        predict_maps(_Red(), clash, tmp_path / "jpg", overlay=True)


def test_no_place_to_write_is_said(photo, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="can't be written"):
        _maps([photo("in/a.png")], tmp_path / "file")


def test_a_full_disk_is_said_and_leaves_no_half_file(photo, tmp_path: Path, monkeypatch) -> None:
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name == "b.png":
            write(path, bytes(data)[:3])
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    inputs = [Item(id=name, value=photo(f"in/{name}")) for name in ("a.png", "b.bmp")]
    rows = predict_maps(_Red(), inputs, tmp_path / "out")
    assert next(rows).file == "a.png"
    with pytest.raises(StorageError, match=r"b\.png can't be written: the disk is full"):
        next(rows)
    assert _files(tmp_path / "out") == ["a.png", "classes.txt"]


def test_a_name_too_long_for_the_disk_costs_that_image_alone(photo, tmp_path: Path) -> None:
    photo(f"in/{'a' * 246}.png"), photo("in/b.png")
    first, second = _maps([tmp_path / "in"], tmp_path / "out")
    assert first.error == "its map can't be written: File name too long"
    assert second.file == "b.png"


def test_progress_moves_with_each_image(photo, album: Path, tmp_path: Path) -> None:
    told = []

    class Told(Progress):
        def bar(self, what: str, total: int):
            told.append((what, total))
            return super().bar(what, total)

    _maps([album], tmp_path / "out", progress=Told())
    assert told == [("4 images", 4)]


def test_csv_reads_back() -> None:
    stream = io.StringIO(newline="")
    rows = [
        MapRow(id='a, "b".jpg', file="a.png", shares=np.array([0.75, 0.25]), confidence=0.5),
        MapRow(id="c", error="truncated"),
    ]
    assert list(write_maps_csv(stream, rows, ("cat", "dog"))) == rows
    stream.seek(0)
    first, second = csv.DictReader(stream)
    assert first == {
        "id": 'a, "b".jpg', "file": "a.png", "confidence": "0.5", "share_cat": "0.75", "share_dog": "0.25", "error": "",
    }  # fmt: skip
    assert second == {"id": "c", "file": "", "confidence": "", "share_cat": "", "share_dog": "", "error": "truncated"}
