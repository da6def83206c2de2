"""Joint distribution adaptation: means of domains and of guessed classes agree (JDA, Long et al., ICCV 2013)."""

from __future__ import annotations

from dataclasses import dataclass

from torchgraft.align._embedding import GuessingOptions, fit_embedding
from torchgraft.align.base import Aligned, Domains, needs_labels

applies = needs_labels


@dataclass(frozen=True, kw_only=True)
class Options(GuessingOptions):
    """See `GuessingOptions`; the paper takes a `ridge` of 1 for objects, 0.1 for digits and faces."""


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
