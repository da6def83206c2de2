"""Which classes masks hold: from a list of names or colours beside them, else from the values found in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torchgraft.core.errors import DataError
from torchgraft.data._masks import IGNORE, MAX_CLASSES, Colour, Found, Value
from torchgraft.data._names import hidden, plain, shown, shown_all, squeeze

_FILES = (
    "classes", "classnames", "classdict", "labels", "labelnames", "names", "palette", "labelcolors", "labelcolours",
    "colors", "colours", "colormap", "colourmap", "labelmap",
)  # fmt: skip
_VOID = frozenset({"void", "ignore", "ignored", "unlabelled", "unlabeled", "dontcare", "ignorelabel", "voidlabel"})
_BACKGROUND = frozenset({"background", "bg"})
_MAX_BYTES = 1 << 20
_MOST_VALUES = 64  # distinct values without a list of classes, above which masks are no masks
_SPACE = r"[\s,;:]+"
_COLOUR_FIRST = re.compile(rf"(\d+){_SPACE}(\d+){_SPACE}(\d+){_SPACE}(\D.*)")
_COLOUR_LAST = re.compile(rf"(.+?){_SPACE}(\d+){_SPACE}(\d+){_SPACE}(\d+)")
_NUMBERED = re.compile(rf"(\d+){_SPACE}(.+)")
_HEADER = re.compile(r"(?:name|class|label|r|red)\w*\s*[,;\t: ].*", re.IGNORECASE)
_CAMVID = {
    "sky": (128, 128, 128), "building": (128, 0, 0), "pole": (192, 192, 128), "road": (128, 64, 128),
    "pavement": (60, 40, 222), "tree": (128, 128, 0), "signsymbol": (192, 128, 128), "fence": (64, 64, 128),
    "car": (64, 0, 128), "pedestrian": (64, 64, 0), "bicyclist": (0, 128, 192),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Listed:
    """The classes that a file lists, in its order: names, the value each has in a mask, colours (None: not said)."""

    names: tuple[str, ...]
    values: tuple[int, ...]
    colours: tuple[Colour, ...] | None = None
    files: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """The C classes and how masks write them; see `Masks`."""

    classes: tuple[str, ...]
    values: tuple[int, ...] | tuple[Colour, ...]
    colours: tuple[Colour, ...]
    void: tuple[Value, ...]


def listed(folder: Path) -> Listed | None:
    """What `classes.txt`, a palette file (`r g b name`, `name,r,g,b`), or both of them say; None without any.

    Raises `DataError` where a file can't be understood.
    """
    paths = sorted(
        (p for p in folder.iterdir() if p.suffix.lower() in (".txt", ".csv") and not hidden(p.name) and p.is_file()),
        key=lambda p: (_rank(p), p.name),
    )
    found = [_parsed(path) for path in paths if _rank(path) < len(_FILES)]
    if not found:
        return None
    first = found[0]
    for other in found[1:]:
        if first.colours is None and other.colours is not None:
            first = _with_colours(first, other)
    return first


def scheme(known: Listed | None, found: Sequence[Found], where: str) -> Scheme:
    """What the values in masks mean. Raises `DataError` where they are colours that nothing names."""
    values = sorted({value for one in found if not one.coloured for value in one.values})
    colours = sorted({value for one in found if one.coloured for value in one.values})
    palette = {value: colour for one in found for value, colour in one.palette.items()}
    if colours and (known is None or known.colours is None):
        raise DataError(_unnamed(colours, len(found), where, known))
    if known is None:
        return _by_value(values, palette, where)
    if known.colours is not None and (colours or _meant_as_colours(values, palette, known)):
        kept = [i for i, name in enumerate(known.names) if not is_void(name)]
        drawn = tuple(known.colours[i] for i in kept)
        void = tuple(known.colours[i] for i, name in enumerate(known.names) if is_void(name))
        return Scheme(classes=tuple(known.names[i] for i in kept), values=drawn, colours=drawn, void=void)
    return _by_index(known, values, palette)


def is_void(name: str) -> bool:
    """Whether a class of this name is meant to be ignored; `background` is a class like others."""
    return squeeze(name.replace("'", "")) in _VOID


def drawing_colours(classes: Sequence[str]) -> tuple[Colour, ...]:
    """A colour for each class: CamVid's where all names are CamVid's, else the colour map of Pascal VOC.

    VOC's black, its first, goes to a first class called background and to no other.
    """
    names = [squeeze(name) for name in classes]
    if all(name in _CAMVID for name in names):
        return tuple(_CAMVID[name] for name in names)
    start = 0 if names[0] in _BACKGROUND else 1
    return tuple(_voc(i + start) for i in range(len(names)))


def _voc(i: int) -> Colour:
    """Colour i of the Pascal VOC map: the bits of i are dealt to red, green and blue, highest bits first."""
    colour = [0, 0, 0]
    for place in range(8):
        for channel in range(3):
            colour[channel] |= (i >> (3 * place + channel) & 1) << (7 - place)
    return colour[0], colour[1], colour[2]


def _by_value(values: list[int], palette: dict[int, Colour], where: str) -> Scheme:
    """Classes named by their value; 255 is void, but in black and white masks, where it is the second class."""
    void = (IGNORE,) if values != [0, IGNORE] else ()
    kept = tuple(value for value in values if value not in void)
    if len(kept) > _MOST_VALUES:
        raise DataError(
            f"{where}: the masks hold {len(kept)} different values ({shown_all(map(str, kept))}). Expected class "
            "indices. If they are, list the class names in classes.txt, one a line, beside the folders; if the masks "
            "were resized or drawn with soft edges, make them again with nearest-neighbour."
        )
    if not kept:
        raise DataError(f"{where}: the masks hold nothing but {IGNORE}, which is ignored. Expected class indices.")
    classes = tuple(map(str, kept))
    return Scheme(classes=classes, values=kept, colours=_painted(classes, kept, palette), void=void)


def _by_index(known: Listed, values: list[int], palette: dict[int, Colour]) -> Scheme:
    written = known.values
    if written == (0, 1) and values and set(values) <= {0, IGNORE} and IGNORE in values:
        written = (0, IGNORE)  # black and white masks of two classes
    kept = [i for i, name in enumerate(known.names) if not is_void(name)]
    classes, index = tuple(known.names[i] for i in kept), tuple(written[i] for i in kept)
    void = {written[i] for i, name in enumerate(known.names) if is_void(name)} | ({IGNORE} - set(index))
    colours = tuple(known.colours[i] for i in kept) if known.colours else _painted(classes, index, palette)
    return Scheme(classes=classes, values=index, colours=colours, void=tuple(sorted(void)))


def _painted(classes: Sequence[str], values: Sequence[int], palette: dict[int, Colour]) -> tuple[Colour, ...]:
    """The palette of the files where it tells the classes apart in colour, else a known one."""
    own = tuple(palette.get(value, (0, 0, 0)) for value in values)
    grey = all(r == g == b for r, g, b in own)
    return drawing_colours(classes) if grey or len(set(own)) < len(own) else own


def _meant_as_colours(values: list[int], palette: dict[int, Colour], known: Listed) -> bool:
    """Whether index files show the listed colours: by their palette, or as greys that are no indices."""
    kept = [value for value in values if value not in known.values]
    if not values or (not palette and not kept):
        return False
    by_index = dict(zip(known.values, known.colours, strict=True))
    if set(kept) <= {IGNORE} and all(palette.get(v) == by_index[v] for v in values if v in by_index):
        return False  # both readings agree, and only indices know of 255
    seen = {palette.get(value, (value, value, value)) for value in values}
    return len(seen & set(known.colours)) > len(seen) / 2


def _rank(path: Path) -> int:
    name = squeeze(path.stem)
    return _FILES.index(name) if name in _FILES else len(_FILES)


def _parsed(path: Path) -> Listed:
    lines = _lines(path)
    split = [_entry(line) for line in lines]
    if len(lines) > 1 and _HEADER.fullmatch(lines[0]) and split[0][1] is None and split[1][1] is not None:
        split = split[1:]
    names, colours = [name for name, _ in split], [colour for _, colour in split]
    some = [colour for colour in colours if colour is not None]
    if some and len(some) < len(split):
        bare = next(name for name, colour in split if colour is None)
        raise DataError(f"{_at(path)}: line {shown(bare)!r} has no colour, others have. Expected `r g b name` lines.")
    if any(max(colour) > 255 for colour in some):
        raise DataError(f"{_at(path)}: a colour has a part above 255. Expected `r g b name` lines, each 0 to 255.")
    values = list(range(len(names)))
    numbered = [_NUMBERED.fullmatch(name) for name in names]
    if all(numbered) and len({int(match[1]) for match in numbered}) == len(names):
        values, names = [int(match[1]) for match in numbered], [match[2] for match in numbered]
    _refuse(path, names, some, values)
    return Listed(names=tuple(names), values=tuple(values), colours=tuple(some) if some else None, files=(path.name,))


def _refuse(path: Path, names: list[str], colours: list[Colour], values: list[int]) -> None:
    folded = [name.casefold() for name in names]
    twice = sorted({name for name in names if folded.count(name.casefold()) > 1})
    if twice:
        raise DataError(f"{_at(path)} lists a class twice: {shown_all(twice)}. Expected each name once.")
    if len(set(colours)) < len(colours):
        both = [name for name, colour in zip(names, colours, strict=True) if colours.count(colour) > 1]
        raise DataError(f"{_at(path)} gives one colour to several classes: {shown_all(both)}.")
    if not any(not is_void(name) for name in names) or len(names) > MAX_CLASSES:
        raise DataError(f"{_at(path)} lists {len(names)} classes. Expected 1 to {MAX_CLASSES}, one a line.")
    if max(values) > 65535:
        raise DataError(f"{_at(path)}: the value {max(values)} is too large. Expected 0 to 65535.")


def _lines(path: Path) -> list[str]:
    if path.stat().st_size > _MAX_BYTES:
        raise DataError(f"{_at(path)} is larger than 1 MiB. Expected a list of class names, one a line.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{_at(path)} is no UTF-8 text. Expected a list of class names, one a line.") from None
    lines = (line.strip().strip(":,;").strip() for line in text.splitlines() if not line.lstrip().startswith("#"))
    return [line for line in lines if line]


def _entry(line: str) -> tuple[str, Colour | None]:
    first, last = _COLOUR_FIRST.fullmatch(line), _COLOUR_LAST.fullmatch(line)
    if last:
        return _name(last[1]), _whole(last[2], last[3], last[4])
    return (_name(first[4]), _whole(first[1], first[2], first[3])) if first else (_name(line), None)


def _name(text: str) -> str:
    return plain(text.strip().strip('"').strip())


def _whole(*parts: str) -> Colour:
    r, g, b = (int(part[:9]) for part in parts)
    return r, g, b


def _with_colours(names: Listed, palette: Listed) -> Listed:
    """Colours by name where every name has one, else by place where both lists are as long; else none."""
    by_name = dict(zip(map(squeeze, palette.names), palette.colours, strict=True))
    files = names.files + palette.files
    if all(squeeze(name) in by_name for name in names.names):
        colours = tuple(by_name[squeeze(name)] for name in names.names)
        return Listed(names=names.names, values=names.values, colours=colours, files=files)
    if len(names.names) == len(palette.names):
        return Listed(names=names.names, values=names.values, colours=palette.colours, files=files)
    return names


def _unnamed(colours: list[Colour], files: int, where: str, known: Listed | None) -> str:
    what = "no file says which class each colour is" if known is None else f"{known.files[0]} names no colours"
    shape = f"{len(colours)} colours in {files} masks: {shown_all(map(str, colours))}"
    soft = " So many colours come of resizing or lossy saving." if len(colours) > MAX_CLASSES else ""
    return (
        f"{where}: the masks hold colours, and {what}. Found {shape}.{soft} Write a file classes.txt beside the "
        "folders with one line `r g b name` for each class, or save masks of class indices."
    )


def _at(path: Path) -> str:
    return shown(str(path), 200)
