"""Are classes noticed that the source lacks? office10 with the source's last classes taken away, and closed sets.

Printed is the share of the target that source-only answers with less confidence than 95 % of held-out source samples,
which tells open sets, and how well that confidence sorts known before unknown samples (area under the ROC curve, by the
target's labels, which are used to print alone). On the same share no open set must be seen where none is: all classes
of office10, of the reviews, and of SURF histograms.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import tempfile
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from adaptation import SETS, domains_of
from torchgraft.core.progress import SILENT
from torchgraft.fit import FitOptions, adaptation
from torchgraft.fit._domains import TARGET

MISSING = (0, 2, 4)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _opened(domains_of(arguments.data, "office10", Path(folder)), Path(folder))
        for name in ("amazon_reviews", "surf"):
            _closed(name, domains_of(arguments.data, name, Path(folder)))


def _run(target: Path, source: Path, backbone: str) -> adaptation.Adaptation:
    options = FitOptions(target=str(target), source=(str(source),), backbone=backbone, method="standardise")
    return adaptation.run(options, SILENT)


def _opened(domains: dict[str, Path], folder: Path) -> None:
    cells = " | ".join(f"{k} of 10 missing | said | sorted" for k in MISSING)
    print(f"| office10: source > target | {cells} |\n|---|{'---|---|---|' * len(MISSING)}")
    said = dict.fromkeys(MISSING, 0)
    for source, target in itertools.permutations(domains, 2):
        cells = ""
        for missing in MISSING:
            found = _run(domains[target], _without(domains[source], missing, folder), SETS["office10"])
            said[missing] += found.gap["open_set"]
            word = "yes" if found.gap["open_set"] else "no"
            cells += f" {found.gap['unsure_target']:.2f} | {word} | {_sorted(found, domains[source], missing)} |"
        print(f"| {source} > {target} |{cells}", flush=True)
    print(f"| **said** |{''.join(f' | {said[k]} of 6 | |' for k in MISSING)}\n")


def _classes(domain: Path) -> list[str]:
    return sorted(path.name for path in domain.iterdir() if path.is_dir())


def _without(domain: Path, missing: int, folder: Path) -> Path:
    """A copy of a domain without its last classes."""
    made = folder / f"{domain.name}-{missing}"
    for name in _classes(domain)[: len(_classes(domain)) - missing]:
        if not (made / name).exists():
            shutil.copytree(domain / name, made / name)
    return made


def _sorted(found: adaptation.Adaptation, domain: Path, missing: int) -> str:
    unknown = set(_classes(domain)[len(_classes(domain)) - missing :]) if missing else set()
    ids = [found.sources.samples.ids[row] for row in found.rows(TARGET)]
    strange = np.array([bool(unknown & set(Path(name).parts)) for name in ids])
    return f"{roc_auc_score(~strange, found.ladder[0].probabilities.max(1)):.2f}" if missing else ""


def _closed(name: str, domains: dict[str, Path]) -> None:
    pairs = list(itertools.permutations(domains, 2))
    gaps = [_run(domains[target], domains[source], SETS[name]).gap for source, target in pairs]
    shares = [gap["unsure_target"] for gap in gaps]
    false = sum(gap["open_set"] for gap in gaps)
    print(
        f"{name}, nothing missing: {min(shares):.2f} to {max(shares):.2f}; said on {false} of {len(pairs)} pairs.",
        flush=True,
    )


if __name__ == "__main__":
    main()
