"""Show what there is: backbones ready to use, methods, readers, verbs."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from torchgraft.cli.base import JsonFlag, Terminal
from torchgraft.core import registry
from torchgraft.core.errors import UnknownName

EXAMPLES = (
    "graft list  # what can be listed",
    "graft list backbones  # usable right now, without a download",
    "graft list methods",
)

ROOMS = {
    "methods": "tune",
    "alignments": "align",
    "adaptations": "adapt",
    "scores": "rank",
    "providers": "backbones",
    "readers": "data",
    "verbs": "cli",
}
"""Word -> the room that it names; `backbones` lists what the providers offer."""


def run(
    terminal: Terminal,
    what: Annotated[
        str | None,
        typer.Argument(metavar="WHAT", help=f"backbones, {', '.join(ROOMS)}.", show_default=False),
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
        raise UnknownName("graft list", what, ("backbones", *ROOMS))
    if json:
        terminal.show_json({what or "rooms": lines})
        return
    wide = max(map(len, lines), default=0)
    for name, line in lines.items():
        terminal.show(f"{name:{wide}}  {line}")


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
