"""Rows of csv, tsv, jsonl and parquet files as columns of text, with what could not be parsed reported."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torchgraft.core.errors import DataError, MissingExtra
from torchgraft.data._names import EXAMPLES, LABEL_NAMES, TEXT_NAMES, shown, squeeze
from torchgraft.data.base import Finding

_LONGEST_FIELD = 16 << 20
"""Characters of one csv field. Longer ones are no texts but a quote that was never closed."""

_UNCLOSED = "unexpected end of data"  # what the csv module says at the end of the file inside a quote


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """The rows of one file: columns of equal length (None: an empty cell), and the line where each row starts.

    `nested` names the columns that hold lists or objects somewhere, with the line of the first (0: the whole column);
    no text or label can be taken from them.
    """

    path: Path
    columns: dict[str, list[str | None]]
    lines: list[int]
    nested: Mapping[str, int] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    def __len__(self) -> int:
        return len(self.lines)


@dataclass(kw_only=True)
class _Parsed:
    """Rows as they come, with the line each starts at, and the lines that could not be parsed with the reason."""

    header: list[str] = field(default_factory=list)
    rows: list[Sequence[str | None]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    bad: list[tuple[int, str]] = field(default_factory=list)
    nested: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def read_table(path: Path) -> Table:
    """Read one file. Raises `DataError` where it is empty, not UTF-8, has no rows, or more bad rows than good ones."""
    suffix = path.suffix.lower()
    if not path.stat().st_size:
        raise DataError(
            f"{_name(path)} is empty. Expected a table with a text column and, for training, a label column."
        )
    if suffix == ".parquet":
        parsed = _parquet(path)
    else:
        _refuse_binary(path)
        try:
            parsed = _json_lines(path) if suffix in (".jsonl", ".ndjson") else _delimited(path)
        except UnicodeDecodeError:
            raise DataError(_not_utf8(path)) from None
    _refuse_bad(path, parsed)
    columns = {name: [row[i] for row in parsed.rows] for i, name in enumerate(parsed.header) if name}
    findings = (*parsed.findings, *_malformed(path, parsed))
    return Table(path=path, columns=columns, lines=parsed.lines, nested=parsed.nested, findings=findings)


def _delimited(path: Path) -> _Parsed:
    delimiter = _delimiter(path)
    parsed = _csv_rows(path, delimiter, csv.QUOTE_MINIMAL)
    if delimiter == "\t" and (plain := _csv_rows(path, delimiter, csv.QUOTE_NONE)) and _quotes_are_text(parsed, plain):
        parsed = plain
    if not parsed.rows:
        return parsed
    _take_header(path, parsed)
    _even(parsed)
    return parsed


def _csv_rows(path: Path, delimiter: str, quoting: int) -> _Parsed:
    parsed = _Parsed()
    with _long_fields(), path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, delimiter=delimiter, strict=True, quoting=quoting)
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return parsed
            except csv.Error as error:
                parsed.bad.append((line, str(error)))
                continue
            if any(cell.strip() for cell in cells):
                parsed.rows.append(cells)
                parsed.lines.append(line)


def _quotes_are_text(quoted: _Parsed, plain: _Parsed) -> bool:
    """Whether a tab-separated file was written without quoting: taken as plain text every line has the same width."""
    even = len({len(row) for row in plain.rows}) == 1
    return even and (bool(quoted.bad) or len(quoted.rows) < len(plain.rows))


def _take_header(path: Path, parsed: _Parsed) -> None:
    first = [str(cell).strip() for cell in parsed.rows[0]]
    if _is_data(first, parsed.rows[1:]):
        parsed.header = [f"column {i + 1}" for i in range(len(first))]
        message = f"{_name(path)} has no header: its first line looks like the others. Columns are called column 1, ..."
        parsed.findings.append(
            Finding(kind="no_header", severity="note", count=1, message=message, action="first line read as data")
        )
        return
    parsed.header = _distinct(first)
    del parsed.rows[0], parsed.lines[0]


def _is_data(first: list[str], rows: list[Sequence[str | None]]) -> bool:
    """Whether the first line is a sample: a cell of it comes again below, and no cell names a column that we know."""
    known = {squeeze(name) for tier in (*TEXT_NAMES, *LABEL_NAMES) for name in tier}
    if any(squeeze(cell) in known for cell in first) or all(cell.isdigit() or not cell for cell in first):
        return False
    even = [row for row in rows if len(row) == len(first)]
    return any(cell and any(row[i] == cell for row in even) for i, cell in enumerate(first))


def _distinct(names: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        names[i] = f"{name} ({seen[name]})" if name and seen[name] > 1 else name
    return names


def _even(parsed: _Parsed) -> None:
    """Keep the rows that are as wide as the header; empty cells become None."""
    width = len(parsed.header)
    rows, lines = [], []
    for cells, line in zip(parsed.rows, parsed.lines, strict=True):
        if len(cells) == width:
            rows.append([cell if cell.strip() else None for cell in cells])
            lines.append(line)
        else:
            parsed.bad.append((line, f"{len(cells)} cells, expected {width}"))
    parsed.rows, parsed.lines = rows, lines


def _delimiter(path: Path) -> str:
    """Tab for .tsv; for .csv the comma, unless the first line has none and separates by semicolon or tab."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    with path.open(encoding="utf-8-sig", newline="") as stream:
        first = stream.readline(1 << 16)
    return max(";\t", key=first.count) if "," not in first and (";" in first or "\t" in first) else ","


def _json_lines(path: Path) -> _Parsed:
    parsed, records = _Parsed(), []
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                parsed.bad.append((number, f"not JSON: {error}"))
                continue
            if not isinstance(record, dict):
                parsed.bad.append((number, 'not an object like {"text": ..., "label": ...}'))
                continue
            records.append(record)
            parsed.lines.append(number)
    _from_records(parsed, records)
    return parsed


def _from_records(parsed: _Parsed, records: list[dict[str, Any]]) -> None:
    parsed.header = list(dict.fromkeys(name for record in records for name in record))
    for line, record in zip(parsed.lines, records, strict=True):
        for name, value in record.items():
            if isinstance(value, list | dict):
                parsed.nested.setdefault(name, line)
    parsed.rows = [[_cell(record.get(name)) for name in parsed.header] for record in records]


def _cell(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    text = value if isinstance(value, str) else str(value)
    return text if text.strip() else None


def _parquet(path: Path) -> _Parsed:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra(f"reading {path.name}", "pyarrow", "parquet") from None
    parsed = _Parsed()
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            parsed.nested = {f.name: 0 for f in schema if _no_value(pyarrow.types, f.type)}
            parsed.header = [name for name in schema.names if name not in parsed.nested]
            columns = file.read(columns=parsed.header).to_pydict() if parsed.header else {}
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{_name(path)} is not a readable parquet file: {_first_line(error)}.") from None
    parsed.rows = [[_cell(value) for value in row] for row in zip(*columns.values(), strict=True)]
    parsed.lines = list(range(1, len(parsed.rows) + 1))
    return parsed


def _no_value(types: Any, kind: Any) -> bool:
    return types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind)


def _refuse_bad(path: Path, parsed: _Parsed) -> None:
    unclosed = next((line for line, reason in parsed.bad if reason == _UNCLOSED), None)
    if unclosed is not None:
        raise DataError(
            f'{_name(path)}: the row that starts at line {unclosed} opens a quote (") that is never closed, so '
            'everything after it is lost. Close it, or double the quotes inside the text ("").'
        )
    if len(parsed.bad) > len(parsed.rows):
        line, reason = parsed.bad[0]
        total = len(parsed.bad) + len(parsed.rows)
        expected = "the same number of cells in every row, texts with commas in quotes"
        if path.suffix.lower() in (".jsonl", ".ndjson"):
            expected = 'one object a line, like {"text": ..., "label": ...}'
        raise DataError(
            f"{_name(path)}: {len(parsed.bad)} of {total} rows can't be parsed. First: line {line}: {reason}. "
            f"Expected {expected}."
        )
    if not parsed.rows:
        raise DataError(f"{_name(path)} holds no rows{' beside its header' if parsed.header else ''}.")


def _malformed(path: Path, parsed: _Parsed) -> list[Finding]:
    if not parsed.bad:
        return []
    line, reason = parsed.bad[0]
    total = len(parsed.bad) + len(parsed.rows)
    return [
        Finding(
            kind="malformed",
            severity="warning",
            count=len(parsed.bad),
            message=f"{len(parsed.bad)} of {total} rows of {path.name} can't be parsed. First: line {line}: {reason}.",
            action="left out",
            examples=tuple(f"{path.name}:{line}: {reason}" for line, reason in parsed.bad[:EXAMPLES]),
        )
    ]


def _refuse_binary(path: Path) -> None:
    with path.open("rb") as stream:
        start = stream.read(4096)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{_name(path)} is UTF-16 text. Save it as UTF-8: iconv -f UTF-16 -t UTF-8 IN > OUT.")
    if b"\0" in start:
        raise DataError(f"{_name(path)} is a binary file, not a {path.suffix} table.")


def _not_utf8(path: Path) -> str:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                around = line[max(error.start - 20, 0) : error.start + 20].decode("latin-1").strip()
                return (
                    f"{_name(path)} is not UTF-8: byte 0x{line[error.start]:02x} at line {number}, "
                    f"byte {error.start + 1} of the line ({shown(around)!r} if it is Western European). Convert it: "
                    "iconv -f WINDOWS-1252 -t UTF-8 IN > OUT, or save it as UTF-8 in your editor."
                )
    return f"{_name(path)} is not UTF-8."


@contextmanager
def _long_fields() -> Iterator[None]:
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _name(path: Path) -> str:
    return shown(str(path), 200)
