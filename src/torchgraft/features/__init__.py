"""Features: computed once per sample and backbone, kept on disk, mapped to what a head can use."""

from torchgraft.features.extract import Features, extract
from torchgraft.features.store import Store

__all__ = ["Features", "Store", "extract"]
