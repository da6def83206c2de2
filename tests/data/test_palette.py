from __future__ import annotations

import pytest

from torchgraft.core.errors import DataError
from torchgraft.data._masks import Found
from torchgraft.data._palette import drawing_colours, is_void, listed, scheme

SKY, ROAD, VOID = (128, 128, 128), (128, 64, 128), (0, 0, 0)


def indices(*values: int, palette: dict | None = None) -> Found:
    return Found(values=values, coloured=False, palette=palette or {})


def colours(*values: tuple[int, int, int]) -> Found:
    return Found(values=values, coloured=True)


def test_no_list(tmp_path, write) -> None:
    write("readme.txt", "hello")
    assert listed(tmp_path) is None


@pytest.mark.parametrize("name", ["classes.txt", "labels.txt", "Class_Names.TXT", "classes.csv"])
def test_names_one_a_line(write, name: str) -> None:
    known = listed(write(name, "\ufeffsky\n\n  road side \n# a remark\ncar\n").parent)
    assert known.names == ("sky", "road side", "car")
    assert known.values == (0, 1, 2)
    assert known.colours is None
    assert known.files == (name,)


@pytest.mark.parametrize(
    "text",
    [
        "128 128 128 sky\n128 64 128 road side\n",
        "128 128 128\tsky\n128 64 128\t\troad side\n",
        "name,r,g,b\nsky,128,128,128\nroad side,128,64,128\n",
        "name, r, g, b\nsky, 128, 128, 128\nroad side, 128, 64, 128\n",
        "r,g,b,name\n128,128,128,sky\n128,64,128,road side\n",
        "# label:color_rgb:parts:actions\nsky:128,128,128::\nroad side:128,64,128::\n",
    ],
)
def test_palette_files(write, text: str) -> None:
    known = listed(write("class_dict.csv", text).parent)
    assert known.names == ("sky", "road side")
    assert known.colours == (SKY, ROAD)


def test_numbered_lines_say_the_values(write) -> None:
    known = listed(write("classes.txt", "7: road\n23: sky\n").parent)
    assert (known.names, known.values) == (("road", "sky"), (7, 23))
    known = listed(write("classes.txt", "7,road,128,64,128\n23,sky,128,128,128\n").parent)
    assert (known.names, known.values, known.colours) == (("road", "sky"), (7, 23), (ROAD, SKY))


def test_names_and_colours_in_two_files(write, tmp_path) -> None:
    write("classes.txt", "road\nsky\n")
    write("palette.txt", "128 128 128 Sky\n128 64 128 Road\n")
    known = listed(tmp_path)
    assert (known.names, known.colours) == (("road", "sky"), (ROAD, SKY))
    assert known.files == ("classes.txt", "palette.txt")
    write("palette.txt", "1 1 1 a\n2 2 2 b\n")
    assert listed(tmp_path).colours == ((1, 1, 1), (2, 2, 2))
    write("palette.txt", "1 1 1 a\n2 2 2 b\n3 3 3 c\n")
    assert listed(tmp_path).colours is None


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("sky\nroad\nSky\n", "lists a class twice: Sky, sky"),
        ("1 1 1 sky\nroad\n", "'road' has no colour, others have"),
        ("1 1 1 sky\n1 1 300 road\n", "above 255"),
        ("1 1 1 sky\n1 1 1 road\n", "one colour to several classes: sky, road"),
        ("", "lists 0 classes"),
        ("void\n", "lists 1 classes"),
        ("\n".join(f"c{i}" for i in range(256)), "lists 256 classes. Expected 1 to 255"),
        ("99999: sky\n1: road\n", "99999 is too large"),
        (b"\xff\xfe\xe9", "no UTF-8 text"),
        (b"a\n" * 600_000, "larger than 1 MiB"),
    ],
)
def test_files_that_are_no_list(write, text: str | bytes, match: str) -> None:
    with pytest.raises(DataError, match=match):
        listed(write("classes.txt", text).parent)


def test_void_by_name() -> None:
    assert all(map(is_void, ("Void", "unlabelled", "un-labeled", "ignore", "don't care", "IGNORED")))
    assert not any(map(is_void, ("background", "other", "avoid")))


def test_listed_names_are_values_in_order(write) -> None:
    known = listed(write("classes.txt", "void\nsky\nroad\n").parent)
    made = scheme(known, [indices(0, 1, 2)], "d")
    assert (made.classes, made.values, made.void) == (("sky", "road"), (1, 2), (0, 255))


def test_colours_as_listed(write) -> None:
    known = listed(write("classes.txt", "128 128 128 sky\n0 0 0 void\n128 64 128 road\n").parent)
    made = scheme(known, [colours(SKY), colours(VOID, ROAD)], "d")
    assert (made.classes, made.values, made.void) == (("sky", "road"), (SKY, ROAD), (VOID,))
    drawn = scheme(known, [indices(0, 1, 2)], "d")
    assert (drawn.values, drawn.colours, drawn.void) == ((0, 2), (SKY, ROAD), (1, 255))


def test_palette_images_of_the_listed_colours(write) -> None:
    known = listed(write("classes.txt", "128 128 128 sky\n128 64 128 road\n").parent)
    assert scheme(known, [indices(0, 1, palette={0: ROAD, 1: SKY})], "d").values == (SKY, ROAD)
    assert scheme(known, [indices(0, 1, palette={0: (9, 9, 9), 1: (8, 8, 8)})], "d").values == (0, 1)
    agreeing = scheme(known, [indices(0, 1, 255, palette={0: SKY, 1: ROAD, 255: (224, 224, 192)})], "d")
    assert (agreeing.values, agreeing.colours, agreeing.void) == ((0, 1), (SKY, ROAD), (255,))


def test_black_and_white_listed_as_colours(write) -> None:
    known = listed(write("classes.txt", "0 0 0 rest\n255 255 255 road\n").parent)
    assert scheme(known, [indices(0, 255)], "d").values == ((0, 0, 0), (255, 255, 255))


def test_two_classes_in_black_and_white(write) -> None:
    known = listed(write("classes.txt", "rest\nroad\n").parent)
    made = scheme(known, [indices(0, 255)], "d")
    assert (made.values, made.void) == ((0, 255), ())
    assert scheme(known, [indices(0, 1, 255)], "d").values == (0, 1)
    assert scheme(None, [indices(0, 255)], "d").classes == ("0", "255")


def test_classes_from_values() -> None:
    made = scheme(None, [indices(3, 0), indices(7, 255)], "d")
    assert (made.classes, made.values, made.void) == (("0", "3", "7"), (0, 3, 7), (255,))
    assert scheme(None, [indices(0, 1, palette={0: SKY, 1: ROAD})], "d").colours == (SKY, ROAD)
    assert scheme(None, [indices(0, 1, palette={0: SKY, 1: SKY})], "d").colours == ((128, 0, 0), (0, 128, 0))


def test_colours_without_names_are_named_in_the_error(write) -> None:
    with pytest.raises(DataError, match=r"2 colours in 1 masks: \(128, 64, 128\), \(128, 128, 128\).*`r g b name`"):
        scheme(None, [colours(ROAD, SKY)], "d")
    known = listed(write("classes.txt", "sky\nroad\n").parent)
    with pytest.raises(DataError, match=r"classes\.txt names no colours"):
        scheme(known, [colours(ROAD, SKY)], "d")
    with pytest.raises(DataError, match="So many colours come of resizing"):
        scheme(None, [colours(*((i, 0, j) for i in range(20) for j in range(20)))], "d")


def test_values_that_are_no_classes() -> None:
    with pytest.raises(DataError, match=r"65 different values.*classes\.txt"):
        scheme(None, [indices(*range(65))], "d")
    with pytest.raises(DataError, match="nothing but 255"):
        scheme(None, [indices(255)], "d")


def test_drawing_colours() -> None:
    assert drawing_colours(["road", "Sign_Symbol"]) == ((128, 64, 128), (192, 128, 128))
    # the first rows of the VOC colour map as the development kit prints them
    voc = [
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (128, 128, 0),
        (0, 0, 128),
        (128, 0, 128),
        (0, 128, 128),
        SKY,
        (64, 0, 0),
    ]
    assert list(drawing_colours(["background", *"abcdefgh"])) == voc
    assert drawing_colours(["a", "b"]) == ((128, 0, 0), (0, 128, 0))
    assert len(set(drawing_colours([f"c{i}" for i in range(255)]))) == 255
