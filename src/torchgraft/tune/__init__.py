"""Methods for a labelled target: each file here is one, found by its name; `base` has what they are given and give."""

from torchgraft.core.lazy import lazy
from torchgraft.tune._expected import expected_seconds
from torchgraft.tune.base import Candidate, Fold, Problem

__all__ = ["Candidate", "Fold", "Problem", "draw", "expected_seconds", "rarity"]

# what loads torch waits until it is asked for
__getattr__ = lazy("torchgraft.tune", {"draw": "torchgraft.tune._pixels", "rarity": "torchgraft.tune._pixels"})
