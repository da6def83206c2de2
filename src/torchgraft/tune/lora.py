"""LoRA: the exact linear probe, then low-rank additions to attention (or 1 x 1 convolutions) and the head train."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from torch import nn

from torchgraft.backbones import Backbone, transformers
from torchgraft.core.errors import MissingExtra
from torchgraft.tune import _finetune, _recipe
from torchgraft.tune._classifier import Classifier
from torchgraft.tune.base import Candidate, Problem

TRANSFER = True
TRAINS = True
AUTO = False

RATES = (3e-3, 1e-3, 1e-2)
"""About ten times those of all weights."""

_LACK = "it has neither linear layers nor 1 x 1 convolutions that could be added to"
_ATTENTION = ("attn", "attention")


@dataclass(frozen=True, kw_only=True)
class Options(_finetune.TrainOptions):
    """See `TrainOptions`. BatchNorm is frozen unless `norm` says otherwise.

    `r`: rank, 1 or more; `alpha`: the addition is scaled by alpha / r, above 0; `rank_stabilised`: by alpha / sqrt(r)
    instead (Kalajdzievski 2023); `lora_dropout`: share of a layer's inputs that the addition does not see, in [0, 1).
    Raises `OptionError` for values out of range.
    """

    r: int = 8
    alpha: float = 8.0
    rank_stabilised: bool = False
    lora_dropout: float = 0.0

    def __post_init__(self) -> None:
        _recipe.check_options(
            r=(self.r, self.r >= 1, "a rank, 1 or more"),
            alpha=(self.alpha, self.alpha > 0, "a number above 0"),
            lora_dropout=(self.lora_dropout, 0 <= self.lora_dropout < 1, "a share from 0, below 1"),
        )


def applies(problem: Problem) -> str:
    """Why nothing can be added: peft is not installed, or no backbone has layers for it; empty where it can."""
    if find_spec("peft") is None:
        return str(_missing())
    return _recipe.applies_to(problem, _suits, _LACK)


def fit(problem: Problem, options: Options) -> Candidate:
    """W x + (alpha / r) B A x for W in attention, where only A (r x D, random) and B (0 at first) and the head train.

    Hu et al., "LoRA: low-rank adaptation of large language models", ICLR 2022, through peft. Before training it is the
    linear probe, to the bit. The additions are merged into the weights in the end: W + (alpha / r) B A.

    Raises `MissingExtra` where peft is not installed.
    """
    if find_spec("peft") is None:
        raise _missing()
    options = _recipe.placed(problem, options, _suits, _LACK)
    recipe = _finetune.Recipe(
        phases=_recipe.one_phase("adapters and head", lambda given: _recipe.everything(given, only=_is_adapter)),
        wrap=lambda step, problem, rows: add(step, options),
        unwrap=merge,
        rates=RATES,
        norm="frozen",
    )
    return _finetune.fine_tune(problem, options, recipe, "lora")


def targets(module: nn.Module) -> list[str]:
    """Names of the layers that are added to: linear ones in attention, else 1 x 1 convolutions, else all linear ones.

    Parts of torch's own `MultiheadAttention` are left out: it reads their weights without calling them.
    """
    whole = tuple(name for name, part in module.named_modules() if isinstance(part, nn.MultiheadAttention))
    parts = [(name, part) for name, part in module.named_modules() if not name.startswith(whole or ("\0",))]
    linear = [name for name, part in parts if _is_linear(part)]
    attention = [name for name in linear if any(word in name.lower() for word in _ATTENTION)]
    return attention or [name for name, part in parts if _is_pointwise(part)] or linear


def add(step: Classifier, options: Options) -> None:
    """Put the additions into a classifier's backbone; what it computes stays the same to the bit."""
    transformers.library("method lora")  # first: where its operators don't load, torchvision has to be helped
    from peft import LoraConfig, inject_adapter_in_model

    names = targets(step.network.module)
    kinds = {type(step.network.module.get_submodule(name)).__name__ for name in names}
    config = LoraConfig(
        r=options.r,
        lora_alpha=options.alpha,
        lora_dropout=options.lora_dropout,
        use_rslora=options.rank_stabilised,
        target_modules=names,
        fan_in_fan_out=kinds == {"Conv1D"},  # GPT-2's linear layers hold their weights the other way round
    )
    inject_adapter_in_model(config, step.network.module)


def merge(step: Classifier) -> None:
    """Write the additions into the weights, and put the plain layers back in their places."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    module = step.network.module
    for name, part in [(name, part) for name, part in module.named_modules() if isinstance(part, BaseTunerLayer)]:
        part.merge()
        parent, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(parent), leaf, part.get_base_layer())


def _suits(backbone: Backbone) -> bool:
    return bool(targets(backbone.module))


def _is_adapter(name: str) -> bool:
    return ".lora_" in name


def _is_linear(part: nn.Module) -> bool:
    return isinstance(part, nn.Linear) or type(part).__name__ == "Conv1D"


def _is_pointwise(part: nn.Module) -> bool:
    return isinstance(part, nn.Conv2d) and part.kernel_size == (1, 1) and part.groups == 1


def _missing() -> MissingExtra:
    return MissingExtra("method lora", "peft", "lora")
