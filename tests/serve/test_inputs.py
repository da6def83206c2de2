"""What is given to predict, as items in order."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from torchgraft.core.errors import DataError
from torchgraft.data import ReadOptions
from torchgraft.serve import Item, open_inputs


def test_folders_are_walked_and_files_taken_as_they_are(album: Path) -> None:
    inputs = open_inputs([str(album / "notes.md"), str(album)], "image")
    names = [Path(item.id).relative_to(album).as_posix() for item in inputs.items]
    assert names == ["notes.md", "a.png", "broken.jpg", "deep/b.png", "deep/er/c.jpg"]
    assert inputs.total == 5


def test_the_root_holds_all_that_was_given(album: Path, monkeypatch) -> None:
    def root(*paths: str) -> Path:
        return open_inputs([str(album / path) for path in paths], "image").root

    assert root("deep/b.png") == root("deep") == album / "deep"
    assert root("deep/../deep/er", "deep/b.png") == album / "deep"
    assert root("a.png", "deep/er/c.jpg") == album
    monkeypatch.chdir(album / "deep")
    assert open_inputs(["../a.png", "er"], "image").root == album
    assert open_inputs(["-"], "text", stdin=io.BytesIO()).root is None


def test_lines_keep_their_numbers_and_bad_ones_their_reason() -> None:
    stream = io.BytesIO("\ufefffirst\r\n\n  second \n".encode() + b"\xe9t\xe9\n")
    assert list(open_inputs(["-"], "text", stdin=stream).items) == [
        Item(id="stdin:1", value="first"),
        Item(id="stdin:3", value="second"),
        Item(id="stdin:4", value=None, error="not UTF-8: byte 0xe9"),
    ]


def test_texts_from_a_folder_of_tables_and_line_files(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("n,said\n1,one two three\n2,\n3,four five six\n", encoding="utf-8")
    (tmp_path / "a.txt").write_text("seven\neight\n", encoding="utf-8")
    inputs = open_inputs([str(tmp_path)], "text", options=ReadOptions(text="said"))
    items = list(inputs.items)
    assert [item.value for item in items] == ["seven", "eight", "one two three", None, "four five six"]
    assert [item.id for item in items][2:] == ["b.csv:2", "b.csv:3", "b.csv:4"]
    assert [item.error for item in items] == ["", "", "", "no text", ""]
    assert inputs.findings == []


def test_rows_of_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", X=np.arange(6, dtype=np.float32).reshape(3, 2))
    items = list(open_inputs([str(tmp_path / "x.npz")], "array").items)
    np.testing.assert_array_equal(np.stack([item.value for item in items]), [[0, 1], [2, 3], [4, 5]])


def test_rows_of_numbers_that_can_not_be_used_keep_their_place(tmp_path: Path) -> None:
    x = np.array([[0, 1], [np.nan, 1], [2, np.inf], [3, 4]])
    np.savez(tmp_path / "x.npz", X_train=x[:3], y_train=np.array([0, 1, 0]), X_test=x[3:], y_test=np.array([7]))
    inputs = open_inputs([str(tmp_path / "x.npz")], "array")
    found = [(item.id, item.error) for item in inputs.items]
    assert found == [
        ("x.npz[train 0]", ""),
        ("x.npz[train 1]", "holds NaN or Inf"),
        ("x.npz[train 2]", "holds NaN or Inf"),
        ("x.npz[test 0]", ""),
    ]
    assert inputs.findings == []


def test_every_missing_path_is_named_at_once(album: Path) -> None:
    with pytest.raises(DataError, match=r"2 of 3 paths do not exist: .*a.pgn, .*zz\. Did you mean 'a.png'\?"):
        open_inputs([str(album / "a.pgn"), str(album), str(album / "zz")], "image")


def test_a_folder_without_anything_to_predict(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no file to predict"):
        open_inputs([str(tmp_path)], "image")


def test_texts_for_a_graft_of_images() -> None:
    with pytest.raises(DataError, match="'-' gives texts"):
        open_inputs(["-"], "image")


def test_a_table_for_a_graft_of_arrays(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text\nsome words here\n", encoding="utf-8")
    with pytest.raises(DataError, match="holds text samples; this graft takes array samples"):
        list(open_inputs([str(tmp_path / "t.csv")], "array").items)


def test_files_and_folders_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = tmp_path / "locked.txt"
    locked.write_text("a text\n")

    def refused(path: Path, *_: object, **__: object):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refused)
        (item,) = open_inputs([str(locked)], "text").items
    assert (item.id, item.value, item.error) == (str(locked), None, "can't be opened: Permission denied")
    monkeypatch.setattr(Path, "exists", refused)
    with pytest.raises(DataError, match=r"locked.txt can't be read: permission denied"):
        open_inputs([str(locked)], "text")
