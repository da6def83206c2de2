"""The main job: data in, an honest model out. Everything a run makes lies in one folder."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torchgraft.core import options as core_options
from torchgraft.core import ranks, registry
from torchgraft.core.errors import OptionError, StorageError, UserError
from torchgraft.core.files import clear_drafts, storage
from torchgraft.core.journal import Journal
from torchgraft.core.progress import SILENT, Progress
from torchgraft.core.runtime import keep_memory, one_thread, seed_everything, versions, wait_passively
from torchgraft.data import ReadOptions, read
from torchgraft.fit import plan
from torchgraft.fit._choice import choose_backbones
from torchgraft.fit._inputs import default_folder, load_data
from torchgraft.fit._live import Live
from torchgraft.fit._sources import Sources, gather
from torchgraft.fit.ladder import Entry, Skipped, climb
from torchgraft.fit.options import FitOptions
from torchgraft.fit.report import Outcome, Report, data_of, report_of, row_of
from torchgraft.fit.verdict import choose, leader
from torchgraft.model import Graft, load
from torchgraft.tune.base import Problem, Resources

RUN_FILE = "run.toml"
OUTPUTS = ("model", "report.json", "report.html")
WORK = "work"
"""Folder of checkpoints and decisions, while a run is under way."""
JOURNAL = "journal.json"
CURVES = "curves"
"""Folder of what a tracker writes: it stays."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run left on disk: `model/`, `report.html`, `report.json`, `run.toml` under `path`."""

    path: Path

    @cached_property
    def graft(self) -> Graft:
        """The shipped graft, loaded from `model/`."""
        return load(self.path / "model", verify=False)

    @cached_property
    def report(self) -> Report:
        """The report; in a notebook it shows itself."""
        return Report.read(self.path)


def fit(options: FitOptions, *, progress: Progress = SILENT, go_on: bool = False) -> Run:
    """Read, check and split the data, extract features, climb the ladder, ship the verdict, write the report.

    With `go_on`, what an interrupted run left in the folder (checkpoints, decisions) is used; else it is deleted.
    The same options give the same graft and the same numbers on one machine. Raises `UserError` for anything that
    the user can mend. Whatever stops it, features stay in the store and the best graft so far in `model/`; a
    `KeyboardInterrupt` carries the folder's name.
    """
    keep_memory()  # before torch is loaded: what it allocates at once is kept too
    wait_passively()
    start = time.monotonic()
    deadline = start + core_options.seconds(options.budget)
    path = _open_folder(options, go_on=go_on)
    progress = progress if ranks.is_first() else SILENT
    seed_everything(options.seed)
    with _told_where(path), nullcontext() if go_on else _nothing_left_behind(path):
        if options.source or options.from_model:
            return _between_domains(options, path, progress)
        return _in_one_domain(options, path, progress, (start, deadline))


def _in_one_domain(options: FitOptions, path: Path, progress: Progress, clock: tuple[float, float]) -> Run:
    """The run on one labelled data set; `clock` is its start and deadline."""
    start, deadline = clock
    samples, findings = load_data(options, progress)
    task, wanted = registry.get("tasks", samples.task), plan.methods(options.method, samples.task)
    journal, length = Journal(path / WORK / JOURNAL), deadline - start
    with ranks.first_goes_first():  # the others find its features in the store, its decisions in the journal
        choice = choose_backbones(options, samples, deadline=start + 0.2 * length, progress=progress, journal=journal)
        sources = gather(
            samples,
            choice.names,
            pooled=task.POOLED,
            engine=options.engine,
            deadline=start + 0.8 * length,  # a fifth is left for the heads, which are quick
            progress=progress,
            journal=journal,
        )
    extracted, (problem, rows) = time.monotonic(), task.make_problem(sources, options.seed)
    resources = make_resources(sources, path / WORK, journal, progress, engine=options.engine)
    problem = dataclasses.replace(problem, resources=resources)
    over = problem.dense if task.POOLED else tuple(sources.backbones)
    rungs = plan.rungs(wanted, over, options.for_methods(), asked=options.method != plan.AUTO)
    problem, entries, skipped = _climb(problem, rungs, choice.pick, sources, path, (start, deadline))
    if not entries:
        raise OptionError("no method applies: " + "; ".join(f"{one.name}: {one.reason}" for one in skipped) + ".")
    with one_thread():
        verdict = choose(entries, title=task.TITLE, primary=task.PRIMARY, seed=options.seed)
        outcome = Outcome(
            options=options,
            findings=(*findings, *sources.findings),
            sources=sources,
            problem=problem,
            rows=rows,
            entries=entries,
            skipped=(*choice.skipped, *sources.skipped, *skipped),
            ranking=choice.ranking,
            verdict=verdict,
            graft=task.make_graft(entries[verdict.index], problem, sources),
            extracted=extracted,
            start=start,
            deadline=deadline,
        )
        with ranks.first_goes_first():
            return _ship(outcome, path) if ranks.is_first() else Run(path=path)


def _between_domains(options: FitOptions, path: Path, progress: Progress) -> Run:
    """The run for a target without labels, and a labelled source or a model."""
    from torchgraft.fit import _domain_report, adaptation, source_free  # loads much that other runs don't need

    if options.from_model:
        source_free.ship(options, path, progress)
        return Run(path=path)
    columns = ReadOptions(text=options.text, label=options.label, group=options.group)
    task = registry.get("tasks", read(options.source[0], columns).task)
    if hasattr(task, "between_domains"):
        start = time.monotonic()
        graft, seen, told = task.between_domains(options, progress)
        more = {"seconds": {"total": time.monotonic() - start}, "environment": versions()}
        report = Report(path, {**told, **more, "options": dataclasses.asdict(options)})
        graft.save(path / "model", check=seen, card=report.card(graft))
        report.write()
    else:
        _domain_report.ship(adaptation.run(options, progress), options, path)
    return Run(path=path)


def _climb(
    problem: Problem, rungs: list[plan.Rung], pick: str, sources: Sources, path: Path, clock: tuple[float, float]
) -> tuple[Problem, list[Entry], list[Skipped]]:
    """Climb with a live page, and the best graft so far on disk; `clock` is start and deadline of the run."""
    start, deadline = clock
    progress = problem.resources.progress
    folder = path if ranks.is_first() else None
    live = Live(folder, path.name, data=data_of(sources.samples, problem), progress=progress)
    # what follows the climb (the test split, the report) takes a little too
    ends = start + 0.95 * (deadline - start) - 2
    resources = dataclasses.replace(problem.resources, deadline=ends, on_leg=live.leg)
    problem = dataclasses.replace(problem, resources=resources)
    with live:
        entries, skipped = climb(
            problem,
            rungs,
            pick=pick,
            deadline=deadline,
            progress=progress,
            after_each=lambda so_far: _save_best(so_far, problem, sources, path, live),
        )
    return problem, entries, skipped


def _ship(outcome: Outcome, path: Path) -> Run:
    """Measure the test split, write model and report; what was only for going on is deleted."""
    report = report_of(outcome, path)
    check = outcome.sources.samples.take(outcome.rows[:4])
    outcome.graft.save(path / "model", check=check, card=report.card(outcome.graft))
    report.write()
    shutil.rmtree(path / WORK, ignore_errors=True)
    return Run(path=path)


def resume(path: str | Path, *, progress: Progress = SILENT) -> Run:
    """Go on with the run in the folder `path`: the same options, features from the store, training from checkpoints.

    It ends with the same graft, to the bit, as without the interruption, on the same machine and thread count.
    """
    return fit(dataclasses.replace(_stored(Path(path) / RUN_FILE), out=str(path)), progress=progress, go_on=True)


def repeat(run_file: str | Path, *, progress: Progress = SILENT) -> Run:
    """Run again, into a new folder, with the options in a `run.toml`: the same graft, bit for bit, on one machine."""
    return fit(dataclasses.replace(_stored(Path(run_file)), out=None), progress=progress)


def _stored(run_file: Path) -> FitOptions:
    values = core_options.from_toml(run_file).get("fit", {})
    return core_options.build(FitOptions, values, where=str(run_file))


def make_resources(
    sources: Sources, folder: Path | None, journal: Journal, progress: Progress = SILENT, *, engine: str = "auto"
) -> Resources:
    """What methods that run a backbone may use; `folder` is that of checkpoints, in the run's own (None: nowhere)."""
    return Resources(
        backbones=sources.backbones,
        poolings={name: about["pooling"] for name, about in sources.about.items()},
        folder=folder,
        logs=folder.parent / CURVES if folder else None,
        engine=engine,
        journal=journal,
        progress=progress,
    )


def _save_best(entries: list[Entry], problem: Problem, sources: Sources, path: Path, live: Live) -> None:
    best = leader(entries, seed=problem.seed)
    live.rung([row_of(i, e, chosen=i == best) for i, e in enumerate(entries)])
    if best == len(entries) - 1 and ranks.is_first():  # else the best so far is on disk already
        registry.get("tasks", problem.task).make_graft(entries[best], problem, sources).save(path / "model")


@contextmanager
def _told_where(path: Path) -> Iterator[None]:
    """Whoever stops a run with Ctrl-C is told which folder it goes on in."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(str(path)) from None


@contextmanager
def _nothing_left_behind(path: Path) -> Iterator[None]:
    """Where the options or the data can't be used, take away the folder again, unless it holds more than `run.toml`
    and decisions. A full disk can be mended without changing either, so it leaves them.
    """
    try:
        yield
    except StorageError:
        raise
    except UserError:
        held = {str(p.relative_to(path)) for p in path.rglob("*") if not p.is_dir()} if ranks.is_first() else {path}
        if held <= {RUN_FILE, str(Path(WORK, JOURNAL))}:
            shutil.rmtree(path)
        raise


def _open_folder(options: FitOptions, *, go_on: bool) -> Path:
    """Make the run's folder and write `run.toml` into it, so that a lack of permission or space shows at once."""
    path = Path(ranks.agree(str(Path(options.out) if options.out else default_folder(options.target))))
    if not ranks.is_first():
        ranks.agree(None)  # the first process is done with what follows
        return path
    with storage(path):
        path.mkdir(parents=True, exist_ok=True)
    for name in (RUN_FILE, *OUTPUTS):
        clear_drafts(path / name)  # of a run that was killed while it wrote
    if not go_on:
        shutil.rmtree(path / WORK, ignore_errors=True)
    given = {"target": options.target, "test": options.test, "few_labels": options.few_labels, "out": path}
    given["from_model"] = options.from_model
    whole: dict[str, Any] = {name: str(Path(value).resolve()) for name, value in given.items() if value}
    whole["source"] = tuple(str(Path(one).resolve()) for one in options.source)
    core_options.to_toml(path / RUN_FILE, {"fit": dataclasses.replace(options, **whole)})  # good from any folder
    ranks.agree(None)
    return path
