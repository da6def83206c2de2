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
from torchgraft.core.errors import DataError, OptionError
from torchgraft.core.options import seconds
from torchgraft.core.progress import Progress
from torchgraft.core.runtime import one_thread
from torchgraft.evaluate import abstain, fit_temperature
from torchgraft.features import gap
from torchgraft.features.mapping import Identity
from torchgraft.fit import _guard, _several
from torchgraft.fit._asked import END_TO_END, asked
from torchgraft.fit._domains import FEW, SOURCE, TARGET, Domains, load_domains
from torchgraft.fit._inputs import backbone_names
from torchgraft.fit._sources import Sources, gather
from torchgraft.fit._space import Space
from torchgraft.fit.ladder import Skipped
from torchgraft.fit.options import FitOptions
from torchgraft.fit.plan import COMMITTEE
from torchgraft.model import Graft, LinearHead, MlpHead, Part, Tuned
from torchgraft.model.prior import estimate_prior
from torchgraft.train.select import clearness
from torchgraft.tune.base import Skip, take

_SELDOM = 0.05
"""Share of held-out source samples that is less sure than what is sure enough of a known class."""

_UNKNOWN = 0.3
"""Share of the target that is less sure than that, from which classes are suspected that the source lacks. Between the
domains of office10 2 to 25 % are, 19 to 43 % with two of ten classes unknown and 21 to 89 % with four; of the reviews 5
to 8 %.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """One rung: a method as a linear `head` on target rows mapped by `aligned`; its `probabilities` there (Nt x C).

    `right` tells which source samples it got right in the rehearsal, which it `passed` or not. `seconds` is wall time.
    Where it trained a backbone, its weights are `tuned`, the head stands on their pooled features (`aligned` is None),
    and `right` is on source samples held out from it, beside source-only's (`base_right`) on the same.
    """

    name: str
    aligned: align.Aligned | None
    head: LinearHead | MlpHead
    probabilities: np.ndarray
    right: np.ndarray
    passed: bool
    seconds: float
    note: str = ""
    tuned: Tuned | None = None
    base_right: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Adaptation:
    """Everything that a finished run with two domains knows; `ladder` begins with source-only.

    `several` holds the sources where there are more than one, with what they count.
    """

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
    several: tuple[_several.Source, ...] = ()

    def rows(self, part: str) -> np.ndarray:
        """The rows of a part: source, target, few labels, test."""
        return np.flatnonzero(self.sources.samples.split == part)


def run(options: FitOptions, progress: Progress) -> Adaptation:
    """Read both domains, extract features, measure the gap, rehearse, align, choose, without a label of the target."""
    start = time.monotonic()
    wanted = asked(options)
    domains = load_domains(options, progress)
    names = backbone_names(dataclasses.replace(options, method="auto"), domains.samples.modality)
    deadline = start + 0.8 * seconds(options.budget)
    sources = gather(domains.samples, names, engine=options.engine, deadline=deadline, progress=progress)
    domains = _kept(domains, sources)
    if wanted.end_to_end and not sources.backbones:
        raise OptionError(f"--settings {END_TO_END}=true trains a backbone, and feature arrays have none.")
    extracted = time.monotonic()
    with one_thread():
        found = _prepared(options, domains, sources, wanted, progress)
    if wanted.end_to_end:
        try:
            found.ladder.append(_through_backbone(options, wanted, found.given, sources, progress, start))
        except Skip as skip:
            found.skipped.append(Skipped(name=wanted.end_to_end, reason=str(skip)))
    with one_thread():
        return _finished(options, domains, sources, found, (start, extracted))


@dataclass(kw_only=True, eq=False)
class _Prepared:
    """Both domains in one space, and the answers of those that vote; a rung may still be added to `ladder`."""

    space: Space
    x: np.ndarray
    words: Any
    several: tuple[_several.Source, ...]
    given: align.Domains
    ladder: list[Candidate]
    voters: list[Answer]
    gap: dict
    skipped: list[Skipped]


def _prepared(options, domains, sources, wanted, progress) -> _Prepared:
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
    x = space.transform(sources.blocks)
    several = _several.weighed(x[both], domains.origin[both], options.source)
    x = _several.one_mean(x, domains.origin, several)
    words = space.beside(sources.blocks)
    given = align.Domains(
        xs=x[source],
        ys=y[source],
        xt=x[target],
        n_classes=len(sources.samples.classes),
        beside=None if words is None else (words[source], words[target]),
        weights=_several.each_row(several, domains.origin[source]),
    )
    able = align.able(given, wanted.members)
    skipped = [Skipped(name=one.name, reason=align.unable(given, one)) for one in wanted.members if one not in able]
    rehearsal = align.rehearse(given, able, seed=options.seed, progress=progress)
    ladder, voters = _ladder(given, able, rehearsal, progress, choose=wanted.choose)
    return _Prepared(
        space=space, x=x, words=words, several=several, given=given, ladder=ladder, voters=voters,
        gap=_gap(given, rehearsal, ladder[0], options.seed), skipped=skipped,
    )  # fmt: skip


def _finished(options, domains, sources, found: _Prepared, clock) -> Adaptation:
    samples, ladder = sources.samples, found.ladder
    few = np.flatnonzero(samples.split == FEW)

    def answered(one: Candidate) -> np.ndarray:
        if one.tuned:
            return _graft(one, found.space, sources, found.gap).predict(samples.take(few)).probabilities
        return answers_of(one, found.x[few], None if found.words is None else found.words[few])

    def labelled(*candidates: Candidate) -> tuple[np.ndarray, ...] | None:
        return (samples.y[few], *map(answered, candidates)) if len(few) else None

    index, tests, sentence = _choose(options, found.given, ladder, found.voters, found.gap, labelled)
    return Adaptation(
        domains=domains, sources=sources, space=found.space, x=found.x, gap=found.gap, ladder=tuple(ladder),
        index=index, tests=tuple(tests), skipped=(*sources.skipped, *found.skipped), several=found.several,
        sentence=" ".join(filter(None, (sentence, _several.told(found.several)))),
        graft=_graft(ladder[index], found.space, sources, found.gap),
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


def answers_of(one: Candidate, x: np.ndarray, beside: Any) -> np.ndarray:
    """N x C probabilities for rows of the target's domain in the space, and what is beside them."""
    return softmax(one.head.logits(align.joined(one.aligned.target.transform(x), beside)), axis=1)


def _ladder(given, able, rehearsal, progress, *, choose: bool) -> tuple[list[Candidate], list[Answer]]:
    """Source-only, every method as a student of its own answers, and the student of all that passed; who votes.

    With `choose`, of one method with several settings only the one passes whose answers are clearest and most varied.
    Where those that passed are no committee, the first of them is what can be shipped, and the others vote on it with
    those that lose a little more in the rehearsal.
    """
    ladder: list[Candidate] = []
    passing = rehearsal.passing(align.MARGIN)
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
    if choose:
        passing = _one_of_each(able, answers, passing, np.bincount(given.ys, minlength=given.n_classes) / len(given.ys))
        others = "another setting is clearer"
        ladder = [one if i in passing or not one.passed else dataclasses.replace(one, passed=False, note=others)
                  for i, one in enumerate(ladder)]  # fmt: skip
    enough = len({one.method for one in able}) - 1 if choose else align.QUORUM
    if len(passing) - 1 < max(2, min(align.QUORUM, enough)):  # two that were asked for by name are enough
        own = {able[i].method for i in passing} if choose else ()  # other settings of a method don't vote on it
        bench = [i for i in rehearsal.passing(align.BENCH) if i in passing or able[i].method not in own]
        return ladder, [answers[i] for i in bench if i]
    start = time.monotonic()
    members = [answers[i] for i in passing]
    taught = align.teach(given, members, c)
    about = {"passed": True, "note": f"{len(members)} of {len(able)} methods{taught.note}"}
    about["seconds"] = time.monotonic() - start
    ladder.append(_candidate(given, taught, COMMITTEE, align.rehearsed(rehearsal, passing, given.ys), about))
    return ladder, members[1:]


def _one_of_each(able, answers, passing: list[int], prior: np.ndarray) -> list[int]:
    """Of every method the passing member with the clearest answers; one that has collapsed only where all have."""
    clear = {i: np.nan_to_num(clearness(answers[i].probabilities, prior), nan=-1.0) for i in passing}
    methods = dict.fromkeys(able[i].method for i in passing)
    return [max((i for i in passing if able[i].method == method), key=clear.get) for method in methods]


def _through_backbone(options, wanted, given, sources, progress, start) -> Candidate:
    """The method trained end to end through the first backbone. Raises `Skip` where the budget is too short."""
    from torchgraft.fit import _end_to_end  # loads torch

    begin = time.monotonic()
    name, backbone = next(iter(sources.backbones.items()))
    split = sources.samples.split
    source, target = np.flatnonzero(split == SOURCE), np.flatnonzero(split == TARGET)
    held = _end_to_end.held_out(given.ys, options.seed)
    task = _end_to_end.Task(
        backbone=backbone,
        pooling=sources.about[name]["pooling"],
        source=take(sources.samples.x, source),
        target=take(sources.samples.x, target),
        ys=given.ys,
        zs=np.asarray(sources.blocks[name][source], dtype=np.float32),
        zt=np.asarray(sources.blocks[name][target], dtype=np.float32),
        n_classes=given.n_classes,
        held=held,
    )
    deadline = start + 0.95 * seconds(options.budget) - 2  # the report takes a little too
    found = _end_to_end.train(
        task, wanted.end_to_end, wanted.settings, seed=options.seed, deadline=deadline, progress=progress
    )
    fit = np.setdiff1d(np.arange(len(given.ys)), held)
    part = given.half(fit, held)
    base = align.answer(part, Member(SOURCE_ONLY), align.penalty(part)).probabilities
    return Candidate(
        name=wanted.end_to_end, aligned=None, head=found.head, probabilities=found.probabilities, right=found.right,
        passed=True, seconds=time.monotonic() - begin, note=found.note, tuned=found.tuned,
        base_right=base.argmax(1) == given.ys[held],
    )  # fmt: skip


def _candidate(given, aligned, name, right, about) -> Candidate:
    logits = aligned.head.logits(align.joined(aligned.zt, given.beside and given.beside[1]))
    return Candidate(
        name=name, aligned=aligned, head=aligned.head, probabilities=softmax(logits, axis=1), right=right, **about
    )


def _gap(given: align.Domains, rehearsal: align.Rehearsal, base: Candidate, seed: int) -> dict[str, Any]:
    """Everything that is measured of the gap before anything adapted is looked at."""
    test = gap.mmd_test(given.xs, given.xt, seed=seed)
    prior = np.bincount(given.ys, given.weights, minlength=given.n_classes) / len(given.ys)
    some = (prior + 1e-6) / (1 + 1e-6 * len(prior))  # a class without a source sample is no impossible one
    y = given.ys[rehearsal.rows]
    logits = np.log(np.maximum(rehearsal.probabilities, 1e-12))
    temperature = fit_temperature(y, logits)
    calibrated = evaluate.softmax(np.log(np.maximum(base.probabilities, 1e-12)), temperature)
    threshold = abstain(y, evaluate.softmax(logits, temperature))["threshold"]
    sure = evaluate.softmax(logits, temperature).max(1)
    floor = float(np.quantile(sure, _SELDOM))
    unsure = float((calibrated.max(1) < floor).mean())
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
        "unsure_source": float((sure < floor).mean()),
        "unsure_target": unsure,
        "open_set": unsure > _UNKNOWN,
    }


def _choose(options, given, ladder, voters, measured, few) -> tuple[int, list[_guard.Test], str]:
    """The rung to ship: the committee, or the asked-for method, where the guard lets it pass; else source-only."""
    rest = [i for i, one in enumerate(ladder) if i and one.passed]
    if not rest:
        names = ", ".join(one.name for one in ladder[1:])
        return 0, [], f"Shipped: source-only. On the source itself {names} would do harm: none of them can be trusted."
    last = ladder[-1]
    best = len(ladder) - 1 if last.name == COMMITTEE or last.tuned else rest[0]
    base, adapted = ladder[0], ladder[best]
    base_right = base.right if adapted.base_right is None else adapted.base_right
    voters = [one for one in voters if one.member.name != adapted.name]
    evidence = _guard.Evidence(
        base=base.probabilities,
        adapted=adapted.probabilities,
        votes=np.stack([one.probabilities.argmax(1) for one in voters]) if voters else np.zeros((0, len(given.xt))),
        weights=align.weights(voters),
        source=np.stack([base_right, adapted.right]) if len(adapted.right) else None,
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
    """The rung as a graft on the target's samples: one linear head on the sources as they come, or its own backbone."""
    about, tuned = dict(sources.about), {}
    if one.tuned:
        name = one.tuned.name
        parts, head, tuned = (Part(name, Identity()),), one.head, {name: one.tuned}
        about[name] = {**about[one.tuned.base], "name": name, "base": one.tuned.base, "revision": one.tuned.digest}
    else:
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
        backbones={name: one for name, one in about.items() if name in used},
        tuned=tuned,
        prior=tuple(one.probabilities.mean(axis=0).tolist()),
    )
