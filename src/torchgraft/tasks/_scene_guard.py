"""Which way to the target is shipped, without a label of it; each test says what it saw, as for whole photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import entr

from torchgraft.evaluate import paired_overlap
from torchgraft.features.gap import mmd_test
from torchgraft.train.select import collapsed

LEAST_CHANGED = 0.05
"""Share of the target's pixels that is answered otherwise, under which source-only does as well: learning looks of the
source's own domain beside changes 3 %, for better or worse (measured on CamVid)."""

TOLERATED = 0.02
"""mIoU that a way may lose in the rehearsal, unless that is beyond noise. Looks made from pictures are milder than the
shift itself, so the rehearsal shows harm and seldom a gain."""

_DRAWS = 500
_FEW = 4000  # pixels that the test for a collapse looks at


LABELS = "labels"
"""The test that a few labelled scenes of the target's domain are for."""


@dataclass(frozen=True, kw_only=True)
class Test:
    """One question to the evidence: what was asked, whether the way passed, and what was seen."""

    name: str
    passed: bool
    seen: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What is known of K ways, of which the first is source-only, without a label of the target.

    `answers` K x M x P x C: probabilities for P pixels of M target scenes. `counts` K x n x C x C: pixels of the n
    source scenes of the rehearsal. `prior` (C,): the source's class frequencies. `means`: the mean levels of each scene
    (N x D, M x D). `votes`: which ways were fitted under a single look, so that each stands for itself. `base`: where a
    way was rehearsed on other scenes, source-only's pixels on these (else those of `counts`).
    """

    names: tuple[str, ...]
    answers: np.ndarray
    counts: np.ndarray
    prior: np.ndarray
    means: tuple[np.ndarray, np.ndarray]
    votes: tuple[int, ...]
    seed: int = 0
    base: Mapping[int, np.ndarray] = field(default_factory=dict)


def gains(evidence: Evidence) -> list[dict]:
    """What each way gains on source-only in the rehearsal, in mIoU: `paired_overlap`, with an interval over scenes."""
    classes = [str(c) for c in range(evidence.counts.shape[2])]
    return [
        paired_overlap(evidence.base.get(k, evidence.counts[0]), one, classes, seed=evidence.seed, draws=_DRAWS)
        for k, one in enumerate(evidence.counts)
    ]


def preferred(evidence: Evidence, found: Sequence[dict], among: Sequence[int] | None = None) -> int:
    """The way to put to the test: the clearest on the target of those (of `among`) that do no harm in the rehearsal; 0
    for none.

    Clearest is the highest information maximisation, H(mean p) - mean H(p) (Shi and Sha, ICML 2012).
    """
    stand = range(1, len(found)) if among is None else [k for k in among if k]
    able = [k for k in stand if harmless(found[k])]
    return max(able, key=lambda k: clearness(evidence.answers[k]), default=0)


def harmless(gain: dict) -> bool:
    """Whether a way loses nothing in the rehearsal beyond noise, nor much within it."""
    return bool(gain["miou"]["high"] >= 0 and gain["miou"]["value"] >= -TOLERATED)


def tests(evidence: Evidence, k: int, gain: dict, few: np.ndarray | None = None) -> list[Test]:
    """All tests of way `k` against source-only, in the order in which they count: the first that fails refuses it.

    `few` 2 x F x C x C: pixels of labelled scenes of the target's domain as source-only and as the way answers them.
    They decide in the place of clearness and of the other ways' votes, unless both answer them alike.
    """
    changes = _changes(evidence, k)
    found = [_gap(evidence), changes, _collapse(evidence, k), _rehearsal(gain)]
    if few is not None and (few[0] != few[1]).any():
        return [*found, _labels(evidence, few)]
    found.append(_clearness(evidence, k))
    return [*found, _agreement(evidence, k)] if changes.passed and set(evidence.votes) - {k} else found


def refusal(found: Sequence[Test]) -> Test | None:
    """The first test that was not passed."""
    return next((one for one in found if not one.passed), None)


def clearness(p: np.ndarray) -> float:
    """H(mean p) - mean H(p) in nats, of ... x C probabilities."""
    flat = p.reshape(-1, p.shape[-1])
    return float(entr(flat.mean(0)).sum() - entr(flat).sum(1).mean())


def _gap(evidence: Evidence) -> Test:
    found = mmd_test(*evidence.means, seed=evidence.seed)
    passed = bool(found.p_value < 0.05)
    words = "the domains differ" if passed else "no gap can be seen: there is nothing to adapt to"
    return Test(name="gap", passed=passed, seen=f"MMD test on scenes, p = {found.p_value:.3f}: {words}")


def _changes(evidence: Evidence, k: int) -> Test:
    changed = float((evidence.answers[0].argmax(-1) != evidence.answers[k].argmax(-1)).mean())
    few = "" if changed >= LEAST_CHANGED else ", so few that source-only does"
    return Test(name="changes", passed=not few, seen=f"it changes {100 * changed:.1f} % of the pixels{few}")


def _collapse(evidence: Evidence, k: int) -> Test:
    base, own = (
        evidence.answers[i].reshape(-1, len(evidence.prior))[:: max(evidence.answers[i][..., 0].size // _FEW, 1)]
        for i in (0, k)
    )
    reason = collapsed(own, evidence.prior)
    if reason and collapsed(base, evidence.prior):
        return Test(name="collapse", passed=True, seen=f"{reason}; so it was before adaptation")
    return Test(name="collapse", passed=not reason, seen=reason or "no class has vanished or swallowed the others")


def _rehearsal(gain: dict) -> Test:
    found = gain["miou"]
    words = f"{100 * found['value']:+z.1f} points mIoU [{100 * found['low']:+z.1f}, {100 * found['high']:+z.1f}]"
    return Test(
        name="rehearsal",
        passed=harmless(gain),
        seen=f"{words} on held-out source scenes with looks of the target that it does not know",
    )


def _clearness(evidence: Evidence, k: int) -> Test:
    """Is what it answers clearer and as varied? The 95 % interval is over the target's scenes."""
    drawn = _draws(evidence)[:200]
    gain = [clearness(evidence.answers[k][some]) - clearness(evidence.answers[0][some]) for some in drawn]
    low, high = np.quantile(gain, [0.025, 0.975])
    words = f"H(mean p) - mean H(p) {np.mean(gain):+z.2f} nats [{low:+z.2f}, {high:+z.2f}]"
    told = "clearer and as varied" if low > 0 else "no clearer"
    return Test(name="clearness", passed=bool(low > 0), seen=f"its answers are {told}: {words}")


def _labels(evidence: Evidence, few: np.ndarray) -> Test:
    classes = [str(c) for c in range(few.shape[2])]
    found = paired_overlap(*few, classes, seed=evidence.seed, draws=_DRAWS)["miou"]
    words = f"on {few.shape[1]} labelled scenes of the target {100 * found['value']:+z.1f} points mIoU"
    words += f" [{100 * found['low']:+z.1f}, {100 * found['high']:+z.1f}]"
    return Test(name=LABELS, passed=bool(found["value"] >= 0), seen=f"{words} against source_only")


def _draws(evidence: Evidence) -> np.ndarray:
    """Scenes of the target drawn with replacement: draws x M."""
    scenes = evidence.answers.shape[1]
    return np.random.default_rng(evidence.seed).integers(0, scenes, (_DRAWS, scenes))


def _agreement(evidence: Evidence, k: int) -> Test:
    """Do ways of another kind side with it where both differ? Not where source-only has more, beyond the 95 % interval
    over the target's scenes.
    """
    base, own = (evidence.answers[i].argmax(-1) for i in (0, k))
    differ = base != own
    votes = np.stack([evidence.answers[i].argmax(-1) for i in evidence.votes if i != k])
    sides = np.stack([((votes == one) & differ).mean(0).sum(1) for one in (own, base)])  # 2 x M
    high = np.quantile((sides[0] - sides[1])[_draws(evidence)].sum(1), 0.975)
    share = 100 * sides.sum(1) / differ.sum()
    words = f"where both differ, {share[0]:.0f} % of the other ways side with it, {share[1]:.0f} % with source_only"
    return Test(name="agreement", passed=bool(high > 0), seen=words)
