"""Balanced distribution adaptation: JDA with a say in domain against class means (BDA, Wang et al., ICDM 2017)."""

from __future__ import annotations

from dataclasses import dataclass

from torchgraft.align._embedding import GuessingOptions, fit_embedding
from torchgraft.align.base import Aligned, Domains, check_range, needs_labels

applies = needs_labels


@dataclass(frozen=True, kw_only=True)
class Options(GuessingOptions):
    """As those of `jda`, and `balance`: mu in [0, 1], 0 for the means of the domains alone, 1 for those of classes."""

    balance: float = 0.5


def fit(domains: Domains, options: Options) -> Aligned:
    """As `tca` with M = (1 - mu) C M_0 + mu sum_c M_c; at mu = 1/2 this is `jda`."""
    check_range(balance=(options.balance, 0, 1))
    return fit_embedding(
        domains,
        k=options.k,
        ridge=options.ridge,
        kernel=options.kernel,
        balance=((1 - options.balance) * len(domains.present), options.balance),
        rounds=options.rounds,
        classifier=options.classifier,
    )
