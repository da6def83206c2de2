"""Command-line options made from an options dataclass: from its fields, their types, defaults and help texts."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any

import typer


def parameters(kind: type) -> list[inspect.Parameter]:
    """One parameter for each field of the dataclass `kind`, typed for typer.

    A field without a default is an argument (not required here: the dataclass itself asks for it); every other field
    is an option in kebab-case. A tuple field can be given several times.
    """
    hints = typing.get_type_hints(kind)
    return [_parameter(field, hints[field.name]) for field in dataclasses.fields(kind)]


def with_options(kind: type, *, into: str = "given") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace the parameter `into` of a verb's `run` by the options of `kind`; `run` gets those not at their default.

    `into` receives a plain dict, so that a missing argument or a wrong value is told by `core.options.build`, together
    with everything else that is wrong.
    """
    own = parameters(kind)
    defaults = {p.name: p.default for p in own}

    def decorate(run: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(run, eval_str=True)

        @functools.wraps(run)
        def wrapped(*args: Any, **values: Any) -> None:
            chosen = {name: values.pop(name) for name in defaults}
            given = {name: value for name, value in chosen.items() if value != defaults[name]}
            run(*args, **values, **{into: given})

        first, *rest = [p for p in signature.parameters.values() if p.name != into]
        named = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in rest]
        wrapped.__signature__ = signature.replace(parameters=[first, *own, *named])  # type: ignore[attr-defined]
        return wrapped

    return decorate


def _parameter(field: dataclasses.Field, hint: Any) -> inspect.Parameter:
    help_text = field.metadata.get("help", "")
    required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    if required:
        default, about = None, typer.Argument(metavar=field.name.upper(), help=help_text, show_default=False)
    else:
        default = field.default if field.default is not dataclasses.MISSING else field.default_factory()  # type: ignore[misc]
        flag = field.metadata.get("flag") or "--" + field.name.replace("_", "-")
        about = typer.Option(flag, help=help_text, show_default=default not in (None, ()))
    kind = _typed(hint, optional=required)
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=_plain(default), annotation=Annotated[kind, about]
    )


def _typed(hint: Any, *, optional: bool) -> Any:
    """The field's type as typer takes it: tuples as lists, unions with None as optional."""
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return list[parts[0]]
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        inner = next(part for part in parts if part is not type(None))
        return _typed(inner, optional=False) | None
    return hint | None if optional else hint


def _plain(default: Any) -> Any:
    return list(default) if isinstance(default, tuple) else default
