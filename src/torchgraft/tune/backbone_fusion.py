"""The levels of several backbones joined: side by side, or weighed at each place; with the exact probe on top."""

from __future__ import annotations

from dataclasses import dataclass

from torchgraft.core.errors import OptionError, did_you_mean
from torchgraft.tune._dense_options import DenseOptions, dense_applies
from torchgraft.tune.base import DenseCandidate, Problem, Skip

TASK = "segmentation"
TRANSFER = True

FUSIONS = ("auto", "concat", "attention")


@dataclass(frozen=True, kw_only=True)
class Options:
    """`joining`: concat (levels of all backbones side by side), attention (at each stride and place the backbones have
    weights), or auto: what has the least held-out loss. `longest` and `per_scene` as in `DenseOptions`.
    """

    joining: str = "auto"
    longest: int = 512
    per_scene: int = 200

    def __post_init__(self) -> None:
        """Raise `OptionError` for values that can't be used."""
        if self.joining not in FUSIONS:
            near = did_you_mean(self.joining, FUSIONS)
            raise OptionError(f"joining expects one of {', '.join(FUSIONS)}, got {self.joining!r}.{near}")
        self.dense()

    def dense(self) -> DenseOptions:
        """What every method for labels of each pixel is told, for the first backbone."""
        return DenseOptions(longest=self.longest, per_scene=self.per_scene)


def applies(problem: Problem) -> str:
    """It needs more than one backbone."""
    if problem.resources is not None and len(problem.resources.backbones) == 1:
        return "there is one backbone (several are named with commas: --backbone A,B)"
    return dense_applies(problem)


def fit(problem: Problem, options: Options) -> DenseCandidate:
    """Multinomial regression on the levels of all backbones at the drawn pixels (see `pixel_probe`).

    `attention`: with the backbones' own probes p_v as experts, gates g_v for each stride, linear scores of what v shows
    there, softmax over v, minimise -log sum_v g_v p_v(y) on drawn pixels (Jacobs et al. 1991); every level is then
    multiplied by its gate. Raises `Skip` where it does not apply.
    """
    if applies(problem):
        raise Skip(applies(problem))
    from torchgraft.tune._backbone_fusion import join  # here: it loads torch, which planning needs not

    return join(problem, options.dense(), FUSIONS[1:] if options.joining == "auto" else (options.joining,))
