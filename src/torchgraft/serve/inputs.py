"""What `graft predict` is given, one sample after the other: files, folders, tables, lines of text."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import numpy as np

from torchgraft.core.errors import DataError, did_you_mean, shorten
from torchgraft.data import IMAGES, TABLES, Finding, ReadOptions, read

STDIN = "-"
"""The path that stands for standard input, one text a line."""

_LINES = ".txt"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One sample to predict: an image's path, a text, or D numbers; or the reason why there is none."""

    id: str
    value: Path | str | np.ndarray | None
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Items, read while they are asked for; `total` is their number (0: not known before the end).

    `root`, where they are files, is the folder that holds all that was given: names of results are relative to it.
    `findings` says what readers noticed (rows that can't be parsed, columns found by their values); complete after the
    last item.
    """

    items: Iterator[Item]
    total: int = 0
    root: Path | None = None
    findings: list[Finding] = field(default_factory=list)


def open_inputs(
    paths: Sequence[str], modality: str, *, options: ReadOptions | None = None, stdin: IO[bytes] | None = None
) -> Inputs:
    """Items of a graft's modality (image, text, array) from `paths`, in the order given; folders are walked, sorted.

    image: files, and folders at any depth. text: csv, tsv, jsonl and parquet tables (the text column by name, or
    `options.text`), .txt files with one text a line, folders of these, and '-' for `stdin`. array: .npz, .npy, .mat.
    Blank lines of .txt files and of `stdin` are skipped. Raises `DataError` naming every path that does not exist, or
    where nothing is found.
    """
    _must_exist(paths)
    if STDIN in paths and modality != "text":
        raise DataError(f"'-' gives texts, one a line; this graft takes {modality} samples. Give paths.")
    findings: list[Finding] = []
    if modality == "image":
        files = [found for path in paths for found in _files(Path(path), IMAGES)]
        items = (Item(id=str(file), value=file) for file in files)
        return Inputs(items=items, total=len(files), root=_root(paths))
    if modality == "array":
        return Inputs(
            items=(item for path in paths for item in _table(Path(path), options, findings, "array")), findings=findings
        )
    return Inputs(items=_texts(paths, options, findings, stdin), findings=findings)


def _must_exist(paths: Sequence[str]) -> None:
    try:
        missing = [path for path in paths if path != STDIN and not Path(path).exists()]
    except OSError as error:  # below a folder that may not be entered
        raise DataError(f"{error.filename} can't be read: {(error.strerror or str(error)).lower()}.") from error
    if not missing:
        return
    first = Path(missing[0])
    near = did_you_mean(first.name, [p.name for p in first.parent.iterdir()]) if first.parent.is_dir() else ""
    many = f"{len(missing)} of {len(paths)} paths do not exist" if len(paths) > 1 else "the path does not exist"
    raise DataError(f"{many}: {shorten(missing)}.{near}")


def _files(path: Path, suffixes: frozenset[str]) -> list[Path]:
    """The path itself, or the files below it that have one of the suffixes and are not hidden."""
    if not path.is_dir():
        return [path]
    inside = (p for p in path.rglob("*") if p.suffix.lower() in suffixes and not p.name.startswith("."))
    found = sorted(p for p in inside if p.is_file())
    if not found:
        raise DataError(f"{path} holds no file to predict. Expected {', '.join(sorted(suffixes))} at any depth.")
    return found


def _root(paths: Sequence[str]) -> Path:
    given = (Path(os.path.normpath(Path(path).absolute())) for path in paths)
    return Path(os.path.commonpath([path if path.is_dir() else path.parent for path in given]))


def _texts(
    paths: Sequence[str], options: ReadOptions | None, findings: list[Finding], stdin: IO[bytes] | None
) -> Iterator[Item]:
    for path in paths:
        if path == STDIN:
            yield from _lines("stdin", stdin or [])
            continue
        for file in _files(Path(path), TABLES | {_LINES}):
            if file.suffix.lower() != _LINES:
                yield from _table(file, options, findings, "text")
                continue
            try:
                stream = file.open("rb")
            except OSError as error:
                yield Item(id=str(file), value=None, error=f"can't be opened: {error.strerror}")
                continue
            with stream:
                yield from _lines(str(file), stream)


def _lines(name: str, stream: IO[bytes] | Sequence[bytes]) -> Iterator[Item]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            yield Item(id=f"{name}:{number}", value=line.decode("utf-8-sig" if number == 1 else "utf-8").strip())
        except UnicodeDecodeError as error:
            yield Item(id=f"{name}:{number}", value=None, error=f"not UTF-8: byte 0x{line[error.start]:02x}")


def _table(path: Path, options: ReadOptions | None, findings: list[Finding], modality: str) -> Iterator[Item]:
    samples = read(path, replace(options or ReadOptions(), every_row=True))
    if samples.modality != modality:
        raise DataError(f"{path} holds {samples.modality} samples; this graft takes {modality} samples.")
    findings.extend(finding for finding in samples.findings if finding.kind not in ("no_labels", "unlabelled"))
    for name, value in zip(samples.ids, samples.x, strict=True):
        error = _unusable(value)
        yield Item(id=name, value=None if error else value, error=error)


def _unusable(value: str | np.ndarray) -> str:
    """Why nothing can be said of a text or a row of numbers; nothing where it can."""
    if isinstance(value, str):
        return "" if value else "no text"
    return "" if np.isfinite(value).all() else "holds NaN or Inf"
