"""The backbones that a ranking is about: what is here, what was asked for, what may be downloaded, what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torchgraft import backbones
from torchgraft.backbones import Backbone, Offer
from torchgraft.core import options as core_options
from torchgraft.core.errors import OptionError
from torchgraft.fit import plan
from torchgraft.fit.ladder import Skipped
from torchgraft.fit.options import FitOptions, RankOptions

PERMISSIVE = ("apache", "mit", "bsd", "isc", "cc0", "cc-by-4", "unlicense", "zlib")
"""How licences begin that ask for no more than that their text is kept."""

HUBS = ("timm", "torchvision", "transformers")
"""Providers that fetch what is not here."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a backbone may be: bytes on disk (`inf`: any), seconds for one sample, licence (any, permissive)."""

    size: float = float("inf")
    latency: float = float("inf")
    licence: str = "any"

    def refuse(self, about: Offer) -> str:
        """Why this one is left out ('' where it may stay); what is not known of it counts against it."""
        if self.licence == "permissive" and not about.licence.lower().startswith(PERMISSIVE):
            return f"its licence is {about.licence}, asked for is a permissive one"
        if self.size < float("inf") and not 0 < about.size <= self.size:
            known = f"is {about.size / 1e6:.0f} MB" if about.size else "of weights is not known"
            return f"its size {known}, asked for are {self.size / 1e6:.0f} MB at most"
        return ""


def limits_of(options: FitOptions | RankOptions) -> Limits:
    """What `--max-size`, `--max-latency` and `--licence` allow."""
    return Limits(
        size=core_options.size(options.max_size),
        latency=core_options.latency(options.max_latency),
        licence=options.licence,
    )


def candidates(
    modality: str, asked: str, limits: Limits, *, download: str = "", yes: bool = False
) -> tuple[dict[str, Offer], list[Skipped]]:
    """Name -> what is said of it, the smallest first, and who was left out.

    `asked` is `auto`, or comma-separated names. With auto: all that need no download, and with `download` (a size:
    small, medium, large) the curated ones of that size, which takes `yes`, since it may be gigabytes; without it
    `OptionError` tells what would be fetched. Raises `OptionError` too where nothing is left.
    """
    here = {offer.name: offer for offer in backbones.offers(modality)}
    more = backbones.suggestions(modality, download) if download and asked == plan.AUTO else []
    known = here if asked == plan.AUTO else {n: here.get(n) or _described(n, modality, yes=yes) for n in _names(asked)}
    known = known | {one.name: one for one in more}
    refused = {name: limits.refuse(about) for name, about in known.items()}
    more = [one for one in more if not refused[one.name]]
    if more and not yes:
        lines = "".join(f"\n  {one.name}  {one.size / 1e6:.0f} MB, {one.licence}" for one in more)
        total = sum(one.size for one in more) / 1e6
        raise OptionError(f"--download {download} would fetch {total:.0f} MB:{lines}\nAdd --yes to go on.")
    kept = {name: about for name, about in known.items() if not refused[name]}
    skipped = [Skipped(name=name, reason=reason) for name, reason in refused.items() if reason]
    if not kept:
        why = "; ".join(f"{one.name}: {one.reason}" for one in skipped) or f"none for {modality} samples is installed"
        raise OptionError(f"no backbone to rank: {why}. See `graft list backbones`, or name some with --backbones.")
    return dict(sorted(kept.items(), key=lambda item: (item[1].parameters, item[0]))), skipped


def _described(name: str, modality: str, *, yes: bool) -> Offer:
    """What a backbone says of itself that is not listed; one of a hub is fetched for it, which takes `yes`."""
    if name.partition("/")[0] in HUBS and not yes:
        sizes = {one.name: one.size for size in backbones.SIZES for one in backbones.suggestions(modality, size)}
        size = f"{sizes[name] / 1e6:.0f} MB" if name in sizes else "of a size that is not known here"
        raise OptionError(f"{name} is not on this machine: a download, {size}. Add --yes to fetch it.")
    return offer_of(backbones.load(name))


def offer_of(backbone: Backbone) -> Offer:
    """A loaded backbone described like one that is listed; 4 bytes a weight where the file's size is not known."""
    return Offer(
        name=backbone.name,
        modality=backbone.modality,
        width=backbone.width,
        parameters=backbone.parameters,
        size=4 * backbone.parameters,
        licence=backbone.licence,
        imagenet=backbone.imagenet,
    )


def _names(asked: str) -> Sequence[str]:
    names = tuple(dict.fromkeys(name.strip() for name in asked.split(",") if name.strip()))
    if not names:
        raise OptionError(f"--backbones expects auto or names like packaged/efficientnet_lite0, got {asked!r}.")
    return names
