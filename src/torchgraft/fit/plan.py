"""What to try: from what was given to rungs, in order of how simple the shipped graft would be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torchgraft.core import options as core_options
from torchgraft.core import registry
from torchgraft.core.errors import OptionError, UnknownName, did_you_mean, shorten

AUTO = "auto"
COMMITTEE = "committee"

COMMON = ("class_weight",)
"""Settings that are given to whoever knows them, and may be known to none."""

_TASK = "single_label"
"""What labels a method learns from, and what data holds, where neither says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One thing to try: a method, on one source (None: the method takes what it needs itself), with its options.

    `asked`: by name. Then it is tried even where it can hardly win. `why`: for people, of a source that
    the ladder chose.
    """

    method: str
    source: str | None
    options: Any
    asked: bool = False
    why: str = ""

    @property
    def name(self) -> str:
        """`lda(packaged/efficientnet_lite0)`, for messages."""
        return f"{self.method}({self.source})" if self.source else self.method


def deep() -> tuple[str, ...]:
    """Names of methods that train on a labelled source and an unlabelled target."""
    return tuple(n for n in registry.names("adapt") if registry.constant("adapt", n, "SOURCE", default=True))


def between_domains() -> tuple[str, ...]:
    """Names that `--method` may give in a run with a labelled source, but for the committee of them all."""
    return tuple(sorted({*registry.names("align"), *deep()} - {COMMITTEE, "none", "source_only"}))


def ways() -> tuple[str, ...]:
    """Names that `--method` may give there for tasks with ways of their own; each task refuses those of others."""
    found = (registry.constant("tasks", task, "WAYS", default=()) for task in registry.names("tasks"))
    return tuple(sorted({way for some in found for way in some}))


def unknown(asked: str, *, source: bool) -> list[str]:
    """Sentences about names that a comma-separated option should not hold; no method is imported."""
    if asked == AUTO or (source and asked == COMMITTEE):
        return []
    known = tuple(dict.fromkeys((*between_domains(), *ways()))) if source else registry.names("tune")
    wrong = [name for name in dict.fromkeys(map(str.strip, asked.split(","))) if name and name not in known]
    if not wrong:
        return []
    see = "These are for runs with --source." if source else "See `graft list methods`."
    sentences = [f"--method: there is no '{name}'.{did_you_mean(name, known)}" for name in wrong]
    return [*sentences, f"Known: {shorten(sorted(set(known)))}. {see}"]


def methods(asked: str, task: str = _TASK) -> tuple[str, ...]:
    """Names from a comma-separated option, or every method of the task that need not be asked for, simplest first.

    Methods that train never stand alone: the task's `BASE` is what they start from, or have to beat.
    Raises `UnknownName`, and `OptionError` for a method that learns from other labels than the task's.
    """
    ladder = registry.constant("tasks", task, "LADDER", default=())

    def simplicity(name: str) -> tuple[int, str]:
        return (ladder.index(name) if name in ladder else len(ladder), name)

    known = registry.names("tune")
    suited = [name for name in known if registry.constant("tune", name, "TASK", default=_TASK) == task]
    if asked == AUTO:
        return tuple(sorted((n for n in suited if registry.constant("tune", n, "AUTO", default=True)), key=simplicity))
    names = tuple(name.strip() for name in asked.split(",") if name.strip())
    for name in names:
        if name not in known:
            raise UnknownName("tune", name, known, see="See `graft list methods`.")
    wrong = [name for name in names if name not in suited]
    if wrong:
        raise OptionError(
            f"--method: {shorten(wrong)} can't learn from this kind of label ({task}). Known: {shorten(suited)}."
        )
    if not names:
        raise OptionError(f"--method expects auto or names like lda,linear_probe, got {asked!r}.")
    if all(registry.constant("tune", name, "TRAINS", default=False) for name in names):
        names = (*names, registry.constant("tasks", task, "BASE", default=""))
    return tuple(sorted(set(names), key=simplicity))


def runs_backbone(method: Any) -> bool:
    """Whether it runs a backbone over the samples, which takes its time: to train it, or to look at more of it."""
    return any(getattr(method, name, False) for name in ("TRAINS", "LOOKS"))


def rungs(names: Sequence[str], sources: Sequence[str], values: dict[str, Any], *, asked: bool = False) -> list[Rung]:
    """The rungs of `names` over `sources` (simplest backbone first).

    A method whose options have a `source` gives a rung for each source; one that runs a backbone itself, or has no such
    option, gives one. `values` are options that every method which knows them is given; raises `OptionError` where none
    knows one.
    """
    found = []
    fields = {field for name in names for field in registry.get("tune", name).Options.__dataclass_fields__}
    unknown = [name for name in values if name not in fields and name not in COMMON]
    if unknown:
        known = sorted(fields - {"source"})
        raise OptionError(
            f"no method that is tried has the setting {unknown[0]!r}.{did_you_mean(unknown[0], known)} "
            f"Known: {', '.join(known)}."
        )
    for name in names:
        kind = registry.get("tune", name).Options
        fields = kind.__dataclass_fields__
        own = {key: value for key, value in values.items() if key in fields}
        each = "source" in fields and not runs_backbone(registry.get("tune", name))
        for source in sources if each else (None,):
            given = own | ({"source": source} if source else {})
            options = core_options.build(kind, given, where=name)
            found.append(Rung(method=name, source=source, options=options, asked=asked))
    return found
