"""The folder is the registry: a room's entries are its files, their names the file names.

Listing reads file names and first docstring lines as text; only `get` imports, and only the one file asked for.
Outside packages add entries through the entry-point group `torchgraft.<room>`.
"""

from __future__ import annotations

import ast
import importlib
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from torchgraft.core.errors import UnknownName

_PACKAGE = Path(__file__).parent.parent


def names(room: str) -> tuple[str, ...]:
    """Sorted names of a room's entries: public files other than `base.py`, and what plug-ins add."""
    own = {path.stem for path in _files(room)}
    return tuple(sorted(own | set(_plugins(room))))


def describe(room: str) -> dict[str, str]:
    """Name -> first line of its docstring, without importing anything (plug-ins: the place they come from)."""
    lines = {path.stem: _first_line(path) for path in _files(room)}
    plugins = {name: f"from {point.value}" for name, point in _plugins(room).items()}
    return dict(sorted({**plugins, **lines}.items()))


def get(room: str, name: str) -> ModuleType:
    """Import one entry. Raises `UnknownName` with a near miss where the room has none of that name."""
    if any(path.stem == name for path in _files(room)):
        return importlib.import_module(f"torchgraft.{room}.{name}")
    plugins = _plugins(room)
    if name in plugins:
        return plugins[name].load()
    raise UnknownName(room, name, names(room))


def constant(room: str, name: str, what: str, default: Any) -> Any:
    """The plain value of an entry's constant `what`, read without importing the entry (plug-ins are imported).

    `default` where the entry has no such constant. Raises `UnknownName` like `get`.
    """
    for path in _files(room):
        if path.stem == name:
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.Assign) and any(getattr(t, "id", None) == what for t in node.targets):
                    return ast.literal_eval(node.value)
            return default
    return getattr(get(room, name), what, default)


def _files(room: str) -> list[Path]:
    return [p for p in sorted((_PACKAGE / room).glob("*.py")) if p.stem != "base" and not p.stem.startswith("_")]


def _plugins(room: str) -> dict:
    return {point.name: point for point in entry_points(group=f"torchgraft.{room}")}


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]
