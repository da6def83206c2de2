"""From a path to samples: read, checked, split. Loads no torch.

`read` picks a reader, `check` looks at every sample and leaves out what can't be used, `split` keeps a test part
aside, `folds` says which rows are held out when (`scene_folds`: of samples with masks). In that order.
"""

from torchgraft.data._check import check
from torchgraft.data._masks import IGNORE, Masks
from torchgraft.data._names import IMAGES, TABLES
from torchgraft.data._pairs import MASK_FOLDERS
from torchgraft.data._read import read
from torchgraft.data._scene_folds import scene_folds
from torchgraft.data._split import Fold, folds, split
from torchgraft.data._views import FRAME_BEFORE, joined_views, view_beside
from torchgraft.data.base import SPLITS, Finding, ReadOptions, Samples

__all__ = [
    "FRAME_BEFORE", "IGNORE", "IMAGES", "MASK_FOLDERS", "SPLITS", "TABLES", "Finding", "Fold", "Masks", "ReadOptions",
    "Samples", "check", "folds", "joined_views", "read", "scene_folds", "split", "view_beside",
]  # fmt: skip
