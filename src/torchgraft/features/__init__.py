"""Features: computed once per sample and backbone, kept on disk, mapped to what a head can use."""

from torchgraft.core.lazy import lazy
from torchgraft.features.extract import Features, extract
from torchgraft.features.store import Store

__all__ = ["Features", "Store", "compose", "extract", "quiet"]

# what loads torch waits until it is asked for
__getattr__ = lazy(
    "torchgraft.features", {"compose": "torchgraft.features._network", "quiet": "torchgraft.features._torch"}
)
