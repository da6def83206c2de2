"""Texts in a csv, tsv, jsonl or parquet file, or in a folder with one such file for train, val and test."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from torchgraft.core.errors import DataError
from torchgraft.data._assemble import assemble
from torchgraft.data._columns import label_column, named, split_column, text_column
from torchgraft.data._names import EXAMPLES, TABLES, hidden, shown, shown_all, split_of
from torchgraft.data._rows import Table, read_table
from torchgraft.data.base import Finding, ReadOptions, Samples


@dataclass(frozen=True, kw_only=True)
class _Roles:
    text: str
    label: str | None
    group: str | None
    split: str | None


@dataclass(kw_only=True)
class _Rows:
    ids: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    split: list[str] = field(default_factory=list)
    group: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


def accepts(path: Path) -> bool:
    """A table file, or a folder that holds one directly."""
    if path.is_dir():
        return any(map(_is_table, path.iterdir()))
    return path.suffix.lower() in TABLES


def read(path: Path, options: ReadOptions) -> Samples:
    """Texts with labels as they stand in the cells; `ids` are `file:line` (parquet: row).

    Rows without a text are left out (unless `every_row` is asked for), rows without a label are unlabelled; both are
    reported. Raises `DataError` for
    files that can't be read or columns that are not clear, `OptionError` for a column that is not there.
    """
    files, findings = _files(path)
    tables = [read_table(file) for file in files]
    roles, guessed = _roles(tables[0], options)
    findings += guessed
    rows = _Rows()
    for table in tables:
        findings += table.findings
        part = _split_of_file(table.path) if path.is_dir() else ""
        _add(rows, table, _here(table, roles), part, every=options.every_row)
    if rows.empty:
        findings.append(_empty(rows))
    if not any(rows.texts):
        raise DataError(f"{shown(str(path), 200)}: column '{shown(roles.text)}' is empty in every row.")
    return assemble(
        modality="text",
        ids=rows.ids,
        x=rows.texts,
        labels=[None] * len(rows.ids) if options.every_row else rows.labels,
        split=rows.split,
        root=path,
        group=rows.group if roles.group else None,
        findings=findings,
        every_label=options.every_label,
    )


def _files(path: Path) -> tuple[list[Path], list[Finding]]:
    """The files to read, train first."""
    if not path.is_dir():
        return [path], []
    tables = sorted(file for file in path.iterdir() if _is_table(file))
    parts = [file for file in tables if _split_of_file(file)]
    if not parts and len(tables) == 1:
        return tables, []
    if not parts:
        raise DataError(
            f"{shown(str(path), 200)} holds {len(tables)} tables, none called train, val or test: "
            f"{shown_all(t.name for t in tables)}. Give one of them, for example {shown(str(tables[0]), 200)}."
        )
    others = [file.name for file in tables if file not in parts]
    order = ("train", "val", "test")
    return sorted(parts, key=lambda file: (order.index(_split_of_file(file)), file.name)), _ignored(others)


def _ignored(names: list[str]) -> list[Finding]:
    if not names:
        return []
    message = f"{len(names)} tables beside train, val and test: {shown_all(names)}."
    return [
        Finding(
            kind="other_files",
            severity="note",
            count=len(names),
            message=message,
            action="not read",
            examples=tuple(names[:EXAMPLES]),
        )
    ]


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in TABLES and not hidden(path.name) and path.is_file()


def _split_of_file(path: Path) -> str:
    """train.csv, test-00000-of-00002.parquet and the like."""
    return split_of(re.split(r"[-_.]", path.stem)[0])


def _roles(table: Table, options: ReadOptions) -> tuple[_Roles, list[Finding]]:
    group = None if options.group is None else named(table, options.group, "--group")
    text, text_guessed = text_column(table, options.text)
    split = split_column(table, (text, group, options.label))
    label, label_guessed = label_column(table, options.label, (text, group, split))
    findings = []
    if text_guessed or label_guessed:
        said = f"texts are read from column '{shown(text)}'" + (f", labels from '{shown(label)}'" if label else "")
        findings.append(
            Finding(
                kind="columns",
                severity="note",
                count=1,
                message=f"By their values, {said}.",
                action="name them with --text and --label",
            )
        )
    if label is None and len(table.columns) > 1:
        message = f"No column looks like labels: {shown_all(table.columns)}."
        findings.append(
            Finding(kind="no_labels", severity="note", count=len(table), message=message, action="read as unlabelled")
        )
    return _Roles(text=text, label=label, group=group, split=split), findings


def _here(table: Table, roles: _Roles) -> _Roles:
    """The same columns in a further file, where a missing label column means that its rows are unlabelled."""
    return _Roles(
        text=named(table, roles.text, "--text"),
        label=roles.label if roles.label in table.columns else None,
        group=None if roles.group is None else named(table, roles.group, "--group"),
        split=roles.split if roles.split in table.columns else None,
    )


def _add(rows: _Rows, table: Table, roles: _Roles, part: str, *, every: bool) -> None:
    nothing: list[str | None] = [None] * len(table)
    texts = table.columns[roles.text]
    labels = table.columns[roles.label] if roles.label else nothing
    groups = table.columns[roles.group] if roles.group else nothing
    splits = table.columns[roles.split] if roles.split else nothing
    for line, text, label, group, split in zip(table.lines, texts, labels, groups, splits, strict=True):
        name = f"{shown(table.path.name, 200)}:{line}"
        if text is None and not every:
            rows.empty.append(name)
            continue
        rows.ids.append(name)
        rows.texts.append(text or "")
        rows.labels.append(label)
        rows.split.append(split_of(split) if split else part)
        rows.group.append(group if group is not None else name)


def _empty(rows: _Rows) -> Finding:
    total = len(rows.empty) + len(rows.ids)
    return Finding(
        kind="empty",
        severity="warning",
        count=len(rows.empty),
        message=f"{len(rows.empty)} of {total} rows have no text.",
        action="left out",
        examples=tuple(rows.empty[:EXAMPLES]),
    )
