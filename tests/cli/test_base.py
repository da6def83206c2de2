"""The boundary of errors and exit codes, and what every verb shares."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import typer

from torchgraft.cli.base import Terminal, with_exit_codes
from torchgraft.core.errors import DataError


def _raising(error: BaseException):
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DataError("photos/ is empty."), 2, "graft: photos/ is empty.\n"),
        (ZeroDivisionError("division by zero"), 1, "our mistake, not yours: ZeroDivisionError: division by zero"),
        (KeyboardInterrupt(), 130, "The same command uses them again."),
        (KeyboardInterrupt("runs/my photos-1"), 130, "It goes on with: graft fit --resume 'runs/my photos-1'\n"),
    ],
)
def test_what_is_raised_becomes_a_sentence_and_a_code(capsys, error, code: int, said: str) -> None:
    with pytest.raises(typer.Exit) as ended:
        with_exit_codes(_raising(error))
    out, err = capsys.readouterr()
    assert ended.value.exit_code == code
    assert said in err
    assert "Traceback" not in err
    assert out == ""


def test_debug_shows_the_traceback(capsys) -> None:
    with pytest.raises(typer.Exit):
        with_exit_codes(_raising(DataError("no")), debug=True)
    assert "Traceback" in capsys.readouterr().err


def test_an_exit_on_purpose_passes() -> None:
    with pytest.raises(typer.Exit) as ended:
        with_exit_codes(_raising(typer.Exit(7)))
    assert ended.value.exit_code == 7


@pytest.mark.skipif(os.name == "nt", reason="no SIGPIPE")
def test_a_reader_that_goes_away_is_no_error() -> None:
    code = (
        "import sys; from torchgraft.cli.base import with_exit_codes; import typer\n"
        "def work():\n    while True: print('x' * 1000)\n"
        "try: with_exit_codes(work)\n"
        "except typer.Exit as end: sys.exit(end.exit_code)"
    )
    shell = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    shell.stdout.readline()
    shell.stdout.close()
    assert shell.stderr.read() == b""
    assert shell.wait() == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110
def test_a_full_disk_under_stdout_is_no_mistake_of_ours() -> None:
    code = (
        "import sys; from torchgraft.cli.base import with_exit_codes; import typer\n"
        "try: with_exit_codes(lambda: print('x'))\n"
        "except typer.Exit as end: sys.exit(end.exit_code)"
    )
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.stderr == b"graft: the output can't be written: the disk is full.\n"
    assert done.returncode == 2


def test_results_go_to_stdout_and_the_rest_to_stderr(capsys) -> None:
    terminal = Terminal()
    terminal.show("[bold]a result[/bold] of :smile:")
    terminal.show_json({"name": "é"})
    terminal.note("beside it")
    out, err = capsys.readouterr()
    first, rest = out.split("\n", 1)
    assert first == "[bold]a result[/bold] of :smile:"
    assert json.loads(rest) == {"name": "é"}
    assert err == "beside it\n"


def test_json_refuses_what_no_parser_reads() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        Terminal().show_json({"x": float("nan")})


def test_quiet_is_silent(capsys) -> None:
    Terminal(quiet=True).progress.say("hello")
    Terminal(quiet=False).progress.say("hello")
    assert capsys.readouterr().err == "hello\n"
