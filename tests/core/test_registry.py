"""The folder is the registry: names, lines, loading, plug-ins."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from torchgraft.core import registry
from torchgraft.core.errors import UnknownName


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A room of two entries beside files that are none."""
    for name, text in {
        "coral": '"""Second moments aligned.\n\nMore."""\nraise RuntimeError("imported")',
        "dan": "x = 1",
        "base": '"""What an entry offers."""',
        "_shared": '"""Private."""',
        "__init__": '"""The room."""',
    }.items():
        path = tmp_path / "align" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(registry, "_PACKAGE", tmp_path)
    return "align"


def test_names_are_the_public_files(room: str) -> None:
    assert registry.names(room) == ("coral", "dan")


def test_lines_are_read_without_importing(room: str) -> None:
    assert registry.describe(room) == {"coral": "Second moments aligned.", "dan": ""}


def test_an_unknown_entry_gets_a_near_miss(room: str) -> None:
    with pytest.raises(UnknownName, match="align has no 'corall'. Did you mean 'coral'"):
        registry.get(room, "corall")
    with pytest.raises(UnknownName):
        registry.get(room, "_shared")


def test_getting_an_entry_imports_that_file_alone() -> None:
    code = (
        "import sys; from torchgraft.core import registry; registry.get('cli', 'list')\n"
        "print([n for n in sys.modules if n.startswith('torchgraft.cli.') and n.split('.')[2] in ('fit', 'demo', 'list')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torchgraft.cli.list" in done.stdout
    assert registry.get("cli", "list").__name__ == "torchgraft.cli.list"


def test_outside_packages_add_entries(room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="mmd", value="json.decoder", group="torchgraft.align")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "torchgraft.align" else [])
    assert registry.names(room) == ("coral", "dan", "mmd")
    assert registry.describe(room)["mmd"] == "from json.decoder"
    assert registry.get(room, "mmd").__name__ == "json.decoder"


def test_an_own_entry_is_not_replaced_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="list", value="json.decoder", group="torchgraft.cli")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    assert registry.get("cli", "list").__name__ == "torchgraft.cli.list"
    assert registry.describe("cli")["list"].startswith("Show what there is")
