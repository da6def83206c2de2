"""Show what there is: backbones ready to use, methods and their settings, readers, verbs."""

from __future__ import annotations

import dataclasses
import inspect
from json import dumps
from typing import Annotated, Any

import typer

from torchgraft.cli.base import JsonFlag, Terminal
from torchgraft.core import registry
from torchgraft.core.errors import UnknownName

EXAMPLES = (
    "graft list  # what can be listed",
    "graft list backbones  # usable right now, without a download",
    "graft list methods",
    "graft list lp_ft  # its settings and their defaults, for graft fit --settings",
)

ROOMS = {
    "methods": "tune",
    "alignments": "align",
    "adaptations": "adapt",
    "scores": "rank",
    "tasks": "tasks",
    "providers": "backbones",
    "readers": "data",
    "verbs": "cli",
}
"""Word -> the room that it names; `backbones` lists what the providers offer."""

SET = ("methods", "alignments", "adaptations")
"""Words of rooms whose entries have settings."""


def run(
    terminal: Terminal,
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="WHAT",
            help=f"backbones, {', '.join(ROOMS)}; or the name of a method, alignment or adaptation: its settings.",
            show_default=False,
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Backbones are listed with their feature width, size on disk and licence: those that can be loaded right now."""
    if what == "backbones":
        _backbones(terminal, json)
        return
    if what is None:
        lines = {"backbones": "pretrained networks usable right now"}
        lines |= {word: ", ".join(registry.names(room)) for word, room in ROOMS.items()}
    elif what in ROOMS:
        lines = registry.describe(ROOMS[what])
    else:
        _settings(terminal, what, json)
        return
    if json:
        terminal.show_json({what or "rooms": lines})
        return
    wide = max(map(len, lines), default=0)
    for name, line in lines.items():
        terminal.show(f"{name:{wide}}  {line}")


def _settings(terminal: Terminal, name: str, json: bool) -> None:
    """What can be set of the entries of that name: one name may stand in two rooms."""
    found = [word for word in SET if name in registry.names(ROOMS[word])]
    if not found:
        entries = (entry for word in SET for entry in registry.names(ROOMS[word]))
        raise UnknownName("graft list", name, {"backbones", *ROOMS, *entries}, see="See `graft list`.")
    about = [_about(word, name) for word in found]
    if json:
        terminal.show_json({name: about})
        return
    for i, entry in enumerate(about):
        terminal.show("\n" * bool(i) + f"{name}, one of the {entry['room']}: {entry['line']}\n")
        _show_settings(terminal, entry["settings"])
        for text in entry["text"] if entry["settings"] else ():
            terminal.show(f"\n{text}")


def _about(word: str, name: str) -> dict[str, Any]:
    """The settings of an entry, and the docstrings of its options, those that they inherit from last."""
    kind = registry.get(ROOMS[word], name).Options
    return {
        "room": word,
        "line": registry.describe(ROOMS[word])[name],
        "settings": [_setting(field) for field in dataclasses.fields(kind)],
        "text": [
            text if one is kind else f"{one.__name__}: {text}"
            for one in kind.__mro__
            if (text := inspect.cleandoc(vars(one).get("__doc__") or "")) and dataclasses.is_dataclass(one)
        ],
    }


def _setting(field: dataclasses.Field) -> dict[str, Any]:
    made = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    required = made is dataclasses.MISSING
    kind = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
    return {"name": field.name, "type": kind, "required": required, "default": None if required else made}


def _show_settings(terminal: Terminal, settings: list[dict[str, Any]]) -> None:
    if not settings:
        terminal.show("It has no settings.")
        return
    from torchgraft.cli._show import table

    drawn = table("setting", "type", "default")
    for one in settings:
        default = "given by the run" if one["required"] else "None"
        drawn.add_row(one["name"], one["type"], default if one["default"] is None else dumps(one["default"]))
    terminal.show(drawn)


def _backbones(terminal: Terminal, json: bool) -> None:
    from torchgraft.backbones import offers
    from torchgraft.cli._show import table

    found = offers()
    if json:
        terminal.show_json({"backbones": [dataclasses.asdict(offer) for offer in found]})
        return
    numbers = ("features", "parameters", "on disk")
    drawn = table("name", "for", *numbers, "licence", right=numbers)
    for offer in found:
        size = f"{offer.size / 1e6:.1f} MB" if offer.size else ""
        millions = f"{offer.parameters / 1e6:.1f} M"
        drawn.add_row(offer.name, offer.modality, str(offer.width), millions, size, offer.licence)
    terminal.show(drawn)
    terminal.show("")
    for offer in found:
        if offer.note:
            terminal.show(f"{offer.name}: {offer.note}")
    terminal.show("Others by name, with a download: timm/NAME, torchvision/NAME, transformers/NAME; or local/FOLDER.")
