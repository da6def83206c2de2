from __future__ import annotations

import csv
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from torchgraft.core.errors import DataError, MissingExtra
from torchgraft.data._rows import read_table


def test_csv_with_quotes_newlines_and_bom(write) -> None:
    table = read_table(write("t.csv", '\ufefftext,label\n"a, ""b""\nc",x\n\nd,\n'))
    assert table.columns == {"text": ['a, "b"\nc', "d"], "label": ["x", None]}
    assert table.lines == [2, 5]
    assert table.findings == ()


def test_csv_equals_the_csv_module(write) -> None:
    rows = [[f"line {i}\n, \"{i}'", "é" * i or "-"] for i in range(20)]
    path = write("t.csv", "")
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["text", "label"], *rows])
    assert list(zip(*read_table(path).columns.values(), strict=True)) == [tuple(row) for row in rows]


@pytest.mark.parametrize("text", ["text;label\na, b;x\n", "text\tlabel\na, b\tx\n"])
def test_other_delimiters_of_a_csv(write, text: str) -> None:
    assert read_table(write("t.csv", text)).columns == {"text": ["a, b"], "label": ["x"]}


def test_tsv_with_quotes_as_plain_text(write) -> None:
    table = read_table(write("t.tsv", 'text\tlabel\n"never closed\tx\nb"\ty\n'))
    assert table.columns["text"] == ['"never closed', 'b"']


def test_tsv_with_quotes_that_quote(write) -> None:
    assert read_table(write("t.tsv", 'text\tlabel\n"a\tb"\tx\n')).columns["text"] == ["a\tb"]


def test_rows_of_the_wrong_width_are_left_out_and_reported(write) -> None:
    table = read_table(write("t.csv", "text,label\na,x\nb,c,y\nd,y\nonly\ne,x\n"))
    assert table.columns["text"] == ["a", "d", "e"]
    (finding,) = table.findings
    assert (finding.kind, finding.count, finding.action) == ("malformed", 2, "left out")
    assert finding.examples == ("t.csv:3: 3 cells, expected 2", "t.csv:5: 1 cells, expected 2")


def test_more_bad_rows_than_good_ones_is_an_error(write) -> None:
    with pytest.raises(DataError, match=r"2 of 3 rows can't be parsed. First: line 2: 3 cells, expected 2"):
        read_table(write("t.csv", "text,label\na,b,x\na,b,x\nd,y\n"))


def test_a_quote_that_is_never_closed_is_an_error(write) -> None:
    with pytest.raises(DataError, match=r"starts at line 3 opens a quote"):
        read_table(write("t.csv", 'text,label\na,x\n"b,y\nc,x\nd,y\n'))


def test_a_field_longer_than_the_csv_module_allows_by_default(write) -> None:
    before = csv.field_size_limit()
    table = read_table(write("t.csv", f"text,label\n{'word ' * 50_000},x\n"))
    assert len(table.columns["text"][0] or "") == 250_000
    assert csv.field_size_limit() == before


def test_an_endless_field_is_reported(write) -> None:
    table = read_table(write("t.csv", f"text,label\n{'x' * ((16 << 20) + 1)},x\na,x\n"))
    assert table.columns["text"] == ["a"]
    assert "field larger than field limit" in table.findings[0].message


@pytest.mark.parametrize(
    ("text", "message"), [("", "is empty"), ("text,label\n", "no rows beside its header"), ("\n\n", "no rows")]
)
def test_nothing_in_it(write, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_table(write("t.csv", text))


def test_not_utf8_names_line_and_byte(write) -> None:
    content = "text,label\nplain,x\ncafé crème,y\n".encode("latin-1")
    with pytest.raises(
        DataError, match=r"byte 0xe9 at line 3, byte 4 of the line \('café crème,y'.*iconv -f WINDOWS-1252"
    ):
        read_table(write("t.csv", content))
    with pytest.raises(DataError, match=r"not UTF-8: byte 0xff at line 2"):
        read_table(write("t.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n'))


def test_utf16_and_binary_are_told_apart(write) -> None:
    with pytest.raises(DataError, match="UTF-16"):
        read_table(write("t.csv", "text,label\na,x\n".encode("utf-16")))
    with pytest.raises(DataError, match="binary file"):
        read_table(write("u.csv", b"PK\x03\x04\0\0\0"))


def test_a_table_without_header(write) -> None:
    table = read_table(write("t.csv", "How far is it ?,5\nWho was he ?,3\nHow tall is it ?,5\n"))
    assert table.columns == {
        "column 1": ["How far is it ?", "Who was he ?", "How tall is it ?"],
        "column 2": ["5", "3", "5"],
    }
    assert [finding.kind for finding in table.findings] == ["no_header"]


@pytest.mark.parametrize("header", ["text,label", "0,1", "opinion,mood"])
def test_a_header_is_not_taken_for_data(write, header: str) -> None:
    table = read_table(write("t.csv", f"{header}\nsome words here,1\nother words,0\n"))
    assert len(table) == 2
    assert list(table.columns) == header.split(",")


def test_equal_and_empty_column_names(write) -> None:
    assert list(read_table(write("t.csv", "a,a,\n1,2,3\n")).columns) == ["a", "a (2)"]


def test_jsonl(write) -> None:
    lines = ['{"text": "a", "label": 1, "b": true, "tags": [1]}', "", '{"text": null, "label": NaN, "more": 2.5}']
    table = read_table(write("t.jsonl", "\n".join(lines)))
    assert table.columns["text"] == ["a", None]
    assert table.columns["label"] == ["1", None]
    assert table.columns["b"] == ["true", None]
    assert table.columns["more"] == [None, "2.5"]
    assert table.nested == {"tags": 1}
    assert table.lines == [1, 3]


def test_jsonl_bad_lines_are_reported(write) -> None:
    deep = "[" * 100_000
    table = read_table(
        write("t.jsonl", '{"text": "a"}\n{"text": \n[1]\n{"text": "b"}\n{"text": "c"}\n{"text": "d"}\n' + deep)
    )
    assert table.columns["text"] == ["a", "b", "c", "d"]
    assert table.findings[0].count == 3
    assert [example.split(":")[1] for example in table.findings[0].examples] == ["2", "3", "7"]


def test_json_that_is_no_jsonl(write) -> None:
    with pytest.raises(DataError, match="Expected one object a line"):
        read_table(write("t.jsonl", '[\n{"text": "a"},\n{"text": "b"}\n]\n'))


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    columns = {
        "text": ["a", None],
        "label": [1.0, float("nan")],
        "flag": [True, False],
        "image": [b"x", b"y"],
        "tags": [[1], [2]],
    }
    parquet.write_table(pa.table(columns), path)
    table = read_table(path)
    assert table.columns == {"text": ["a", None], "label": ["1.0", None], "flag": ["true", "false"]}
    assert table.nested == {"image": 0, "tags": 0}


def test_damaged_parquet(tmp_path: Path, write) -> None:
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"text": ["a" * 100] * 100}), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="not a readable parquet file"):
        read_table(path)
    with pytest.raises(DataError, match="not a readable parquet file"):
        read_table(write("u.parquet", b"nothing of the kind"))


def test_parquet_without_pyarrow(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"torchgraft\[parquet\]"):
        read_table(write("t.parquet", b"PAR1"))
