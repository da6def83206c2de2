"""Methods for a labelled target: each file here is one, found by its name. What they are given and give is in `base`."""

from torchgraft.tune.base import Candidate, Fold, Problem

__all__ = ["Candidate", "Fold", "Problem"]
