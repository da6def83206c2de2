"""Lets torchvision be imported where its compiled operators can't be loaded.

PyPI's torchvision is linked against CUDA. Beside a CPU-only torch its shared library does not load; torchvision bears
that, but then registers fake kernels for `torchvision::nms` and `torchvision::qnms`, which do not exist, and fails with
"operator torchvision::nms does not exist". timm and parts of transformers import torchvision and fail with it. No
backbone uses these operators, so their schemas alone are enough.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from importlib.util import find_spec

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@lru_cache(maxsize=1)
def declare() -> bool:
    """Declare the schemas of `nms` and `qnms` where the real operators are absent. Returns whether it had to.

    Call it before the first import of torchvision. Calling it again, or where torchvision works, is imported already
    or is not installed, changes nothing.
    """
    import torch

    if "torchvision" in sys.modules or _operators_load():
        return False
    # A library handle that is collected takes its schemas with it: `torch.library.define` keeps one for good.
    for name in ("nms", "qnms"):
        if hasattr(torch.ops.torchvision, name):
            continue  # somebody else has declared it for the same reason
        torch.library.define(f"torchvision::{name}", _SCHEMA)
    return True


def _operators_load() -> bool:
    """Whether torchvision's shared library loads; tried first, since the real operators can't be declared twice."""
    import torch

    # Windows needs extra library folders to be registered before the load, and its wheels are CPU-only anyway.
    package = find_spec("torchvision")
    if sys.platform == "win32" or package is None or not package.submodule_search_locations:
        return True
    finder = FileFinder(package.submodule_search_locations[0], (ExtensionFileLoader, EXTENSION_SUFFIXES))
    library = finder.find_spec("_C")
    if library is None:
        return False
    try:
        torch.ops.load_library(library.origin)
    except OSError:
        return False
    return True
