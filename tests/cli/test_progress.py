"""Progress in a terminal and in a log file."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from torchgraft.cli import _progress
from torchgraft.cli._progress import TerminalProgress, duration


def _console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, markup=False, highlight=False)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (61, "1 min 01 s"), (3599.6, "1 h 00 min"), (7500, "2 h 05 min")],
)
def test_durations_by_hand(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize("terminal", [True, False])
def test_quick_work_leaves_no_trace(terminal: bool) -> None:
    console = _console(terminal)
    with TerminalProgress(console, slow=60).bar("counting", 3) as bar:
        bar.advance(3)
    assert console.file.getvalue() == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_slow_work_leaves_one_line_with_its_rate(terminal: bool) -> None:
    console = _console(terminal)
    with TerminalProgress(console, slow=0).bar("counting", 3) as bar:
        for _ in range(3):
            bar.advance()
    last = console.file.getvalue().strip().splitlines()[-1]
    assert "counting: 3 in 0 s (" in last
    assert "/s)" in last


def test_a_log_file_hears_of_long_work_now_and_then(monkeypatch) -> None:
    monkeypatch.setattr(_progress, "_BETWEEN_LINES", 0.0)
    console = _console(terminal=False)
    with TerminalProgress(console, slow=60).bar("counting", 4) as bar:
        bar.advance()
        bar.advance()
        bar.advance(2)
    lines = console.file.getvalue().splitlines()
    assert [line.split(" (")[0] for line in lines] == ["counting: 1 of 4", "counting: 2 of 4"]
    assert all(line.endswith("left)") for line in lines)


def test_a_note_stands_beside_the_bar_or_ends_the_line(monkeypatch) -> None:
    monkeypatch.setattr(_progress, "_BETWEEN_LINES", 0.0)
    for terminal in (True, False):
        console = _console(terminal)
        with TerminalProgress(console, slow=60 * (not terminal)).bar("training", 9) as bar:
            bar.note("loss 0.41 [x]")
            if terminal:
                time.sleep(0.3)  # the bar is drawn ten times a second
            bar.advance()
        assert "loss 0.41 [x]" in console.file.getvalue()
        assert terminal or console.file.getvalue().endswith("left), loss 0.41 [x]\n")


def test_steps_may_be_taken_back(monkeypatch) -> None:
    monkeypatch.setattr(_progress, "_BETWEEN_LINES", 0.0)
    console = _console(terminal=False)
    with TerminalProgress(console, slow=60).bar("training", 9) as bar:
        bar.advance(2)
        bar.advance(-2)
        bar.advance(1)
    assert [line.split(" (")[0] for line in console.file.getvalue().splitlines()] == [
        "training: 2 of 9",
        "training: 1 of 9",
    ]


def test_bars_may_stand_inside_one_another() -> None:
    console = _console(terminal=True)
    progress = TerminalProgress(console, slow=0)
    with progress.bar("outer", 2) as outer:
        for _ in range(2):
            with progress.bar("inner [x]", 1) as inner:
                progress.say("between")
                inner.advance()
            outer.advance()
    shown = console.file.getvalue()
    assert shown.count("between") >= 2
    assert "inner [x]: 1 in" in shown
    assert "outer: 2 in" in shown


def test_an_error_closes_the_bar() -> None:
    progress = TerminalProgress(_console(terminal=True), slow=0)
    with pytest.raises(ValueError, match="stop"), progress.bar("counting", 3):
        raise ValueError("stop")
    with progress.bar("again", 1) as bar:
        bar.advance()
    assert progress._display is None
