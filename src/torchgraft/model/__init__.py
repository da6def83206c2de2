"""A graft: where its features come from, how they are mapped, its head; saved and loaded without running code."""

from torchgraft.model._inputs import as_samples
from torchgraft.model.graft import Blocks, Graft, Part, Predictions, assemble, load
from torchgraft.model.heads import FusedHead, Head, KNNHead, LinearHead, MlpHead
from torchgraft.model.prior import Prior, adjust, estimate_prior
from torchgraft.model.scene import Decoder, Scene, SceneGraft
from torchgraft.model.temperature import as_sure_as
from torchgraft.model.tuned import Tuned

__all__ = [
    "Blocks",
    "Decoder",
    "FusedHead",
    "Graft",
    "Head",
    "KNNHead",
    "LinearHead",
    "MlpHead",
    "Part",
    "Predictions",
    "Prior",
    "Scene",
    "SceneGraft",
    "Tuned",
    "adjust",
    "as_samples",
    "as_sure_as",
    "assemble",
    "estimate_prior",
    "load",
]
