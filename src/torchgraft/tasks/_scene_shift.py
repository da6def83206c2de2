"""Segmentation between two domains: labelled scenes, others without labels, and a choice made without them.

Every candidate is the exact pixel probe on one frozen network (see `tune.pixel_probe`), so all of them together cost
what drawing the levels costs, and what is shipped is a linear decoder like any other. Ways that change the network
(AdaBN, AdvEnt) are tried where they are asked for by name, and stand the same tests.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from torchgraft.core import registry
from torchgraft.core.progress import Progress
from torchgraft.core.runtime import one_thread
from torchgraft.data import IGNORE, ReadOptions, Samples, read
from torchgraft.evaluate import fit_temperature
from torchgraft.model import Decoder, LinearHead, SceneGraft, Tuned
from torchgraft.tasks import _scene_guard, _scene_shift_report
from torchgraft.tasks._scene_adabn import adabn
from torchgraft.tasks._scene_advent import SceneAdvent
from torchgraft.tasks._scene_asked import ADABN, SELF_TRAINING, TRAINED, Asked, asked
from torchgraft.tasks._scene_maps import counted
from torchgraft.tasks._scene_own import Own
from torchgraft.tasks._scene_pixels import probabilities
from torchgraft.tasks._scene_rehearsal import (
    PLAIN,
    SOURCE_ONLY,
    STANDARDISE,
    Rehearsal,
    Way,
    fitted,
    standardised,
    taught,
)
from torchgraft.tasks._scene_setting import Setting, network_of, prepared

SHARE = 0.3
"""Of the answers for each class, the surest so many are learnt in self-training."""

ROUNDS = 1
"""Rounds of self-training."""

WAYS = (
    Way(name=SOURCE_ONLY),
    Way(name=STANDARDISE, standardised=True),
    Way(name="fda", looks=("fda",)),
    Way(name="moments", looks=("moments",)),
    Way(name="camera", looks=("camera",)),
    Way(name="looks", looks=("fda", "moments", "camera")),
)
"""Simplest first. Self-training follows, on top of the best of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tried:
    """A way as it would be shipped: its `head`, its answers `p` for the target's drawn pixels (M x P x C), and `counts`
    (n x C x C) of the rehearsal: pixels of held-out source scenes, summed over the looks that it was asked about.
    `own`: the network under the head, where it is not the frozen one.
    """

    way: Way
    head: LinearHead
    p: np.ndarray
    counts: np.ndarray
    seconds: float
    own: Own | None = None

    @property
    def name(self) -> str:
        """The way's."""
        return self.way.name


@dataclass(frozen=True, kw_only=True, eq=False)
class Shift:
    """A finished run. `ladder` begins with source-only, `asked` are the ways that stood for choice; `gains` are those
    of the rehearsal, `oracle_counts` (K x M x C x C) those of the target's masks where `--oracle-labels` asked for
    them; `skipped`: what was left out, and why.
    """

    setting: Setting
    ladder: tuple[Tried, ...]
    asked: tuple[str, ...]
    gains: tuple[dict, ...]
    tests: tuple[_scene_guard.Test, ...]
    index: int
    sentence: str
    graft: SceneGraft
    means: tuple[np.ndarray, np.ndarray]
    prior: np.ndarray
    skipped: tuple[tuple[str, str], ...] = ()
    oracle_counts: np.ndarray | None = None


def run(options: Any, progress: Progress) -> Shift:
    """Read both domains, try every way that is asked for, choose one without a label of the target."""
    wanted = asked(options)
    with one_thread():
        setting = prepared(options, progress)
        rehearsal = Rehearsal(setting.source, setting.fit, setting.held, setting.c, SHARE)
        ladder, start = _on_the_frozen_network(setting, rehearsal, wanted, progress)
    late = "the budget was too short to look at the source so"
    skipped = [(name, late) for name in setting.skipped]
    for name in [name for name in TRAINED if name in wanted.ways]:
        found = _with_its_own(name, setting, rehearsal, start, wanted, progress)
        if isinstance(found, Tried):
            ladder.append(found)
        else:
            skipped.append((name, found))
    with one_thread():
        return _chosen(setting, rehearsal, ladder, wanted, skipped)


def _on_the_frozen_network(
    setting: Setting, rehearsal: Rehearsal, wanted: Asked, progress: Progress
) -> tuple[list[Tried], Way]:
    """The exact probes, those that are not asked for too: they vote. And the one that others begin with."""
    heads: dict[tuple[str, ...], LinearHead] = {}
    ways = [way for way in WAYS if not set(way.looks) & set(setting.skipped)]
    ladder = tried(setting, rehearsal, ways, heads, progress)
    evidence = _evidence(setting, ladder)
    among = [i for i, one in enumerate(ladder) if one.name in wanted.bases]
    best = ladder[_scene_guard.preferred(evidence, _scene_guard.gains(evidence), among)].way
    if SELF_TRAINING in wanted.ways:
        learner = dataclasses.replace(best, name=SELF_TRAINING, taught=ROUNDS)
        ladder += tried(setting, rehearsal, [learner], heads, progress)
    return ladder, best


def _with_its_own(
    name: str, setting: Setting, rehearsal: Rehearsal, start: Way, wanted: Asked, progress: Progress
) -> Tried | str:
    """A way that changes the network, or why it was left out."""
    begun = time.monotonic()
    if name == ADABN:
        way = Way(name=name)
        with one_thread():
            own: Own | str = adabn(setting, rehearsal, progress)
    else:
        way = Way(name=name, looks=start.looks)  # what standardises is for the frozen network

        def head(rows: np.ndarray, looks: Sequence[str]) -> LinearHead:
            with one_thread():
                return fitted(setting.source, rows, looks, setting.c)

        own = SceneAdvent(setting, way, wanted.advent, progress).run(rehearsal, head)
    if isinstance(own, str):
        return own
    shipped = LinearHead(*own.network.decoder.head())
    return Tried(way=way, head=shipped, p=own.p, counts=own.counts, seconds=time.monotonic() - begun, own=own)


def _chosen(
    setting: Setting,
    rehearsal: Rehearsal,
    ladder: Sequence[Tried],
    wanted: Asked,
    skipped: Sequence[tuple[str, str]],
) -> Shift:
    """Put the clearest of what was asked for to the test."""
    evidence = _evidence(setting, ladder)
    gains = _scene_guard.gains(evidence)
    among = [i for i, one in enumerate(ladder) if one.name in wanted.ways]
    k, domains = _scene_guard.preferred(evidence, gains, among), setting.domains
    few = counted(setting, [ladder[0], ladder[k]], domains.few) if k and domains.few else None
    found = _scene_guard.tests(evidence, k, gains[k], few) if k else []
    refused = _scene_guard.refusal(found)
    index = 0 if refused else k
    return Shift(
        setting=setting,
        ladder=tuple(ladder),
        asked=wanted.ways,
        gains=tuple(gains),
        tests=tuple(found),
        index=index,
        sentence=_sentence(ladder[k], found, refused, bool(among)),
        graft=graft_of(setting, rehearsal, ladder[index]),
        means=evidence.means,
        prior=evidence.prior,
        skipped=tuple(skipped),
        oracle_counts=counted(setting, ladder, domains.oracle) if domains.oracle else None,
    )


def between_domains(options: Any, progress: Progress) -> tuple[SceneGraft, Samples, dict[str, Any]]:
    """The graft to ship, scenes of the target that check it when it is loaded, and the report but for what a run adds.

    Raises as `_scene_asked.asked` and `_scene_domains.load_scenes`.
    """
    found = run(options, progress)
    report = _scene_shift_report.told(found, options)
    if options.test:
        task = registry.get("tasks", SceneGraft.task)
        report["test"], more = task.evaluate(found.graft, read(options.test, ReadOptions()), progress=progress)
        report["data"]["findings"] += [dataclasses.asdict(one) for one in more]
    return found.graft, found.setting.domains.target.take(np.arange(2)), report


def _sentence(
    one: Tried, found: Sequence[_scene_guard.Test], refused: _scene_guard.Test | None, tried_any: bool
) -> str:
    decided = bool(found) and (refused or found[-1]).name == _scene_guard.LABELS
    unseen = "A few labels of the target decided." if decided else "No label of the target was used."
    if not tried_any:
        return f"Shipped: source_only. There was no time for what was asked for. {unseen}"
    if not found:
        return (
            f"Shipped: source_only. In the rehearsal on the source every way that stood for choice does harm. {unseen}"
        )
    if refused:
        return f"Shipped: source_only. {one.name} is not: {refused.seen}. {unseen}"
    changed, why = (test.seen for test in found if test.name in ("changes", "clearness", _scene_guard.LABELS))
    return f"Shipped: {one.name}. Against source_only {changed}; {why}. {unseen}"


def _evidence(setting: Setting, ladder: Sequence[Tried]) -> _scene_guard.Evidence:
    everything = np.arange(len(setting.source.y))
    labels = setting.source.anywhere[setting.source.anywhere != IGNORE]
    return _scene_guard.Evidence(
        names=tuple(one.name for one in ladder),
        answers=np.stack([one.p for one in ladder]),
        counts=np.stack([one.counts for one in ladder]),
        prior=np.bincount(labels, minlength=setting.source.classes) / len(labels),
        means=(setting.source.uniform(PLAIN, everything).mean(1), setting.target.mean(1)),
        votes=tuple(
            i for i, one in enumerate(ladder) if i and len(one.way.looks) < 2 and not one.way.taught and not one.own
        ),
        seed=setting.seed,
        base={i: one.own.base for i, one in enumerate(ladder) if one.own},
    )


def tried(setting: Setting, rehearsal: Rehearsal, ways: Sequence[Way], heads: dict, progress: Progress) -> list[Tried]:
    """Every way, fitted on the whole source and rehearsed; `heads`: what was fitted under which looks, kept."""
    found = []
    with progress.bar("ways to the target", len(ways)) as bar:
        for way in ways:
            start = time.monotonic()
            head = _carried(setting, way, heads)
            found.append(
                Tried(
                    way=way,
                    head=head,
                    p=probabilities(head, setting.target),
                    counts=sum(rehearsal.counts(way, look) for look in setting.source.looks),
                    seconds=time.monotonic() - start,
                )
            )
            bar.advance()
    return found


def graft_of(setting: Setting, rehearsal: Rehearsal, one: Tried) -> SceneGraft:
    """What is shipped: a linear decoder on the frozen network, or on its own, for scenes of the target's size."""
    source, backbone = setting.domains.source, setting.backbone
    network = network_of(backbone, setting.source.classes)
    network.decoder.from_head(one.head.weight, one.head.bias)
    name, about, tuned = backbone.name, dict(backbone.describe()), {}
    if one.own:
        changed = Tuned.of(backbone, one.own.network.levels.module)
        name, tuned = changed.name, {changed.name: changed}
        about |= {"name": name, "base": backbone.name, "revision": changed.digest}
    return SceneGraft(
        source=name,
        decoder=Decoder(
            name="linear", arrays={key: t.detach().numpy().copy() for key, t in network.decoder.state_dict().items()}
        ),
        scale=setting.loaders[1].scale,
        classes=source.classes,
        colours=source.masks.colours,
        method=one.name,
        temperature=one.own.temperature if one.own else _temperature(setting, rehearsal, one.way),
        backbones={name: about},
        tuned=tuned,
    )


def _carried(setting: Setting, way: Way, heads: dict[tuple[str, ...], LinearHead]) -> LinearHead:
    everything = np.arange(len(setting.source.y))
    if way.looks not in heads:
        heads[way.looks] = fitted(setting.source, everything, way.looks, setting.c)
    head = heads[way.looks]
    if way.standardised:
        head = standardised(head, setting.source.uniform(PLAIN, everything), setting.target)
    return taught(setting.source, everything, way.looks, setting.c, head, setting.target[:, ::4], way.taught, SHARE)


def _temperature(setting: Setting, rehearsal: Rehearsal, way: Way) -> float:
    """What fits the logits for any pixel of held-out source scenes under looks that the way was not fitted under."""
    logits, labels = [], []
    for look in setting.source.looks:
        y = setting.source.anywhere[setting.held].ravel()
        z = setting.source.uniform(look, setting.held).reshape(len(y), -1)[y != IGNORE]
        logits.append(rehearsal.carried(way, look).logits(z))
        labels.append(y[y != IGNORE].astype(np.int64))
    return fit_temperature(np.concatenate(labels), np.concatenate(logits))
