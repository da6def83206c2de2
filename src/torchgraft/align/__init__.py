"""Alignment of a labelled source and an unlabelled target on features: each file here is one method."""

from torchgraft.align.base import Aligned, Domains, align

__all__ = ["Aligned", "Domains", "align"]
