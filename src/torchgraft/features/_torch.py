"""torch as the engine: always there, and the reference that the other engines are held to."""

from __future__ import annotations

import copy
import io
import itertools
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from torchgraft.features._network import ImageNetwork

Inputs = tuple[np.ndarray, ...]


class TorchEngine:
    """Runs a module in inference mode on the graphics card where torch sees one, else on the processor."""

    name = "torch"

    def __init__(self, module: nn.Module, form: str = "eager") -> None:
        self.form = form
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.module = module.to(self.device)

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        """B x D float32 features of one batch."""
        with torch.inference_mode():
            return self.module(*(torch.from_numpy(x).to(self.device) for x in inputs)).cpu().numpy()


def eager(network: nn.Module) -> TorchEngine:
    """The network as it is; convolutions get weights with channels last, in a copy: the backbone stays untouched."""
    convolves = isinstance(network, ImageNetwork) and any(isinstance(part, nn.Conv2d) for part in network.modules())
    if convolves or torch.cuda.is_available():
        network = copy.deepcopy(network)
    return TorchEngine(network.to(memory_format=torch.channels_last) if convolves else network)


def folded(plain: TorchEngine) -> TorchEngine:
    """The same with every batch norm put into the weights of the convolution before it; `plain` where there is none.

    "Before it" is taken from the order of a module's children, which is no proof: compare the features.
    """
    if not any(_foldable(plain.module)):
        return plain
    network = copy.deepcopy(plain.module)
    for parent, before, after in list(_foldable(network)):
        norm = getattr(parent, after)
        setattr(parent, before, fuse_conv_bn_eval(getattr(parent, before), norm))
        setattr(parent, after, nn.Sequential(norm.drop, norm.act) if _acts(norm) else nn.Identity())
    return TorchEngine(network, "folded")


def _foldable(network: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """Module, and names of two children of it in a row: a convolution and a batch norm with statistics of its own."""
    for parent in network.modules():
        for (before, conv), (after, norm) in itertools.pairwise(parent.named_children()):
            known = type(norm) is nn.BatchNorm2d or _acts(norm)
            if isinstance(conv, nn.Conv2d) and known and norm.running_mean is not None:
                yield parent, before, after


def _acts(norm: nn.Module) -> bool:
    """Whether it is timm's batch norm, which drops out and activates too; by name, since timm may not be there."""
    return type(norm).__name__ == "BatchNormAct2d" and isinstance(norm, nn.BatchNorm2d)


def build(network: nn.Module, example: Inputs, folder: Path, threads: int) -> TorchEngine:
    """The network traced and frozen (batch norm folded into the weights) for images; texts stay eager.

    Networks that can't be traced stay eager too.
    """
    plain = eager(network)
    if not isinstance(network, ImageNetwork):
        return plain
    try:
        with quiet():
            return TorchEngine(torch.jit.freeze(trace(plain.module, example, plain.device)), "frozen")
    except RuntimeError:  # TracingCheckError and the errors of unsupported operations are of this kind
        return plain


def trace(network: nn.Module, example: Inputs, device: torch.device | str = "cpu") -> torch.jit.ScriptModule:
    """The network as a TorchScript trace."""
    with torch.inference_mode(), quiet():
        return torch.jit.trace(network, tuple(torch.from_numpy(x).to(device) for x in example), check_trace=False)


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings while a network is traced or exported: they speak to those who write exporters.

    Nothing rests on them, since every engine's features are compared with those of eager torch.
    """
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "transformers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
