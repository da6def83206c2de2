from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from torchgraft.core.errors import StorageError
from torchgraft.features import _result
from torchgraft.features._result import Rows


def test_rows_come_out_where_they_were_put(tmp_path: Path) -> None:
    rows = Rows(3, 2, tmp_path / "new")
    rows.write(np.array([2, 0]), np.array([[5, 6], [1, 2]], dtype=np.float64))
    rows.write(np.array([1]), np.array([[3, 4]]))
    z, kept = rows.finish()
    assert z.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert z.dtype == np.float32
    assert kept.tolist() == [0, 1, 2]
    assert list((tmp_path / "new").iterdir()) == []


def test_gaps_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_result, "_ROWS", 2)
    rows = Rows(9, 1, tmp_path)
    at = np.array([1, 2, 5, 7, 8])
    rows.write(at, at[:, None])
    z, kept = rows.finish()
    assert kept.tolist() == at.tolist()
    assert z.ravel().tolist() == at.tolist()


def test_nothing(tmp_path: Path) -> None:
    for n in (0, 3):
        z, kept = Rows(n, 4, tmp_path).finish()
        assert z.shape == (0, 4)
        assert kept.shape == (0,)


def test_writing_to_the_result_stays_in_memory(tmp_path: Path) -> None:
    rows = Rows(2, 2, tmp_path)
    rows.write(np.arange(2), np.ones((2, 2)))
    z, _ = rows.finish()
    z[0] = 7
    assert z.tolist() == [[7, 7], [1, 1]]


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    rows = Rows(2, 2, tmp_path)

    class Full:
        def seek(self, _: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    rows._file = Full()
    with pytest.raises(StorageError, match="disk is full"):
        rows.write(np.arange(2), np.ones((2, 2)))
