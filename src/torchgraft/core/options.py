"""Options are frozen, keyword-only dataclasses; this file checks them, writes them to TOML and reads them back."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from torchgraft.core.errors import OptionError, did_you_mean
from torchgraft.core.files import write_text

T = TypeVar("T")
_UNITS = {"s": 1, "m": 60, "h": 3600}
_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def build(kind: type[T], values: dict[str, Any], *, where: str = "") -> T:
    """Make the options dataclass `kind` from plain values.

    All wrong or missing names and all wrong types stand in one `OptionError`.
    """
    hints = typing.get_type_hints(kind)
    problems = [
        f"no option '{name}'.{did_you_mean(name, hints)} Known: {', '.join(hints)}"
        for name in values
        if name not in hints
    ]
    for name, value in values.items():
        if name in hints and not _fits(value, hints[name]):
            problems.append(f"{name} expects {_words(hints[name])}, got {value!r}")
    needed = (f.name for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING)
    problems += [f"{name} is missing; expected {_words(hints[name])}" for name in needed if name not in values]
    if problems:
        raise OptionError((f"{where}: " if where else "") + "; ".join(problems) + ".")
    return kind(**{name: _coerce(value, hints[name]) for name, value in values.items()})


def to_toml(path: Path, sections: dict[str, Any]) -> None:
    """Write options as TOML, in one step; a field that is None is left out (TOML has no null).

    Raises `OptionError` for text that is not Unicode, like a path of bytes that are no UTF-8.
    """
    lines: list[str] = []
    for section, options in sections.items():
        values = dataclasses.asdict(options) if dataclasses.is_dataclass(options) else dict(options)
        lines.append(f"[{section}]")
        lines += [f"{name} = {_toml(value)}" for name, value in values.items() if value is not None]
        lines.append("")
    text = "\n".join(lines)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        bad = text[: error.end].rpartition("\n")[2]
        raise OptionError(f"an option or path is not Unicode text: {bad!a}. Rename the file or folder.") from None
    write_text(path, text)


def from_toml(path: Path) -> dict[str, dict[str, Any]]:
    """Read what `to_toml` wrote. Raises `OptionError` where the file is missing, unreadable or not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OptionError(f"{path} does not exist. Expected the run.toml that `graft fit` wrote.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise OptionError(f"{path} is not a readable TOML file: {error}.") from None


def seconds(text: str, *, option: str = "--budget") -> float:
    """`"90"`, `"90s"`, `"10m"`, `"1.5h"` in seconds. Raises `OptionError` on anything else or on nothing."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", text)
    if not match or float(match[1]) <= 0:
        raise OptionError(f"{option} expects a time like 90s, 10m or 1h, got {text!r}.")
    return float(match[1]) * _UNITS[match[2] or "s"]


def latency(text: str, *, option: str = "--max-latency") -> float:
    """`"20ms"` or `"0.5s"` in seconds; `""` is no limit (inf). Raises `OptionError` on anything else or on nothing."""
    if not text.strip():
        return float("inf")
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s)\s*", text)
    if not match or float(match[1]) <= 0:
        raise OptionError(f"{option} expects a time for one sample like 20ms, got {text!r}.")
    return float(match[1]) * (1e-3 if match[2] == "ms" else 1.0)


def size(text: str, *, option: str = "--max-size") -> float:
    """`"20MB"` or `"1.5GB"` in bytes (powers of 1000); `""` is no limit (inf). Raises `OptionError` else."""
    if not text.strip():
        return float("inf")
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]?B)\s*", text, re.IGNORECASE)
    if not match or float(match[1]) <= 0:
        raise OptionError(f"{option} expects a size like 20MB or 1.5GB, got {text!r}.")
    return float(match[1]) * _BYTES[match[2].upper()]


def _fits(value: Any, hint: Any) -> bool:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return any(_fits(value, part) for part in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return isinstance(value, list | tuple) and all(_fits(item, typing.get_args(hint)[0]) for item in value)
    if hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _coerce(value: Any, hint: Any) -> Any:
    if hint is float:
        return float(value)
    return tuple(value) if isinstance(value, list) else value


def _words(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return f"a list of {_words(typing.get_args(hint)[0])}"
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(_words(part) for part in typing.get_args(hint) if part is not type(None))
    return {str: "text", int: "a whole number", float: "a number", bool: "true or false"}.get(hint, str(hint))


def _toml(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, float):
        return repr(value)  # inf and nan are spelled as TOML does
    # a JSON string is a TOML string, but for the one control character that JSON leaves as it is
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False).replace("\x7f", "\\u007f")
