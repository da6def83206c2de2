"""Photos that a network with BatchNorm adapts to: the same as by hand, reset, guarded, refused where it can't be."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import softmax
from torch import nn

from torchgraft import backbones
from torchgraft.adapt.tent import Options, tent
from torchgraft.backbones import Backbone, Network
from torchgraft.core.errors import OptionError
from torchgraft.core.types import ImagePreprocessing
from torchgraft.features import mapping as mappings
from torchgraft.model import Graft, KNNHead, LinearHead, MlpHead, Part, Tuned, load
from torchgraft.serve import Item, adapted, predict
from torchgraft.serve.adaptive import fault, own_statistics, stream_of

NAME = "test/norm"


def _image_backbone(module: nn.Module) -> Backbone:
    return Backbone(
        name=NAME,
        parameters=9,
        build=lambda: Network(module=module.eval()),
        layout="map",
        width=3,
        pooling="avg",
        preprocessing=ImagePreprocessing(size=16, resize=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        licence="none",
        revision="norm-1",
    )


@pytest.fixture
def network() -> nn.Module:
    """The mean of each channel, normalised by what `photos` have in training."""
    module = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3))
    module[0].weight.data = torch.eye(3)[:, :, None, None]
    module[1].running_mean.fill_(0.5)
    module[1].running_var.fill_(0.04)
    return module


@pytest.fixture
def graft(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> Graft:
    """Red against blue."""
    backbone = _image_backbone(network)
    monkeypatch.setattr(backbones, "load", lambda name: backbone)
    return Graft(
        parts=(Part(NAME, mappings.Identity()),),
        head=LinearHead(np.array([[2.0, 0, 0], [0, 0, 2.0]]), np.zeros(2)),
        classes=("red", "blue"),
        modality="image",
        method="by hand",
        temperature=0.5,
        backbones={NAME: {"name": NAME, "revision": "norm-1", "pooling": "avg", "licence": "none"}},
        prior=(0.5, 0.5),
    )


@pytest.fixture
def photos(tmp_path: Path) -> Callable[..., list[Item]]:
    """24 photos, the first half red and the second blue; `move` is added to every channel."""

    def make(name: str = "photos", move: tuple[int, int, int] = (0, 0, 0), n: int = 24) -> list[Item]:
        rng = np.random.default_rng(0)
        items = []
        for i in range(n):
            mean = np.array([170, 128, 85] if i < n // 2 else [85, 128, 170]) + move
            path = tmp_path / name / f"{i:02}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.clip(rng.normal(mean, 20, (16, 16, 3)), 0, 255).astype(np.uint8)).save(path)
            items.append(Item(id=path.name, value=path))
        return items

    return make


def _probabilities(rows: list) -> np.ndarray:
    return np.stack([row.probabilities for row in rows])


def _pixels(items: list[Item]) -> torch.Tensor:
    return torch.stack([torch.from_numpy(np.array(Image.open(item.value))) for item in items])


def _by_hand(graft: Graft, network: nn.Module, items: list[Item], size: int, rate: float) -> np.ndarray:
    """The authors' loop written out: batches in the shuffled order, entropy of softmax(logits / T), Adam."""
    net = copy.deepcopy(network).train()
    adam = torch.optim.Adam([net[1].weight, net[1].bias], lr=rate)
    weight = torch.from_numpy(graft.head.weight).float()
    x = _pixels(items).permute(0, 3, 1, 2).float() / 255
    found = np.empty((len(items), 2))
    order = np.random.default_rng(0).permutation(len(items))
    for rows in np.array_split(order, -(-len(items) // size)):
        logits = net(x[rows]).mean(dim=(2, 3)) @ weight.T / graft.temperature
        found[rows] = softmax(logits.detach().double().numpy(), axis=1)
        adam.zero_grad()
        tent(logits).backward()
        adam.step()
    return found


@pytest.mark.parametrize("rate", [1e-9, 0.05])
def test_it_is_the_authors_loop_and_without_a_rate_the_statistics_of_each_batch(graft, network, photos, rate) -> None:
    items = photos(move=(30, 0, 0))
    rows, done = adapted(graft, items, batch=8, rate=rate)
    np.testing.assert_allclose(_probabilities(rows), _by_hand(graft, network, items, 8, rate), atol=1e-4)
    assert done.startswith("Adapted to 24 photos in 3 batches: ")
    assert [row.id for row in rows] == [item.id for item in items]


def test_photos_like_those_of_training_keep_their_answers(graft, photos) -> None:
    items = photos()
    rows, done = adapted(graft, items, batch=12)
    assert [row.label for row in rows] == [row.label for row in predict(graft, items)]
    assert done == "Adapted to 24 photos in 2 batches: 0 answers changed."


def test_a_shift_that_unsettles_the_model_is_mended(graft, photos) -> None:
    """Red light on every photo: the blue ones look red, and the model is not sure of them."""
    graft = replace(graft, temperature=10.0)
    items = photos(move=(100, 0, 0))
    right = ["red"] * 12 + ["blue"] * 12
    plain = [row.label for row in predict(graft, items)]
    rows, done = adapted(graft, items, batch=12)
    assert plain != right
    assert [row.label for row in rows] == right
    wrong = sum(a != b for a, b in zip(plain, right, strict=True))
    assert done.startswith(f"Adapted to 24 photos in 2 batches: {wrong} answers changed.")


def test_every_call_begins_anew_and_the_graft_stays_as_it_is(graft, network, photos, tmp_path) -> None:
    graft.save(tmp_path / "model")
    files = {path: path.read_bytes() for path in (tmp_path / "model").rglob("*") if path.is_file()}
    before, items = copy.deepcopy(network.state_dict()), photos(move=(30, 0, 0))
    stored = load(tmp_path / "model")
    first, second = (adapted(stored, items, batch=8, rate=0.05)[0] for _ in range(2))
    np.testing.assert_array_equal(_probabilities(first), _probabilities(second))
    assert files == {path: path.read_bytes() for path in (tmp_path / "model").rglob("*") if path.is_file()}
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not network.training


def test_tuned_weights_are_those_that_adapt(graft, network, photos) -> None:
    """Weights that swap red and blue, tuned: every answer turns round."""
    expected = _probabilities(adapted(graft, photos(), batch=8)[0])[:, ::-1]
    tuned = Tuned(base=NAME, revision="norm-1", arrays={"0.weight": network[0].weight.detach().numpy()[::-1].copy()})
    about = {**graft.backbones[NAME], "name": tuned.name, "base": NAME, "revision": tuned.digest}
    other = replace(
        graft,
        parts=(Part(tuned.name, mappings.Identity()),),
        backbones={tuned.name: about},
        tuned={tuned.name: tuned},
    )
    rows, done = adapted(other, photos(), batch=8)
    assert done.startswith("Adapted")
    np.testing.assert_allclose(_probabilities(rows), expected, atol=1e-5)


def test_what_cannot_be_read_keeps_its_row_and_its_reason(graft, photos, tmp_path) -> None:
    items = photos()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG and no more")
    strange = [Item(id="broken.png", value=tmp_path / "broken.png"), Item(id="lost.png", value=None, error="is lost")]
    rows, done = adapted(graft, [strange[0], *items[:12], strange[1], *items[12:]], batch=12)
    assert [i for i, row in enumerate(rows) if row.error] == [0, 13]
    assert (rows[0].id, rows[13].error) == ("broken.png", "is lost")
    whole = adapted(graft, items, batch=12)[0]
    np.testing.assert_allclose(_probabilities([row for row in rows if not row.error]), _probabilities(whole), atol=1e-6)
    assert "24 photos in 2 batches" in done


def test_the_threshold_still_holds(graft, photos) -> None:
    rows, _ = adapted(replace(graft, threshold=0.9999), photos(), batch=12)
    assert [row.abstained for row in rows] == [row.confidence < 0.9999 for row in rows]
    assert any(row.abstained for row in rows)


def test_too_few_are_answered_as_they_are(graft, photos) -> None:
    items = photos()
    rows, done = adapted(graft, items, batch=13)
    np.testing.assert_array_equal(_probabilities(rows), _probabilities(list(predict(graft, items))))
    assert done == (
        "Not adapted, the model's own answers are given: 24 photos can be read, and 2 batches of 13 are the least."
    )
    assert adapted(graft, [])[0] == []


def test_a_collapse_gives_the_model_s_own_answers(graft, photos) -> None:
    """A rate that throws the scale and the shift far away."""
    items = photos(n=64)
    rows, done = adapted(graft, items, batch=8, rate=100)
    np.testing.assert_array_equal(_probabilities(rows), _probabilities(list(predict(graft, items))))
    assert done.startswith("Not adapted, the model's own answers are given: adapting ")


def test_one_class_alone_gives_the_model_s_own_answers(graft, photos) -> None:
    """Statistics of red photos alone make half of them blue."""
    items = photos(n=48)[:24]
    rows, done = adapted(graft, items, batch=12)
    assert {row.label for row in rows} == {"red"}
    assert "adapting changed" in done


@pytest.mark.parametrize(
    ("changed", "told"), [(5, ""), (25, "adapting changed 25.0% of them, while the model expects")]
)
def test_more_changes_than_mistakes_are_not_believed(changed: int, told: str) -> None:
    """100 answers, each 90 % sure: about 10 mistakes. By hand: Wilson's 95 % interval of 75 of 100 ends at 0.825."""
    y = np.arange(100) % 2
    moved = np.where(np.arange(100) < changed, 1 - y, y)
    plain, found = (np.where(np.eye(2)[labels] == 1, 0.9, 0.1) for labels in (y, moved))
    reason = fault(plain, found, own=False)
    assert reason.startswith(told) if told else not reason
    assert not fault(plain, found, own=True), "a network with statistics of its own is not held to that"


def test_a_collapse_is_named() -> None:
    plain = np.eye(2)[np.arange(40) % 2]
    for own in (True, False):
        reason = fault(plain, np.tile([1.0, 0.0], (40, 1)), (0.5, 0.5), own=own)
        assert reason.startswith("adapting collapsed, class 0 takes 100.0%")


def test_statistics_of_its_own_are_seen_in_what_was_tuned(graft) -> None:
    def tuned(*names: str) -> Graft:
        arrays = {name: np.zeros(3, dtype=np.float32) for name in names}
        return replace(graft, tuned={"tuned/x": Tuned(base="x", revision="1", arrays=arrays)})

    assert not own_statistics(graft)
    assert not own_statistics(tuned("1.weight"))
    assert own_statistics(tuned("1.weight", "1.running_mean"))


def test_answers_that_had_collapsed_before_are_told(graft, network, photos) -> None:
    """Red light, and a model that was trained with its BatchNorm: mended, with a word on what it would have said."""
    arrays = {"1.running_mean": np.full(3, 0.5, dtype=np.float32)}
    tuned = Tuned(base=NAME, revision="norm-1", arrays=arrays)
    about = {**graft.backbones[NAME], "name": tuned.name, "revision": tuned.digest}
    other = replace(
        graft, parts=(Part(tuned.name, mappings.Identity()),), backbones={tuned.name: about}, tuned={tuned.name: tuned}
    )
    rows, done = adapted(other, photos(move=(100, 0, 0)), batch=12)
    assert [row.label for row in rows] == ["red"] * 12 + ["blue"] * 12
    assert done.startswith("Adapted to 24 photos in 2 batches: 12 answers changed. Before, class 0 takes 100.0%")
    assert done.endswith("if that is right, predict without adapting.")


@pytest.mark.parametrize(
    "mapping",
    [
        mappings.L2(),
        mappings.Standardise(np.float32([0.1, 0.2, 0.3]), np.float32([1, 2, 3])),
        mappings.PCA(np.float32([0.1, 0.2, 0.3]), np.eye(3, dtype=np.float32)[:, ::-1]),
        mappings.Affine.of(np.array([0.1, 0.2, 0.3]), np.eye(3)[:, [1, 0, 2]], np.array([0.5, 0, 0])),
        mappings.Chain((mappings.L2(), mappings.Standardise(np.float32([0.1, 0, 0]), np.float32([1, 2, 1])))),
    ],
    ids=lambda mapping: mapping.kind,
)
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_mappings_and_heads_are_those_of_the_graft(graft, photos, mapping, head) -> None:
    """Before anything adapts, the stream's network says what the graft says."""
    rng = np.random.default_rng(1)
    linear = LinearHead(rng.normal(size=(2, 3)), rng.normal(size=2))
    mlp = MlpHead(rng.normal(size=(4, 3)), rng.normal(size=4), rng.normal(size=(2, 4)), rng.normal(size=2))
    graft = replace(graft, parts=(Part(NAME, mapping),), head=linear if head == "linear" else mlp, temperature=50.0)
    items = photos()
    stream, backbone = stream_of(graft, Options(batch=24))
    logits = stream.net.eval().logits((_pixels(items),)).detach().double().numpy()
    assert backbone.name == NAME
    np.testing.assert_allclose(softmax(logits, axis=1), _probabilities(list(predict(graft, items))), atol=1e-5)


def _refused(graft: Graft) -> str:
    with pytest.raises(OptionError) as caught:
        adapted(graft, [])
    assert "What works: photos, one image backbone with BatchNorm" in str(caught.value)
    return str(caught.value)


def test_what_has_no_gradient_to_batch_norm_is_refused(graft, numbers) -> None:
    told = _refused(numbers)
    assert "(by hand): it takes array samples; its features are of array, which is no backbone" in told
    assert "it takes text samples" in _refused(replace(graft, modality="text"))
    votes = KNNHead(np.eye(3), np.array([0, 1, 1]), 1, 2)
    assert "its head is of the kind knn" in _refused(replace(graft, head=votes))
    both = (Part("other/one", mappings.Identity()), *graft.parts)
    assert "it has 2 sources of features (other/one, test/norm)" in _refused(replace(graft, parts=both))
    assert "it looks at no feature" in _refused(replace(graft, parts=()))
    words = (Part(NAME, mappings.Chain((mappings.L2(), mappings.TfIdf.fit(["a word", "a word"])))),)
    assert "its features are mapped by tfidf" in _refused(replace(graft, parts=words))


def test_a_network_without_batch_norm_is_refused(photos, graft, monkeypatch) -> None:
    plain = _image_backbone(nn.Conv2d(3, 3, 1))
    monkeypatch.setattr(backbones, "load", lambda name: plain)
    assert "(by hand): test/norm has no BatchNorm" in _refused(graft)


def test_a_batch_of_three_is_refused(graft) -> None:
    with pytest.raises(OptionError, match="batch expects a number in"):
        adapted(graft, [], batch=3)
