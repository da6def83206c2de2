"""What a verb is: one file in this room, named as it is typed (`graft fit` is `fit.py`). It offers:

- `run(terminal: Terminal, ...)`: the other parameters are the verb's arguments and options, typed for typer; the
  docstring is its help. It raises `UserError` for what the user can mend, and prints results on stdout alone;
- `EXAMPLES: tuple[str, ...]`: command lines shown under the help, each with its `# comment`.

The first line of the file's docstring is what `graft --help` says of the verb. Nothing heavy is imported at the top.
"""

from __future__ import annotations

import errno
import functools
import inspect
import json
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchgraft.core.errors import UserError
from torchgraft.core.files import cache_root
from torchgraft.core.progress import SILENT, Progress

if TYPE_CHECKING:
    from rich.console import Console

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, and nothing else there.")]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; only results, and errors.")]
_Debug = Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")]
_NO_SPACE = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "it is larger than a file may be here (see ulimit -f)",
}
_BROKEN_PIPE = 141  # what a shell reports of a program that SIGPIPE ended


@dataclass(frozen=True, kw_only=True)
class Terminal:
    """Where a verb speaks: results to stdout (`show`, `show_json`), everything else to stderr (`note`, `progress`)."""

    quiet: bool = False

    @functools.cached_property
    def progress(self) -> Progress:
        """Lines and bars on stderr; silent with --quiet."""
        if self.quiet:
            return SILENT
        from torchgraft.cli._progress import TerminalProgress

        return TerminalProgress()

    @functools.cached_property
    def out(self) -> Console:
        """Standard output for people. File names, labels and texts are never read as markup."""
        from rich.console import Console

        return Console(markup=False, highlight=False, emoji=False)

    def show(self, thing: Any = "") -> None:
        """Print a result: lines, or something that rich draws."""
        if isinstance(thing, str):
            print(thing, flush=True)
        else:
            from rich.text import Text

            self.out.print(thing, soft_wrap=isinstance(thing, Text))

    def show_json(self, value: Any) -> None:
        """Print one JSON object on stdout."""
        print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))

    def note(self, line: str) -> None:
        """Say something beside the results, on stderr, also with --quiet: what was left out, what is wrong."""
        print(line, file=sys.stderr, flush=True)


def command(verb: ModuleType) -> Callable[..., None]:
    """The function that typer is given for a verb: its `run` with --quiet and --debug, behind the errors' boundary."""
    signature = inspect.signature(verb.run, eval_str=True)

    def guarded(*, quiet: bool, debug: bool, **values: Any) -> None:
        with_exit_codes(lambda: verb.run(Terminal(quiet=quiet), **values), debug=debug)

    own = list(signature.parameters.values())[1:]
    common = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in (("quiet", _Quiet), ("debug", _Debug))
    ]
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + common
    guarded.__signature__ = signature.replace(parameters=parameters, return_annotation=None)  # type: ignore[attr-defined]
    guarded.__annotations__ = {p.name: p.annotation for p in parameters}
    return guarded


def with_exit_codes(work: Callable[[], None], *, debug: bool = False) -> None:
    """Run `work`; turn what it raises into a message on stderr and an exit code.

    2: the user can mend it (`UserError`); 1: it is ours; 130: stopped by Ctrl-C; 141: nobody reads our output any
    more. With `debug` the traceback comes first.
    """
    try:
        work()
        sys.stdout.flush()
    except typer.Exit:
        raise
    except BrokenPipeError:
        _forget_stdout()
        raise typer.Exit(_BROKEN_PIPE) from None
    except KeyboardInterrupt as stop:
        _fail(f"stopped; what was computed is kept: {_kept(*stop.args)}", 130, debug=debug)
    except UserError as error:
        _fail(f"graft: {error}", 2, debug=debug)
    except Exception as error:  # the boundary: whatever happens, people get a sentence and a code
        if isinstance(error, OSError) and error.errno in _NO_SPACE:
            _forget_stdout()
            what = error.filename or "the output"
            _fail(f"graft: {what} can't be written: {_NO_SPACE[error.errno]}.", 2, debug=debug)
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        hint = "" if debug else " Run it again with --debug and report what it prints."
        _fail(f"graft: this is our mistake, not yours: {what}.{hint}", 1, debug=debug)


def _kept(run: str = "", *_: object) -> str:
    """Where it is, and how to go on; `run` is the folder of a fit."""
    features = f"features in {cache_root()}"
    if not run:
        return f"{features}. The same command uses them again."
    again = shlex.join(["graft", "fit", "--resume", run])
    return f"{features}, and the best graft so far, if there is one, in {run}. It goes on with: {again}"


def _forget_stdout() -> None:
    """What is left in stdout's buffer goes nowhere: the interpreter flushes it once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: int, *, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(message, file=sys.stderr, flush=True)
    raise typer.Exit(code)
