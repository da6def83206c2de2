"""Progress on stderr: bars with rate and time left for whatever takes over two seconds; plain lines in a log file."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Display

from torchgraft.core.progress import Bar, Progress

_SLOW = 2.0
"""Seconds after which work is worth a bar."""

_BETWEEN_LINES = 10.0
"""Seconds between two lines about one piece of work, where bars can't be drawn."""


class TerminalProgress(Progress):
    """Draws on `console` (stderr by default). Bars may be open inside one another; threads may advance them."""

    def __init__(self, console: Console | None = None, *, slow: float = _SLOW) -> None:
        self._console = console or Console(stderr=True, markup=False, highlight=False, emoji=False)
        self._slow = slow
        self._display: Display | None = None
        self._open = 0

    def say(self, line: str) -> None:
        """Print a line, above any bar."""
        self._console.print(line, soft_wrap=True)

    @contextmanager
    def bar(self, what: str, total: int) -> Iterator[Bar]:
        """A bar of `total` steps; work that took long leaves one line behind."""
        start = time.monotonic()
        bar: _Drawn | _Logged
        with self._drawn(what, total) if self._console.is_terminal else self._logged(what, total) as bar:
            yield bar
        took = time.monotonic() - start
        if took >= self._slow and bar.done:
            self.say(f"{what}: {bar.done} in {duration(took)} ({_rate(bar.done, took)})")

    @contextmanager
    def _drawn(self, what: str, total: int) -> Iterator[_Drawn]:
        if self._display is None:
            self._display = _display(self._console)
        display, self._open = self._display, self._open + 1
        task = display.add_task(what, total=total, rate="", note="", visible=False)
        timer = threading.Timer(self._slow, _appear, (display, task))
        timer.daemon = True
        timer.start()
        try:
            yield _Drawn(display, task)
        finally:
            timer.cancel()
            timer.join()
            display.remove_task(task)
            self._open -= 1
            if not self._open:
                display.stop()
                self._display = None

    @contextmanager
    def _logged(self, what: str, total: int) -> Iterator[_Logged]:
        yield _Logged(self, what, total)


class _Drawn(Bar):
    """A task of the display."""

    def __init__(self, display: Display, task: TaskID) -> None:
        self._display, self._task, self._start, self.done = display, task, time.monotonic(), 0
        self._lock = threading.Lock()

    def advance(self, n: int = 1) -> None:
        with self._lock:
            self.done += n
            rate = _rate(self.done, time.monotonic() - self._start)
        self._display.update(self._task, advance=n, rate=rate)

    def note(self, text: str) -> None:
        self._display.update(self._task, note=text)


class _Logged(Bar):
    """A line now and then."""

    def __init__(self, progress: TerminalProgress, what: str, total: int) -> None:
        self._progress, self._what, self._total = progress, what, total
        self._start = self._said = time.monotonic()
        self._lock = threading.Lock()
        self._note = ""
        self.done = 0

    def note(self, text: str) -> None:
        self._note = text

    def advance(self, n: int = 1) -> None:
        with self._lock:
            self.done += n
            now = time.monotonic()
            if now - self._said < _BETWEEN_LINES or not 0 < self.done < self._total:
                return
            self._said = now
        took = now - self._start
        left = duration(took / self.done * (self._total - self.done))
        note = f", {self._note}" if self._note else ""
        self._progress.say(f"{self._what}: {self.done} of {self._total} ({_rate(self.done, took)}, {left} left){note}")


def duration(seconds: float) -> str:
    """`8 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _rate(done: int, seconds: float) -> str:
    rate = done / max(seconds, 1e-9)
    return f"{rate:.0f}/s" if rate >= 10 else f"{rate:.1f}/s"


def _display(console: Console) -> Display:
    columns = (
        "{task.description}", BarColumn(), MofNCompleteColumn(), "{task.fields[rate]}", TimeRemainingColumn(),
        "{task.fields[note]}",
    )  # fmt: skip
    drawn = [TextColumn(column, markup=False) if isinstance(column, str) else column for column in columns]
    return Display(*drawn, console=console, transient=True)


def _appear(display: Display, task: TaskID) -> None:
    display.update(task, visible=True)
    display.start()
