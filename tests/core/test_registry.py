"""The folder is the registry: names from files, lines from docstrings, nothing imported for a list."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from torchgraft.core import registry
from torchgraft.core.errors import UnknownName

ROOMS = ("backbones", "cli", "data", "tune")
_LIST = f"""
import sys
from torchgraft.core import registry
for room in {ROOMS}:
    assert registry.describe(room) and registry.names(room)
heavy = [name for name in sys.modules if name in ("torch", "numpy", "sklearn")]
rooms = [name for name in sys.modules if name.startswith("torchgraft.") and name.split(".")[1] != "core"]
print(heavy + rooms)
"""


def test_listing_imports_nothing() -> None:
    listed = subprocess.run([sys.executable, "-c", _LIST], capture_output=True, text=True, check=True)
    assert listed.stdout.strip() == "[]"


@pytest.mark.parametrize("room", ROOMS)
def test_every_entry_has_a_line(room: str) -> None:
    lines = registry.describe(room)
    assert tuple(lines) == registry.names(room)
    assert all(line and not line.startswith("from ") for line in lines.values())
    assert "base" not in lines
    assert not [name for name in lines if name.startswith("_")]


def test_a_line_is_the_first_of_the_docstring() -> None:
    module = registry.get("tune", "lda")
    assert registry.describe("tune")["lda"] == (module.__doc__ or "").partition("\n")[0]


@pytest.mark.parametrize("name", ["base", "_softmax", "__init__", "nothing"])
def test_what_is_no_entry_is_unknown(name: str) -> None:
    with pytest.raises(UnknownName, match=f"tune has no '{name}'"):
        registry.get("tune", name)


def test_a_near_miss_is_offered() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'linear_probe'"):
        registry.get("tune", "linear-probe")


def test_a_constant_is_read_without_an_import() -> None:
    code = (
        "import sys; from torchgraft.core import registry as r;"
        "print(*(r.constant('tune', name, 'AUTO', True) for name in ('full', 'lda')), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "False"]
    with pytest.raises(UnknownName):
        registry.constant("tune", "nothing", "AUTO", True)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outside_method.py").write_text("WORD = 'from outside'")
    monkeypatch.syspath_prepend(tmp_path)
    points = [
        EntryPoint("outside", "outside_method", "torchgraft.tune"),
        EntryPoint("lda", "outside_method", "torchgraft.tune"),
        EntryPoint("gone", "no_such_module", "torchgraft.tune"),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: [p for p in points if p.group == group])


@pytest.mark.usefixtures("plugin")
def test_a_plug_in_is_an_entry() -> None:
    assert "outside" in registry.names("tune")
    assert registry.describe("tune")["outside"] == "from outside_method"
    assert "outside_method" not in sys.modules, "a list imports no plug-in either"
    assert registry.get("tune", "outside").WORD == "from outside"
    assert "outside" not in registry.names("data")


@pytest.mark.usefixtures("plugin")
def test_our_own_entries_can_not_be_taken_over() -> None:
    assert registry.get("tune", "lda").__name__ == "torchgraft.tune.lda"
    assert registry.describe("tune")["lda"] != "from outside_method"
    assert registry.names("tune").count("lda") == 1


@pytest.mark.usefixtures("plugin")
def test_a_broken_plug_in_fails_only_when_asked_for() -> None:
    assert "gone" in registry.names("tune")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        registry.get("tune", "gone")
