"""From options to usable samples: a test set of its own, labels that lack, backbones by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from torchgraft.backbones import Offer
from torchgraft.core.errors import DataError, OptionError
from torchgraft.core.progress import SILENT
from torchgraft.fit import _inputs
from torchgraft.fit._inputs import backbone_names, default_folder, load_data
from torchgraft.fit.options import FitOptions


def _rows(path: Path, n: int, *, width: int = 4, classes: tuple[str, ...] = ("a", "b"), seed: int = 0) -> str:
    y = np.array(classes)[np.arange(n) % len(classes)]
    np.savez(path, X=np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32), y=y)
    return str(path)


def test_a_test_part_is_kept_aside(arrays: Path) -> None:
    samples, findings = load_data(FitOptions(target=str(arrays)), SILENT)
    assert samples.spec().counts == {"train": 96, "test": 24}
    assert not [finding for finding in findings if finding.severity == "error"]


def test_the_seed_decides_the_test_part(arrays: Path) -> None:
    first, same, other = (load_data(FitOptions(target=str(arrays), seed=s), SILENT)[0] for s in (1, 1, 2))
    assert (first.split == same.split).all()
    assert (first.split != other.split).any()


def test_a_test_set_of_its_own_is_the_test_split(tmp_path: Path) -> None:
    target, test = _rows(tmp_path / "a.npz", 60), _rows(tmp_path / "b.npz", 20, seed=1)
    samples, _ = load_data(FitOptions(target=target, test=test), SILENT)
    assert samples.spec().counts == {"train": 60, "test": 20}
    assert len(set(samples.ids)) == 80, "equal names in both stay apart"
    np.testing.assert_array_equal(samples.of("test").y, np.arange(20) % 2)


def test_classes_of_the_test_set_in_another_order(tmp_path: Path) -> None:
    target = _rows(tmp_path / "a.npz", 60, classes=("a", "b", "c"))
    test = _rows(tmp_path / "b.npz", 20, classes=("c", "b"), seed=1)
    samples, _ = load_data(FitOptions(target=target, test=test), SILENT)
    assert [samples.classes[i] for i in samples.of("test").y[:2]] == ["c", "b"]


def test_features_of_another_width(tmp_path: Path) -> None:
    target, test = _rows(tmp_path / "a.npz", 60), _rows(tmp_path / "b.npz", 20, width=3)
    with pytest.raises(DataError, match="holds 3 features a sample, the target 4"):
        load_data(FitOptions(target=target, test=test), SILENT)


def test_a_test_set_of_another_kind(tmp_path: Path, reviews: Path) -> None:
    with pytest.raises(DataError, match="--test holds text samples, the target array samples"):
        load_data(FitOptions(target=_rows(tmp_path / "a.npz", 60), test=str(reviews)), SILENT)


def test_a_test_set_of_other_labels(tmp_path: Path) -> None:
    target, test = _rows(tmp_path / "a.npz", 60), _rows(tmp_path / "b.npz", 20, classes=("x", "y"))
    with pytest.raises(DataError, match=r"no sample with a label of the target \(a, b\)"):
        load_data(FitOptions(target=target, test=test), SILENT)


def test_unlabelled_samples_are_left_out_and_told_of(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "text,label\n" + "".join(f"words of {i},{'ab'[i % 2]}\n" for i in range(60)) + "no label,\n"
    )
    (tmp_path / "b.csv").write_text(
        "text,label\n" + "".join(f"others {i},{'abz'[i % 3]}\n" for i in range(12)) + "none,\n"
    )
    samples, findings = load_data(FitOptions(target=str(tmp_path / "a.csv"), test=str(tmp_path / "b.csv")), SILENT)
    counts = {finding.kind: finding.count for finding in findings}
    assert counts["unlabelled"] == 2, "one of the target, one of the test set"
    assert counts["unknown_label"] == 4
    assert samples.spec().counts == {"train": 60, "test": 8}


@pytest.fixture
def offers(monkeypatch: pytest.MonkeyPatch) -> None:
    def offer(name: str, parameters: int) -> Offer:
        return Offer(name=name, modality="image", width=1, parameters=parameters, size=1, licence="none")

    found = [offer("packaged/big", 9), offer("timm/cached", 1), offer("packaged/small", 2)]
    monkeypatch.setattr(_inputs.backbones, "offers", lambda modality: found)


@pytest.mark.usefixtures("offers")
def test_auto_is_what_comes_with_packages_smallest_first() -> None:
    assert backbone_names(FitOptions(target="x"), "image") == ("packaged/small", "packaged/big")


def test_asked_backbones_keep_their_order() -> None:
    assert backbone_names(FitOptions(target="x", backbone="b/2, a/1,,b/2"), "image") == ("b/2", "a/1")


def test_methods_without_a_network_load_none() -> None:
    assert backbone_names(FitOptions(target="x", method="majority,tfidf"), "text") == ()


def test_feature_arrays_need_no_backbone() -> None:
    assert backbone_names(FitOptions(target="x"), "array") == ()
    with pytest.raises(OptionError, match="--backbone a/b: the target holds feature arrays"):
        backbone_names(FitOptions(target="x", backbone="a/b"), "array")


def test_the_first_free_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_folder("data/photos/") == Path("runs/photos-1")
    Path("runs/photos-1").mkdir(parents=True)
    assert default_folder("reviews.csv") == Path("runs/reviews-1")
    assert default_folder("photos") == Path("runs/photos-2")
