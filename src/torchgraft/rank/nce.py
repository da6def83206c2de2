"""How much pretraining's own most probable class tells of the label (negative conditional entropy)."""

from __future__ import annotations

import numpy as np
from scipy.special import rel_entr

from torchgraft.rank.base import Evidence

SOURCE = True


def score(evidence: Evidence) -> float:
    """-H(Y | Z) = sum_yz P(y, z) log(P(y, z) / P(z)), with z_i = argmax of row i of `source`; -log C <= score <= 0.

    P are shares of the N samples; a z that nobody has is left out. 0: each class of pretraining meets one label only;
    minus the entropy of the labels: z says nothing of them. It equals LEEP where `source` is one-hot. Cost N S. NaN
    without `source`.

    Tran, Nguyen, Hassner: Transferability and Hardness of Supervised Classification Tasks, ICCV 2019,
    arXiv 1908.08142.
    """
    if evidence.source is None:
        return float("nan")
    joint = np.zeros((evidence.n_classes, evidence.source.shape[1]))
    np.add.at(joint, (evidence.y, evidence.source.argmax(axis=1)), 1 / len(evidence.y))
    # rel_entr(x, m) is x log(x / m), and 0 where x is 0.
    return float(min(rel_entr(joint, joint.sum(axis=0)).sum(), 0.0))
