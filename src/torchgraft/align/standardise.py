"""Each domain brought to its own mean 0 and variance 1, or to its own mean 0 alone."""

from __future__ import annotations

from dataclasses import dataclass

from torchgraft.align._moments import scaling
from torchgraft.align.base import Aligned, Domains, always, inductive
from torchgraft.core.errors import OptionError

applies = always


@dataclass(frozen=True, kw_only=True)
class Options:
    """`moments`: `variance` takes the mean off and divides by the standard deviation (N), `mean` only the former."""

    moments: str = "variance"


def fit(domains: Domains, options: Options) -> Aligned:
    """z_s = (x_s - m_s) / sd_s, z_t = (x_t - m_t) / sd_t, column by column, with each domain's own m and sd."""
    if options.moments not in ("variance", "mean"):
        raise OptionError(f"moments expects variance or mean, got {options.moments!r}.")
    wanted = options.moments == "variance"
    source, target = scaling(domains.xs, wanted, domains.weights), scaling(domains.xt, wanted)
    return inductive(domains, source, target)
