"""Backbones: pretrained networks that turn one sample into features, named `provider/name`.

Importing this room loads no heavy library; a provider's libraries are imported when a backbone is loaded.
"""

from __future__ import annotations

from torchgraft.backbones._suggested import SIZES, suggested
from torchgraft.backbones.base import Backbone, Network, Offer, Tokenizer
from torchgraft.core import registry
from torchgraft.core.errors import UserError, did_you_mean, shorten
from torchgraft.core.lazy import lazy

__all__ = ["SIZES", "Backbone", "Levels", "Network", "Offer", "Tokenizer", "at_hand", "load", "offers", "suggestions"]

# what loads torch waits until it is asked for
__getattr__ = lazy("torchgraft.backbones", {"Levels": "torchgraft.backbones._levels"})


def load(name: str) -> Backbone:
    """Load the backbone `provider/name`: frozen, in eval mode, with its preprocessing.

    Raises `UserError` where the name is wrong, a package is missing, or weights are neither here nor within reach;
    the message says what to do.
    """
    provider, _, rest = name.partition("/")
    if not rest:
        near = {offer.name.rpartition("/")[2]: offer.name for offer in offers()}
        meant = f" Did you mean '{near[name]}'?" if name in near else did_you_mean(name, near.values())
        raise UserError(
            f"A backbone is named provider/name, like packaged/efficientnet_lite0; got '{name}'.{meant} "
            f"Providers: {shorten(registry.names('backbones'))}. See `graft list backbones`."
        )
    return registry.get("backbones", provider).load(rest)


def offers(modality: str | None = None) -> list[Offer]:
    """What can be loaded here and now without a download, the smallest first; of one modality (image, text) or all."""
    found = [offer for provider in registry.names("backbones") for offer in registry.get("backbones", provider).names()]
    fitting = [offer for offer in found if modality is None or offer.modality == modality]
    return sorted(fitting, key=lambda offer: (offer.parameters, offer.name))


def at_hand(modality: str) -> list[str]:
    """Full names of the backbones that are ready for this modality (image, text), the cheapest first."""
    return [offer.name for offer in offers(modality)]


def suggestions(modality: str, size: str = "small") -> list[Offer]:
    """Well-kept backbones that a download would add, the smallest first; nothing is asked of a network.

    `modality` is image or text, `size` that of the weights file: small (below 30 MB), medium (30 to 150 MB) or large
    (150 to 500 MB). What is at hand already is left out. Raises `OptionError` for another word.
    """
    found = suggested(modality, size)
    here = set(at_hand(modality))
    return [one for one in found if one.name not in here]
