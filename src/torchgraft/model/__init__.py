"""A graft: where its features come from, how they are mapped, its head; saved and loaded without running code."""

from torchgraft.model.artifact import load, save
from torchgraft.model.graft import Graft, Part, Predictions
from torchgraft.model.heads import Head, KNNHead, LinearHead

__all__ = ["Graft", "Head", "KNNHead", "LinearHead", "Part", "Predictions", "load", "save"]
