"""The main job where labels are elsewhere: a labelled source, a target without labels, a choice made without them."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax

from torchgraft import align, evaluate
from torchgraft.align import SOURCE_ONLY, Answer, Member
from torchgraft.core.errors import DataError, OptionError, UnknownName
from torchgraft.core.options import seconds
from torchgraft.core.progress import Progress
from torchgraft.core.runtime import one_thread
from torchgraft.evaluate import abstain, fit_temperature
from torchgraft.features import gap
from torchgraft.fit import _guard, plan
from torchgraft.fit._domains import FEW, SOURCE, TARGET, Domains, load_domains
from torchgraft.fit._inputs import backbone_names
from torchgraft.fit._sources import Sources, gather
from torchgraft.fit._space import Space
from torchgraft.fit.ladder import Skipped
from torchgraft.fit.options import FitOptions
from torchgraft.fit.plan import COMMITTEE
from torchgraft.model import Graft, LinearHead
from torchgraft.model.prior import estimate_prior
from torchgraft.tune.base import take

_NONE = np.zeros(0, dtype=np.int64)
"""No source sample is held out from deep methods: the rehearsal measures them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """One rung: a method as a linear `head` on target rows mapped by `aligned`; its `probabilities` there (Nt x C).

    `right` tells which source samples it got right in the rehearsal, which it `passed` or not. `seconds` is wall time.
    """

    name: str
    aligned: align.Aligned
    head: LinearHead
    probabilities: np.ndarray
    right: np.ndarray
    passed: bool
    seconds: float
    note: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Adaptation:
    """Everything that a finished run with two domains knows; `ladder` begins with source-only."""

    domains: Domains
    sources: Sources
    space: Space
    x: np.ndarray
    gap: dict
    ladder: tuple[Candidate, ...]
    index: int
    tests: tuple[_guard.Test, ...]
    sentence: str
    skipped: tuple[Skipped, ...]
    graft: Graft
    seconds: dict[str, float]
    start: float

    def rows(self, part: str) -> np.ndarray:
        """The rows of a part: source, target, few labels, test."""
        return np.flatnonzero(self.sources.samples.split == part)


@dataclass(frozen=True)
class Deep:
    """A method of `adapt` on features, as a voter: it trains a bottleneck and a classifier of its own."""

    method: str
    seed: int = 0

    @property
    def name(self) -> str:
        """That of the method."""
        return self.method

    def answer(self, domains: align.Domains) -> Answer:
        """Train on the source and the unlabelled target; what the last epoch says of the target."""
        from torchgraft.adapt import adapt  # loads torch

        scale = np.sqrt(max(float(domains.xs.var(axis=0).sum()), 1e-12) / domains.dimension)
        zs, zt = ((x / scale).astype(np.float32) for x in (domains.xs, domains.xt))
        found = adapt(self.method, zs, domains.ys, zt, n_classes=domains.n_classes, validate=_NONE, seed=self.seed)
        return Answer(self, np.asarray(found.probabilities, dtype=np.float64))


def members(asked: str, seed: int = 0) -> tuple[Member | Deep, ...]:
    """Source-only and the methods to try: those asked for by name, or all that a committee is made of."""
    if asked in ("auto", COMMITTEE):
        return align.MEMBERS
    deep, known = plan.deep(), plan.between_domains()
    names = [name.strip() for name in asked.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise UnknownName("method", name, known, see="These are for runs with --source.")
    if not names:
        raise OptionError(f"--method expects auto or names like coral,jda, got {asked!r}.")
    made = (Deep(name, seed) if name in deep else Member(name) for name in dict.fromkeys(names))
    return (Member(SOURCE_ONLY), *made)


def run(options: FitOptions, progress: Progress) -> Adaptation:
    """Read both domains, extract features, measure the gap, rehearse, align, choose, without a label of the target."""
    start = time.monotonic()
    tried = members(options.method, options.seed)
    domains = load_domains(options, progress)
    names = backbone_names(dataclasses.replace(options, method="auto"), domains.samples.modality)
    deadline = start + 0.8 * seconds(options.budget)
    sources = gather(domains.samples, names, engine=options.engine, deadline=deadline, progress=progress)
    domains = _kept(domains, sources)
    extracted = time.monotonic()
    with one_thread():
        return _adapted(options, domains, sources, tried, progress, (start, extracted))


def _adapted(options, domains, sources, tried, progress, clock) -> Adaptation:
    split, y = sources.samples.split, sources.samples.y
    source, target = np.flatnonzero(split == SOURCE), np.flatnonzero(split == TARGET)
    if min(len(source), len(target)) < 4:
        raise DataError(f"{len(source)} source and {len(target)} target samples can be used; 4 of each are needed.")
    if (np.bincount(y[source]) // 2).sum() < 2:
        raise DataError(
            "the source can't be halved to rehearse on. Expected two classes with two samples or more each."
        )
    both = np.concatenate([source, target])
    blocks = {name: take(values, both) for name, values in sources.blocks.items()}
    space = Space.fit(blocks, source=len(source), seed=options.seed)
    x = _one_mean(space.transform(sources.blocks), domains.origin)
    words = space.beside(sources.blocks)
    given = align.Domains(
        xs=x[source],
        ys=y[source],
        xt=x[target],
        n_classes=len(sources.samples.classes),
        beside=None if words is None else (words[source], words[target]),
    )
    able = align.able(given, tried)
    skipped = [Skipped(name=one.name, reason=align.unable(given, one)) for one in tried if one not in able]
    rehearsal = align.rehearse(given, able, seed=options.seed, progress=progress)
    passing = rehearsal.passing(align.MARGIN)
    ladder, answers = _ladder(given, able, rehearsal, passing, progress)
    measured = _gap(given, rehearsal, ladder[0], options.seed)
    few = np.flatnonzero(split == FEW)

    def labelled(*candidates: Candidate) -> tuple[np.ndarray, ...] | None:
        beside = None if words is None else words[few]
        return (y[few], *(answers_of(one, x[few], beside) for one in candidates)) if len(few) else None

    index, found, sentence = _choose(options, given, ladder, answers, measured, labelled)
    return Adaptation(
        domains=domains, sources=sources, space=space, x=x, gap=measured, ladder=tuple(ladder), index=index,
        tests=tuple(found), sentence=sentence, skipped=(*sources.skipped, *skipped),
        graft=_graft(ladder[index], space, sources, measured),
        seconds={"data": clock[1] - clock[0] - sum(sources.seconds.values()),
                 "features": sum(sources.seconds.values())},
        start=clock[0],
    )  # fmt: skip


def _kept(domains: Domains, sources: Sources) -> Domains:
    """Without the samples that no backbone could read."""
    place = {name: i for i, name in enumerate(domains.samples.ids)}
    rows = np.array([place[name] for name in sources.samples.ids])
    oracle = None if domains.oracle is None else domains.oracle[rows]
    return dataclasses.replace(domains, samples=sources.samples, origin=domains.origin[rows], oracle=oracle)


def _one_mean(x: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Several sources are moved onto their common mean: what lies between them is no gap to the target."""
    if origin.max() < 1:
        return x
    x, mean = x.copy(), x[origin >= 0].mean(axis=0)
    for i in range(origin.max() + 1):
        x[origin == i] += mean - x[origin == i].mean(axis=0)
    return x


def answers_of(one: Candidate, x: np.ndarray, beside: Any) -> np.ndarray:
    """N x C probabilities for rows of the target's domain in the space, and what is beside them."""
    return softmax(one.head.logits(align.joined(one.aligned.target.transform(x), beside)), axis=1)


def _ladder(given, able, rehearsal, passing, progress) -> tuple[list[Candidate], list[Answer]]:
    """Source-only, every method as a student of its own answers, and the student of all that passed."""
    ladder: list[Candidate] = []
    answers: list[Answer] = []
    c = align.penalty(given)
    with progress.bar("aligning the domains", len(able)) as bar:
        for i, member in enumerate(able):
            start = time.monotonic()
            found = align.answer(given, member, c)
            answers.append(found)
            taught = align.teach(given, [found], c) if i else dataclasses.replace(found.aligned, head=found.head)
            note = found.aligned.note if found.aligned else "trained"
            about = {"passed": i in passing, "note": note, "seconds": time.monotonic() - start}
            ladder.append(_candidate(given, taught, member.name if i else "source-only", rehearsal.right[i], about))
            bar.advance()
    answers = [answers[i] for i in passing]
    if len(answers) > 2:
        start = time.monotonic()
        taught = align.teach(given, answers, c)
        about = {"passed": True, "note": f"{len(answers)} of {len(able)} methods{taught.note}"}
        about["seconds"] = time.monotonic() - start
        ladder.append(_candidate(given, taught, COMMITTEE, align.rehearsed(rehearsal, passing, given.ys), about))
    return ladder, answers


def _candidate(given, aligned, name, right, about) -> Candidate:
    logits = aligned.head.logits(align.joined(aligned.zt, given.beside and given.beside[1]))
    return Candidate(
        name=name, aligned=aligned, head=aligned.head, probabilities=softmax(logits, axis=1), right=right, **about
    )


def _gap(given: align.Domains, rehearsal: align.Rehearsal, base: Candidate, seed: int) -> dict[str, Any]:
    """Everything that is measured of the gap before anything adapted is looked at."""
    test = gap.mmd_test(given.xs, given.xt, seed=seed)
    prior = np.bincount(given.ys, minlength=given.n_classes) / len(given.ys)
    some = (prior + 1e-6) / (1 + 1e-6 * len(prior))  # a class without a source sample is no impossible one
    y = given.ys[rehearsal.rows]
    logits = np.log(np.maximum(rehearsal.probabilities, 1e-12))
    temperature = fit_temperature(y, logits)
    calibrated = evaluate.softmax(np.log(np.maximum(base.probabilities, 1e-12)), temperature)
    threshold = abstain(y, evaluate.softmax(logits, temperature))["threshold"]
    sure = evaluate.softmax(logits, temperature).max(1)
    return {
        "mmd2": test.mmd2,
        "p": test.p_value,
        "coral_distance": gap.coral_distance(given.xs, given.xt),
        "a_distance": gap.proxy_a_distance(given.xs, given.xt, seed=seed),
        "class_gaps": evaluate.finite(gap.class_gaps(given.xs, given.ys, given.xt, calibrated).tolist()),
        "prior_source": prior.tolist(),
        "prior_target": estimate_prior(calibrated, some).prior.tolist(),
        "temperature": temperature,
        "threshold": threshold,
        "unsure_source": float((sure < threshold).mean()),
        "unsure_target": float((calibrated.max(1) < threshold).mean()),
    }


def _choose(options, given, ladder, answers, measured, few) -> tuple[int, list[_guard.Test], str]:
    """The rung to ship: the committee, or the asked-for method, where the guard lets it pass; else source-only."""
    rest = [i for i, one in enumerate(ladder) if i and one.passed]
    if not rest:
        names = ", ".join(one.name for one in ladder[1:])
        return 0, [], f"Shipped: source-only. On the source itself {names} would do harm: none of them can be trusted."
    best = len(ladder) - 1 if ladder[-1].name == COMMITTEE else rest[0]
    base, adapted = ladder[0], ladder[best]
    evidence = _guard.Evidence(
        base=base.probabilities,
        adapted=adapted.probabilities,
        votes=np.stack([one.probabilities.argmax(1) for one in answers[1:]]),
        weights=align.weights(answers[1:]),
        source=np.stack([base.right, adapted.right]),
        prior=np.array(measured["prior_source"]),
        p_gap=measured["p"],
        few=few(base, adapted),
        seed=options.seed,
    )
    found = _guard.tests(evidence)
    refused = _guard.refusal(found)
    decided = (refused or found[-1]).name == "labels"
    unseen = "A few labels of the target decided." if decided else "No label of the target was used."
    if refused:
        return 0, found, f"Shipped: source-only. {adapted.name} is not: {refused.seen}. {unseen}"
    told = f" ({adapted.note})" if adapted.note else ""
    changed, why = (next(one.seen for one in found if one.name == name) for name in ("changes", found[-1].name))
    return best, found, f"Shipped: {adapted.name}{told}. Against source-only {changed}; {why}. {unseen}"


def _graft(one: Candidate, space: Space, sources: Sources, measured: dict[str, Any]) -> Graft:
    """The rung as a graft on the target's samples: one linear head on the sources as they come."""
    parts, head = space.unfolded(one.aligned.target, one.head)
    used = {part.source for part in parts}
    return Graft(
        parts=parts,
        head=head,
        classes=sources.samples.classes,
        modality=sources.samples.modality,
        method=one.name,
        temperature=measured["temperature"] if one.name == "source-only" else 1.0,
        threshold=measured["threshold"],
        backbones={name: about for name, about in sources.about.items() if name in used},
        prior=tuple(one.probabilities.mean(axis=0).tolist()),
    )
