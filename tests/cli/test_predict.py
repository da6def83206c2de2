"""`graft predict`: rows on stdout and in files, mistakes, texts on stdin."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from torchgraft import backbones
from torchgraft.backbones import Backbone, Network
from torchgraft.core.types import ImagePreprocessing
from torchgraft.features.mapping import Identity
from torchgraft.model import Decoder, Graft, LinearHead, Part, SceneGraft


def test_rows_on_stdout(graft, run: Path, rows: Path) -> None:
    done = graft("predict", run, rows)
    table = list(csv.DictReader(io.StringIO(done.out)))
    assert done.code == 0
    assert len(table) == 150
    assert list(table[0]) == ["id", "label", "confidence", "abstained", "p_ant", "p_bee", "p_cat", "error"]
    shares = np.array([[float(row[f"p_{name}"]) for name in ("ant", "bee", "cat")] for row in table])
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-4)
    assert [row["label"] for row in table] == [("ant", "bee", "cat")[i] for i in shares.argmax(axis=1)]
    assert "150 predicted" in done.err


def test_jsonl_by_the_name_of_the_file(graft, run: Path, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "rows.jsonl"
    done = graft("predict", run, rows, "--out", out, "--quiet")
    assert (done.out, done.err) == ("", "")
    first = json.loads(out.read_text().splitlines()[0])
    assert set(first) == {"id", "label", "confidence", "abstained", "probabilities"}
    assert first["confidence"] == max(first["probabilities"].values())


def test_texts_on_stdin(graft, sentences: Path, monkeypatch) -> None:
    typed = io.TextIOWrapper(io.BytesIO("a warm coat\n\n=cold\xff, cold\nnothing known\n".encode("latin-1")))
    monkeypatch.setattr(sys, "stdin", typed)
    done = graft("predict", sentences, "-")
    table = list(csv.DictReader(io.StringIO(done.out)))
    assert [row["id"] for row in table] == ["stdin:1", "stdin:3", "stdin:4"]
    assert [row["label"] for row in table] == ["good", "", "good"]
    assert [row["abstained"] for row in table] == ["false", "", "true"]
    assert table[1]["error"] == "not UTF-8: byte 0xff"
    assert "1 of them abstained on, 1 unreadable" in done.err


def test_a_table_of_texts_with_a_named_column(graft, sentences: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("n,said,other\n1,so warm a thing,x y z\n2,so cold a thing,x y w\n", encoding="utf-8")
    done = graft("predict", sentences, path, "--text", "said")
    assert [row["label"] for row in csv.DictReader(io.StringIO(done.out))] == ["good", "bad"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.npz", "rows.npz"), "1 of 2 paths do not exist: nowhere.npz"),
        (("row.npz",), "Did you mean 'rows.npz'"),
        (("-",), "'-' gives texts"),
        (("rows.npz", "--out", "."), "is a folder"),
        (("rows.npz", "--format", "cvs"), "Did you mean 'csv'"),
    ],
)
def test_mistakes_end_with_2(graft, run: Path, rows: Path, monkeypatch, arguments, message: str) -> None:
    monkeypatch.chdir(rows.parent)
    done = graft("predict", run, *arguments)
    assert done.code == 2
    assert message in done.err
    assert done.out == ""


def test_a_model_that_is_none(graft, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"\x80\x04")
    done = graft("predict", tmp_path / "model.pt", tmp_path)
    assert done.code == 2
    assert "Pickled models" in done.err


def test_nothing_readable_is_a_mistake_told_with_its_rows(graft, sentences: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"\xff\n\xfe\n")
    done = graft("predict", sentences, tmp_path / "bad.txt")
    assert done.code == 2
    assert "nothing could be predicted: 2 samples given" in done.err
    assert done.out.count("not UTF-8") == 2


def test_adapting_says_what_was_done(graft, photographs: tuple[Path, Path]) -> None:
    model, album = photographs
    done = graft("predict", model, album, "--adapt", "--quiet")
    table = list(csv.DictReader(io.StringIO(done.out)))
    assert done.code == 0
    assert [row["label"] for row in table] == ["red"] * 64 + ["blue"] * 64
    assert done.err == "Adapted to 128 photos in 2 batches: 0 answers changed.\n"


def test_too_few_to_adapt_to_is_said(graft, photographs: tuple[Path, Path]) -> None:
    model, album = photographs
    done = graft("predict", model, album / "000.png", "--adapt", "--quiet")
    assert (done.code, done.out.count("red,0.")) == (0, 1)
    assert done.err.startswith("Not adapted, the model's own answers are given: 1 photos can be read")


def test_what_cannot_adapt_ends_with_2(graft, run: Path, rows: Path, sentences: Path) -> None:
    for model in (run, sentences):
        done = graft("predict", model, rows, "--adapt")
        assert (done.code, done.out) == (2, "")
        assert "--adapt can't adapt this model" in done.err
    both = graft("predict", run, rows, "--adapt", "--label-shift")
    assert both.code == 2
    assert "Give one of them" in both.err


def test_maps_into_a_folder(graft, ground: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "masks"
    done = graft("predict", ground, pictures, "--out", out, "--overlay")
    assert (done.code, done.out) == (0, "")
    assert "unreadable:" in done.err and f"2 predicted, 1 unreadable -> {out}" in done.err
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*")) == [
        "a.png", "a_overlay.jpg", "classes.txt", "deep/b.png", "deep/b_overlay.jpg", "predictions.csv",
    ]  # fmt: skip
    table = list(csv.DictReader(io.StringIO((out / "predictions.csv").read_text())))
    assert list(table[0]) == ["id", "file", "confidence", "share_sky", "share_road", "error"]
    assert [row["file"] for row in table] == ["a.png", "", "deep/b.png"]
    assert [row["share_road"] for row in table] == ["1", "", "1"]
    assert float(table[0]["confidence"]) == pytest.approx(0.75, abs=1e-2)
    with Image.open(out / "deep/b.png") as mask:
        assert (mask.size, mask.getpixel((0, 0)), mask.convert("RGB").getpixel((0, 0))) == ((20, 16), 1, (128, 64, 128))


def test_what_makes_no_sense_for_maps_ends_with_2(graft, ground: Path, pictures: Path, rows: Path, run: Path) -> None:
    done = graft("predict", ground, pictures, "--format", "csv", "--label-shift", "--text", "t")
    assert (done.code, done.out) == (2, "")
    assert "--format, --text, --label-shift can't be used with it; --out FOLDER is needed" in done.err
    assert "--adapt can't be used with it." in graft("predict", ground, pictures, "--adapt", "--out", "x").err
    assert f"--out {rows} is a file" in graft("predict", ground, pictures, "--out", rows).err
    assert "would replace images" in graft("predict", ground, pictures, "--out", pictures).err
    assert "--overlay draws maps" in graft("predict", run, rows, "--overlay").err
    assert not Path("x").exists()


def test_no_map_at_all_is_a_mistake_told_with_its_row(graft, ground: Path, pictures: Path, tmp_path: Path) -> None:
    done = graft("predict", ground, pictures / "broken.jpg", "--out", tmp_path / "masks")
    assert done.code == 2
    assert "nothing could be predicted: 1 samples given" in done.err
    assert (tmp_path / "masks/predictions.csv").read_text().count("broken.jpg") == 1


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (OSError(28, "No space left"), 2)])
def test_stopped_half_way_what_was_answered_stays(graft, ground, pictures, tmp_path, monkeypatch, error, code) -> None:
    def answer(self: SceneGraft, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if (tmp_path / "masks/a.png").exists() and isinstance(error, KeyboardInterrupt):
            raise error
        return (np.zeros(image.shape[:2], dtype=np.uint8),) * 2

    def write_bytes(path: Path, data: bytes) -> int:
        if path.name == "b.png" and isinstance(error, OSError):
            raise error
        return path.open("wb").write(data)

    monkeypatch.setattr(SceneGraft, "answer", answer)
    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    done = graft("predict", ground, pictures, "--out", tmp_path / "masks")
    assert done.code == code
    table = list(csv.DictReader(io.StringIO((tmp_path / "masks/predictions.csv").read_text())))
    assert [row["file"] for row in table] == ["a.png", ""]
    assert not list((tmp_path / "masks").rglob(".*"))


@pytest.fixture
def ground(tmp_path: Path) -> Path:
    """A saved model that answers every pixel with road, three quarters sure."""
    SceneGraft(
        source=None,
        decoder=Decoder(name="constant", arrays={"bias": np.log(np.array([1.0, 3.0])).astype(np.float32)}),
        scale=1.0,
        classes=("sky", "road"),
        colours=((128, 128, 128), (128, 64, 128)),
        method="pixel_majority",
    ).save(tmp_path / "ground")
    return tmp_path / "ground"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two pictures and a broken one."""
    for name in ("a.png", "deep/b.jpg"):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 16), (90, 90, 200)).save(path)
    (tmp_path / "pictures" / "broken.jpg").write_bytes(b"\xff\xd8\xff and no more")
    return tmp_path / "pictures"


@pytest.fixture
def photographs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Path, Path]:
    """A saved model of the mean colour, with BatchNorm, and 128 photos: red ones, then blue ones."""
    module = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3)).eval()
    module[0].weight.data = torch.eye(3)[:, :, None, None]
    backbone = Backbone(
        name="test/colour",
        parameters=9,
        build=lambda: Network(module=module),
        layout="map",
        width=3,
        pooling="avg",
        preprocessing=ImagePreprocessing(size=8, resize=8, mean=(0.5,) * 3, std=(0.2,) * 3),
        licence="none",
        revision="colour-1",
    )
    monkeypatch.setattr(backbones, "load", lambda name: backbone)
    Graft(
        parts=(Part("test/colour", Identity()),),
        head=LinearHead(np.array([[1.0, 0, 0], [0, 0, 1.0]]), np.zeros(2)),
        classes=("red", "blue"),
        modality="image",
        method="by hand",
        backbones={"test/colour": {"name": "test/colour", "revision": "colour-1", "pooling": "avg", "licence": "none"}},
        prior=(0.5, 0.5),
    ).save(tmp_path / "model")
    rng = np.random.default_rng(0)
    (tmp_path / "album").mkdir()
    for i in range(128):
        x = rng.normal([170, 128, 85] if i < 64 else [85, 128, 170], 10, (8, 8, 3))
        Image.fromarray(x.astype(np.uint8)).save(tmp_path / "album" / f"{i:03}.png")
    return tmp_path / "model", tmp_path / "album"
