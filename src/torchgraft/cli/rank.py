"""Say which backbone to start from, before any training, with an interval and a price."""

from __future__ import annotations

from typing import Any

from torchgraft.cli._options import with_options
from torchgraft.cli.base import JsonFlag, Terminal
from torchgraft.core.errors import OptionError
from torchgraft.core.options import build
from torchgraft.fit import RankOptions

EXAMPLES = (
    "graft rank photos/  # every backbone that needs no download",
    "graft rank photos/ --max-latency 20ms --licence permissive  # only what may be shipped",
    "graft rank photos/ --download small --yes  # well-kept ones of the hubs too, up to 30 MB each",
    "graft rank train.csv --backbones packaged/minilm_l6,local/my-encoder  # texts",
    "graft rank a.npz --backbones b.npz,c.npz  # feature files of the same samples",
    "graft rank photos/ --scores logme,h_score --full  # other scores beside, nobody let go early",
)


@with_options(RankOptions)
def run(terminal: Terminal, given: dict[str, Any], json: JsonFlag = False) -> None:
    """Compute each backbone's features once, ask a cross-validated linear probe and the nearest neighbours how often
    they are right, and measure how fast the backbone is on this machine. These two make the order, of photos together
    with the H-score and the ImageNet table. All begin on few samples; those that can't be the best any more are let go
    early. Nothing is trained, nothing is downloaded unasked, and `graft fit` finds the features in the store. Writes a
    page to read (report.html) and its numbers (report.json) into one folder.
    """
    if "data" not in given:
        raise OptionError("DATA is missing: the folder of class folders, table of texts or feature file to rank on.")
    options = build(RankOptions, given)
    from torchgraft.fit import rank_backbones, ranking_folder, write_ranking

    found = rank_backbones(options, progress=terminal.progress)
    page = write_ranking(found, ranking_folder(options))
    if json:
        terminal.progress.say(f"Report: {page}")
        terminal.show_json(found.to_dict())
        return
    from torchgraft.cli._ranking import show_ranking

    show_ranking(terminal, found, options, page)
