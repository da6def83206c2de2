"""Decisions that hang on the clock, written down: a run that goes on takes the same ones again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from torchgraft.core import ranks
from torchgraft.core.errors import ArtifactError
from torchgraft.core.files import write_json

T = TypeVar("T")


class Journal:
    """Name -> plain value (what JSON holds), kept in the file `path` (None: in memory only).

    How many epochs fit the budget, which engine was fastest, which backbone was too slow: such answers differ from
    time to time, and with them the weights that a run ends with. Asked through `once`, an answer is given one time.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Raises `ArtifactError` where the file is damaged."""
        self.path = path
        self.entries: dict = {}
        if path is not None and path.exists():
            try:
                self.entries = dict(json.loads(path.read_text(encoding="utf-8")))
            except (ValueError, OSError, TypeError) as error:
                raise ArtifactError(f"{path} can't be read: {error}. Delete it; the run then decides anew.") from error

    def once(self, name: str, decide: Callable[[], T], *, together: bool = True) -> T:
        """The value written under `name`, or what `decide` says now, which is then written before it is used.

        Of several processes all decide `together`, since a decision may take training steps, and the first one's answer
        holds; or else this one alone.
        """
        if name not in self.entries:
            self.entries[name] = ranks.agree(decide()) if together else decide()
            if self.path is not None and ranks.is_first():
                write_json(self.path, self.entries)
        return self.entries[name]
