"""Names that are loaded when they are first used."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from torchgraft.core.lazy import lazy


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("made_up")
    module.__getattr__ = lazy("made_up", {"dumps": "json", "decoder": "json.decoder", "child": "made_up.child"})
    monkeypatch.setitem(sys.modules, "made_up", module)
    return module


def test_the_first_use_loads_and_keeps(package: ModuleType) -> None:
    import json

    assert "dumps" not in vars(package)
    assert package.dumps is json.dumps
    assert vars(package)["dumps"] is json.dumps


def test_a_sub_package_is_itself(package: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    child = ModuleType("made_up.child")
    monkeypatch.setitem(sys.modules, "made_up.child", child)
    assert package.child is child


def test_other_names_are_no_attributes(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match="module 'made_up' has no attribute 'loads'"):
        _ = package.loads
