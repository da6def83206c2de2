"""Many alignments asked at once: those that do harm where nothing has to be aligned are sent out, the rest vote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from torchgraft.align._classify import Logistic, joined, squared_distances, stacked
from torchgraft.align._members import MEMBERS, Answer, Rehearsal, able, answer, penalty, rehearse, weights
from torchgraft.align.base import Aligned, Domains, check_range, inductive, needs_labels
from torchgraft.align.centroids import lloyd
from torchgraft.align.standardise import Options as Moments
from torchgraft.align.standardise import fit as standardise
from torchgraft.model import LinearHead, as_sure_as

MARGIN = 0.01
"""Accuracy that a method may lose against source-only in the rehearsal."""

BENCH = 0.03
"""What it may lose to be asked still whose side it is on, where too few pass to be a committee."""

QUORUM = 3
"""Methods beside source-only that make a committee: of two, one outvotes nobody."""

_CLUSTERS = "centroids"
"""The method whose passing says that the classes are clusters."""


def applies(domains: Domains) -> str:
    """Classes in the source, and enough of it to be halved."""
    reason = needs_labels(domains)
    few = not reason and np.unique(domains.ys, return_counts=True)[1].max() < 2
    return reason or ("no class of the source has two samples" if few else "")


@dataclass(frozen=True, kw_only=True)
class Options:
    """`margin`: the accuracy, in [0, 1], that a method may lose against source-only on the source itself."""

    margin: float = MARGIN


def fit(domains: Domains, options: Options) -> Aligned:
    """Rehearse, ask the target of those that pass, and teach one classifier what they answer together.

    The mean of the members' probabilities, every kind of method counting the same, is its answer; where classes are
    clusters (centroids pass the rehearsal), k-means goes on from there. The student, logistic regression on the source
    and the answered target, each without its own mean, is what can be shipped. Its temperature is the one under which
    it is as sure as the committee was.
    """
    check_range(margin=(options.margin, 0, 1))
    members = able(domains, MEMBERS)
    passing = rehearse(domains, members).passing(options.margin)
    c = penalty(domains)
    answers = [answer(domains, members[i], c) for i in passing]
    note = f"{len(answers)} of {len(members)} methods passed the rehearsal"
    return teach(domains, answers, c, note=note)


def teach(domains: Domains, answers: Sequence[Answer], c: float, *, note: str = "") -> Aligned:
    """The student, with penalty `c`, of what `answers` say of the target together; see `fit`."""
    together = np.einsum("m,mnc->nc", weights(answers), np.stack([one.probabilities for one in answers]))
    labels = together.argmax(axis=1)
    clustered = any(one.member.method == _CLUSTERS for one in answers)
    if clustered:
        labels = _clusters(domains.xt, labels)
    means = standardise(domains, Moments(moments="mean"))
    own, other = domains.beside or (None, None)
    zs, zt = joined(means.zs, own), joined(means.zt, other)
    both = stacked(zs, zt)
    counted = None if domains.weights is None else np.concatenate([domains.weights, np.ones(len(labels))])
    student = Logistic(both, domains.n_classes).fit(both, np.concatenate([domains.ys, labels]), c, counted)
    temperature = as_sure_as(student.logits(zt), together)
    head = LinearHead(student.weight / temperature, student.bias / temperature)
    more = ", refined by k-means" if clustered else ""
    return inductive(domains, means.source, means.target, head=head, note=f"{note}{more}")


def rehearsed(rehearsal: Rehearsal, passing: Sequence[int], y: np.ndarray) -> np.ndarray:
    """Which of the n rehearsed rows the student of the `passing` members gets right, of N classes `y` of the source."""
    right = np.zeros(len(rehearsal.rows), dtype=bool)
    for asked, part, c, answers in rehearsal.halves:
        taught = teach(part, [answers[i] for i in passing], c)
        logits = taught.head.logits(joined(taught.zt, part.beside and part.beside[1]))
        right[asked] = logits.argmax(1) == y[rehearsal.rows[asked]]
    return right


def _clusters(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """k-means on rows of length 1, from the means of the classes in `labels`, which name the clusters."""
    z = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    present = np.unique(labels)
    centroids, _ = lloyd(z, np.stack([z[labels == c].mean(axis=0) for c in present]), 100)
    return present[squared_distances(z, centroids).argmin(axis=1)]
