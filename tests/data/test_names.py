from __future__ import annotations

from pathlib import Path

import pytest

from torchgraft.data._names import contents, hidden, plain, shown, shown_all, split_of, squeeze


@pytest.mark.parametrize(
    ("name", "split"),
    [("train", "train"), ("Training", "train"), ("dev", "val"), ("VALID", "val"), ("testing", "test"), ("trains", "")],
)
def test_split_names(name: str, split: str) -> None:
    assert split_of(name) == split


def test_a_shown_name_is_one_line_and_cannot_steer_a_terminal() -> None:
    assert shown("a\nb\x1b[31m") == "a\\nb\\x1b[31m"
    assert shown("é 'q' <b>") == "é 'q' <b>"
    assert len(shown("x" * 500)) == 80


def test_a_name_that_is_not_utf8_can_be_encoded() -> None:
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    assert plain(name) == "caf\\xe9.jpg"
    plain(name).encode()


def test_shown_all_counts_what_it_leaves_out() -> None:
    assert shown_all(map(str, range(10)), 2) == "0, 1, ... (+8 more)"
    assert shown_all([]) == "nothing"


def test_contents_names_folders_and_files_but_no_hidden_ones(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "n.txt").touch()
    (tmp_path / ".DS_Store").touch()
    assert contents(tmp_path) == "1 folder (a) and 1 file (n.txt)"
    assert contents(tmp_path / "a") == "nothing"


def test_hidden_and_squeezed() -> None:
    assert hidden("._x.jpg")
    assert hidden("__MACOSX")
    assert not hidden("x.jpg")
    assert squeeze("Review_Text ") == "reviewtext"
