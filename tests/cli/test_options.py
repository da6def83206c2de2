"""Options made from a dataclass: types, names, defaults, help."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import typer

from torchgraft.cli._options import parameters, with_options


@dataclass(frozen=True, kw_only=True)
class Baking:
    dough: str = field(metadata={"help": "What is baked."})
    oven_heat: float = field(default=220.0, metadata={"help": "Degrees."})
    loaves: int = 1
    seed_kinds: tuple[str, ...] = ()
    note: str | None = None
    steam: bool = False


@pytest.fixture
def call(capsys):
    """Call a little app made from `Baking`; what `given` was, and what was printed."""
    got: list[dict[str, Any]] = []

    @with_options(Baking)
    def run(terminal: object, given: dict[str, Any], more: bool = False) -> None:
        got.append({**given, "more": more})

    def ask(*arguments: str) -> tuple[dict[str, Any], str]:
        from torchgraft.cli.base import command

        class Verb:
            pass

        Verb.run = staticmethod(run)
        app = typer.Typer(add_completion=False)
        app.command()(command(Verb))
        with pytest.raises(SystemExit):
            app(arguments, prog_name="bake")
        return (got[-1] if got else {}), capsys.readouterr().out

    return ask


def test_only_what_was_said_is_given(call) -> None:
    assert call("rye")[0] == {"dough": "rye", "more": False}
    assert call()[0] == {"more": False}


def test_names_are_kebab_case_and_values_are_typed(call) -> None:
    said = (
        "rye",
        "--oven-heat",
        "200",
        "--loaves",
        "3",
        "--seed-kinds",
        "flax",
        "--seed-kinds",
        "poppy",
        "--steam",
        "--more",
    )
    assert call(*said)[0] == {
        "dough": "rye",
        "oven_heat": 200.0,
        "loaves": 3,
        "seed_kinds": ["flax", "poppy"],
        "steam": True,
        "more": True,
    }


def test_help_has_every_field_with_its_default(call) -> None:
    shown = call("--help")[1]
    assert "What is baked." in shown
    assert "220.0" in shown
    for flag in ("--oven-heat", "--loaves", "--seed-kinds", "--note", "--steam", "--more", "--quiet", "--debug"):
        assert flag in shown


def test_parameters_follow_the_fields() -> None:
    assert [p.name for p in parameters(Baking)] == ["dough", "oven_heat", "loaves", "seed_kinds", "note", "steam"]
    assert [p.default for p in parameters(Baking)] == [None, 220.0, 1, [], None, False]
