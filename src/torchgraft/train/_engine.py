"""One update of the weights: over pieces of a batch, over processes, in the precision that was asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from torchgraft.data import IGNORE
from torchgraft.train import optim
from torchgraft.train.groups import Group
from torchgraft.train.optim import mixed
from torchgraft.train.step import Batch, Loader, Step

if TYPE_CHECKING:
    from accelerate import Accelerator


class Engine:
    """A step, the optimizer of a phase, and the processes that share the work.

    `micro`: samples of one piece at most (0: all); `clip`: largest gradient norm (0: none).
    """

    def __init__(self, accelerator: Accelerator, step: Step, loader: Loader, *, micro: int, clip: float) -> None:
        self.accelerator, self.step, self.loader = accelerator, step, loader
        self.micro, self.clip = micro, clip
        self.device = accelerator.device
        self.seen: Tensor | None = None  # samples of each class, so far
        self.step.to(self.device)
        optim.share(accelerator, step.state_dict().values())

    def open(self, kind: str, groups: Sequence[Group], rate: float, state: Mapping[str, Any] | None) -> None:
        """Begin a phase in which `groups` train; `state`: that of its optimizer before an interruption."""
        self.groups = groups
        raw = optim.optimizer(kind, groups, rate)
        self.model, self.optimizer = self.accelerator.prepare(self.step, raw)
        if state is not None:
            optim.restore(self.optimizer, state)

    def close(self) -> None:
        """Take the step out of what `accelerate` wrapped it in."""
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        for wrapped in (self.accelerator._models, self.accelerator._optimizers):
            wrapped.clear()  # as free_memory() does, which collects garbage too: half a second each time

    def gradients(self, rows: np.ndarray, progress: float, seeds: Sequence[int]) -> float:
        """Fill the gradients for one global batch; its mean loss over all processes. `seeds` make its randomness."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        torch.manual_seed(mixed(1, *seeds, rank))
        generator = torch.Generator().manual_seed(mixed(2, *seeds, rank))
        own = rows[rank::world]
        weighted = len(own) / len(rows)
        own = own if len(own) else rows[:1]  # a rank without samples takes part with weight 0
        pieces = np.array_split(own, -(-len(own) // self.micro)) if self.micro else [own]
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for piece in pieces:
            batch = self.loader.load(piece, generator).to(self.device)
            self._count(batch)
            share = weighted * len(piece) / len(own)
            with self._syncing(piece is pieces[-1]):
                with self.accelerator.autocast():
                    loss = self.model(batch, progress)
                self.accelerator.backward(loss * (share * world))  # world, since processes average their gradients
            total += loss.detach() * share
        return float(self.accelerator.reduce(total, "sum"))

    def _count(self, batch: Batch) -> None:
        if batch.y is None:
            return
        if batch.y.is_floating_point():  # soft targets
            new = batch.y.sum(0).double()
        else:  # of pixels, some have none
            new = torch.bincount(batch.y[batch.y != IGNORE] if batch.y.ndim > 1 else batch.y).double()
        old = new.new_zeros(0) if self.seen is None else self.seen
        size = max(len(old), len(new))
        self.seen = functional.pad(old, (0, size - len(old))) + functional.pad(new, (0, size - len(new)))

    def guess(self) -> float:
        """Cross entropy of guessing by the class frequencies that the main process saw; 0 without labels."""
        shares = torch.zeros(1) if self.seen is None else self.seen / self.seen.sum()
        return optim.from_main(self.accelerator, [float(torch.special.entr(shares).sum())])[0]

    def _syncing(self, last: bool) -> AbstractContextManager:
        """Processes exchange gradients once for each global batch, with its last piece."""
        return nullcontext() if last else self.accelerator.no_sync(self.model)

    def norms(self) -> dict[str, float]:
        """Gradient norms by group. Half precision finds its scale by overflowing: that is the scaler's business."""
        if self.accelerator.scaler is None:
            return optim.gradient_norms(self.groups)
        self.accelerator.unscale_gradients(self.optimizer)
        return {name: norm for name, norm in optim.gradient_norms(self.groups).items() if math.isfinite(norm)}

    def update(self, rate: float) -> None:
        """Move the weights along their clipped gradients."""
        optim.set_rate(self.optimizer, rate)
        if self.clip:
            torch.nn.utils.clip_grad_norm_([p for group in self.groups for p in group.params], self.clip)
        self.optimizer.step()

    def share(self) -> None:
        """Give all processes the main one's buffers, such as the statistics of BatchNorm."""
        optim.share(self.accelerator, self.step.buffers())
