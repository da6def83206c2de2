"""Which backbone: a race over what is at hand, on the features of the target's own samples, and what each one costs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from torchgraft.backbones import Offer
from torchgraft.core import options as core_options
from torchgraft.core import registry
from torchgraft.core.errors import DataError, UnknownName
from torchgraft.core.progress import SILENT, Progress
from torchgraft.core.runtime import keep_memory, wait_passively
from torchgraft.core.types import Estimate
from torchgraft.data import Finding, Samples
from torchgraft.evaluate.standings import Standing
from torchgraft.features.speed import Speed
from torchgraft.fit._candidates import candidates, limits_of
from torchgraft.fit._contest import SCORES, Arrays, Contest, Networks
from torchgraft.fit._inputs import load_data
from torchgraft.fit._race import Place, race
from torchgraft.fit.ladder import NEAR, Skipped
from torchgraft.fit.options import FitOptions, RankOptions
from torchgraft.rank import linear_probe

MOST = 4000
"""Samples that a ranking looks at, at most."""

SIMILARITY = "confidence"
"""The score that tells how near pretraining was."""

FIRST = 100
"""Samples of the first round at least; 8 of each class too."""


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """One backbone: how right a probe on it is, and what it costs.

    `about` is None for a feature file; so is `speed`, and where no time was left to measure it. `seconds` is the wall
    time that its features and scores took; `scores` holds those asked for beside, on the samples of its last round.
    `similarity`: how sure pretraining's own classifier is of these samples (see `rank.confidence`; NaN without one).
    `probing` and `tuning`: expected seconds of features and a probe, and of LP-FT, on all labelled samples (NaN: not
    measured).
    """

    name: str
    place: Place
    about: Offer | None
    speed: Speed | None
    seconds: float
    scores: Mapping[str, float]
    similarity: float = float("nan")
    probing: float = float("nan")
    tuning: float = float("nan")
    front: bool = False
    knee: bool = False

    @property
    def accuracy(self) -> float:
        """Of a linear probe, predicted by cross-validation."""
        return self.place.standing.scores[SCORES[0]].value

    @property
    def expected(self) -> float:
        """Accuracy that front and pick go by: the mean of both scores."""
        return self.place.standing.expected.value

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `graft rank --json` prints them."""
        scores = self.place.standing.scores
        about, speed = self.about, self.speed
        return {
            "backbone": self.name,
            "accuracy": predicted(self.place.standing, self.place.samples).to_dict(),
            "expected": _wider(self.place.standing.expected, self.place.samples).to_dict(),
            "knn": scores["knn"].to_dict(),
            "rank": self.place.standing.rank,
            "chance_best": self.place.chance_best,
            "by": list(self.place.standing.by),
            "samples": self.place.samples,
            "let_go": self.place.let_go,
            "parameters": about.parameters if about else None,
            "bytes": about.size if about else None,
            "licence": about.licence if about else None,
            "imagenet": about.imagenet if about else None,
            "latency_ms": 1e3 * speed.latency if speed else None,
            "images_per_second": speed.throughput if speed else None,
            "engine": speed.engine if speed else None,
            "seconds": self.seconds,
            "similarity": _plain(self.similarity),
            "minutes_to_probe": _plain(self.probing / 60),
            "minutes_to_fine_tune": _plain(self.tuning / 60),
            "scores": {name: _plain(value) for name, value in self.scores.items()},
            "front": self.front,
            "knee": self.knee,
        }


def predicted(standing: Standing, samples: int) -> Estimate:
    """Accuracy of the probe on new samples, with a 95 % interval: that of the samples, widened."""
    return _wider(standing.scores[SCORES[0]], samples)


def _wider(found: Estimate, samples: int) -> Estimate:
    """See `rank.linear_probe.correction`: answers of a cross-validation depend on each other."""
    wider = linear_probe.correction(samples)
    low, high = (found.value + wider * (end - found.value) for end in (found.low, found.high))
    return Estimate(found.value, max(low, 0.0), min(high, 1.0))


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The backbones, best first; who was left out; and what was found in the data."""

    rows: tuple[Ranked, ...]
    skipped: tuple[Skipped, ...]
    findings: tuple[Finding, ...]
    samples: Samples
    seconds: float

    @property
    def knee(self) -> Ranked:
        """The backbone to start from."""
        return knee(self.rows)

    @property
    def sentence(self) -> str:
        """The advice."""
        return advice(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `graft rank --json` prints them."""
        return {
            **told(self.rows),
            "skipped": [{"backbone": one.name, "reason": one.reason} for one in self.skipped],
            "samples": len(self.samples),
            "classes": list(self.samples.classes),
            "modality": self.samples.modality,
            "seconds": self.seconds,
        }


def knee(rows: Sequence[Ranked]) -> Ranked:
    """The backbone to start from."""
    return next(row for row in rows if row.knee)


def told(rows: Sequence[Ranked]) -> dict[str, Any]:
    """Plain values: `backbones`, and `advice` with the one to start from and a sentence."""
    return {
        "backbones": [row.to_dict() for row in rows],
        "advice": {"backbone": knee(rows).name, "sentence": advice(rows)},
    }


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def rank_backbones(options: RankOptions, *, progress: Progress = SILENT) -> Ranking:
    """Read and check the data, race the backbones on its labelled samples, measure what each costs.

    Samples of a test split are not looked at. Features stay in the store, where `fit` finds them. Raises `UserError`
    for anything that the user can mend.
    """
    keep_memory()
    wait_passively()
    start = time.monotonic()
    asked = scores(options.scores)
    data = FitOptions(target=options.data, text=options.text, label=options.label, seed=options.seed)
    samples, findings = load_data(data, progress)
    if not registry.get("tasks", samples.task).POOLED:
        raise DataError(f"{options.data} holds {samples.task} labels; a ranking goes by one label for each sample.")
    samples = few(samples.take(samples.split != "test"), options.seed)
    limits = limits_of(options)
    if samples.modality == "array":
        contest: Contest = Arrays(samples, options, progress)
        skipped: list[Skipped] = []
    else:
        known, skipped = candidates(
            samples.modality, options.backbones, limits, download=options.download, yes=options.yes
        )
        contest = Networks(samples, known, engine=options.engine, seed=options.seed, progress=progress)
        skipped += contest.too_slow(limits.latency)
    deadline = start + core_options.seconds(options.budget)
    rows = _with_tuning(run(contest, asked, deadline=deadline, full=options.full), contest, deadline)
    return Ranking(
        rows=rows,
        skipped=tuple(skipped),
        findings=findings,
        samples=samples,
        seconds=time.monotonic() - start,
    )


def _with_tuning(rows: Sequence[Ranked], contest: Contest, deadline: float) -> tuple[Ranked, ...]:
    """The rows with what LP-FT would take, measured for those that ran to the end, as long as there is time."""
    final = rows[0].place.samples
    return tuple(
        replace(row, tuning=contest.tuning(row.name, deadline))
        if row.place.samples == final and time.monotonic() < deadline
        else row
        for row in rows
    )


def scores(asked: str) -> tuple[str, ...]:
    """Names of scores from a comma-separated option, or `all`. Raises `UnknownName`."""
    known = registry.names("rank")
    names = known if asked == "all" else tuple(name.strip() for name in asked.split(",") if name.strip())
    for name in names:
        if name not in known:
            raise UnknownName("rank", name, known, see="See `graft list scores`.")
    return tuple(dict.fromkeys(name for name in names if name not in SCORES))


def few(samples: Samples, seed: int) -> Samples:
    """At most `MOST` samples, each class by its share (and 8 of it at least, where there are as many)."""
    return samples if len(samples) <= MOST else samples.take(np.sort(_first(samples.y, MOST / len(samples), seed)))


def rounds(y: np.ndarray, seed: int) -> list[np.ndarray]:
    """Nested rows of the rounds: an eighth, a quarter, a half, all; those under `FIRST` samples are left out."""
    shares = [share for share in (1 / 8, 1 / 4, 1 / 2) if share * len(y) >= FIRST]
    return [_first(y, share, seed) for share in (*shares, 1.0)]


def _first(y: np.ndarray, share: float, seed: int) -> np.ndarray:
    """The first rows of each class in one random order: more with a larger share, never others."""
    order = np.random.default_rng(seed).permutation(len(y))
    parts = [order[y[order] == c] for c in np.unique(y)]
    return np.concatenate([part[: max(int(np.ceil(share * len(part))), min(8, len(part)))] for part in parts])


def run(contest: Contest, asked: Sequence[str], *, deadline: float, full: bool = False) -> tuple[Ranked, ...]:
    """The race, then what each contestant costs, the front and its knee; best first.

    A quarter of the time until `deadline` is left for what comes after the race. Where it is short, only those that
    ran to the end are measured.
    """
    shared = rounds(contest.samples.y, contest.seed)
    now = time.monotonic()
    places = race(
        contest.names,
        shared[-1:] if full or len(contest.names) < 2 else shared,
        contest.ask,
        votes=contest.votes,
        deadline=now + 0.75 * (deadline - now),
        seed=contest.seed,
    )
    rows = []
    for place in places:
        name, final = place.standing.name, place.samples == places[0].samples
        late = time.monotonic() > deadline
        speed = None if late and not final else contest.speed(name)
        found = contest.scores(name, (SIMILARITY, *asked))
        rows.append(
            Ranked(
                name=name,
                place=place,
                about=contest.about(name),
                speed=speed,
                seconds=contest.seconds[name],
                scores={score: found[score] for score in asked},
                similarity=found[SIMILARITY],
                probing=len(contest.samples) / speed.throughput if speed else float("nan"),
            )
        )
    return _marked(rows)


def _marked(rows: list[Ranked]) -> tuple[Ranked, ...]:
    """The rows with their marks. On the front: nobody that ran as far is both faster and expected to be righter.

    Who was let go early beats nobody that ran further: what it got right are fewer samples. The knee, then, is on it,
    the fastest of those that ran to the end and are expected to be within `NEAR` of the best of them. That nobody beats
    it beyond noise would not do: on few samples that holds for ones that are ten points worse.
    """
    timed = [row for row in rows if row.speed or not rows[0].speed]
    front = {row.name for row in timed if not any(_dominates(other, row) for other in timed)}
    finals = [row for row in rows if row.place.samples == rows[0].place.samples]
    least = max(row.expected for row in finals) - NEAR
    near = [row for row in finals if row.expected >= least]
    best = min(near, key=lambda row: (_latency(row), -row.expected)).name
    return tuple(replace(row, front=row.name in front, knee=row.name == best) for row in rows)


def _latency(row: Ranked) -> float:
    return row.speed.latency if row.speed else 0.0


def _dominates(a: Ranked, b: Ranked) -> bool:
    faster, righter = _latency(b) - _latency(a), a.expected - b.expected
    return a.place.samples >= b.place.samples and faster >= 0 and righter >= 0 and (faster > 0 or righter > 0)


def advice(rows: Sequence[Ranked]) -> str:
    """One sentence: what to start from, how right it will be, and what stands against it."""
    pick = knee(rows)
    estimate = predicted(pick.place.standing, pick.place.samples)
    said = (
        f"Start from {pick.name}: a linear probe on it is right on about {100 * estimate.value:.1f} % "
        f"[{100 * estimate.low:.1f}, {100 * estimate.high:.1f}] of new samples"
    )
    finals = [row for row in rows if row.place.samples == pick.place.samples]
    likely = max(finals, key=lambda row: (round(row.place.chance_best, 2), row is pick))
    if likely is not pick:
        chances = " % against ".join(f"{100 * row.place.chance_best:.0f}" for row in (likely, pick))
        said += f". {likely.name} is likelier to be the best ({chances} %)"
        if _latency(likely) > _latency(pick):
            gain = max(100 * (likely.expected - pick.expected), 0)
            said += f", but takes {_latency(likely) / _latency(pick):.1f} times as long for {gain:.1f} points expected"
        return said + "."
    if len(rows) > 1:
        how = "with the ImageNet table counted in" if "imagenet" in pick.place.standing.by else "frozen"
        said += f"; {how}, it is the best of {len(rows)} with a chance of {100 * pick.place.chance_best:.0f} %"
    return said + "."
