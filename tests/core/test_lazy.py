"""Names that are loaded when they are first used."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from torchgraft.core.lazy import lazy

_INIT = """
from torchgraft.core.lazy import lazy
homes = {"answer": "lazy_house.room", "room": "lazy_house.room", "gone": "lazy_house.no_such_room"}
__getattr__ = lazy(__name__, homes)
"""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "lazy_house"
    folder.mkdir()
    (folder / "__init__.py").write_text(_INIT)
    (folder / "room.py").write_text("answer = object()")
    monkeypatch.syspath_prepend(tmp_path)
    import lazy_house

    yield lazy_house
    for name in [name for name in sys.modules if name.partition(".")[0] == "lazy_house"]:
        del sys.modules[name]


def test_importing_the_package_loads_no_home(house) -> None:
    assert "lazy_house.room" not in sys.modules
    assert "answer" not in vars(house)


def test_the_first_use_loads_and_keeps(house) -> None:
    first = house.answer
    assert vars(house)["answer"] is first
    assert house.answer is sys.modules["lazy_house.room"].answer


def test_a_room_of_its_own_name_is_the_room(house) -> None:
    assert house.room is sys.modules["lazy_house.room"]


def test_other_names_are_no_attributes(house) -> None:
    with pytest.raises(AttributeError, match="module 'lazy_house' has no attribute 'nothing'"):
        house.nothing  # noqa: B018
    assert not hasattr(house, "__wrapped__")


def test_a_home_that_can_not_be_imported_says_so(house) -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_room"):
        house.gone  # noqa: B018


def test_from_import_finds_lazy_names(house) -> None:
    from lazy_house import answer

    assert answer is house.answer
    with pytest.raises(ImportError):
        from lazy_house import nothing  # noqa: F401


def test_the_loader_alone_refuses_unknown_names() -> None:
    with pytest.raises(AttributeError):
        lazy("anything", {})("name")
