"""Which column holds the texts, labels, groups or splits: named by the user, known by name, or told by the values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from torchgraft.core.errors import DataError, OptionError, did_you_mean
from torchgraft.data._names import LABEL_NAMES, TEXT_NAMES, shown, shown_all, split_of, squeeze
from torchgraft.data._rows import Table

_MANY = 20
"""Distinct values from which on numbers with decimals are a quantity, not classes."""


def named(table: Table, name: str, option: str) -> str:
    """The column that the user named. Raises `OptionError` with a near miss where there is none, or it holds lists."""
    if name in table.nested:
        first = f" (first at line {table.nested[name]})" if table.nested[name] else ""
        raise DataError(
            f"column '{shown(name)}' of {table.path.name} holds lists, objects or bytes{first}. "
            "Expected one value a row."
        )
    if name in table.columns:
        return name
    raise OptionError(
        f"{option} '{shown(name)}': {table.path.name} has no such column.{did_you_mean(name, table.columns)} "
        f"Columns: {shown_all(table.columns)}."
    )


def by_name(table: Table, tiers: Iterable[Sequence[str]], option: str, taken: Iterable[str | None] = ()) -> str | None:
    """The column with a name of the first tier that has one; None where no tier has. Two in one tier: `DataError`."""
    free = [name for name in table.columns if name not in taken]
    for tier in tiers:
        found = [name for name in free if squeeze(name) in tier]
        if len(found) > 1:
            raise DataError(_ambiguous(table, found, option))
        if found:
            return found[0]
    return None


def text_column(table: Table, option: str | None) -> tuple[str, bool]:
    """The column of texts, and whether it was guessed from the values. Raises `DataError` where it is not clear."""
    if option is not None:
        return named(table, option, "--text"), False
    found = by_name(table, TEXT_NAMES, "--text")
    if found is not None:
        return found, False
    likely = [name for name, values in table.columns.items() if _reads_like_text(values)]
    if not likely and len(table.columns) == 1:
        likely = list(table.columns)
    if len(likely) != 1:
        raise DataError(_ambiguous(table, likely, "--text"))
    return likely[0], True


def label_column(table: Table, option: str | None, taken: Sequence[str | None]) -> tuple[str | None, bool]:
    """The column of labels or None, and whether it was guessed. Raises `DataError` where it is not clear."""
    if option is not None:
        return _classes(table, named(table, option, "--label")), False
    found = by_name(table, LABEL_NAMES, "--label", taken)
    if found is not None:
        return _classes(table, found), False
    likely = [name for name, values in table.columns.items() if name not in taken and _looks_like_classes(values)]
    if len(likely) > 1:
        raise DataError(_ambiguous(table, likely, "--label"))
    return (likely[0], True) if likely else (None, False)


def split_column(table: Table, taken: Sequence[str | None]) -> str | None:
    """A column called split whose every cell is train, val or test in one of the usual spellings."""
    for name, values in table.columns.items():
        if (
            squeeze(name) in ("split", "subset", "fold")
            and name not in taken
            and all(split_of(v or "-") for v in values)
        ):
            return name
    return None


def _classes(table: Table, name: str) -> str:
    distinct = {value for value in table.columns[name] if value is not None}
    if len(distinct) > _MANY and all(map(_decimal, distinct)) and any(float(value) % 1 for value in distinct):
        raise DataError(
            f"column '{shown(name)}' of {table.path.name} holds {len(distinct)} different numbers with "
            "decimals: a quantity, not classes. Name a column of classes with --label. "
            f"Columns: {shown_all(table.columns)}."
        )
    return name


def _decimal(value: str) -> bool:
    return re.fullmatch(r"[+-]?\d*\.?\d+(?:[eE][+-]?\d{1,2})?", value) is not None


def _reads_like_text(values: Sequence[str | None]) -> bool:
    """At least three words a row on average, and most rows different."""
    present = [value for value in values if value is not None]
    if not present:
        return False
    words = sum(len(value.split()) for value in present) / len(present)
    return words >= 3 and len(set(present)) > len(present) / 2


def _looks_like_classes(values: Sequence[str | None]) -> bool:
    """Two to a hundred values, each at least five times on average (small tables: twice), short, seldom empty."""
    present = [value for value in values if value is not None]
    distinct = set(present)
    if not 2 <= len(distinct) <= 100 or len(present) < len(values) / 2:
        return False
    return len(present) >= (5 if len(values) >= 50 else 2) * len(distinct) and max(map(len, distinct)) <= 60


def _ambiguous(table: Table, found: Sequence[str], option: str) -> str:
    what = {"--text": "texts", "--label": "labels"}.get(option, "file names")
    which = f"more than one may ({shown_all(found)})" if found else "none clearly does"
    columns = shown_all(table.columns, 20)
    return f"{table.path.name}: which column holds the {what}? Columns: {columns}; {which}. Name it with {option}."
