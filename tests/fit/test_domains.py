"""Sources, target, few labels and test set in one `Samples`, and what of them may be seen."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from torchgraft.core.errors import DataError
from torchgraft.core.progress import SILENT
from torchgraft.fit import FitOptions
from torchgraft.fit._domains import FEW, SOURCE, TARGET, TEST, Domains, load_domains


def loaded(target: Path, *sources: Path, **changes: object) -> Domains:
    options = FitOptions(target=str(target), source=tuple(map(str, sources)), **changes)
    return load_domains(options, SILENT)


def kinds(found: Domains) -> dict[str, int]:
    return {one.kind: one.count for one in found.findings}


def saved(path: Path, x: np.ndarray, y: np.ndarray | None = None) -> Path:
    np.savez(path, **({"X": x.astype(np.float32)} | ({} if y is None else {"y": y})))
    return path


def test_every_part_in_its_place(pair: Path) -> None:
    few, test = str(pair / "few.npz"), str(pair / "test.npz")
    found = loaded(pair / "bare.npz", pair / "source.npz", test=test, few_labels=few)
    samples = found.samples
    assert Counter(samples.split.tolist()) == {SOURCE: 72, TARGET: 81, FEW: 20, TEST: 40}
    assert samples.classes == ("ant", "bee", "cat")
    assert len(set(samples.ids)) == len(samples) == len(samples.x)
    with np.load(pair / "source.npz") as source, np.load(pair / "bare.npz") as target:
        np.testing.assert_array_equal(samples.x[samples.split == SOURCE], source["X"])
        np.testing.assert_array_equal(samples.x[samples.split == TARGET], target["X"])
        assert [samples.classes[c] for c in samples.y[samples.split == SOURCE]] == source["y"].tolist()
    assert (samples.y[samples.split == TARGET] == -1).all()
    assert (found.origin == np.where(samples.split == SOURCE, 0, -1)).all()
    assert found.oracle is None and not found.findings


@pytest.mark.parametrize("name", ["target.npz", "wrong.npz"])
def test_labels_of_the_target_have_no_way_in(pair: Path, name: str) -> None:
    with_labels, bare = loaded(pair / name, pair / "source.npz"), loaded(pair / "bare.npz", pair / "source.npz")
    assert (with_labels.samples.y[with_labels.samples.split == TARGET] == -1).all()
    np.testing.assert_array_equal(with_labels.samples.x, bare.samples.x)
    np.testing.assert_array_equal(with_labels.samples.y, bare.samples.y)
    assert with_labels.samples.classes == bare.samples.classes
    assert with_labels.oracle is None
    (note,) = with_labels.findings
    assert (note.kind, note.severity, note.count, note.action) == ("target_labels", "note", 81, "not looked at")


@pytest.mark.parametrize("kind", ["arrays", "folders", "table"])
def test_no_label_of_the_target_decides_which_samples_are_there(kind: str, tmp_path: Path, make_domain) -> None:
    """A target in parts, whose test part has a class that its train part lacks: all of it is adapted to."""
    found = {}
    for name, strange in (("same", "bee"), ("other", "emu"), ("bare", None)):
        make = {"arrays": _arrays_in_parts, "folders": _folders_in_parts, "table": _table_in_parts}[kind]
        target, source = make(tmp_path / name, strange, make_domain)
        found[name] = loaded(target, source).samples
    assert (found["same"].split == TARGET).sum() == 8
    for one in found.values():
        assert one.classes == found["same"].classes
        np.testing.assert_array_equal(one.y, found["same"].y)
        np.testing.assert_array_equal(one.split, found["same"].split)
        if kind != "folders":
            assert one.ids == found["same"].ids
            np.testing.assert_array_equal(one.x, found["same"].x)


def _arrays_in_parts(folder: Path, strange: str | None, make_domain) -> tuple[Path, Path]:
    folder.mkdir()
    x, y = make_domain(20, seed=9)
    y = y.astype("<U3")
    source = saved(folder / "source.npz", x, y)
    parts = {"X_train": x[:4] + 1, "X_test": x[4:8] + 1}
    if strange:
        parts |= {"y_train": y[:4], "y_test": np.where(np.arange(4) == 2, strange, y[4:8])}
    np.savez(folder / "target.npz", **parts)
    return folder / "target.npz", source


def _folders_in_parts(folder: Path, strange: str | None, make_domain) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    for i in range(20):
        place = folder / "source" / ("ant", "bee")[i % 2]
        if i < 8:
            label = strange if strange and i == 6 else ("ant", "bee")[i % 2]
            place = folder / "target" / ("train" if i < 4 else "test") / (label if strange else "")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(place / f"{i}.png")
    return folder / "target", folder / "source"


def _table_in_parts(folder: Path, strange: str | None, make_domain) -> tuple[Path, Path]:
    (folder / "target").mkdir(parents=True)
    rows = [(f"a coat of number {i} is here for you", ("ant", "bee")[i % 2]) for i in range(20)]
    texts = {"train": rows[:4], "test": [(text, strange if i == 2 else y) for i, (text, y) in enumerate(rows[4:8])]}
    for name, part in texts.items():
        lines = [f"{text},{y}" if strange else text for text, y in part]
        head = "text,label" if strange else "text"
        (folder / "target" / f"{name}.csv").write_text("\n".join([head, *lines]), encoding="utf-8")
    lines = [f"{text} again,{y}" for text, y in rows]
    (folder / "source.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    return folder / "target", folder / "source.csv"


def test_the_oracle_holds_the_targets_labels_and_no_others(pair: Path, tmp_path: Path) -> None:
    with np.load(pair / "target.npz") as data:
        strange = np.where(np.arange(81) < 5, "emu", data["y"])
        saved(tmp_path / "t.npz", data["X"], strange)
    found = loaded(tmp_path / "t.npz", pair / "source.npz", oracle_labels=True)
    rows = found.samples.split == TARGET
    expected = [-1 if name == "emu" else found.samples.classes.index(name) for name in strange]
    assert found.oracle[rows].tolist() == expected
    assert (found.oracle[~rows] == -1).all()
    assert found.samples.classes == ("ant", "bee", "cat"), "a class of the target alone is none of the run's"
    assert (found.samples.y[rows] == -1).all()


def test_two_sources_are_told_apart_and_share_classes(pair: Path, tmp_path: Path, make_domain) -> None:
    x, y = make_domain(30, seed=4)
    other = saved(tmp_path / "b.npz", x, np.where(y == "ant", "aphid", y))
    found = loaded(pair / "bare.npz", pair / "source.npz", other)
    assert found.samples.classes == ("ant", "aphid", "bee", "cat")
    assert Counter(found.origin.tolist()) == {0: 72, 1: 30, -1: 81}
    second = found.samples.y[found.origin == 1]
    assert [found.samples.classes[c] for c in second[:3]] == ["aphid", "bee", "cat"]


def test_the_same_source_twice_is_no_clash_of_names(pair: Path) -> None:
    found = loaded(pair / "bare.npz", pair / "source.npz", pair / "source.npz")
    assert len(set(found.samples.ids)) == 72 + 72 + 81


def test_unlabelled_rows_of_a_source_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("text,label\n" + "".join(f"word {i},{'ab'[i % 2]}\n" for i in range(8)) + "odd,\n")
    (tmp_path / "t.csv").write_text("text\n" + "".join(f"other {i}\n" for i in range(6)))
    found = loaded(tmp_path / "t.csv", tmp_path / "s.csv")
    assert Counter(found.samples.split.tolist()) == {SOURCE: 8, TARGET: 6}
    assert "unlabelled" in kinds(found) and "no_labels" not in kinds(found)


def test_classes_that_the_source_lacks_are_left_out_and_told(pair: Path, tmp_path: Path, make_domain) -> None:
    x, y = make_domain(12, seed=5)
    given = saved(tmp_path / "few.npz", x, np.where(y == "cat", "emu", y))
    found = loaded(pair / "bare.npz", pair / "source.npz", few_labels=str(given))
    assert (found.samples.split == FEW).sum() == 8
    (finding,) = found.findings
    assert (finding.kind, finding.severity, finding.count) == ("unknown_label", "warning", 4)
    assert finding.action == "left out"
    assert "few.npz" in finding.message


def test_rows_that_can_not_be_read_are_told_of_in_every_part(pair: Path, tmp_path: Path, make_domain) -> None:
    x, y = make_domain(12, seed=5)
    x[0] = np.nan
    given = saved(tmp_path / "odd.npz", x, y)
    found = loaded(given, given, test=str(given))
    assert [one.count for one in found.findings if one.kind == "not_finite"] == [1, 1, 1]
    assert Counter(found.samples.split.tolist()) == {SOURCE: 11, TARGET: 11, TEST: 11}


def test_what_is_wrong_is_said(pair: Path, tmp_path: Path, make_domain) -> None:
    x, y = make_domain(12, seed=5)
    wide = saved(tmp_path / "wide.npz", np.hstack([x, x]), y)
    one = saved(tmp_path / "one.npz", x, np.full(12, "ant"))
    emu = saved(tmp_path / "emu.npz", x, np.full(12, "emu"))
    (tmp_path / "texts.csv").write_text("text,label\n" + "".join(f"word {i},{'ab'[i % 2]}\n" for i in range(8)))
    bare, source = pair / "bare.npz", pair / "source.npz"
    cases = [
        ((bare, pair / "same.npz"), {}, "--source .*same.npz has no labels. Expected one folder per class"),
        ((bare, tmp_path / "texts.csv"), {}, "texts.csv holds text samples, the target array samples"),
        ((bare, wide), {}, "wide.npz holds 12 features a sample, the target 6"),
        ((bare, source, wide), {}, "wide.npz holds 12 features"),
        ((bare, one), {}, "one.npz: one class only to learn from. Expected at least two"),
        ((bare, source), {"test": str(wide)}, "wide.npz holds 12 features"),
        ((bare, source), {"few_labels": str(pair / "same.npz")}, "--few-labels .*same.npz has no labels"),
        ((bare, source), {"test": str(emu)}, r"emu.npz has no sample with a class of the source \(ant, bee, cat\)"),
        ((bare, source), {"oracle_labels": True}, "--oracle-labels needs a label .* 81 of 81 have none"),
        ((bare, tmp_path / "nowhere.npz"), {}, "nowhere.npz"),
        ((tmp_path / "nowhere.npz", source), {}, "nowhere.npz"),
    ]
    for paths, changes, message in cases:
        with pytest.raises(DataError, match=message):
            loaded(*paths, **changes)


def test_masks_are_no_classes_of_a_sample(pair: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / "scenes" / folder).mkdir(parents=True)
        for i in range(4):
            pixels = rng.integers(0, 3, (16, 16, 3) if folder == "images" else (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "scenes" / folder / f"{i}.png")
    for target, source in ((tmp_path / "scenes", pair / "source.npz"), (pair / "bare.npz", tmp_path / "scenes")):
        with pytest.raises(DataError, match="holds segmentation labels; --source and --from expect one class a sample"):
            loaded(target, source)
