"""Every entry that is found by itself offers what the `base.py` of its room asks for."""

from __future__ import annotations

import pytest

from torchgraft.core import registry

ASKED = {
    "adapt": {"Options", "SOURCE", "build"},
    "align": {"Options", "fit", "applies"},
    "backbones": {"names", "load"},
    "cli": {"run", "EXAMPLES"},
    "data": {"accepts", "read"},
    "rank": {"score"},
    "tasks": {
        *("TITLE", "PRIMARY", "POOLED", "BACKBONES", "LADDER", "BASE", "SCOUTS"),
        *("prepare", "make_problem", "measure", "make_graft", "report", "evaluate", "compare"),
    },
    "tune": {"Options", "fit", "TRANSFER", "applies"},
}


@pytest.mark.parametrize(("room", "name"), [(room, name) for room in ASKED for name in registry.names(room)])
def test_an_entry_keeps_its_room_s_contract(room: str, name: str) -> None:
    assert ASKED[room] <= set(vars(registry.get(room, name)))
    assert registry.describe(room)[name], "the first docstring line is what `graft list` says of it"
