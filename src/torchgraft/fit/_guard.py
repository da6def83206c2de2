"""Whether an adapted classifier is shipped, without a label of the target: each test says what it saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from torchgraft.evaluate import paired
from torchgraft.train.select import bootstrap_gain, collapsed, information_maximisation, source_kept

_LEAST_CHANGED = 0.005
"""Share of the target that is answered otherwise, under which the simpler classifier does as well."""

_DRAWS = 1000


@dataclass(frozen=True, kw_only=True)
class Test:
    """One question to the evidence: what was asked, whether the adapted classifier passed, and what was seen."""

    name: str
    passed: bool
    seen: str


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of an `adapted` classifier beside the one it started from (`base`); Nt x C probabilities each.

    `prior` holds the source's class frequencies. What is not known is None, and its test is not asked: `votes`, the
    classes that the other methods answered (methods x Nt), with `weights`, what each counts; `source`, whether base and
    adapted were right in the rehearsal (2 x n); `p_gap`, the p-value of the MMD test of a gap; `few`, labels of target
    samples and the probabilities of both for them.
    """

    base: np.ndarray
    adapted: np.ndarray
    prior: np.ndarray
    votes: np.ndarray | None = None
    weights: np.ndarray | None = None
    source: np.ndarray | None = None
    p_gap: float | None = None
    few: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    seed: int = 0


def tests(evidence: Evidence) -> list[Test]:
    """All tests that the evidence allows, in the order in which they count.

    With a few labels of the target these decide, and no vote is taken, unless both answer all of them alike. The first
    test that fails is the reason to ship what adaptation started from.
    """
    changes = _changes(evidence)
    found = [_gap(evidence)] if evidence.p_gap is not None else []
    found += [changes, _collapse(evidence)]
    found += [_source(evidence)] if evidence.source is not None else []
    silent = evidence.few is None or bool((evidence.few[1].argmax(1) == evidence.few[2].argmax(1)).all())
    if evidence.few:
        found.append(_labels(evidence))
    if silent and evidence.votes is not None and changes.passed:  # votes on what both answer alike say nothing
        found.append(_agreement(evidence))
    return found


def refusal(found: Sequence[Test]) -> Test | None:
    """The first test that was not passed."""
    return next((one for one in found if not one.passed), None)


def _gap(evidence: Evidence) -> Test:
    passed = bool(evidence.p_gap < 0.05)
    words = "the domains differ" if passed else "no gap can be seen: there is nothing to adapt to"
    return Test(name="gap", passed=passed, seen=f"MMD test, p = {evidence.p_gap:.3f}: {words}")


def _changes(evidence: Evidence) -> Test:
    changed = float((evidence.base.argmax(1) != evidence.adapted.argmax(1)).mean())
    few = "" if changed >= _LEAST_CHANGED else ", so few that the simpler one does"
    return Test(name="changes", passed=not few, seen=f"it changes {100 * changed:.1f} % of the answers{few}")


def _collapse(evidence: Evidence) -> Test:
    reason = collapsed(evidence.adapted, evidence.prior)
    if reason and collapsed(evidence.base, evidence.prior):
        return Test(name="collapse", passed=True, seen=f"{reason}; so it was before adaptation")
    return Test(name="collapse", passed=not reason, seen=reason or "no class has vanished or swallowed the others")


def _source(evidence: Evidence) -> Test:
    kept = source_kept(*evidence.source)
    lost = -100 * kept.change.value
    words = f"{'loses' if lost > 0 else 'gains'} {abs(lost):.1f} points in the rehearsal on the source"
    return Test(name="source", passed=bool(kept), seen=f"it {words}")


def _agreement(evidence: Evidence) -> Test:
    """Do the other methods side with it where both differ? Where they are even: are its answers clearer and as varied?

    Votes are counted on the samples that base and adapted answer otherwise; information maximisation, H(mean p) - mean
    H(p), on all. Each with a 95 % interval by resampling the target's samples.
    """
    words = ""
    if len(evidence.votes) > 1:  # one alone is no vote
        rows = np.flatnonzero(evidence.base.argmax(1) != evidence.adapted.argmax(1))
        sides = [
            evidence.weights @ (evidence.votes[:, rows] == p.argmax(1)[rows]) for p in (evidence.adapted, evidence.base)
        ]
        drawn = np.random.default_rng(evidence.seed).integers(0, len(rows), (_DRAWS, len(rows)))
        low, high = np.quantile((sides[0] - sides[1])[drawn].mean(1), [0.025, 0.975])
        words = f"where both differ, {100 * sides[0].mean():.0f} % of the methods side with it, "
        words += f"{100 * sides[1].mean():.0f} % with source-only"
        if low > 0 or high < 0:
            return Test(name="agreement", passed=bool(low > 0), seen=words)
        words += ", and "
    gain = bootstrap_gain(information_maximisation, evidence.base, evidence.adapted, seed=evidence.seed)
    words += "its answers are clearer and as varied" if gain.low > 0 else "its answers are no clearer"
    return Test(name="agreement", passed=bool(gain.low > 0), seen=words)


def _labels(evidence: Evidence) -> Test:
    y, base, adapted = evidence.few
    found = paired(y, base, adapted, seed=evidence.seed)
    gain = found["accuracy"]
    words = f"on {len(y)} labelled target samples {100 * gain['value']:+z.1f} points"
    words += f" [{100 * gain['low']:+z.1f}, {100 * gain['high']:+z.1f}]"
    return Test(name="labels", passed=bool(gain["value"] >= 0), seen=f"{words} against source-only")
