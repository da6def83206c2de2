from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from torchgraft.core.progress import SILENT
from torchgraft.data import read
from torchgraft.data._images import MAX_PIXELS, alike_pairs, look_at, look_at_all, surprises


def test_a_sound_image(image) -> None:
    look = look_at(image("a.png"))
    assert look.error == ""
    assert look.size == (64, 48)
    assert look.mode == "RGB"
    assert not look.rotated
    assert len(look.digest) == 32
    assert len(look.thumb) == 18 * 16


def test_the_hash_is_that_of_the_definition(tmp_path: Path) -> None:
    cells = np.random.default_rng(0).integers(0, 256, (8, 9), dtype=np.uint8)
    Image.fromarray(cells.repeat(16, 0).repeat(16, 1)).save(tmp_path / "a.png")
    bits = "".join("1" if row[i] < row[i + 1] else "0" for row in cells.tolist() for i in range(8))
    assert look_at(tmp_path / "a.png").hash == int(bits, 2)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "an empty file"),
        (b"hello", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "not an image"),
        (b"GIF89a", "not an image"),
    ],
)
def test_no_images(write, content: bytes, reason: str) -> None:
    assert look_at(write("x.jpg", content)).error == reason


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "gif", "webp", "tif", "ppm"])
def test_truncation_shows_in_every_format(image, suffix: str) -> None:
    path = image(f"a.{suffix}")
    assert look_at(path).error == ""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    assert look_at(path).error


def test_truncated_jpeg_is_called_so(write, jpeg: bytes) -> None:
    assert look_at(write("x.jpg", jpeg[: len(jpeg) // 2])).error == "truncated"


def test_bytes_gone_wrong_never_raise(write, jpeg: bytes, image) -> None:
    rng = np.random.default_rng(0)
    paths = []
    for data in (jpeg, image("a.png").read_bytes(), image("a.tif").read_bytes(), image("a.webp").read_bytes()):
        for i in range(30):
            broken = np.frombuffer(data, dtype=np.uint8).copy()
            broken[rng.integers(0, len(broken), 20)] = rng.integers(0, 256, 20)
            paths.append(write(f"{len(data)}_{i}.jpg", broken.tobytes()))
    looks = look_at_all(paths, SILENT)
    assert any(look.error for look in looks)
    assert all(bool(look.error) != bool(look.digest) for look in looks)


def test_a_decompression_bomb_is_not_decoded(write, bomb: bytes) -> None:
    look = look_at(write("x.png", bomb))
    assert f"more than {MAX_PIXELS:,} pixels" in look.error


def test_missing_and_folders(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    assert look_at(tmp_path / "x.jpg").error == "not a file"
    assert look_at(tmp_path / "y.jpg").error == "the file does not exist"


def test_a_refused_file(image, monkeypatch: pytest.MonkeyPatch) -> None:
    path = image("a.png")

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert look_at(path).error == "can't be opened: Permission denied"


def test_warnings_of_pillow_stay_inside(image, write, bomb: bytes) -> None:
    paths = [write("b.png", bomb), image("p.png", mode="P", transparency=bytes(range(256)))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        looks = look_at_all(paths, SILENT)
    assert [bool(look.error) for look in looks] == [True, False]


def test_the_bar_moves_with_every_image(image) -> None:
    from contextlib import contextmanager

    from torchgraft.core.progress import Bar, Progress

    class Count(Progress, Bar):
        total = done = 0

        @contextmanager
        def bar(self, what: str, total: int):
            self.total = total
            yield self

        def advance(self, n: int = 1) -> None:
            self.done += n

    count = Count()
    look_at_all([image(f"{i}.png", i) for i in range(5)], count)
    assert (count.total, count.done) == (5, 5)


def test_copies_of_another_size_and_quality_look_alike(image, tmp_path: Path) -> None:
    paths = [image(f"{i}.png", i, (320, 240)) for i in range(20)]
    with Image.open(paths[3]) as picture:
        picture.save(tmp_path / "q.jpg", quality=60)
        picture.resize((200, 150)).save(tmp_path / "s.jpg")
        ImageEnhance.Brightness(picture).enhance(1.02).save(tmp_path / "b.png")
    looks = [look_at(path) for path in [*paths, tmp_path / "q.jpg", tmp_path / "s.jpg", tmp_path / "b.png"]]
    pairs = alike_pairs(looks)
    assert {3, 20, 21, 22} == set(pairs.ravel().tolist())


def test_exact_copies_and_equal_hashes_of_other_pictures_are_no_pairs(image, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "white").save(tmp_path / "w.png")
    Image.new("RGB", (64, 64), "black").save(tmp_path / "b.png")
    looks = [look_at(path) for path in (image("1.png"), image("2.png"), tmp_path / "w.png", tmp_path / "b.png")]
    assert looks[2].hash == looks[3].hash
    assert len(alike_pairs(looks)) == 0
    assert len(alike_pairs([])) == 0


def test_surprises(image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    paths = [
        image("d/a.png"),
        image("d/grey.png", 1, mode="L"),
        image("d/cmyk.jpg", 2, mode="CMYK"),
        image("d/alpha.png", 3, mode="RGBA"),
        image("d/small.png", 4, (20, 40)),
        image("d/long.png", 5, (640, 40)),
        image("d/turned.jpg", 6, exif=exif),
    ]
    samples = read(paths[0].parent)
    found = {finding.kind: finding for finding in surprises(samples, look_at_all(samples.x, SILENT))}
    assert set(found) == {"channels", "small_image", "aspect", "rotated"}
    assert found["channels"].count == 3
    assert "1 with alpha, 1 CMYK, 1 grey" in found["channels"].message
    assert found["channels"].severity == "note"
    assert found["small_image"].examples == ("small.png",)
    assert found["aspect"].examples == ("long.png",)
    assert found["rotated"].examples == ("turned.jpg",)


def test_sixteen_bit_images_differ_and_are_warned_of(tmp_path: Path) -> None:
    for i in range(2):
        values = np.random.default_rng(i).integers(300, 60_000, (40, 40)).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / f"{i}.png")
    samples = read(tmp_path)
    looks = look_at_all(samples.x, SILENT)
    assert looks[0].hash != looks[1].hash
    (finding,) = surprises(samples, looks)
    assert (finding.kind, finding.severity) == ("channels", "warning")
    assert "2 16-bit grey" in finding.message
