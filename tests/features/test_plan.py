from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from torchgraft.core.errors import StorageError
from torchgraft.features import _plan
from torchgraft.features._plan import Plan


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return _plan.path(tmp_path, np.array([b"a", b"b"], dtype="S32"))


def test_a_plan_comes_back(place: Path) -> None:
    at = np.array([0, 3, 9, 18])
    _plan.write(place, Plan(at, "frozen"), 19)
    found = _plan.read(place, np.array([3, 18]), 19)
    assert found.at.tolist() == at.tolist()
    assert found.form == "frozen"
    _plan.remove(place)
    _plan.remove(place)
    assert _plan.read(place, np.array([3, 18]), 19).at.tolist() == [3, 18]


def test_a_plan_is_for_samples_in_their_order(tmp_path: Path) -> None:
    keys = np.array([b"a", b"b", b""], dtype="S32")
    names = {_plan.path(tmp_path, some).name for some in (keys, keys[::-1], keys[:2])}
    assert len(names) == 3
    assert all(name.endswith(".plan") for name in names)


def test_a_plan_that_lacks_something_is_made_anew(place: Path) -> None:
    _plan.write(place, Plan(np.array([0, 1]), "frozen"), 5)
    found = _plan.read(place, np.array([1, 4]), 5)
    assert (found.at.tolist(), found.form) == ([1, 4], "")


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"at": "xy", "form": ""}), json.dumps({"form": "eager"})])
def test_a_damaged_plan_is_made_anew(place: Path, text: str) -> None:
    place.write_text(text)
    assert _plan.read(place, np.array([2]), 5).at.tolist() == [2]


def test_where_it_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        _plan.write(tmp_path / "file" / "x.plan", Plan(np.array([0])), 1)
