"""Networks cut at the pooling: the trunk comes before it, the classifier maps pooled features to logits."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchgraft.backbones.base import Network
from torchgraft.core.errors import UserError


@dataclass(frozen=True, kw_only=True, eq=False)
class Cut:
    """The part of a `Backbone` that its architecture decides."""

    module: nn.Module
    layout: str
    width: int
    pooling: str
    prefix: int = 0
    classifier: nn.Module | None = None

    def fields(self) -> dict[str, Any]:
        """The fields of a `Backbone` that this decides."""
        return {
            "layout": self.layout,
            "width": self.width,
            "pooling": self.pooling,
            "prefix": self.prefix,
            "parameters": size(self.module),
            "build": lambda: Network(module=self.module, classifier=self.classifier),
        }


def size(module: nn.Module) -> int:
    """Number of weights."""
    return sum(p.numel() for p in module.parameters())


class TimmTrunk(nn.Module):
    """A timm model up to its pooling: B x 3 x H x W -> B x C x h x w or B x T x C."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.channels_last = str(getattr(model, "output_fmt", "NCHW")) == "NHWC"

    def forward(self, x: Tensor) -> Tensor:
        """Unpooled features."""
        z = self.model.forward_features(x)
        return z.permute(0, 3, 1, 2) if self.channels_last else z


class TimmClassifier(nn.Module):
    """What a timm model does after its pooling: B x C -> B x classes.

    A pooled vector is given to the model's own head as a map of one place, or as tokens that are all equal: pooling
    leaves it as it is.
    """

    def __init__(self, head: nn.Module, shape: tuple[int, ...], channels_last: bool) -> None:
        super().__init__()
        self.head = head
        self.tokens = shape[1] if len(shape) == 3 else None
        self.channels_last = channels_last

    def forward(self, z: Tensor) -> Tensor:
        """Logits of pretraining."""
        if self.tokens:
            return self.head.forward_head(z[:, None, :].expand(-1, self.tokens, -1))
        return self.head.forward_head(z[:, None, None, :] if self.channels_last else z[:, :, None, None])


class NamedOutput(nn.Module):
    """A network that returns a dictionary of one tensor, as the tensor."""

    def __init__(self, model: nn.Module, output: str) -> None:
        super().__init__()
        self.model = model
        self.output = output

    def __deepcopy__(self, memo: dict[int, Any]) -> NamedOutput:
        """A copy in the same mode: copied alone, a traced (fx) graph would be in training mode."""
        return NamedOutput(copy.deepcopy(self.model, memo), self.output).train(self.training)

    def forward(self, x: Tensor) -> Tensor:
        """The one output."""
        return self.model(x)[self.output]


class TextTrunk(nn.Module):
    """A transformers text encoder: ids B x T, mask B x T (1 where there is a token) -> B x T x C.

    A causal model (GPT-2) counts positions from the first real token, so that padding on the left changes nothing.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.causal = _is_causal(model)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Features of each token; those of padding mean nothing."""
        more = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0), "use_cache": False} if self.causal else {}
        return self.model(input_ids=ids, attention_mask=mask, return_dict=True, **more).last_hidden_state


def freeze(module: nn.Module) -> nn.Module:
    """Eval mode, no gradients."""
    return module.eval().requires_grad_(False)


def without_computing(module: nn.Module, size: int) -> Any:
    """What `module` gives for one size x size image, on torch's meta device: shapes without values."""
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    ghost = {name: torch.empty_like(tensor, device="meta") for name, tensor in state.items()}
    with torch.no_grad():
        return torch.func.functional_call(module, ghost, torch.empty(1, 3, size, size, device="meta"))


def split_timm(model: nn.Module, size: int) -> Cut:
    """Cut a timm model at its pooling. `size` is the image size that it was built for."""
    trunk = freeze(TimmTrunk(model))
    in_trunk = _Seen(model)
    z = without_computing(trunk, size)
    in_trunk.close()
    if not isinstance(z, Tensor) or z.ndim not in (3, 4):
        raise UserError(
            f"{type(model).__name__} gives neither one map nor one row of tokens. Choose another architecture."
        )
    shape = tuple(z.shape)
    layout = "map" if len(shape) == 4 else "tokens"
    width = shape[1] if layout == "map" else shape[2]
    pool = str(getattr(model, "global_pool", "avg"))
    prefix = getattr(model, "num_prefix_tokens", int(pool == "token")) if layout == "tokens" else 0
    classifier = freeze(TimmClassifier(_cut_head(model, in_trunk.names), shape, trunk.channels_last))
    return Cut(
        module=freeze(trunk),
        layout=layout,
        width=width,
        pooling="avg" if layout == "map" else "cls" if prefix and pool == "token" else "mean",
        prefix=prefix,
        # Attention pooling is learnt: its head does not see an average.
        classifier=classifier if pool != "map" and any(True for _ in classifier.parameters()) else None,
    )


def _cut_head(model: nn.Module, in_trunk: set[str]) -> nn.Module:
    """Move the children that the trunk does not run out of `model`, into a copy that holds nothing else."""
    head = copy.copy(model)
    own = {name: child for name, child in model.named_children() if name not in in_trunk}
    head.__dict__["_modules"] = own
    head.__dict__["_parameters"] = {}
    head.__dict__["_buffers"] = {}
    for name in own:
        setattr(model, name, nn.Identity())
    return head


class _Seen:
    """Names of the direct children of a module that ran since."""

    def __init__(self, module: nn.Module) -> None:
        self.names: set[str] = set()
        self._hooks = [
            child.register_forward_hook(lambda *_, name=name: self.names.add(name))
            for name, child in module.named_children()
        ]

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()


def _is_causal(model: nn.Module) -> bool:
    """Whether the first token's features ignore the second token: asked of the network, since configurations differ."""
    ids = torch.tensor([[1, 2], [1, 3]]) % model.config.vocab_size
    with torch.inference_mode():
        z = model(input_ids=ids, attention_mask=torch.ones_like(ids), return_dict=True).last_hidden_state
    return bool(torch.allclose(z[0, 0], z[1, 0], atol=1e-5))
