"""From a path to samples: read, checked, split. Loads no torch.

`read` picks a reader, `check` looks at every sample and leaves out what can't be used, `split` keeps a test part
aside, `folds` says which rows are held out when. In that order.
"""

from torchgraft.data._check import check
from torchgraft.data._names import IMAGES, TABLES
from torchgraft.data._read import read
from torchgraft.data._split import Fold, folds, split
from torchgraft.data.base import SPLITS, Finding, ReadOptions, Samples

__all__ = ["IMAGES", "SPLITS", "TABLES", "Finding", "Fold", "ReadOptions", "Samples", "check", "folds", "read", "split"]
