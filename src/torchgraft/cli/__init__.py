"""The command line: `graft VERB ...`, one file per verb (see `base.py`). Loads no heavy library before a verb runs."""

from __future__ import annotations

from typing import Annotated

import typer

from torchgraft import __version__
from torchgraft.cli.base import command
from torchgraft.core import registry

__all__ = ["app", "main"]

_START = (
    "[bold]Start here[/bold]",
    "graft demo  [dim]# see it work on data that comes with packages[/dim]",
    "graft fit photos/  [dim]# photos/<class>/*.jpg -> a model, a report, a verdict[/dim]",
    "graft predict runs/photos-1 new/*.jpg  [dim]# use it[/dim]",
)


def main() -> None:
    """Entry point of `graft`."""
    app()(prog_name="graft")


def app() -> typer.Typer:
    """The application, with every verb of this room."""
    verbs = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Transfer learning that says how sure it is.",
        epilog="\n\n".join(_START),
    )
    verbs.callback()(_graft)
    for name, line in registry.describe("cli").items():
        verb = registry.get("cli", name)
        verbs.command(name, help=_flowing(verb.run.__doc__ or line), short_help=line, epilog=_examples(verb.EXAMPLES))(
            command(verb)
        )
    return verbs


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"torchgraft {__version__}")
        raise typer.Exit


def _graft(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def _flowing(docstring: str) -> str:
    """Paragraphs without the line breaks of the source."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in docstring.split("\n\n"))


def _examples(lines: tuple[str, ...]) -> str:
    """Command lines with their comments dimmed; each is a paragraph, since typer joins single lines."""
    shown = []
    for line in lines:
        typed, _, comment = line.partition("  # ")
        shown.append(typed.replace("[", r"\[") + (f"  [dim]# {comment}[/dim]" if comment else ""))
    return "\n\n".join(("[bold]Examples[/bold]", *shown))
