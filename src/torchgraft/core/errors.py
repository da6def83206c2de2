"""One tree of errors. A message names what was expected, what came, and what to do.

A `UserError` is something the user can mend (the command line ends with 2, without a traceback);
everything else is ours (it ends with 1).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class GraftError(Exception):
    """Base of every error that torchgraft raises on purpose."""


class UserError(GraftError):
    """Something the user gave can't be used; the message says what to give instead."""


class DataError(UserError):
    """A data set, file or sample is missing, empty, unreadable or of the wrong kind."""


class OptionError(UserError):
    """An option has a wrong name, type or value. All problems of one call stand in one message."""


class UnknownName(UserError):
    """A room has no entry of that name; the message offers near misses."""

    def __init__(self, room: str, name: str, known: Iterable[str], *, see: str = "") -> None:
        known = sorted(known)
        super().__init__(
            f"{room} has no '{name}'.{did_you_mean(name, known)} Known: {shorten(known)}.{' ' + see if see else ''}"
        )
        self.name = name


class MissingExtra(UserError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(f"{what} needs {package}. Install it: pip install 'torchgraft[{extra}]'.")
        self.extra = extra


class ArtifactError(UserError):
    """A saved graft is missing, damaged, made by a newer version, or gives other outputs than when it was saved."""


class StorageError(UserError):
    """A file can't be written: no permission, no space, or not a folder."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`" Did you mean 'coral'?"`, or nothing where no known name is near."""
    near = difflib.get_close_matches(name.lower(), list(known), n=2, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""


def shorten(names: Sequence[str], limit: int = 12) -> str:
    """A comma-separated list, cut after `limit` names with the number left out."""
    if not names:
        return "nothing"
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f", ... (+{rest} more)" if rest > 0 else "")
