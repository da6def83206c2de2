from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from torchgraft.core.errors import DataError
from torchgraft.data import IGNORE, Masks
from torchgraft.data._masks import found_in

SKY, ROAD, VOID = (128, 128, 128), (128, 64, 128), (0, 0, 0)
STEPS = np.array([[0, 1, 2], [2, 255, 7]])


def of(path: Path | None, values: tuple, void: tuple = (255,)) -> Masks:
    return Masks(paths=(path,), values=values, colours=tuple((i, 0, 0) for i in range(len(values))), void=void)


def test_grey_values_become_indices(mask) -> None:
    y, strange = of(mask("m.png", STEPS), (0, 1, 2)).look(0)
    assert y.dtype == np.uint8
    assert y.tolist() == [[0, 1, 2], [2, IGNORE, IGNORE]]
    assert strange == {7: 1}
    assert of(mask("m.png", STEPS), (2, 7)).read(0).tolist() == [[255, 255, 0], [0, 255, 1]]


def test_palette_files_hold_indices_or_the_colours_of_their_palette(mask) -> None:
    path = mask("m.png", [[0, 1], [1, 2]], [SKY, ROAD, VOID])
    assert of(path, (0, 1)).look(0)[1] == {2: 1}
    y, strange = of(path, (ROAD, SKY), (VOID,)).look(0)
    assert y.tolist() == [[1, 0], [0, IGNORE]]
    assert strange == {}


def test_colours_match_exactly(mask) -> None:
    path = mask("m.png", [[SKY, ROAD], [VOID, (128, 64, 127)]])
    y, strange = of(path, (SKY, ROAD), (VOID,)).look(0)
    assert y.tolist() == [[0, 1], [IGNORE, IGNORE]]
    assert strange == {(128, 64, 127): 1}
    white = mask("w.png", [[(255, 255, 255), SKY]])
    assert of(white, ((255, 255, 255), SKY)).read(0).tolist() == [[0, 1]]


def test_grey_saved_as_colours(mask) -> None:
    path = mask("m.png", np.repeat(STEPS[..., None], 3, axis=2))
    assert of(path, (0, 1, 2)).read(0).tolist() == [[0, 1, 2], [2, IGNORE, IGNORE]]
    assert not found_in(path).coloured


def test_sixteen_bits_and_one_bit(mask) -> None:
    deep = mask("deep.png", np.array([[0, 300], [40000, 65535]], dtype=np.uint16))
    y, strange = of(deep, (300, 40000)).look(0)
    assert y.tolist() == [[IGNORE, 0], [1, IGNORE]]
    assert strange == {0: 1, 65535: 1}
    bits = mask("bits.png", np.array([[True, False], [False, True]]))
    assert of(bits, (0, 1)).read(0).tolist() == [[1, 0], [0, 1]]


def test_wide_and_fractional_values(tmp_path: Path) -> None:
    values = np.array([[0, -1], [70000, 5]], dtype=np.int32)
    Image.fromarray(values).save(tmp_path / "i.tif")
    assert of(tmp_path / "i.tif", (0, 5)).read(0).tolist() == [[0, IGNORE], [IGNORE, 1]]
    Image.fromarray(np.array([[0.0, 1.0]], dtype=np.float32)).save(tmp_path / "whole.tif")
    assert of(tmp_path / "whole.tif", (0, 1)).read(0).tolist() == [[0, 1]]
    Image.fromarray(np.array([[0.0, 0.5]], dtype=np.float32)).save(tmp_path / "half.tif")
    with pytest.raises(DataError, match="fractions"):
        of(tmp_path / "half.tif", (0, 1)).read(0)


def test_transparency_is_passed_over(tmp_path: Path) -> None:
    Image.fromarray(np.array([[[1, 0], [0, 255]]], dtype=np.uint8), "LA").save(tmp_path / "la.png")
    assert of(tmp_path / "la.png", (0, 1)).read(0).tolist() == [[1, 0]]
    Image.fromarray(np.array([[[*SKY, 0], [*ROAD, 255]]], dtype=np.uint8)).save(tmp_path / "rgba.png")
    assert of(tmp_path / "rgba.png", (SKY, ROAD)).read(0).tolist() == [[0, 1]]


def test_the_other_kind_is_refused(mask) -> None:
    with pytest.raises(DataError, match="holds colours, where the other masks hold class indices"):
        of(mask("c.png", [[SKY, ROAD]]), (0, 1)).read(0)
    with pytest.raises(DataError, match="where the other masks hold colours"):
        of(mask("d.png", np.array([[300]], dtype=np.uint16)), (SKY, ROAD)).read(0)


def test_size_take_and_len(mask) -> None:
    masks = Masks(
        paths=(mask("a.png", np.zeros((4, 6))), None, mask("b.png", np.zeros((2, 3)))),
        values=(0, 1),
        colours=(SKY, ROAD),
        counts=np.array([[24, 0], [0, 0], [6, 0]]),
    )
    assert masks.size(0) == (4, 6)
    taken = masks.take(np.array([2, 0]))
    assert len(taken) == 2
    assert taken.size(0) == (2, 3)
    assert taken.counts.tolist() == [[6, 0], [24, 0]]
    with pytest.raises(DataError, match="sample 1 has no mask"):
        masks.read(1)


def test_what_cannot_be_read(mask, write, bomb: bytes, jpeg: bytes, tmp_path: Path) -> None:
    sound = mask("sound.png", np.random.default_rng(0).integers(0, 3, (64, 64))).read_bytes()
    cases = {
        "an empty file": write("empty.png", b""),
        "not an image": write("text.png", b"hello"),
        "truncated": write("half.png", sound[: len(sound) // 2]),
        "pixels": write("bomb.png", bomb),
        "lossy": write("lossy.png", jpeg),
        "does not exist": tmp_path / "gone.png",
        "not a file": tmp_path,
    }
    for reason, path in cases.items():
        with pytest.raises(DataError, match=reason):
            of(path, (0, 1)).read(0)


def test_no_permission(mask, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    masks = of(mask("m.png", STEPS), (0, 1))
    monkeypatch.setattr(Path, "read_bytes", closed)
    with pytest.raises(DataError, match="can't be opened: Permission denied"):
        masks.read(0)


@pytest.mark.parametrize("palette", [None, [SKY, ROAD, VOID]])
def test_damaged_bytes_give_a_mask_or_a_reason(mask, palette: list | None) -> None:
    path = mask("m.png", np.random.default_rng(0).integers(0, 3, (16, 16)), palette)
    sound = path.read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(200):
        broken = bytearray(sound)
        for place in rng.integers(0, len(sound), 3):
            broken[place] = rng.integers(0, 256)
        path.write_bytes(bytes(broken))
        try:
            assert of(path, (0, 1, 2)).read(0).dtype == np.uint8
        except DataError:
            refused += 1
    assert refused > 100


def test_too_many_classes_and_colours_that_are_missing() -> None:
    many = tuple(range(256))
    with pytest.raises(DataError, match="256 classes in masks. Expected 1 to 255"):
        Masks(paths=(), values=many, colours=tuple((i, 0, 0) for i in many))
    with pytest.raises(DataError, match="1 colours for 2 classes"):
        Masks(paths=(), values=(0, 1), colours=(SKY,))


def test_what_is_found_in_a_file(mask) -> None:
    assert found_in(mask("a.png", STEPS)).values == (0, 1, 2, 7, 255)
    assert found_in(mask("b.png", [[SKY, ROAD]])).values == (ROAD, SKY)
    assert found_in(mask("c.png", [[0, 1]], [SKY, ROAD])).palette == {0: SKY, 1: ROAD}


def test_masks_written_alike_can_be_joined() -> None:
    one = Masks(paths=(Path("a"),), values=(0, 1), colours=((0, 0, 0),) * 2, counts=np.array([[3, 1]]))
    both = one.joined(Masks(paths=(Path("b"), None), values=(0, 1), colours=((0, 0, 0),) * 2))
    assert both.paths == (Path("a"), Path("b"), None) and both.counts is None
    assert one.joined(one).counts.tolist() == [[3, 1], [3, 1]]
    with pytest.raises(DataError, match="written as"):
        one.joined(Masks(paths=(), values=(0, 7), colours=((0, 0, 0),) * 2))
