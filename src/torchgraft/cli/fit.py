"""Find the best model that your labels support, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchgraft.cli._options import with_options
from torchgraft.cli.base import JsonFlag, Terminal
from torchgraft.core import ranks
from torchgraft.core.errors import OptionError
from torchgraft.core.options import build
from torchgraft.fit import FitOptions

if TYPE_CHECKING:
    from torchgraft.fit import Run

EXAMPLES = (
    "graft fit photos/  # photos/<class>/*.jpg; a test part is kept aside",
    "graft fit train.csv --test test.csv  # texts; --text and --label name the columns",
    "graft fit photos/ --group '(.*)_frame'  # frames of one video stay together",
    "graft fit new-photos/ --source old-photos/  # labels of another domain, none of this one",
    "graft fit new-photos/ --from runs/photos-1  # a model of other photos, and no label of these",
    "graft fit photos/ --budget 2m --method lda,linear_probe  # in two minutes, two methods only",
    "graft fit --resume runs/photos-1  # go on after Ctrl-C or a crash",
    "graft fit --from-run runs/photos-1/run.toml  # the same run again",
)


@with_options(FitOptions)
def run(
    terminal: Terminal,
    given: dict[str, Any],
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="Go on with the run in this folder, with its options.")
    ] = None,
    from_run: Annotated[
        str | None, typer.Option("--from-run", metavar="FILE", help="Repeat a run with the options in its run.toml.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Try the cheap methods first, measure each on the same held-out samples, and ship the simplest one, unless a
    later one beats it beyond noise. Writes the model, a report to read (report.html) and the options (run.toml) into
    one folder.
    """
    _one_way_only(given, resume, from_run)
    done = _run(terminal, given, resume, from_run)
    if not ranks.is_first():
        return  # one of several processes speaks
    if json:
        terminal.show_json({**done.report.data, "path": str(done.path)})
        return
    from torchgraft.cli._show import show_run

    show_run(terminal, done)


def _run(terminal: Terminal, given: dict[str, Any], resume: str | None, from_run: str | None) -> Run:
    from torchgraft import fit

    if resume:
        return fit.resume(resume, progress=terminal.progress)
    if from_run:
        return fit.repeat(from_run, progress=terminal.progress)
    return fit.fit(build(FitOptions, given), progress=terminal.progress)


def _one_way_only(given: dict[str, Any], resume: str | None, from_run: str | None) -> None:
    if resume and from_run:
        raise OptionError("--resume and --from-run can't be used together: each takes all options from a run.")
    if (resume or from_run) and given:
        flags = ", ".join("TARGET" if name == "target" else f"--{name.replace('_', '-')}" for name in given)
        way = "--resume" if resume else "--from-run"
        raise OptionError(f"{way} takes its options from the run: leave out {flags}.")
    if not (resume or from_run) and "target" not in given:
        raise OptionError(
            "TARGET is missing: the folder of class folders, table of texts or feature file to learn from."
        )
