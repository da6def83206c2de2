"""The training loop, the only one: phases of legs of steps, watched, repaired, measured, and resumable to the bit.

A leg is an epoch, or a part of one where epochs are long. After each leg the step is measured on held-out samples;
a healthy state becomes the one to go back to, and from time to time a checkpoint. All randomness of a step comes from
the run's seed and the step's number, so a run that goes on from a checkpoint repeats what it would have done.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchgraft.core.errors import ArtifactError, DataError
from torchgraft.core.files import clear_drafts, digest
from torchgraft.core.progress import SILENT, Bar, Progress
from torchgraft.train import checkpoint as checkpoints
from torchgraft.train import optim
from torchgraft.train._copies import Kept, copied, deep_copied
from torchgraft.train._engine import Engine
from torchgraft.train.groups import freeze_to
from torchgraft.train.history import History
from torchgraft.train.norm import set_norm
from torchgraft.train.optim import mixed
from torchgraft.train.repair import Repair, RepairOptions, Watch
from torchgraft.train.step import Loader, Phase, Step, Validate

_SHARE = 20
"""A checkpoint is written when training took this many times as long as writing the last one."""

_STATE = ("index", "factor", "bad", "score", "best", "outputs", "start")
"""What a checkpoint holds of a training, beside its last good state and its history."""

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
    mlflow, wandb (empty: none); `logs`: the folder of what it writes (empty: that of the checkpoint).
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
    logs: str = ""
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
    history after every leg. Under `torchrun` every process calls this; `validate` and `on_leg` run on each, the main
    process's scores, clock and checkpoints count, and all end with the same weights.

    Raises `DataError` where the loader is empty, `ArtifactError` where the checkpoint is damaged or of another
    training.
    """
    return _Training(step, phases, loader, options, validate, checkpoint, deadline, progress, on_leg).run()


@dataclass(frozen=True)
class Trained:
    """How training went, and the held-out outputs after leg 0 (before training), 1, 2, ... as in `history.legs`."""

    history: History
    outputs: tuple[np.ndarray, ...]


class _Training:
    """The state of one call of `train`."""

    def __init__(self, step, phases, loader, options, validate, checkpoint, deadline, progress, on_leg) -> None:
        self.step, self.phases, self.loader, self.options = step, phases, loader, options
        self.validate, self.file, self.deadline = validate, checkpoint, deadline
        self.progress, self.on_leg = progress, on_leg
        folder = options.logs or (str(checkpoint.parent) if checkpoint else ".")
        self.accelerator = optim.accelerator(options.precision, options.tracker, folder)
        self.engine = Engine(self.accelerator, step, loader, micro=options.micro, clip=options.clip)
        self.kept = Kept(step, options.ema, options.wise)
        self.watch = Watch(options.repair)
        self.history = History()
        self.index = self.at = self.bad = 0  # the phase, the step in it, legs since the best one
        self.factor = 1.0
        self.score: dict[str, float] = {}  # of the best state
        self.best: dict[str, Tensor] = {}
        self.good: dict[str, Any] = {}
        self.start: dict[str, Any] = {}  # the good state at the phase's start, while its rate may prove wrong
        self.outputs: list[Tensor] = []
        self.took = self.written = 0.0
        self.clocks = (time.monotonic(), time.process_time())

    def run(self) -> Trained:
        if not len(self.loader):
            raise DataError("there is nothing to train on: expected at least one sample.")
        stored = self._stored()
        optim.begin_tracking(self.accelerator, self.options.tracker, self.file.stem if self.file else "torchgraft")
        with optim.own_randomness(self.engine.device):
            if stored:
                self._resume(stored)
            else:
                self._measure_start()
            while self.index < len(self.phases) and not self.over:
                self._open(stored)
                stored = {}
                self._phase()
                self.index, self.at = self.index + 1, 0
        self._finish()
        return Trained(self.history, tuple(one.numpy() for one in self.outputs))

    @property
    def over(self) -> bool:
        """Whether training ends here, whatever the plan holds."""
        return bool(self.history.stopped) or len(self.history.legs) > self.options.legs > 0

    def _open(self, stored: dict[str, Any]) -> None:
        """Freeze, choose the norm policy, build the optimizer of phase `index`; fill it with what was stored."""
        self.phase = self.phases[self.index]
        set_norm(self.step, self.phase.norm)  # first: it decides whether gamma and beta are parameters at all
        self.groups = list(self.phase.groups(self.step))
        freeze_to(self.groups, self.step)
        self.per_epoch = len(self._plan(0))
        self.total = self.phase.epochs * self.per_epoch
        self.engine.open(self.options.optimizer, self.groups, self.phase.rate, stored.get("optimizer"))
        if not stored:
            self.watch = Watch(self.options.repair, self.total)
            self.history.phases.append(self._described())
        self._keep_good()
        if not stored:
            best = {"best": self.best, "score": self.score, "bad": self.bad, "place": self.history.best}
            self.start = deep_copied({**self.good, **best, "legs": len(self.history.legs)})

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

    def _phase(self) -> None:
        """All legs of the phase, until its end, the deadline, patience or too many repairs."""
        with self.progress.bar(self.phase.name, self.total) as bar:
            bar.advance(self.at)
            try:
                while self.at < self.total and not self.over:
                    self._leg(bar)
                    self.on_leg(self.history)
            finally:
                self.engine.close()

    def _leg(self, bar: Bar) -> None:
        """Train to the next measurement; what it did is kept, or undone at a lower rate."""
        epoch, offset = divmod(self.at, self.per_epoch)
        if not offset:
            torch.manual_seed(mixed(3, self.options.seed, self.index, epoch))
            self.step.eval()
            self.step.before_epoch(epoch)
        leg = self.options.leg or self.per_epoch
        self.step.train()
        losses, reason = self._steps(self._plan(epoch)[offset : (offset // leg + 1) * leg], bar)
        self.engine.share()
        reason = reason or self.watch.diverged(losses, self.engine.guess())
        reason = reason or (self._judge(float(np.mean(losses))) if losses else "")
        if reason:
            reached = self.at
            self._repair("explosion", reason, self.options.repair.lower)
            self._go_back()
            bar.advance(self.at - reached)
        elif losses:
            self._keep_good()
            if self.watch.settled and 2 * self.at > self.total:
                self.start = {}
            self._save(forced=self.at >= self.total or self.over)

    def _steps(self, plan: list[np.ndarray], bar: Bar) -> tuple[list[float], str]:
        """Training losses of the steps that were taken, and why the next one must not be (empty where it may)."""
        losses: list[float] = []
        for rows in plan:
            if any(optim.from_main(self.accelerator, [time.monotonic() > self.deadline])):
                self.history.stopped = SPENT
                break
            loss, rate, reason = self._update(rows)
            if reason:
                return losses, reason
            losses.append(loss)
            bar.advance()
            best = f", best {self.score['accuracy']:.3f}" if "accuracy" in self.score else ""
            bar.note(f"loss {self.history.smooth:.3f}, rate {rate:.1e}{best}")
        return losses, ""

    def _update(self, rows: np.ndarray) -> tuple[float, float, str]:
        """Loss and rate of one step; and why it was not taken, where it was not."""
        p = self.at / self.total
        rate = self.phase.rate * self.factor * self.phase.schedule(p)
        loss = self.engine.gradients(rows, p, (self.options.seed, self.index, self.at))
        reason = self.watch.look(loss, self.engine.norms())
        if reason:
            return loss, rate, reason
        self.engine.update(rate)
        self.kept.update()
        self.at += 1
        self.history.add_point(loss, rate)
        self._log({"loss": loss, "rate": rate})
        return loss, rate, ""

    def _measure(self) -> tuple[dict[str, float], Tensor]:
        """Scores and held-out outputs of the weights that would be kept now."""
        self.step.eval()
        with self.kept.applied():
            score, outputs = self.validate(self.step)
        score = dict(zip(score, optim.from_main(self.accelerator, score.values()), strict=True))
        return score, torch.from_numpy(np.ascontiguousarray(outputs))

    def _measure_start(self) -> None:
        row = {"phase": "before", "step": 0, "rate": 0.0, "train_loss": None}
        if self.validate:
            self.score, outputs = self._measure()
            if not math.isfinite(self.score["loss"]):
                raise DataError(f"the held-out loss before training is {self.score['loss']}: check the weights.")
            self.outputs.append(outputs)
            self.best = self.kept.weights()
        self.history.legs.append(row | self.score)

    def _judge(self, loss: float) -> str:
        """Measure after a leg; why it has to be undone (empty where not). Notes the best, a plateau, the end."""
        row = {"phase": self.phase.name, "step": self.history.steps, "train_loss": loss}
        row["rate"] = self.phase.rate * self.factor
        if self.validate:
            score, outputs = self._measure()
            reason = self.watch.collapsed(score, self.score)
            if reason:
                return reason
            self._log({f"held_out_{name}": value for name, value in score.items()})
            self.outputs.append(outputs)
            self.bad += 1
            if score["loss"] < self.score["loss"]:
                self.score, self.bad, self.history.best = score, 0, len(self.history.legs)
                self.best = self.kept.weights(self.best)
            row |= score
        self.history.legs.append(row)
        self._care()
        return ""

    def _care(self) -> None:
        """Raise a rate whose gradients vanish, lower one on a plateau, stop when patience is out."""
        limits, vanished = self.options.repair, self.watch.vanished()
        stuck = f"no better held-out loss for {self.bad} legs"
        if vanished:
            self._repair("vanishing", vanished, limits.raise_)
        elif limits.plateau and self.bad and self.bad % limits.plateau == 0:
            self._repair("plateau", stuck, limits.decay)
        if 0 < self.options.patience <= self.bad and not self.history.stopped:
            self.history.stopped = stuck

    def _repair(self, kind: str, reason: str, by: float) -> None:
        """Change the rate and say why; after too many repairs, stop."""
        self.factor *= by
        repair = Repair(phase=self.phase.name, step=self.history.steps, kind=kind, reason=reason, factor=self.factor)
        self.history.repairs.append(repair.to_dict())
        self.progress.say(f"{self.phase.name}: {reason}. The rate is multiplied by {by:g}.")
        tried = sum(one["kind"] != "plateau" for one in self.history.repairs)
        if tried >= self.options.repair.most and not self.history.stopped:
            self.history.stopped = f"{tried} repairs were not enough"
            self.progress.say(f"{self.phase.name}: {self.history.stopped}. The best state so far is kept.")

    def _keep_good(self) -> None:
        """The state to go back to, and the one that a checkpoint holds."""
        self.good = {
            "at": self.at,
            "step": copied(self.step.state_dict(), self.good.get("step")),
            "optimizer": deep_copied(self.engine.optimizer.state_dict()),
            "kept": deep_copied(self.kept.state()),
            "watch": self.watch.state(),
        }

    def _go_back(self) -> None:
        """To the last good state, or to the phase's start while that is kept, since its rate never was right."""
        if self.start:
            self.good = deep_copied(self.start)
            self.best, self.score, self.bad = (self.good.pop(name) for name in ("best", "score", "bad"))
            self.history.best, legs = self.good.pop("place"), self.good.pop("legs")
            self.history.legs, self.outputs = self.history.legs[:legs], self.outputs[:legs]
        self.at = self.good["at"]
        self.step.load_state_dict(self.good["step"])
        optim.restore(self.engine.optimizer, self.good["optimizer"])
        self.kept.load_state(self.good["kept"])
        self.watch.load_state(self.good["watch"])

    def _stored(self) -> dict[str, Any]:
        """What the checkpoint holds; nothing where there is none."""
        if not self.file:
            return {}
        if self.accelerator.is_main_process:
            clear_drafts(self.file)
        self.signature = self._signature()
        stored = checkpoints.load_same(self.file, self.signature)
        if any(optim.from_main(self.accelerator, [bool(stored)])) != bool(stored):
            raise ArtifactError(f"{self.file} is not the same for all processes: put it where each of them sees it.")
        return stored

    def _signature(self) -> dict[str, Any]:
        """What has to be the same for training to go on."""
        options = asdict(self.options)
        for name in ("legs", "patience", "precision", "tracker", "logs"):
            del options[name]
        weights = (f"{name} {tuple(tensor.shape)}" for name, tensor in self.step.state_dict().items())
        return {
            "phases": [[phase.name, phase.epochs, phase.rate, phase.norm] for phase in self.phases],
            "options": options, "samples": len(self.loader), "weights": digest(weights),
        }  # fmt: skip

    def _save(self, *, forced: bool) -> None:
        """Write the last good state to disk, so seldom that it costs a twentieth of the time at most."""
        now = time.monotonic()
        soon = now - self.written < _SHARE * self.took and not forced
        if not self.file or soon or not self.accelerator.is_main_process:
            return
        self._clock()
        state = {**self.good, "signature": self.signature, "history": self.history.to_dict()}
        state |= {name: getattr(self, name) for name in _STATE}
        checkpoints.save(self.file, state)
        self.written = time.monotonic()
        self.took = self.written - now

    def _resume(self, stored: dict[str, Any]) -> None:
        for name in ("at", *_STATE):
            setattr(self, name, stored[name])
        self.history = History.from_dict(stored["history"])
        if self.history.stopped == SPENT:
            self.history.stopped = ""  # there may be time again
        self.step.load_state_dict(stored["step"])
        self.kept.load_state(stored["kept"])
        self.watch.load_state(stored["watch"])

    def _clock(self) -> None:
        """Add what passed since the last call, so that time before an interruption counts too."""
        clocks = (time.monotonic(), time.process_time())
        self.history.seconds += clocks[0] - self.clocks[0]
        self.history.cpu_seconds += clocks[1] - self.clocks[1]
        self.clocks = clocks

    def _finish(self) -> None:
        """Put the state to keep into the step."""
        self.step.load_state_dict(self.best if self.validate else self.kept.weights())
        optim.share(self.accelerator, self.step.state_dict().values())
        self.step.eval()
        self.history.average = self.kept.words
        if not self.validate:
            self.history.best = len(self.history.legs) - 1
        self._clock()
        for tracker in self.accelerator.trackers:  # not end_training(): it ends the processes' group for good
            tracker.finish()

    def _log(self, values: dict[str, float]) -> None:
        if self.options.tracker:
            self.accelerator.log(values, step=self.history.steps)
