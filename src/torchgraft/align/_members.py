"""What a committee is made of: alignments of several kinds, each with a classifier; and the test they have to pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.special import softmax

from torchgraft.align._classify import Logistic, joined
from torchgraft.align.base import Aligned, Domains
from torchgraft.core import registry
from torchgraft.core.options import build
from torchgraft.core.progress import SILENT, Progress
from torchgraft.model import Head

SOURCE_ONLY = "none"

_MOST = 2000
"""Source samples that a rehearsal uses at most."""


@dataclass(frozen=True)
class Member:
    """A method of this room with its settings. Members of one `kind` (empty: the method) have one vote together."""

    method: str
    settings: tuple[tuple[str, Any], ...] = ()
    kind: str = ""

    @property
    def name(self) -> str:
        """`standardise(mean)`, for people."""
        return titled(self.method, self.settings)


def titled(method: str, settings: Sequence[tuple[str, Any]]) -> str:
    """A method with what was set: a word as it is, True by its name, other values with theirs."""
    words = [str(v) if isinstance(v, str) else name if v is True else f"{name}={v}" for name, v in settings]
    return f"{method}({', '.join(words)})" if words else method


class Voter(Protocol):
    """Whoever answers as a member does, without being a method of this room."""

    name: str
    method: str

    def answer(self, domains: Domains) -> Answer:
        """What it says of the target. It sees the features alone, not what is beside them."""
        ...


MEMBERS = (
    Member(SOURCE_ONLY),
    Member("standardise", (("moments", "mean"),), "moments"),
    Member("standardise", (("moments", "variance"),), "moments"),
    Member("coral", kind="covariances"),
    Member("linear_ot", kind="covariances"),
    Member("sa", kind="subspaces"),
    Member("gfk", kind="subspaces"),
    Member("tca"),
    Member("jda"),
    Member("sinkhorn"),
    Member("pseudo_label", (("moments", "mean"),)),
    Member("pseudo_label", (("moments", "variance"),)),
    Member("pseudo_label", (("moments", "l2"),)),
    Member("centroids"),
    Member("centroids", (("align_means", True),)),
)
"""Source-only first. Moments, subspaces, transport, guessed classes, clusters: what one of them assumes and the target
does not hold, another does without."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What a member says of the target: `probabilities` (Nt x C); the alignment and the classifier fitted on it.

    Both are None where it answers by itself.
    """

    member: Member | Voter
    probabilities: np.ndarray
    aligned: Aligned | None = None
    head: Head | None = None


def weights(answers: Sequence[Answer]) -> np.ndarray:
    """What each answer counts, 1 in all: every kind of method the same, and so the members of one kind."""
    kinds = [getattr(one.member, "kind", "") or one.member.method for one in answers]
    each = np.array([1 / kinds.count(kind) for kind in kinds])
    return each / each.sum()


def penalty(domains: Domains) -> float:
    """The C of logistic regression that the source asks for, for all members alike (see `Logistic.choose`)."""
    zs = joined(domains.xs, domains.beside and domains.beside[0])
    return Logistic(zs, domains.n_classes).choose(zs, domains.ys, domains.weights)


def answer(domains: Domains, member: Member | Voter, c: float) -> Answer:
    """Align, then fit logistic regression on the aligned source, unless the method brings a classifier of its own."""
    if not isinstance(member, Member):
        return member.answer(domains)
    entry = registry.get("align", member.method)
    settings = dict(member.settings) | ({"c": c} if "c" in entry.Options.__dataclass_fields__ else {})
    aligned = entry.fit(domains, build(entry.Options, settings, where=member.method))
    own, other = domains.beside or (None, None)
    if aligned.head is None:
        zs = joined(aligned.zs, own)
        weights = domains.weights if aligned.weights is None else aligned.weights
        head = Logistic(zs, domains.n_classes).fit(zs, domains.ys, c, weights)
    else:
        head = aligned.head
        if head.weight.shape[1] == aligned.zt.shape[1]:  # it looked at the aligned columns alone
            other = None
    return Answer(member, softmax(head.logits(joined(aligned.zt, other)), axis=1), aligned, head)


def unable(domains: Domains, member: Member | Voter) -> str:
    """Why a member can't run on these domains; empty where it can."""
    return registry.get("align", member.method).applies(domains) if isinstance(member, Member) else ""


def able(domains: Domains, members: Sequence[Member | Voter]) -> list[Member | Voter]:
    """Those that can run on these domains."""
    return [one for one in members if not unable(domains, one)]


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """Which answers on n `rows` of the source are `right` (members x n), and source-only's `probabilities` (n x C).

    `halves` are the two problems that were made of the source: which of the n rows were asked, the domains, the penalty
    and every member's answer.
    """

    right: np.ndarray
    rows: np.ndarray
    probabilities: np.ndarray
    halves: tuple[tuple[np.ndarray, Domains, float, list[Answer]], ...]

    def passing(self, margin: float) -> list[int]:
        """The members that lose at most `margin` of accuracy against the first, source-only."""
        accuracy = self.right.mean(axis=1)
        return [i for i in range(len(accuracy)) if accuracy[i] >= accuracy[0] - margin - 1e-9]


def rehearse(domains: Domains, members: Sequence[Member], *, seed: int = 0, progress: Progress = SILENT) -> Rehearsal:
    """Each member on the source alone: fitted on one half with its labels, asked of the other without, and back.

    Between the halves there is no shift: whoever is worse than source-only there trusts in something that these
    classes do not hold (that they are clusters, say, or that a nearest neighbour is of the same class). At most 2000
    random samples take part.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(domains.xs))[:_MOST])
    half = np.empty(len(rows), dtype=np.int64)
    for c in np.unique(domains.ys[rows]):
        own = rng.permutation(np.flatnonzero(domains.ys[rows] == c))
        half[own] = np.arange(len(own)) % 2
    right = np.zeros((len(members), len(rows)), dtype=bool)
    first = np.zeros((len(rows), domains.n_classes))
    halves = []
    with progress.bar("rehearsing on the source", 2 * len(members)) as bar:
        for side in (0, 1):
            asked = half == side
            part = domains.half(rows[~asked], rows[asked])
            c, answers = penalty(part), []
            for i, member in enumerate(members):
                answers.append(answer(part, member, c))
                right[i, asked] = answers[-1].probabilities.argmax(1) == domains.ys[rows[asked]]
                bar.advance()
            first[asked] = answers[0].probabilities
            halves.append((asked, part, c, answers))
    return Rehearsal(right, rows, first, tuple(halves))
