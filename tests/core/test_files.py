"""Writing in one step: whole or not at all, whatever happens in between."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchgraft.core.errors import StorageError
from torchgraft.core.files import (
    cache_root,
    clear_drafts,
    digest,
    file_digest,
    replacing,
    storage,
    write_json,
    write_text,
)


def _names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    write_text(path, "one é")
    write_text(path, "two")
    assert path.read_text(encoding="utf-8") == "two"
    assert _names(path.parent) == ["a.txt"]


def test_a_folder_replaces_an_older_one(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with replacing(tmp_path / "model") as new:
            new.mkdir()
            (new / name).write_text(name)
    assert _names(tmp_path / "model") == ["new"]
    assert _names(tmp_path) == ["model"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_crash_inside_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    write_text(tmp_path / "a.txt", "before")
    with pytest.raises(error), replacing(tmp_path / "a.txt") as new:
        new.write_text("half")
        raise error
    assert _names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "before"


def test_nothing_is_seen_before_the_block_ends(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.txt") as new:
        new.write_text("whole")
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").exists()


def test_an_older_folder_comes_back_where_the_new_one_can_not_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("old")

    def full(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError), replacing(tmp_path / "model") as new:
        new.mkdir()
    assert (tmp_path / "model" / "old").read_text() == "old"
    assert _names(tmp_path) == ["model"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "no permission"),
        (errno.EPERM, "no permission"),
        (errno.EROFS, "read-only"),
        (errno.ENOENT, "no such folder"),
        (errno.EFBIG, "larger than a file may be"),
    ],
)
def test_what_the_system_says_becomes_a_cure(tmp_path: Path, code: int, words: str) -> None:
    with pytest.raises(StorageError, match=words) as caught, replacing(tmp_path / "a.txt") as new:
        new.write_text("half")
        raise OSError(code, os.strerror(code))
    assert str(tmp_path / "a.txt") in str(caught.value)
    assert _names(tmp_path) == []


def test_other_errors_pass_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="busy"), storage(tmp_path):
        raise OSError(errno.EBUSY, "busy")
    with pytest.raises(KeyError), storage(tmp_path):
        raise KeyError


def test_a_file_in_the_path_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        write_text(tmp_path / "file" / "a.txt", "")
    with pytest.raises(StorageError, match="file"):
        write_text(tmp_path / "file" / "b" / "a.txt", "")


def test_a_folder_in_the_way_of_a_file_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(StorageError, match="a folder of that name is in the way"):
        write_text(tmp_path / "a.txt", "")
    assert _names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no /proc")
def test_a_folder_where_none_can_be_made() -> None:
    with pytest.raises(StorageError, match="/proc/torchgraft/a.txt can't be written: there is no such folder"):
        write_text(Path("/proc/torchgraft/a.txt"), "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="no permission"):
        write_text(tmp_path / "a.txt", "")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB; skipped where mounting one is not permitted."""
    path = tmp_path / "disk"
    path.mkdir()
    if not shutil.which("mount"):
        pytest.skip("there is no mount command")
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", path], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"mounting is not permitted: {mount.stderr.strip()}")
    yield path
    subprocess.run(["umount", path], check=True)


def test_a_disk_that_is_full(small_disk: Path) -> None:
    write_text(small_disk / "a.txt", "before")
    with pytest.raises(StorageError, match="the disk is full"):
        write_text(small_disk / "a.txt", "x" * 200_000)
    assert (small_disk / "a.txt").read_text() == "before"
    assert _names(small_disk) == ["a.txt"]


def test_drafts_of_killed_processes_are_cleared(tmp_path: Path) -> None:
    for name in (".model.abc", ".model.x[1]", ".models.abc", ".other.abc"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("")
    (tmp_path / "model").mkdir()
    clear_drafts(tmp_path / "model")
    assert _names(tmp_path) == [".models.abc", ".other.abc", "model"]


def test_names_with_brackets_are_no_patterns(tmp_path: Path) -> None:
    for name in (".a[bc].x", ".ab.x"):
        (tmp_path / name).mkdir()
    clear_drafts(tmp_path / "a[bc]")
    assert _names(tmp_path) == [".ab.x"]


def test_clearing_where_there_is_nothing(tmp_path: Path) -> None:
    clear_drafts(tmp_path / "nowhere" / "model")
    assert _names(tmp_path) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_json_that_no_parser_reads_is_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", value)
    assert _names(tmp_path) == []


def test_json_comes_back(tmp_path: Path) -> None:
    value = {"é": [1, 2.5, None, True], "b": "x\ny", "half": "\ud800"}
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == value


_parts = st.lists(st.text() | st.binary(), max_size=6)


@given(_parts, _parts)
def test_digests_are_equal_for_equal_parts_alone(a: list, b: list) -> None:
    encoded = [[part.encode() if isinstance(part, str) else part for part in parts] for parts in (a, b)]
    assert (digest(a) == digest(b)) == (encoded[0] == encoded[1])


def test_parts_do_not_run_together() -> None:
    assert len({digest(parts) for parts in (["ab", "c"], ["a", "bc"], ["abc"], ["abc", ""], ["", "abc"])}) == 5
    assert digest(["ab"]) == digest([b"ab"])
    assert len(digest([])) == 32


def test_half_a_surrogate_pair_has_a_digest() -> None:
    assert digest(["\ud800"]) != digest(["\ud801"])


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    data = os.urandom((1 << 20) + 17)
    (tmp_path / "a").write_bytes(data)
    assert file_digest(tmp_path / "a") == hashlib.blake2b(data, digest_size=16).hexdigest()


def test_the_cache_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHGRAFT_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.delenv("TORCHGRAFT_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "torchgraft"
