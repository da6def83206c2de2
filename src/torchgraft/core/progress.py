"""How long work tells that it moves, without knowing who listens (terminal, notebook, nobody)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Bar:
    """One piece of work with a known number of steps; `advance` is called as they are done."""

    def advance(self, n: int = 1) -> None:
        """`n` more steps are done."""

    def note(self, text: str) -> None:
        """A few words on how it goes (`loss 0.41, rate 1e-04, best 0.92`), shown beside the bar."""


class Progress:
    """The silent listener, and the contract of the others: `say` for lines, `bar` for work with a length."""

    def say(self, line: str) -> None:
        """A line worth reading once."""

    @contextmanager
    def bar(self, what: str, total: int) -> Iterator[Bar]:
        """Open a bar of `total` steps named `what`; it closes with the block."""
        yield Bar()


SILENT = Progress()
