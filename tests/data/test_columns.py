from __future__ import annotations

from pathlib import Path

import pytest

from torchgraft.core.errors import DataError, OptionError
from torchgraft.data._columns import by_name, label_column, named, split_column, text_column
from torchgraft.data._rows import Table

WORDS = [f"a text of some words number {i}" for i in range(10)]
HALVES = ["x", "y"] * 5


def table(**columns: list[str | None]) -> Table:
    return Table(path=Path("t.csv"), columns=columns, lines=list(range(10)), nested={"tags": 7})


@pytest.mark.parametrize("name", ["text", "Text", "sentence", "Review Text", "content", "title", "TWEET"])
def test_texts_by_name(name: str) -> None:
    assert text_column(table(**{"id": HALVES, name: HALVES}), None) == (name, False)


@pytest.mark.parametrize("name", ["label", "class", "Category", "target", "sentiment", "rating", "class_name"])
def test_labels_by_name(name: str) -> None:
    assert label_column(table(text=WORDS, **{name: HALVES}), None, ("text",)) == (name, False)


def test_an_earlier_group_of_names_wins() -> None:
    assert text_column(table(title=WORDS, review=WORDS, text=WORDS), None)[0] == "text"
    assert text_column(table(title=WORDS, review=WORDS), None)[0] == "review"


def test_two_of_one_group_are_a_question() -> None:
    with pytest.raises(DataError, match=r"which column holds the texts.*review, comment.*Name it with --text"):
        text_column(table(review=WORDS, comment=WORDS), None)
    with pytest.raises(DataError, match=r"class, target.*Name it with --label"):
        label_column(table(**{"class": HALVES, "target": HALVES}), None, ())


def test_texts_and_labels_by_values() -> None:
    columns = table(id=[str(i) for i in range(10)], opinion=WORDS, mood=HALVES)
    assert text_column(columns, None) == ("opinion", True)
    assert label_column(columns, None, ("opinion",)) == ("mood", True)


def test_values_that_leave_it_open() -> None:
    with pytest.raises(DataError, match="more than one may"):
        text_column(table(a=WORDS, b=WORDS), None)
    with pytest.raises(DataError, match="none clearly does"):
        text_column(table(a=HALVES, b=HALVES), None)
    with pytest.raises(DataError, match="more than one may"):
        label_column(table(a=HALVES, b=HALVES), None, ())
    assert label_column(table(text=WORDS, id=[str(i) for i in range(10)]), None, ("text",)) == (None, False)


def test_lists_are_told_with_their_line() -> None:
    with pytest.raises(DataError, match=r"'tags' of t.csv holds lists, objects or bytes \(first at line 7\)"):
        named(table(text=WORDS), "tags", "--text")
    whole = Table(path=Path("t.parquet"), columns={}, lines=[], nested={"tags": 0})
    with pytest.raises(DataError, match=r"holds lists, objects or bytes\. Expected"):
        named(whole, "tags", "--text")


def test_a_single_column_is_the_text() -> None:
    assert text_column(table(a=HALVES), None) == ("a", True)


def test_a_named_column_must_be_there_and_plain() -> None:
    assert named(table(text=WORDS), "text", "--text") == "text"
    with pytest.raises(
        OptionError, match=r"--text 'txet': t.csv has no such column. Did you mean 'text'\? Columns: text"
    ):
        named(table(text=WORDS), "txet", "--text")
    with pytest.raises(DataError, match="holds lists, objects or bytes"):
        named(table(text=WORDS), "tags", "--label")


def test_a_quantity_is_not_a_label() -> None:
    price = [f"{i}.5" for i in range(30)]
    with pytest.raises(DataError, match="30 different numbers with decimals: a quantity"):
        label_column(table(price=price), "price", ())
    assert label_column(table(rating=["1.5", "2.0"] * 15), None, ()) == ("rating", False)


def test_split_columns_hold_splits_only() -> None:
    assert split_column(table(split=["train", "dev"] * 5), ()) == "split"
    assert split_column(table(split=["train", "other"] * 5), ()) is None
    assert split_column(table(fold=["1", "2"] * 5), ()) is None
    assert split_column(table(split=["train", None] * 5), ()) is None


def test_by_name_passes_over_what_is_taken() -> None:
    assert by_name(table(text=WORDS, label=HALVES), (("text", "label"),), "--text", ("text",)) == "label"
