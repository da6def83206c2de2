"""The training loop, the only one: phases of legs of steps, watched, repaired, measured, and resumable to the bit.

A leg is an epoch, or a part of one where epochs are long. After each leg the step is measured on held-out samples;
a healthy state becomes the one to go back to, and from time to time a checkpoint. All randomness of a step comes from
the run's seed and the step's number, so a run that goes on from a checkpoint repeats what it would have done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchgraft.core.progress import SILENT, Bar, Progress
from torchgraft.train import checkpoint as checkpoints
from torchgraft.train._copies import copied, deep_copied
from torchgraft.train.average import Ema, interpolate
from torchgraft.train.groups import freeze_to
from torchgraft.train.history import History
from torchgraft.train.norm import set_norm
from torchgraft.train.optim import accelerator, gradient_norms, mixed, optimizer, set_rate
from torchgraft.train.repair import Repair, RepairOptions, Watch
from torchgraft.train.step import Loader, Phase, Step, Validate

_SHARE = 20
"""A checkpoint is written when training took this many times as long as writing the last one."""

SPENT = "the budget is spent"


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """How every phase trains.

    `batch`: samples of one update over all processes; `micro`: at most so many at once (0: all), the gradients being
    summed; `optimizer`: adamw or sgd; `clip`: largest gradient norm (0: none); `ema`: decay of an exponential moving
    average of the weights (0: none), which is then what is measured and kept; `wise`: share of the trained weights in
    what is measured and kept, the rest being the weights before training (WiSE-FT; 1: trained weights only);
    `patience`: legs without improvement before it stops (0: never); `leg`: steps between measurements (0: an epoch);
    `legs`: how many legs of the plan are run (0: all); `precision`: auto, fp32, bf16, fp16; `tracker`: tensorboard,
    mlflow, wandb (empty: none).
    """

    batch: int = 16
    micro: int = 0
    optimizer: str = "adamw"
    clip: float = 1.0
    ema: float = 0.0
    wise: float = 1.0
    patience: int = 0
    leg: int = 0
    legs: int = 0
    precision: str = "auto"
    tracker: str = ""
    seed: int = 0
    repair: RepairOptions = field(default_factory=RepairOptions)


def train(
    step: Step,
    phases: Sequence[Phase],
    loader: Loader,
    *,
    options: LoopOptions,
    validate: Validate | None = None,
    checkpoint: Path | None = None,
    deadline: float = float("inf"),
    progress: Progress = SILENT,
    on_leg: Callable[[History], None] = lambda history: None,
) -> Trained:
    """Train `step` in place through `phases`; it ends with the best state (the last one without `validate`).

    The state before training counts too: what makes it worse is not kept. With `checkpoint`, a file that needn't exist,
    training goes on from it, and the weights it ends with are the same bits as without the interruption, on the same
    machine and thread count. After `deadline` (`time.monotonic`) it stops with the best so far. `on_leg` sees the
    history after every leg.
    """
    return _Training(step, phases, loader, options, validate, checkpoint, deadline, progress, on_leg).run()


@dataclass(frozen=True)
class Trained:
    """How training went, and the held-out outputs after leg 0 (before training), 1, 2, ... of the plan."""

    history: History
    outputs: tuple[np.ndarray, ...]


class _Training:
    """The state of one call of `train`."""

    def __init__(self, step, phases, loader, options, validate, checkpoint, deadline, progress, on_leg) -> None:
        self.step, self.phases, self.loader, self.options = step, phases, loader, options
        self.validate, self.file, self.deadline = validate, checkpoint, deadline
        self.progress, self.on_leg = progress, on_leg
        folder = str(checkpoint.parent) if checkpoint else "."
        self.accelerator = accelerator(options.precision, options.tracker, folder)
        self.step.to(self.accelerator.device)
        self.history = History()
        self.index = self.at = self.bad = self.done = 0  # the phase, the step in it, legs since the best one, legs
        self.factor = 1.0
        self.watch = Watch(options.repair)
        self.ema = Ema(step, options.ema) if options.ema else None
        self.best: dict[str, Any] = {}
        self.score: dict[str, float] = {}  # of the best state
        self.good: dict[str, Any] = {}
        self.origin = copied(step.state_dict()) if options.wise < 1 else {}
        self.outputs: list[Tensor] = []
        self.took = self.written = 0.0
        self.clocks = (time.monotonic(), time.process_time())

    def run(self) -> Trained:
        stored = checkpoints.load(self.file) if self.file and self.file.exists() else {}
        if stored:
            self._resume(stored)
        else:
            self._measure_start()
        if self.options.tracker:
            self.accelerator.init_trackers("torchgraft")
        while self.index < len(self.phases) and not self.over:
            self._open(stored)
            stored = {}
            with self.progress.bar(self.phase.name, self.total) as bar:
                bar.advance(self.at)
                self._phase(bar)
            self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
            self.index, self.at = self.index + 1, 0
        self._finish()
        self._clock()
        if self.options.tracker:
            self.accelerator.end_training()
        return Trained(self.history, tuple(one.numpy() for one in self.outputs))

    def _open(self, stored: dict[str, Any]) -> None:
        """Freeze, choose the norm policy, build the optimizer of phase `index`; fill it with what was stored."""
        self.phase = self.phases[self.index]
        set_norm(self.step, self.phase.norm)  # first: it decides whether gamma and beta are parameters at all
        self.groups = list(self.phase.groups(self.step))
        freeze_to(self.groups, self.step)
        self.per_epoch = len(self._plan(0))
        self.total = self.phase.epochs * self.per_epoch
        raw = optimizer(self.options.optimizer, self.groups, self.phase.rate)
        self.model, self.optimizer = self.accelerator.prepare(self.step, raw)
        if stored:
            self.optimizer.load_state_dict(stored["optimizer"])
        else:
            self.watch = Watch(self.options.repair)
            self.history.phases.append(self._described())
        self._keep_good()

    @property
    def over(self) -> bool:
        """Whether training ends here, whatever the plan holds."""
        return bool(self.history.stopped) or self.done >= self.options.legs > 0

    def _described(self) -> dict[str, Any]:
        phase = self.phase
        return {
            "name": phase.name, "rate": phase.rate, "norm": phase.norm, "epochs": phase.epochs, "steps": self.total,
            "trained": sum(p.numel() for g in self.groups for p in g.params),
            "parameters": sum(p.numel() for p in self.step.parameters()),
            "groups": [{"name": g.name, "rate": phase.rate * g.rate} for g in self.groups],
        }  # fmt: skip

    def _plan(self, epoch: int) -> list[np.ndarray]:
        return self.loader.plan(self.options.batch, mixed(self.options.seed, 0, self.index, epoch))

    def _phase(self, bar: Bar) -> None:
        """All legs of the phase, until its end, the deadline, patience or too many repairs."""
        leg = self.options.leg or self.per_epoch
        while self.at < self.total and not self.over:
            epoch, offset = divmod(self.at, self.per_epoch)
            if not offset:
                self.step.before_epoch(epoch)
            plan = self._plan(epoch)[offset : offset + leg]
            self.step.train()
            loss, reason = self._leg(plan, bar)
            reason = reason or self._judge(loss)
            if reason:
                self._repair("explosion", reason, self.options.repair.lower, back=True)
            else:
                self._keep_good()
                self._save(forced=self.at >= self.total or self.over)
            self.on_leg(self.history)

    def _leg(self, plan: list[np.ndarray], bar: Bar) -> tuple[float, str]:
        """Mean training loss of the leg, and why it had to end early (empty where it didn't)."""
        losses: list[float] = []
        for rows in plan:
            if self._agree(time.monotonic() > self.deadline):
                self.history.stopped = SPENT
                break
            p = self.at / max(self.total, 1)
            rate = self.phase.rate * self.factor * self.phase.schedule(p)
            set_rate(self.optimizer, rate)
            loss = self._gradients(rows, p)
            norms = gradient_norms(self.groups)
            reason = self.watch.look(loss, norms)
            self.history.add_point(loss, rate)
            if reason:
                return loss, reason
            if self.options.clip:
                self.accelerator.clip_grad_norm_([q for g in self.groups for q in g.params], self.options.clip)
            self.optimizer.step()
            if self.ema:
                self.ema.update(self.step)
            self.at += 1
            losses.append(loss)
            bar.advance()
            bar.note(f"loss {self.history.smooth:.3f}, rate {rate:.1e}{self._best_so_far()}")
            if self.options.tracker:
                self.accelerator.log({"loss": loss, "rate": rate}, step=self.history.steps)
        return float(np.mean(losses)) if losses else float("nan"), ""

    def _gradients(self, rows: np.ndarray, p: float) -> float:
        """Fill the gradients for one global batch; its mean loss over all processes."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        numbers = (self.options.seed, self.index, self.at, rank)
        torch.manual_seed(mixed(1, *numbers))
        generator = torch.Generator().manual_seed(mixed(2, *numbers))
        own = rows[rank::world]
        weighted = len(own) / len(rows)
        own = own if len(own) else rows[:1]  # a rank without samples takes part with weight 0
        pieces = np.array_split(own, -(-len(own) // self.options.micro)) if self.options.micro else [own]
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.accelerator.device)
        for piece in pieces:
            batch = self.loader.load(piece, generator).to(self.accelerator.device)
            share = weighted * len(piece) / len(own)
            with self._syncing(piece is pieces[-1]), self.accelerator.autocast():
                loss = self.model(batch, p)
            self.accelerator.backward(loss * (share * world))
            total += loss.detach() * share
        return float(self.accelerator.reduce(total, "sum"))

    def _syncing(self, last: bool) -> AbstractContextManager:
        """Processes exchange gradients once for each global batch, with its last piece."""
        return nullcontext() if last else self.accelerator.no_sync(self.model)

    def _measure(self) -> dict[str, float]:
        """Scores of the weights that would be kept now; their outputs are put on record."""
        self.step.eval()
        with self._as_kept():
            score, outputs = self.validate(self.step)
        self.outputs = [*self.outputs[: self.done], torch.from_numpy(np.ascontiguousarray(outputs))]
        return score

    def _measure_start(self) -> None:
        if self.validate:
            self.score = self._measure()
            self.best = copied(self.step.state_dict())
            self.history.legs.append({"phase": "before", "step": 0, "rate": 0.0, "train_loss": None, **self.score})

    def _judge(self, loss: float) -> str:
        """Measure after a leg; why it has to be undone (empty where not). Notes the best, a plateau, the end."""
        row = {"phase": self.phase.name, "step": self.history.steps, "train_loss": loss}
        row["rate"] = self.phase.rate * self.factor
        self.done += 1
        if not self.validate:
            self.history.legs.append(row)
            return ""
        score = self._measure()
        self.history.legs.append(row | score)
        if self.options.tracker:
            self.accelerator.log({f"held_out_{name}": value for name, value in score.items()}, step=self.history.steps)
        reason = self.watch.collapsed(score, self.score)
        if reason:
            self.done -= 1
            return reason
        if score["loss"] < self.score["loss"]:
            self.score, self.bad, self.history.best = score, 0, len(self.history.legs) - 1
            self.best = copied(self._weights(), self.best)
        else:
            self.bad += 1
        self._care()
        return ""

    def _care(self) -> None:
        """Raise a rate whose gradients vanish, lower one on a plateau, stop when patience is out."""
        limits, vanished = self.options.repair, self.watch.vanished()
        if vanished:
            self._repair("vanishing", vanished, limits.raise_, back=False)
        elif limits.plateau and self.bad and self.bad % limits.plateau == 0:
            reason = f"no better held-out loss for {self.bad} legs"
            self._repair("plateau", reason, limits.decay, back=False)
        if self.options.patience and self.bad >= self.options.patience and not self.history.stopped:
            self.history.stopped = f"no better held-out loss for {self.bad} legs"

    def _repair(self, kind: str, reason: str, by: float, *, back: bool) -> None:
        """Change the rate, from the last good state where `back`; after too many repairs, stop."""
        self.factor *= by
        repair = Repair(phase=self.phase.name, step=self.history.steps, kind=kind, reason=reason, factor=self.factor)
        self.history.repairs.append(repair.to_dict())
        self.progress.say(f"{self.phase.name}: {reason}. The rate is multiplied by {by:g}.")
        if back:
            self._go_back()
        if len(self.history.repairs) >= self.options.repair.most:
            self.history.stopped = f"{len(self.history.repairs)} repairs were not enough"

    def _weights(self) -> dict[str, Tensor]:
        """What would be kept now: the moving average where there is one, mixed with the origin where that is asked."""
        if not self.ema and not self.origin:
            return self.step.state_dict()
        with self._as_kept():
            return copied(self.step.state_dict())

    @contextmanager
    def _as_kept(self) -> Iterator[None]:
        """Inside the block the step has the weights that would be kept now."""
        if not self.ema and not self.origin:
            yield
            return
        raw = copied(self.step.state_dict())
        if self.ema and self.done:
            self.ema.copy_to(self.step)
        if self.origin:
            self.step.load_state_dict(interpolate(self.origin, self.step.state_dict(), self.options.wise))
        try:
            yield
        finally:
            self.step.load_state_dict(raw)

    def _keep_good(self) -> None:
        old = self.good
        self.good = {
            "at": self.at,
            "step": copied(self.step.state_dict(), old.get("step")),
            "optimizer": deep_copied(self.optimizer.state_dict()),
            "ema": copied(self.ema.state()) if self.ema else {},
        }

    def _go_back(self) -> None:
        self.at = self.good["at"]
        self.step.load_state_dict(self.good["step"])
        self.optimizer.load_state_dict(deep_copied(self.good["optimizer"]))
        if self.ema:
            self.ema.load_state(self.good["ema"])
        self.watch = Watch(self.options.repair)

    def _save(self, *, forced: bool) -> None:
        """Write the last good state to disk, so seldom that it costs a twentieth of the time at most."""
        now = time.monotonic()
        if not self.file or not self.accelerator.is_main_process:
            return
        if not forced and now - self.written < _SHARE * self.took:
            return
        self._clock()
        state = {**self.good, "index": self.index, "factor": self.factor, "bad": self.bad, "score": self.score}
        state |= {"best": self.best, "watch": self.watch.state(), "history": self.history.to_dict()}
        state |= {"origin": self.origin, "done": self.done, "outputs": self.outputs}
        checkpoints.save(self.file, state)
        self.written = time.monotonic()
        self.took = self.written - now

    def _clock(self) -> None:
        """Add what passed since the last call, so that time before an interruption counts too."""
        clocks = (time.monotonic(), time.process_time())
        self.history.seconds += clocks[0] - self.clocks[0]
        self.history.cpu_seconds += clocks[1] - self.clocks[1]
        self.clocks = clocks

    def _resume(self, stored: dict[str, Any]) -> None:
        self.index, self.at, self.bad, self.done = (stored[k] for k in ("index", "at", "bad", "done"))
        self.outputs = stored["outputs"]
        self.factor, self.score, self.best, self.origin = (stored[k] for k in ("factor", "score", "best", "origin"))
        self.history = History.from_dict(stored["history"])
        self.step.load_state_dict(stored["step"])
        if self.ema:
            self.ema.load_state(stored["ema"])
        self.watch.load_state(stored["watch"])

    def _finish(self) -> None:
        """Put the state to keep into the step."""
        self.step.load_state_dict(self.best if self.validate else copied(self._weights()))
        kept = (["ema"] if self.ema else []) + ([f"wise {self.options.wise:g}"] if self.origin else [])
        self.history.average = ", ".join(kept) or "last"
        self.step.eval()

    def _agree(self, flag: bool) -> bool:
        """The main process's answer, the same for all."""
        if self.accelerator.num_processes == 1:
            return flag
        from accelerate.utils import broadcast

        return bool(broadcast(torch.tensor(int(flag), device=self.accelerator.device)))

    def _best_so_far(self) -> str:
        shown = self.score.get("accuracy")
        return "" if shown is None else f", best {shown:.3f}"
