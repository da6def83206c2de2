"""Writing in one step, errors of the disk, digests."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path

import pytest

from torchgraft.core.errors import StorageError
from torchgraft.core.files import cache_root, digest, file_digest, replacing, storage, write_json, write_text


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_takes_its_place_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    with replacing(path) as draft:
        draft.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert _names(path.parent) == {"a.txt"}


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as draft:
        draft.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert _names(tmp_path) == {"a.txt"}


def test_a_folder_replaces_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("old")
    with replacing(tmp_path / "model") as draft:
        draft.mkdir()
        (draft / "new").write_text("new")
    assert _names(tmp_path / "model") == {"new"}
    assert _names(tmp_path) == {"model"}


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EACCES, "no permission"),
        (errno.EROFS, "read-only"),
        (errno.ENOTDIR, "a part of the path is a file"),
    ],
)
def test_errors_of_the_disk_name_the_path_and_a_cure(number: int, cure: str) -> None:
    with pytest.raises(StorageError, match=f"^out can't be written: .*{cure}"), storage("out"):
        raise OSError(number, "no")


def test_other_errors_pass() -> None:
    with pytest.raises(OSError, match="odd"), storage("out"):
        raise OSError(errno.EIO, "odd")


def test_a_file_in_the_way_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="a part of the path is a file|a file of that name is in the way"):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_json_reads_back_and_refuses_what_no_parser_reads(tmp_path: Path) -> None:
    value = {"name": "é", "n": [1, 2.5, None]}
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == value
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "a.json", {"x": float("inf")})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == value


def test_parts_of_a_digest_do_not_run_together() -> None:
    assert digest(["ab", "c"]) != digest(["a", "bc"])
    assert digest(["ab"]) == digest([b"ab"])
    assert len(digest([])) == 32


def test_a_file_digest_is_blake2b(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(data)
    assert file_digest(tmp_path / "a") == hashlib.blake2b(data, digest_size=16).hexdigest()


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHGRAFT_CACHE", "/somewhere")
    assert cache_root() == Path("/somewhere")
    monkeypatch.delenv("TORCHGRAFT_CACHE")
    assert cache_root() == Path.home() / ".cache" / "torchgraft"
