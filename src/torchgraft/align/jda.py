"""Joint distribution adaptation: means of domains and of guessed classes agree (JDA, Long et al., ICCV 2013)."""

from __future__ import annotations

from dataclasses import dataclass

from torchgraft.align._embedding import fit_embedding
from torchgraft.align.base import Aligned, Domains, needs_labels

applies = needs_labels


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be set.

    `k`: columns of the embedding (at least 1; cut at the rank). `ridge`: lambda > 0 (1 for objects, 0.1 for digits
    and faces in the paper). `kernel`: `linear` or `primal`. `rounds`: how often the target's classes are guessed
    (at least 1). `classifier`: what guesses them, `nearest` (neighbour, as in the paper) or `logistic`.
    """

    k: int = 30
    ridge: float = 1.0
    kernel: str = "linear"
    rounds: int = 10
    classifier: str = "nearest"


def fit(domains: Domains, options: Options) -> Aligned:
    """As `tca` with M = C M_0 + sum_c M_c, M_c from the guessed classes of the target, guessed again in each round."""
    return fit_embedding(
        domains,
        k=options.k,
        ridge=options.ridge,
        kernel=options.kernel,
        balance=(float(len(domains.present)), 1.0),
        rounds=options.rounds,
        classifier=options.classifier,
    )
