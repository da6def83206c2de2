"""How sure pretraining's own classifier is of the samples: high where they look like what it was trained on."""

from __future__ import annotations

from torchgraft.rank.base import Evidence

SOURCE = True


def score(evidence: Evidence) -> float:
    """Mean over the N samples of max_z p(z | x_i), from 1 / S to 1; NaN without a classifier of pretraining.

    The likeness of two domains as a network sees it: the maximum softmax probability tells samples of its own domain
    from others (Hendrycks and Gimpel, "A baseline for detecting misclassified and out-of-distribution examples",
    ICLR 2017). It looks at no label of the target, so it says how near pretraining was, not how well classes are told
    apart. Cost N S.
    """
    if evidence.source is None:
        return float("nan")
    return float(evidence.source.max(axis=1).mean())
