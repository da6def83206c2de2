"""The report page while a run is under way: the ladder so far, and the curves of the training that runs now."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torchgraft.core.errors import StorageError
from torchgraft.core.files import write_text
from torchgraft.core.progress import SILENT, Progress
from torchgraft.evaluate import render

PAGE = "report.html"

_APART = 2.0
"""Seconds between two writings of the page, at least."""

_SHARE = 20
"""At least this many times as long as a writing took passes before the next one."""


class Live:
    """Writes `folder`/report.html, at most every two seconds; the final report takes its place.

    `folder` None: nothing is written. `data` is what is known of the samples (`report.json`'s `data`). A page that
    can't be written never stops a run: `progress` is told once, and the run goes on. Used as a `with` block, the page
    says why the block ended where it did not end well.
    """

    def __init__(
        self,
        folder: Path | None,
        name: str,
        *,
        data: Mapping[str, Any] | None = None,
        progress: Progress = SILENT,
    ) -> None:
        self._path = folder / PAGE if folder else None
        self._start, self._progress = time.monotonic(), progress
        self._report: dict[str, Any] = {"name": name, "data": dict(data or {}), "ladder": []}
        self._running: dict[str, Any] = {}
        self._next = self._start
        self._said = False

    def rung(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The ladder so far, as `report.json` has it; whatever trained is done."""
        self._report |= {"ladder": list(rows)}
        self._running = {}
        self._write()

    def leg(self, history: Mapping[str, Any], what: str = "") -> None:
        """The training under way, as `train.History.to_dict` has it. `what`: its name, else that of its phase."""
        phases = history.get("phases") or ({},)
        self._running = {"history": history, "what": what or str(phases[-1].get("name", "training"))}
        self._write()

    def stop(self, why: str) -> None:
        """The run ended before it was done: a page that is there says so, and no longer loads itself again."""
        if self._next > self._start:
            self._write(ended=why)

    def __enter__(self) -> Live:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self.stop(str(error) or type(error).__name__)

    def _write(self, ended: str = "") -> None:
        now = time.monotonic()
        if self._path is None or (not ended and now < self._next):
            return
        running = {**self._running, "seconds": now - self._start, "at": time.strftime("%H:%M:%S")}
        running |= {"ended": ended} if ended else {}
        try:
            write_text(self._path, render({**self._report, "running": running}))
        except (StorageError, OSError) as error:
            self._say(f"The live page can't be written, the run goes on: {error}")
        done = time.monotonic()
        self._next = done + max(_APART, _SHARE * (done - now))

    def _say(self, line: str) -> None:
        if not self._said:
            self._progress.say(line)
        self._said = True
