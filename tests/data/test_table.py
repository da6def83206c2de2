from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from torchgraft.core.errors import DataError, OptionError
from torchgraft.data import ReadOptions, read
from torchgraft.data.table import accepts


def kinds(samples) -> list[str]:
    return [finding.kind for finding in samples.findings]


def test_a_file(write) -> None:
    path = write("t.csv", "text,label\ngood one,pos\nbad one,neg\n")
    samples = read(path)
    assert samples.x == ["good one", "bad one"]
    assert samples.classes == ("neg", "pos")
    assert samples.y.tolist() == [1, 0]
    assert samples.ids == ("t.csv:2", "t.csv:3")
    assert samples.split.tolist() == ["", ""]
    assert samples.group is None
    assert samples.findings == ()


def test_a_folder_of_splits_in_order(write) -> None:
    write("d/test.csv", "text,label\nc,1\n")
    write("d/dev.tsv", "text\tlabel\nb\t2\n")
    write("d/notes.csv", "text,label\nz,9\n")
    write("d/train-00001-of-00002.jsonl", '{"text": "a2", "label": 10}\n')
    path = write("d/train-00000-of-00002.csv", "text,label\na,1\na1,2\n").parent
    samples = read(path)
    assert samples.x == ["a", "a1", "a2", "b", "c"]
    assert samples.split.tolist() == ["train"] * 3 + ["val", "test"]
    assert samples.classes == ("1", "2", "10")
    assert kinds(samples) == ["other_files"]


def test_one_file_called_test_is_just_the_data(write) -> None:
    assert read(write("test.csv", "text,label\na,1\nb,2\n")).split.tolist() == ["", ""]


def test_one_table_in_a_folder_is_read(write) -> None:
    assert len(read(write("d/reviews.csv", "text,label\na,1\nb,2\n").parent)) == 2


def test_several_tables_are_a_question(write) -> None:
    write("d/books.csv", "text,label\na,1\n")
    path = write("d/dvd.csv", "text,label\na,1\n")
    assert accepts(path.parent)
    with pytest.raises(DataError, match=r"holds 2 tables, none called train, val or test: books\.csv, dvd\.csv"):
        read(path.parent)


def test_empty_texts_are_left_out_and_missing_labels_kept(write) -> None:
    samples = read(write("t.csv", "text,label\na,x\n  ,x\nb,\nc,y\n"))
    assert samples.x == ["a", "b", "c"]
    assert samples.y.tolist() == [0, -1, 1]
    assert kinds(samples) == ["empty", "unlabelled"]
    assert samples.findings[0].examples == ("t.csv:3",)
    with pytest.raises(DataError, match="column 'text' is empty in every row"):
        read(write("u.csv", "text,label\n,x\n,y\n"))


def test_without_label_column_the_samples_are_unlabelled(write) -> None:
    samples = read(write("t.csv", "id,text\n1,a b\n2,c d\n"))
    assert samples.y.tolist() == [-1, -1]
    assert samples.classes == ()
    assert kinds(samples) == ["no_labels"]
    assert read(write("u.csv", "text\na b\n")).findings == ()


def test_a_test_file_without_labels(write) -> None:
    write("d/train.csv", "text,label\na,x\nb,y\n")
    samples = read(write("d/test.csv", "text\nc\n").parent)
    assert samples.y.tolist() == [0, 1, -1]


def test_a_label_that_only_test_has(write) -> None:
    write("d/train.csv", "text,label\na,x\nb,y\n")
    samples = read(write("d/test.csv", "text,label\nc,z\nd,x\n").parent)
    assert samples.x == ["a", "b", "d"]
    assert kinds(samples) == ["unknown_label"]


def test_columns_told_by_their_values_are_said(write) -> None:
    rows = "".join(f"{i},a few words {i},{'ab'[i % 2]}\n" for i in range(8))
    samples = read(write("t.csv", f"nr,opinion,mood\n{rows}"))
    assert samples.classes == ("a", "b")
    assert kinds(samples) == ["columns"]
    assert "'opinion', labels from 'mood'" in samples.findings[0].message


def test_groups_and_splits_come_from_columns(write) -> None:
    path = write("t.csv", "text,label,author,split\na,x,ann,train\nb,y,,test\nc,y,bob,dev\n")
    samples = read(path, ReadOptions(group="author"))
    assert samples.group.tolist() == ["ann", "t.csv:3", "bob"]
    assert samples.split.tolist() == ["train", "test", "val"]
    with pytest.raises(OptionError, match=r"--group 'auther'.*Did you mean 'author'"):
        read(path, ReadOptions(group="auther"))


def test_names_and_texts_of_any_kind(write) -> None:
    path = write("a'b\n<i>é.csv", 'text,label\n"<script>alert(1)</script>",<b>\n\'; DROP TABLE x,"\x1b[31m"\n')
    samples = read(path)
    assert samples.classes == ("\x1b[31m", "<b>")
    assert samples.ids[0] == "a'b\\n<i>é.csv:2"
    assert samples.spec().content_hash


def test_hidden_tables_and_folders_called_like_tables(write, tmp_path: Path) -> None:
    write("d/.train.csv", "text,label\na,x\n")
    (tmp_path / "d" / "x.csv").mkdir()
    assert not accepts(tmp_path / "d")


@pytest.mark.shared
def test_trec(shared_data: Path) -> None:
    samples = read(shared_data / "trec")
    assert Counter(samples.split.tolist()) == {"train": 5452, "test": 500}
    assert samples.classes == ("0", "1", "2", "3", "4", "5")
    assert samples.labelled
    assert samples.findings == ()


@pytest.mark.shared
def test_sst2(shared_data: Path) -> None:
    samples = read(shared_data / "sst2")
    assert Counter(samples.split.tolist()) == {"train": 6920, "val": 872, "test": 1821}
    assert samples.classes == ("negative", "positive")


@pytest.mark.shared
def test_amazon_reviews(shared_data: Path) -> None:
    samples = read(shared_data / "amazon_reviews" / "books.csv")
    assert np.bincount(samples.y).tolist() == [1000, 1000]
    with pytest.raises(DataError, match=r"4 tables"):
        read(shared_data / "amazon_reviews")
