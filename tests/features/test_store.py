from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from torchgraft.core.errors import StorageError
from torchgraft.core.files import cache_root, digest
from torchgraft.features import store as room
from torchgraft.features.store import Shelf, Store


def keys(*numbers: int) -> np.ndarray:
    return np.array([digest([str(n)]).encode() for n in numbers], dtype="S32")


def rows(*numbers: int, width: int = 3) -> np.ndarray:
    return np.array([[n] * width for n in numbers], dtype=np.float32)


def put(shelf: Shelf, *numbers: int) -> None:
    shelf.add(keys(*numbers), rows(*numbers), np.array(numbers, dtype=np.uint8) % 2)
    shelf.flush()


def got(shelf: Shelf, *numbers: int) -> dict[int, float]:
    """Number -> stored value of what is found."""
    found = {}
    for block in shelf.take(keys(*numbers)):
        for at, z, flag in zip(block.at, block.z, block.flags, strict=True):
            assert (z == z[0]).all()
            assert flag == numbers[at] % 2
            found[numbers[at]] = float(z[0])
    return found


def shards(shelf: Shelf) -> list[Path]:
    return sorted(shelf.folder.glob("*.safetensors"))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Store(tmp_path).shelf("key", 3)


def test_gives_back_what_was_put(shelf: Shelf) -> None:
    assert got(shelf, 1, 2) == {}
    put(shelf, 1, 2, 3)
    put(shelf, 4)
    assert got(shelf, 4, 9, 2, 2, 1) == {4: 4.0, 2: 2.0, 1: 1.0}
    assert got(shelf) == {}


def test_equal_keys_asked_for_twice_are_both_found(shelf: Shelf) -> None:
    put(shelf, 7)
    (block,) = shelf.take(keys(7, 8, 7))
    assert block.at.tolist() == [0, 2]


def test_a_second_process_sees_it_and_duplicates_are_harmless(shelf: Shelf) -> None:
    put(shelf, 1, 2)
    other = Shelf(shelf.folder, 3)
    assert got(other, 1, 2) == {1: 1.0, 2: 2.0}
    put(other, 2, 3)
    assert got(shelf, 1, 2, 3) == {1: 1.0, 2: 2.0, 3: 3.0}


def test_shards_are_written_by_the_way(shelf: Shelf) -> None:
    for start in range(0, 600, 10):
        numbers = range(start, start + 10)
        shelf.add(keys(*numbers), rows(*numbers), np.zeros(10, np.uint8))
    assert len(shards(shelf)) == 2  # 256 rows or a little more each; the rest is pending
    shelf.flush()
    shelf.flush()
    assert len(shards(shelf)) == 3


@pytest.mark.parametrize("damage", [b"", b"\x00", b"not a shard at all, but long enough to be read as one"])
def test_damaged_shards_are_passed_over(shelf: Shelf, damage: bytes) -> None:
    put(shelf, 1)
    shards(shelf)[0].write_bytes(damage)
    put(shelf, 2)
    assert got(shelf, 1, 2) == {2: 2.0}


def test_truncated_shards_are_passed_over(shelf: Shelf) -> None:
    put(shelf, 1, 2, 3)
    path = shards(shelf)[0]
    path.write_bytes(path.read_bytes()[:-5])
    assert got(shelf, 1, 2, 3) == {}


def test_a_flipped_bit_costs_one_row(shelf: Shelf) -> None:
    put(shelf, 1, 2, 3)
    path = shards(shelf)[0]
    data = bytearray(path.read_bytes())
    at = data.index(rows(2).tobytes())
    data[at + 1] ^= 4
    path.write_bytes(bytes(data))
    assert got(shelf, 1, 2, 3) == {1: 1.0, 3: 3.0}


def test_shards_of_another_width_are_passed_over(shelf: Shelf) -> None:
    put(shelf, 1)
    assert list(Shelf(shelf.folder, 4).take(keys(1))) == []


def test_a_vanished_shard_is_passed_over(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    put(shelf, 1)
    put(shelf, 2)
    read = room._rows

    def vanish(path: Path, *rest: object) -> object:
        path.unlink()
        return read(path, *rest)

    monkeypatch.setattr(room, "_rows", vanish)
    assert got(shelf, 1, 2) == {}


def test_a_full_disk_is_told_and_keeps_what_was_written(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    put(shelf, 1)

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(StorageError, match=r"disk is full.*TORCHGRAFT_CACHE"):
            put(shelf, 2)
    assert got(shelf, 1, 2) == {1: 1.0}
    assert [path.name for path in shelf.folder.iterdir()] == [shards(shelf)[0].name]


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="can't be written"):
        put(Store(tmp_path / "file").shelf("key", 3), 1)


def test_many_small_shards_become_one(shelf: Shelf) -> None:
    for n in range(40):
        put(shelf, n)
    shelf.tidy()
    assert len(shards(shelf)) == 1
    assert got(shelf, *range(40)) == {n: float(n) for n in range(40)}


def test_prune_takes_the_least_recently_used(tmp_path: Path) -> None:
    store = Store(tmp_path)
    shelf = store.shelf("key", 3)
    for n in range(3):
        put(shelf, n)
        os.utime(max(shards(shelf), key=lambda path: path.stat().st_ctime_ns), (n, n))
    one = store.size() // 3
    assert got(shelf, 0) == {0: 0.0}  # used just now
    assert store.prune(2 * one) == one
    assert got(shelf, 0, 1, 2) == {0: 0.0, 2: 2.0}
    assert store.prune(0) == 2 * one
    assert store.size() == 0
    assert Store(tmp_path / "nothing").prune(0) == 0


def test_prune_clears_what_a_killed_process_left(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name, age in ((".old", 1), (".new", None)):
        draft = tmp_path / "key" / name
        draft.mkdir(parents=True)
        plan = tmp_path / "key" / f"{name}.plan"
        plan.write_text("{}")
        if age:
            os.utime(draft, (age, age))
            os.utime(plan, (age, age))
    store.prune(10**9)
    assert {path.name for path in (tmp_path / "key").iterdir()} == {".new", ".new.plan"}


def test_lies_in_the_cache() -> None:
    assert Store().root == cache_root() / "features"


def test_two_processes_at_once(tmp_path: Path) -> None:
    script = (
        "import sys, numpy as np\n"
        "from torchgraft.core.files import digest\n"
        "from torchgraft.features.store import Store\n"
        "shelf = Store(sys.argv[1]).shelf('key', 3)\n"
        "for n in range(30):\n"
        "    shelf.add(np.array([digest([str(n)]).encode()], 'S32'), np.full((1, 3), n, np.float32),"
        " np.array([n % 2], np.uint8)); shelf.flush(); list(shelf.take(np.array([b'x'], 'S32')))\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(2)]
    assert [process.wait(120) for process in running] == [0, 0]
    assert got(Store(tmp_path).shelf("key", 3), *range(30)) == {n: float(n) for n in range(30)}
