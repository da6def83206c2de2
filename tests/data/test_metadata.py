from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from torchgraft.core.errors import DataError, OptionError
from torchgraft.data import ReadOptions, read


def kinds(samples) -> list[str]:
    return [finding.kind for finding in samples.findings]


@pytest.fixture
def folder(write, tmp_path: Path) -> Path:
    """Four images without classes."""
    for name in ("1.jpg", "2.jpg", "sub/3.jpg", "sub/4.jpg"):
        write(f"d/{name}", b"-")
    return tmp_path / "d"


def test_csv(folder: Path, write) -> None:
    write("d/metadata.csv", "file_name,label\n1.jpg,x\n2.jpg,y\nsub/3.jpg,x\nsub\\4.jpg,y\n")
    samples = read(folder)
    assert samples.ids == ("1.jpg", "2.jpg", "sub/3.jpg", "sub/4.jpg")
    assert samples.classes == ("x", "y")
    assert samples.y.tolist() == [0, 1, 0, 1]
    assert samples.findings == ()


def test_jsonl_and_parquet_give_the_same(folder: Path, write) -> None:
    names, labels = ["1.jpg", "2.jpg"], ["x", "y"]
    lines = [f'{{"file_name": "{name}", "label": "{label}"}}' for name, label in zip(names, labels, strict=True)]
    path = write("d/metadata.jsonl", "\n".join(lines))
    first = read(folder)
    path.unlink()
    parquet.write_table(pa.table({"file_name": names, "label": labels}), folder / "metadata.parquet")
    assert read(folder).spec() == first.spec()
    assert kinds(first) == ["unlisted"]


def test_metadata_in_split_folders(write, tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in "12":
            write(f"d/{part}/{name}.jpg", b"-")
        write(f"d/{part}/metadata.csv", "file_name,label\n1.jpg,x\n2.jpg,y\n")
    samples = read(tmp_path / "d")
    assert samples.ids == ("test/1.jpg", "test/2.jpg", "train/1.jpg", "train/2.jpg")
    assert samples.split.tolist() == ["test", "test", "train", "train"]
    assert samples.y.tolist() == [0, 1, 0, 1]


def test_what_does_not_match_is_reported(folder: Path, write) -> None:
    write(
        "d/metadata.csv",
        "file_name,label\n1.jpg,x\n1.jpg,y\ngone.jpg,x\n,x\n../../etc/passwd,x\n/etc/passwd,y\nsub/3.jpg,\n",
    )
    samples = read(folder)
    assert samples.ids == ("1.jpg", "sub/3.jpg")
    assert samples.y.tolist() == [0, -1]
    assert kinds(samples) == ["missing_file", "duplicate_row", "unlisted", "unlabelled"]
    assert samples.findings[0].examples == ("gone.jpg", "(empty)", "../../etc/passwd", "/etc/passwd")
    assert samples.findings[2].count == 2


def test_no_file_exists(folder: Path, write) -> None:
    write("d/metadata.csv", "file_name,label\n1,x\n2,y\n")
    with pytest.raises(DataError, match=r"none of its 2 file names exists. First: 1. Expected paths .* like 1\.jpg"):
        read(folder)


def test_no_column_of_file_names(folder: Path, write) -> None:
    write("d/metadata.csv", "text,label\na,x\n")
    with pytest.raises(DataError, match=r"no column file_name\. Columns: text, label"):
        read(folder)


def test_metadata_without_images(write) -> None:
    with pytest.raises(DataError, match="holds no images"):
        read(write("d/metadata.csv", "file_name,label\n1.jpg,x\n").parent)


def test_label_and_group_columns(folder: Path, write) -> None:
    write("d/metadata.csv", "file_name,kind,patient,split\n1.jpg,x,p1,train\n2.jpg,y,p1,train\nsub/3.jpg,x,,test\n")
    samples = read(folder, ReadOptions(label="kind", group="patient"))
    assert samples.group.tolist() == ["p1", "p1", "sub/3.jpg"]
    assert samples.split.tolist() == ["train", "train", "test"]
    with pytest.raises(OptionError, match=r"--label 'kin'.*Did you mean 'kind'"):
        read(folder, ReadOptions(label="kin"))
    with pytest.raises(OptionError, match=r"--group 'p'"):
        read(folder, ReadOptions(label="kind", group="p"))


def test_a_guess_is_said(folder: Path, write) -> None:
    write("d/metadata.csv", "file_name,kind\n1.jpg,x\n2.jpg,y\nsub/3.jpg,x\nsub/4.jpg,y\n")
    # the images of sub lie in a folder, which would be their class: folders go before a guess
    assert read(folder).classes == ("sub",)
    for name in ("3.jpg", "4.jpg"):
        (folder / "sub" / name).rename(folder / name)
    write("d/metadata.csv", "file_name,kind\n1.jpg,x\n2.jpg,y\n3.jpg,x\n4.jpg,y\n")
    samples = read(folder)
    assert samples.classes == ("x", "y")
    assert kinds(samples) == ["columns", "empty_class"][::-1]


def test_class_folders_stay_where_metadata_has_no_labels(write, tmp_path: Path) -> None:
    for name in ("a/1.jpg", "b/2.jpg"):
        write(f"d/{name}", b"-")
    write("d/metadata.csv", "file_name,patient\na/1.jpg,p1\nb/2.jpg,p2\n")
    samples = read(tmp_path / "d", ReadOptions(group="patient"))
    assert samples.classes == ("a", "b")
    assert samples.group.tolist() == ["p1", "p2"]
