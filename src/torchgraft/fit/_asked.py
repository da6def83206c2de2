"""What `--method` and `--settings` ask for in a run with a labelled source."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from torchgraft import align
from torchgraft.align import SOURCE_ONLY, Answer, Member
from torchgraft.core import registry
from torchgraft.core.errors import OptionError, UnknownName, did_you_mean
from torchgraft.core.options import build
from torchgraft.fit import plan
from torchgraft.fit.options import FitOptions, plain
from torchgraft.fit.plan import COMMITTEE
from torchgraft.train.select import clearness

END_TO_END = "end_to_end"
"""The setting that trains the backbone too."""

_NONE = np.zeros(0, dtype=np.int64)
"""No source sample is held out from deep methods: the rehearsal measures them."""


@dataclass(frozen=True)
class Deep:
    """A method of `adapt` on features, as a voter: it trains a bottleneck and a classifier of its own."""

    method: str
    seed: int = 0
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """That of the method, with what was set."""
        return align.titled(self.method, self.settings)

    def answer(self, domains: align.Domains) -> Answer:
        """Train on the source and the unlabelled target; what the clearest epoch says of the target.

        That is the one with the largest information maximisation of those that have not collapsed.
        """
        from torchgraft.adapt import adapt  # loads torch

        prior = np.bincount(domains.ys, minlength=domains.n_classes) / len(domains.ys)
        scale = np.sqrt(max(float(domains.xs.var(axis=0).sum()), 1e-12) / domains.dimension)
        zs, zt = ((x / scale).astype(np.float32) for x in (domains.xs, domains.xt))
        found = adapt(
            self.method,
            zs,
            domains.ys,
            zt,
            n_classes=domains.n_classes,
            options=dict(self.settings),
            validate=_NONE,
            score=lambda p, accuracy: clearness(p, prior),
            seed=self.seed,
        )
        return Answer(self, np.asarray(found.probabilities, dtype=np.float64))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The `members` to try, source-only first; and the method, if any, that trains the backbone too, with `settings`.

    Where a method trains end to end, the members are those of the committee: they vote on it. Of members that are one
    method with different settings, asked for by name, one is to be chosen (`choose`).
    """

    members: tuple[Member | Deep, ...]
    end_to_end: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    choose: bool = False


def asked(options: FitOptions) -> Asked:
    """What the options ask for.

    Raises `UnknownName` for a method, and `OptionError` for a setting that no method asked for by name knows, one that
    can't be used, or `end_to_end` without exactly one method that can.
    """
    given = {name: value for name, value in options.for_methods().items() if name not in plan.COMMON}
    whole = given.pop(END_TO_END, False)
    if not isinstance(whole, bool):
        raise OptionError(f"--settings {END_TO_END} expects true or false, got {whole!r}.")
    names = _names(options.method)
    if given and not names:
        raise OptionError(
            f"--settings {next(iter(given))}: settings, --rate and --epochs go with methods by name (--method dann) in "
            "a run with --source."
        )
    _refuse_unknown(given, names)
    if not whole:
        return Asked(members=members(options.method, options.seed, given), choose=bool(names))
    deep = plan.deep()
    if len(names) != 1 or names[0] not in deep:
        raise OptionError(
            f"--settings {END_TO_END}=true takes one method that trains, got --method {options.method}. "
            f"Known: {', '.join(name for name in deep if name != 'source_only')}."
        )
    build(registry.get("adapt", names[0]).Options, given, where=names[0])
    return Asked(members=align.MEMBERS, end_to_end=names[0], settings=given)


def asked_of_model(options: FitOptions) -> tuple[tuple[str, dict[str, Any]], ...]:
    """The methods that need no source data, each with the settings it knows: those asked for by name, or SHOT.

    Raises `UnknownName`, and `OptionError` for a method that needs the source's data, or a setting.
    """
    known = tuple(n for n in registry.names("adapt") if not registry.constant("adapt", n, "SOURCE", default=True))
    names = tuple(dict.fromkeys(name.strip() for name in options.method.split(",") if name.strip()))
    names = ("shot",) if options.method == plan.AUTO else names
    for name in names:
        if name in plan.between_domains():
            raise OptionError(
                f"--method {name} learns from the source's data: use it with --source. With --from: {', '.join(known)}."
            )
        if name not in known:
            raise UnknownName("method", name, known, see="These are for runs with --from.")
    if not names:
        raise OptionError(f"--method expects auto or names like shot,adabn, got {options.method!r}.")
    given = {name: value for name, value in options.for_methods().items() if name not in plan.COMMON}
    _refuse_unknown(given, names)
    return tuple((name, _own(registry.get("adapt", name).Options, given, name)) for name in names)


def members(method: str, seed: int = 0, given: dict[str, Any] | None = None) -> tuple[Member | Deep, ...]:
    """Source-only and the methods to try: those asked for by name, or all that a committee is made of.

    Each gets the settings of `given` that it knows; where these have several values (`0.3/1/3`), it is there with each.
    """
    names = _names(method)
    if not names:
        return align.MEMBERS
    deep, made = plan.deep(), []
    for name in names:
        room = "adapt" if name in deep else "align"
        for settings in _variants(registry.get(room, name).Options, given or {}, name):
            made.append(Deep(name, seed, settings) if name in deep else Member(name, settings))
    return (Member(SOURCE_ONLY), *made)


def _names(method: str) -> tuple[str, ...]:
    """The methods asked for by name; empty where the choice is left to the run."""
    if method in (plan.AUTO, COMMITTEE):
        return ()
    known = plan.between_domains()
    names = tuple(dict.fromkeys(name.strip() for name in method.split(",") if name.strip()))
    for name in names:
        if name not in known:
            raise UnknownName("method", name, known, see="These are for runs with --source.")
    if not names:
        raise OptionError(f"--method expects auto or names like coral,jda, got {method!r}.")
    return names


def _variants(kind: type, given: dict[str, Any], where: str) -> list[tuple[tuple[str, Any], ...]]:
    """The settings that a method knows, with each of several values. Raises `OptionError` for those it can't use."""
    own = sorted((name, value) for name, value in given.items() if name in kind.__dataclass_fields__)
    values = [[plain(one) for one in v.split("/")] if isinstance(v, str) and "/" in v else [v] for _, v in own]
    found = [tuple(zip((name for name, _ in own), each, strict=True)) for each in product(*values)]
    for settings in found:
        build(kind, dict(settings), where=where)
    return found


def _own(kind: type, given: dict[str, Any], where: str) -> dict[str, Any]:
    """The settings that a method knows. What can't be used is said before anything is read."""
    own = {key: value for key, value in given.items() if key in kind.__dataclass_fields__}
    build(kind, own, where=where)
    return own


def _refuse_unknown(given: dict[str, Any], names: tuple[str, ...]) -> None:
    trained = registry.names("adapt")
    kinds = (registry.get("adapt" if name in trained else "align", name).Options for name in names)
    known = sorted({field for kind in kinds for field in kind.__dataclass_fields__})
    known += [END_TO_END] if set(names) & set(plan.deep()) else []
    for name in given:
        if name not in known:
            listed = f" Known: {', '.join(known)}." if known else ""
            near = did_you_mean(name, known)
            raise OptionError(f"--settings: {', '.join(names)} has no setting '{name}'.{near}{listed}")
