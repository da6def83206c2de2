"""Labels of images in a metadata.csv, .jsonl or .parquet beside them, as Hugging Face's ImageFolder has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from torchgraft.core.errors import DataError
from torchgraft.data._columns import by_name, label_column, named, split_column
from torchgraft.data._names import EXAMPLES, FILE_NAMES, plain, shown, shown_all, split_of
from torchgraft.data._rows import Table, read_table
from torchgraft.data.base import Finding, ReadOptions

_NAMES = ("metadata.csv", "metadata.tsv", "metadata.jsonl", "metadata.parquet")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the metadata says of one image."""

    label: str | None
    split: str
    group: str | None


@dataclass(frozen=True, kw_only=True)
class Listed:
    """The images that the metadata files list and that exist, with what is said of them."""

    rows: dict[PurePosixPath, Row]
    has_labels: bool
    has_groups: bool
    findings: list[Finding]


def is_metadata(path: Path | PurePosixPath) -> bool:
    """Whether a file is called as a metadata file is."""
    return path.name.lower() in _NAMES


def beside(folder: Path) -> Path | None:
    """The metadata file directly in a folder, if any."""
    return next((path for path in sorted(folder.iterdir()) if is_metadata(path)), None)


def find(root: Path, others: Sequence[PurePosixPath]) -> list[PurePosixPath]:
    """The metadata files of a data set: in the root or in its split folders."""
    return [file for file in others if is_metadata(file) and (len(file.parts) == 1 or split_of(file.parts[0]))]


def read(
    root: Path,
    files: Sequence[PurePosixPath],
    images: Sequence[PurePosixPath],
    options: ReadOptions,
    *,
    guess: bool,
) -> Listed:
    """Match rows with images; `guess`: a label column may be told by its values.

    Rows without image, images without row and second rows of an image are reported and left out.

    Raises `DataError` where no column holds file names or no row's image exists.
    """
    known = set(images)
    rows: dict[PurePosixPath, Row] = {}
    missing: list[str] = []
    again: list[str] = []
    findings: list[Finding] = []
    labels = False
    for file in files:
        table = read_table(root / file)
        column, found = _label(table, options, guess)
        labels = labels or column is not None
        findings += [*table.findings, *found]
        for cell, row in _rows(table, column, options):
            image = _image(file, cell)
            if image not in known:
                missing.append(cell or "(empty)")
            elif image in rows:
                again.append(str(image))
            else:
                rows[image] = row
    if not rows:
        raise DataError(
            f"{shown(str(root / files[0]), 200)}: none of its {len(missing)} file names exists. "
            f"First: {shown(missing[0])}. Expected paths relative to it, like {shown(str(images[0]))}."
        )
    findings += _left_out(rows, missing, again, images)
    return Listed(rows=rows, has_labels=labels, has_groups=options.group is not None, findings=findings)


def _label(table: Table, options: ReadOptions, guess: bool) -> tuple[str | None, list[Finding]]:
    """The label column, and a note where it was told by its values. Class folders go before such a guess."""
    taken = (_file_column(table), options.group, split_column(table, ()))
    column, guessed = label_column(table, options.label, taken)
    if not guessed:
        return column, []
    if not guess:
        return None, []
    message = f"By their values, labels are read from column '{shown(str(column))}' of {table.path.name}."
    return column, [Finding(kind="columns", severity="note", count=1, message=message, action="name it with --label")]


def _rows(table: Table, label: str | None, options: ReadOptions) -> list[tuple[str | None, Row]]:
    """The file name of each row, and what the row says."""
    nothing: list[str | None] = [None] * len(table)
    group = None if options.group is None else named(table, options.group, "--group")
    names = (_file_column(table), label, split_column(table, (label, group)), group)
    columns = [table.columns[name] if name else nothing for name in names]
    return [(cell, Row(label=a, split=split_of(b or ""), group=c)) for cell, a, b, c in zip(*columns, strict=True)]


def _file_column(table: Table) -> str:
    found = by_name(table, FILE_NAMES, "file_name")
    if found is None:
        raise DataError(
            f"{shown(str(table.path), 200)} has no column file_name. Columns: {shown_all(table.columns)}. "
            "Expected file_name (relative to the file) and a label column. For a table of texts, give the file itself."
        )
    return found


def _image(file: PurePosixPath, cell: str | None) -> PurePosixPath | None:
    """The image that a cell names, relative to the root; None for a path that leaves the folder."""
    path = PurePosixPath((cell or "").strip().replace("\\", "/"))
    return None if path.is_absolute() or ".." in path.parts else file.parent / path


def _left_out(
    rows: dict[PurePosixPath, Row], missing: list[str], again: list[str], images: Sequence[PurePosixPath]
) -> list[Finding]:
    unlisted = [plain(str(image)) for image in images if image not in rows]
    found = (
        ("missing_file", missing, "rows of the metadata name images that are not there"),
        ("duplicate_row", again, "rows of the metadata name an image for a second time"),
        ("unlisted", unlisted, "images are not in the metadata"),
    )
    return [
        Finding(
            kind=kind,
            severity="warning",
            count=len(names),
            message=f"{len(names)} {what}. First: {shown(names[0])}.",
            action="left out",
            examples=tuple(plain(name) for name in names[:EXAMPLES]),
        )
        for kind, names, what in found
        if names
    ]
