"""Methods for a labelled target: each file here is one, found by its name; `base` has what they are given and give."""

from torchgraft.tune._expected import expected_seconds
from torchgraft.tune.base import Candidate, Fold, Problem

__all__ = ["Candidate", "Fold", "Problem", "expected_seconds"]
