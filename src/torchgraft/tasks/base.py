"""What a task file offers: everything of a run that depends on what a label is.

A task is one file in this room, named as `Samples.task` and `report.json` name it. It offers:

- `TITLE`: its main metric's name for people, and `PRIMARY`: the key of it in `metrics`;
- `POOLED`: whether its methods stand on pooled features; else they are given networks and read the samples themselves;
- `BACKBONES`: how many packaged backbones are tried unasked (0: all);
- `LADDER`: its methods, simplest first (those not named follow, by name); `BASE`: what methods that train a backbone
  are held against; `SCOUTS`: those whose rungs tell which backbone is worth training;
- `prepare(samples, seed, test) -> Samples`: with a split for each sample, and what was found on the way added to the
  findings; raises `DataError` where they can't be learnt from. `test`: whether a test part may be set aside;
- `make_problem(sources, seed) -> (Problem, rows)`: every sample that is not test, and its position in the samples;
- `measure(problem, candidate) -> Measured`;
- `make_graft(entry, problem, sources) -> Graft`: what is shipped, from a rung of the ladder;
- `report(outcome) -> dict`: what only this task has to tell (`test`, `mistakes`, ...; see `evaluate.render`);
- `evaluate(graft, samples, progress) -> (scores, findings)`, `compare(a, b, samples, progress)`: on labelled samples.
- `between_domains(options, progress) -> (graft, samples, report)` (left out: labels of another domain are `fit`'s own
  business): what ships from a labelled source and an unlabelled target, a few samples for its self-check, and what the
  report tells; `WAYS`: what `--method` may name there, as a plain tuple, since it is read without an import.

`sources`, `entry` and `outcome` are `fit`'s (`Sources`, `Entry`, `Outcome`); a task reads them and knows no more of a
run than they hold.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from torchgraft.core.types import Result


class Measured(Protocol):
    """What a candidate answered on the held-out rows it was asked about, against the truth."""

    rows: np.ndarray
    """Positions of the answered rows in the problem (M,)."""

    @property
    def metrics(self) -> Result:
        """The numbers of the ladder's row, the primary one among them."""
        ...

    @property
    def mistakes(self) -> int:
        """How many answers are wrong: so few that nothing better could be shown end a ladder early."""
        ...

    def beats(self, other: Any, *, seed: int = 0) -> bool:
        """Whether it is better than `other` beyond noise, on the rows that both answered."""
        ...

    def saves(self, other: Any) -> float:
        """How much less it loses than `other` on these rows, noise or not."""
        ...

    def against(self, other: Any, *, seed: int = 0) -> dict[str, Any]:
        """How much better it is than `other`, with intervals, in plain values; under the primary metric's key too."""
        ...
