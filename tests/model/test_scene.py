"""A graft of scenes: answers by hand, saved and loaded, and whatever may be wrong with its folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

import torchgraft as tg
from torchgraft import backbones
from torchgraft.core.errors import ArtifactError, DataError
from torchgraft.core.progress import Progress
from torchgraft.features.decode import pixels, resized
from torchgraft.model import Decoder, SceneGraft, Tuned, as_samples, load, tiles
from torchgraft.model.scene_network import SceneNetwork
from torchgraft.model.views import ViewNetwork

LITE0 = "packaged/efficientnet_lite0"
COLOURS = ((128, 128, 128), (128, 64, 128), (0, 0, 192))


def _network(name: str = "linear", **options: object) -> SceneNetwork:
    torch.manual_seed(0)
    net = SceneNetwork.of(backbones.load(LITE0), name, 3, **options)
    for p in net.decoder.parameters():
        p.data.mul_(5)
    return net


@pytest.fixture(scope="module")
def network() -> SceneNetwork:
    """EfficientNet-Lite0 under a linear decoder whose weights are random, large enough that it is sure of some."""
    return _network()


@pytest.fixture
def graft(network: SceneNetwork) -> SceneGraft:
    return _graft(network, "linear")


def _graft(network: SceneNetwork, name: str, **changes: object) -> SceneGraft:
    arrays = {key: value.numpy().copy() for key, value in network.decoder.state_dict().items()}
    about = {"name": LITE0, "revision": backbones.load(LITE0).revision, "licence": "Apache-2.0"}
    plain = {
        "source": LITE0,
        "decoder": Decoder(name=name, arrays=arrays),
        "scale": 1.0,
        "classes": ("sky", "road", "car"),
        "colours": COLOURS,
        "method": "pixel_probe",
        "backbones": {LITE0: about},
    }
    return SceneGraft(**(plain | changes))


def _constant(*shares: float, **changes: object) -> SceneGraft:
    plain = {
        "source": None,
        "decoder": Decoder(name="constant", arrays={"bias": np.log(np.array(shares)).astype(np.float32)}),
        "scale": 1.0,
        "classes": ("sky", "road", "car")[: len(shares)],
        "colours": COLOURS[: len(shares)],
        "method": "pixel_majority",
    }
    return SceneGraft(**(plain | changes))


@pytest.fixture
def photo(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str, size: tuple[int, int] = (64, 64), **save: object) -> Path:
        coarse = np.random.default_rng(len(name)).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.NEAREST).save(tmp_path / name, **save)
        return tmp_path / name

    return make


def _same(a: tuple, b: tuple) -> None:
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one.classes, other.classes)
        np.testing.assert_array_equal(one.confidence, other.confidence)


@pytest.mark.parametrize(("temperature", "share"), [(1.0, 0.75), (2.0, 3**0.5 / (1 + 3**0.5)), (0.5, 0.9)])
def test_the_most_frequent_class_everywhere_by_hand(temperature: float, share: float) -> None:
    classes, confidence = _constant(1, 3, temperature=temperature).answer(np.zeros((5, 7, 3), dtype=np.uint8))
    assert classes.shape == confidence.shape == (5, 7)
    assert (classes == 1).all()
    assert (confidence == round(255 * share)).all()


@pytest.mark.parametrize("temperature", [1.0, 0.6, 3.0])
def test_it_is_the_network_after_a_temperature(graft: SceneGraft, network: SceneNetwork, photo, temperature) -> None:
    graft = replace(graft, temperature=temperature)
    image = pixels(photo("a.png", (80, 50)).read_bytes())
    with torch.inference_mode():
        p = (network(torch.from_numpy(image).permute(2, 0, 1)[None])[0] / temperature).softmax(0)
    classes, confidence = graft.answer(image)
    np.testing.assert_array_equal(classes, p.argmax(0).numpy())
    np.testing.assert_allclose(confidence, 255 * p.max(0)[0].numpy(), atol=0.51)
    assert len(np.unique(classes)) > 1


def test_at_another_scale_it_answers_the_smaller_image(graft: SceneGraft, photo) -> None:
    image = pixels(photo("a.png", (128, 96)).read_bytes())
    expected = graft.answer(resized(image, (48, 64)))
    found = replace(graft, scale=0.5).answer(image)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other.repeat(2, axis=0).repeat(2, axis=1))


@pytest.mark.parametrize("size", [(1, 1), (5, 200), (63, 33)])
def test_a_map_has_the_size_of_its_image(graft: SceneGraft, photo, size: tuple[int, int]) -> None:
    [scene] = replace(graft, scale=0.7).predict([photo("a.png", size)])
    assert scene.classes.shape == scene.confidence.shape == size[::-1]
    assert scene.classes.dtype == scene.confidence.dtype == np.uint8


def test_large_images_are_exact_where_a_halo_is_enough(graft: SceneGraft, monkeypatch: pytest.MonkeyPatch) -> None:
    assert graft.exact((3000, 3000, 3))
    monkeypatch.setattr(tiles, "needed_halo", lambda network: None)
    assert [graft.exact((1024, side, 3)) for side in (1024, 1025)] == [True, False]
    assert _constant(0.5, 0.5).exact((3000, 3000))


@pytest.mark.parametrize(("fusion", "exact"), [("gated", False), ("concat", True)])
def test_large_images_of_several_views(graft: SceneGraft, fusion: str, exact: bool, monkeypatch) -> None:
    """Gated views are seen in tiles by the network of their blend, others as wholes."""
    network = ViewNetwork.of(graft.backbone, fusion, len(graft.classes), views=2)
    arrays = {name: t.numpy() for name, t in network.decoder.state_dict().items()}
    joined = replace(graft, decoder=Decoder(name=fusion, arrays=arrays), views=("other",))
    assert joined.exact((3000, 3000, 3))
    monkeypatch.setattr(tiles, "needed_halo", lambda network: None)
    assert joined.exact((3000, 3000, 3)) is exact


def test_images_are_answered_upright(graft: SceneGraft, photo) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    plain, turned = graft.predict([photo("a.png", (64, 32)), photo("b.jpg", (64, 32), exif=exif)])
    assert plain.classes.shape == (32, 64)
    assert turned.classes.shape == (64, 32)


def test_what_cannot_be_read_keeps_its_place(graft: SceneGraft, photo, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    told = []

    class Told(Progress):
        def bar(self, what: str, total: int):
            told.append((what, total))
            return super().bar(what, total)

    paths = [tmp_path / "text.png", tmp_path / "gone.png", photo("a.png")]
    scenes = graft.predict(paths, progress=Told())
    assert [scene.id for scene in scenes] == list(map(str, paths))
    assert [bool(scene.error) for scene in scenes] == [True, True, False]
    assert "not an image" in scenes[0].error
    assert (scenes[1].error, scenes[1].classes) == ("No such file or directory", None)
    assert told == [("3 scenes", 3)]


@pytest.mark.parametrize("items", ["photo.jpg", Path("photo.jpg"), 3, [1, 2], np.zeros((2, 8, 8, 3))])
def test_what_is_no_list_of_paths_is_refused(items: object) -> None:
    with pytest.raises(DataError, match="expects a list of paths"):
        _constant(1, 3).predict(items)


def test_samples_of_images_alone(graft: SceneGraft, photo) -> None:
    path = photo("a.png")
    _same(graft.predict(as_samples([path], "image")), graft.predict([str(path)]))
    with pytest.raises(DataError, match="fitted on image samples, got text"):
        graft.predict(as_samples(["a.png"], "text"))


def test_colours_by_hand() -> None:
    found = _constant(1, 3).coloured(np.array([[0, 1, 255]], dtype=np.uint8))
    assert found.tolist() == [[[128, 128, 128], [128, 64, 128], [255, 255, 255]]]


def test_saved_and_loaded_it_gives_the_same_maps(graft: SceneGraft, photo, tmp_path: Path) -> None:
    graft = replace(graft, temperature=1.7, scale=0.8)
    paths = [photo("a.png"), photo("bb.png", (90, 70))]
    graft.save(tmp_path / "model", check=as_samples(paths, "image"))
    again = tg.load(tmp_path / "model")
    assert isinstance(again, SceneGraft)
    _same(again.predict(paths), graft.predict(paths))
    assert (again.task, again.modality, again.gives) == ("segmentation", "image", "map")
    assert (again.classes, again.colours, again.temperature) == (graft.classes, graft.colours, 1.7)


def test_one_without_a_network_is_saved_whole(photo, tmp_path: Path) -> None:
    graft = _constant(1, 3, temperature=2.0)
    graft.save(tmp_path / "model", check=as_samples([photo("a.png")], "image"))
    _same(load(tmp_path / "model").predict([photo("a.png")]), graft.predict([photo("a.png")]))
    assert "Backbone (licence of its weights): none" in (tmp_path / "model/README.md").read_text()


@pytest.fixture
def tuned(graft: SceneGraft) -> SceneGraft:
    """The first convolution of the backbone trained further, which halved it."""
    base = backbones.load(LITE0)
    name, weight = next((n, w) for n, w in base.module.state_dict().items() if w.ndim == 4)
    own = Tuned(base=LITE0, revision=base.revision, arrays={name: (weight / 2).numpy()})
    about = {**graft.backbones[LITE0], "name": own.name, "base": LITE0, "revision": own.digest}
    return replace(graft, source=own.name, tuned={own.name: own}, backbones={own.name: about})


def test_trained_weights_are_saved_and_only_those_that_changed(graft, tuned, photo, tmp_path: Path) -> None:
    path = photo("a.png")
    tuned.save(tmp_path / "model", check=as_samples([path], "image"))
    arrays = load_file(tmp_path / "model/model.safetensors")
    assert sum(name.startswith("tuned.") for name in arrays) == 1
    again = load(tmp_path / "model")
    _same(again.predict([path]), tuned.predict([path]))
    assert (again.predict([path])[0].confidence != graft.predict([path])[0].confidence).any()
    with torch.no_grad():
        fresh = backbones.load(LITE0).module.state_dict()
        name = next(iter(tuned.tuned[tuned.source].arrays))
        np.testing.assert_allclose(again.backbone.module.state_dict()[name], fresh[name] / 2)


def test_a_base_with_other_weights_is_refused(tuned: SceneGraft, photo, tmp_path: Path) -> None:
    [own] = tuned.tuned.values()
    replace(tuned, tuned={tuned.source: replace(own, revision="older")}).save(tmp_path / "model")
    with pytest.raises(ArtifactError, match=r"other weights here \(revision .*\) than those that were tuned \(older\)"):
        load(tmp_path / "model").predict([photo("a.png")])


def test_a_backbone_with_other_weights_is_refused(graft: SceneGraft, photo, tmp_path: Path) -> None:
    graft.save(tmp_path / "model", check=as_samples([photo("a.png")], "image"))
    _change(tmp_path / "model", {"backbones": {LITE0: {"revision": "older", "licence": "Apache-2.0"}}})
    with pytest.raises(ArtifactError, match=r"other weights here .* than the graft was fitted on \(older\)"):
        load(tmp_path / "model")


def _change(folder: Path, change: dict) -> None:
    config = json.loads((folder / "graft.json").read_text())
    (folder / "graft.json").write_text(json.dumps(config | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": None}, "don't fit together"),
        ({"classes": []}, "0 classes and 2 colours"),
        ({"classes": ["sky"]}, "1 classes and 2 colours"),
        ({"classes": ["sky", "road", "car"], "colours": [[0, 0, 0]] * 3}, "3 classes and shares of"),
        ({"colours": [[1, 2], [3, 4]]}, "don't fit together"),
        ({"temperature": "x"}, "don't fit together"),
        ({"temperature": 0.0}, "temperature 0.0, scale 1.0"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"scale": -1}, "temperature 1.0, scale -1"),
        ({"source": "packaged/x"}, "decoder 'constant' on source 'packaged/x'"),
        ({"decoder": {"name": "linear", "options": {}}}, "decoder 'linear' on source None"),
        ({"decoder": None}, "don't fit together"),
        ({"tuned": [{}]}, "don't fit together"),
        ({"task": "smelling"}, "task 'smelling', which this version doesn't know"),
        ({"format": 99}, "has format 99; this torchgraft reads up to 1"),
    ],
)
def test_pieces_that_do_not_fit_together(tmp_path: Path, change: dict, message: str) -> None:
    _constant(1, 3).save(tmp_path / "model")
    _change(tmp_path / "model", change)
    with pytest.raises(ArtifactError, match=message):
        load(tmp_path / "model")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {n: v for n, v in a.items() if "bias" not in n}, "not complete or of another shape: bias"),
        (lambda a: {**a, "decoder.more": a["decoder.bias"]}, "not complete or of another shape: more"),
        (lambda a: {**a, "decoder.bias": np.zeros(4, np.float32)}, "not complete or of another shape: bias"),
        (lambda a: {**a, "decoder.bias": a["decoder.bias"] + [0, 99, 0]}, "the self-check failed"),
    ],
)
def test_decoder_weights_that_are_not_its_own(graft: SceneGraft, photo, tmp_path, change, message: str) -> None:
    graft.save(tmp_path / "model", check=as_samples([photo("a.png")], "image"))
    path = tmp_path / "model/model.safetensors"
    save_file({n: np.asarray(v, dtype=np.float32) for n, v in change(load_file(path)).items()}, path)
    with pytest.raises(ArtifactError, match=message):
        load(tmp_path / "model")


@pytest.mark.parametrize("name", ["model.safetensors", "check.safetensors", "graft.json"])
def test_a_file_cut_short_is_said(graft: SceneGraft, photo, tmp_path: Path, name: str) -> None:
    graft.save(tmp_path / "model", check=as_samples([photo("a.png")], "image"))
    path = tmp_path / "model" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ArtifactError, match=f"{name} is damaged"):
        load(tmp_path / "model")


def test_an_unknown_decoder_is_named(graft: SceneGraft, photo, tmp_path: Path) -> None:
    graft.save(tmp_path / "model", check=as_samples([photo("a.png")], "image"))
    _change(tmp_path / "model", {"decoder": {"name": "liner", "options": {}}})
    with pytest.raises(tg.UserError, match="liner"):
        load(tmp_path / "model")


def test_names_are_no_markup_in_the_card() -> None:
    card = _constant(1, 3, classes=("<img src=x>", "[a](http://b)")).card()
    assert r"- Classes: \<img src=x\>, \[a\](http://b)" in card
    assert "graft predict THIS_FOLDER PATH... --out FOLDER" in card
