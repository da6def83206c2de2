"""Every entry that is found by itself has a test file of its name, and offers what its room asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchgraft.core import registry

TOP = Path(__file__).parent.parent
PACKAGE = TOP / "src" / "torchgraft"
REGISTRIES = ("backbones", "cli", "data", "tune")


@pytest.mark.parametrize("room", REGISTRIES)
def test_every_entry_is_tested_by_name(room: str) -> None:
    own = [name for name in registry.names(room) if (PACKAGE / room / f"{name}.py").is_file()]
    assert own
    missing = [name for name in own if not (TOP / "tests" / room / f"test_{name}.py").is_file()]
    assert missing == []


@pytest.mark.parametrize("room", REGISTRIES)
def test_every_entry_offers_what_its_room_asks_for(room: str) -> None:
    asked = {
        "backbones": {"names", "load"},
        "cli": {"run", "EXAMPLES"},
        "data": {"accepts", "read"},
        "tune": {"Options", "fit", "TRANSFER", "applies"},
    }[room]
    for name in registry.names(room):
        missing = asked - set(vars(registry.get(room, name)))
        assert not missing, f"{room}/{name}.py lacks {missing}"
        assert registry.describe(room)[name], f"{room}/{name}.py has no docstring"
