"""Alignment of a labelled source and an unlabelled target on features: each file here is one method."""

from torchgraft.align._classify import joined
from torchgraft.align._members import (
    MEMBERS,
    SOURCE_ONLY,
    Answer,
    Member,
    Rehearsal,
    Voter,
    able,
    answer,
    penalty,
    rehearse,
    titled,
    unable,
    weights,
)
from torchgraft.align.base import Aligned, Domains, align
from torchgraft.align.committee import BENCH, MARGIN, QUORUM, rehearsed, teach

__all__ = [
    "BENCH",
    "MARGIN",
    "QUORUM",
    "MEMBERS",
    "SOURCE_ONLY",
    "Aligned",
    "Answer",
    "Domains",
    "Member",
    "Rehearsal",
    "Voter",
    "able",
    "align",
    "answer",
    "joined",
    "penalty",
    "rehearse",
    "rehearsed",
    "teach",
    "titled",
    "unable",
    "weights",
]
