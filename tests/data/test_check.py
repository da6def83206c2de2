from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from torchgraft.core.errors import DataError
from torchgraft.data import Finding, Samples, check, folds, read, split
from torchgraft.data._check import normal


def texts(x: list[str], y: list[int], classes: tuple[str, ...] = ("p", "q"), parts: list[str] | None = None) -> Samples:
    given = np.array(parts or [""] * len(x), dtype="<U5")
    return Samples(
        modality="text",
        ids=tuple(f"t:{i}" for i in range(len(x))),
        x=x,
        y=np.array(y),
        classes=classes,
        split=given,
        root=Path("t"),
    )


def by_kind(found: tuple[Finding, ...]) -> dict[str, Finding]:
    return {finding.kind: finding for finding in found}


def many(n: int = 20) -> list[str]:
    return [f"text number {i}" for i in range(n)]


def test_nothing_odd_nothing_found() -> None:
    samples = texts(many(), [0, 1] * 10)
    kept, found = check(samples)
    assert found == ()
    assert kept.ids == samples.ids
    assert kept.group is None


def test_unreadable_images_are_left_out_and_named(image, write, bomb: bytes, jpeg: bytes) -> None:
    for label in "ab":
        for i in range(6):
            image(f"d/{label}/{i}.png", i + 10 * (label == "a"))
    write("d/a/bomb.png", bomb)
    write("d/a/empty.jpg", b"")
    write("d/b/half.jpg", jpeg[:700])
    root = write("d/b/text.jpg", b"hello").parents[1]
    kept, found = check(read(root))
    assert len(kept) == 12
    finding = by_kind(found)["unreadable"]
    assert finding.count == 4
    assert finding.action == "left out"
    assert [example.split(":")[0] for example in finding.examples] == [
        "a/bomb.png",
        "a/empty.jpg",
        "b/half.jpg",
        "b/text.jpg",
    ]
    assert "4 of 16 images can't be read. First: a/bomb.png: more than" in finding.message


def test_nothing_readable_is_an_error(write) -> None:
    write("d/a/1.jpg", b"")
    root = write("d/b/1.jpg", b"x").parents[1]
    with pytest.raises(DataError, match=r"not one of 2 images can be read\. First: a/1\.jpg: an empty file"):
        check(read(root))


def test_no_samples_is_an_error() -> None:
    with pytest.raises(DataError, match="no samples"):
        check(texts([], []))


def test_copies_across_splits_are_removed_from_test() -> None:
    x = [*many(12), "Text number 3!", "text number 0", "fresh"]
    samples = texts(x, [0, 1] * 6 + [1, 1, 0], parts=["train"] * 12 + ["test"] * 3)
    kept, found = check(samples)
    assert kept.x == [*many(12), "fresh"]
    kinds = by_kind(found)
    assert kinds["leak"].count == 2
    assert kinds["conflict"].count == 2
    assert kinds["duplicate"].count == 1
    assert kinds["near_duplicate"].count == 1


def test_image_copies_across_splits_are_removed_from_test(image) -> None:
    for i in range(6):
        image(f"d/train/a/{i}.png", i)
        image(f"d/train/b/{i}.png", i + 50)
    image("d/test/a/copy.png", 3)
    root = image("d/test/b/new.png", 99).parents[2]
    kept, found = check(read(root))
    assert "test/a/copy.png" not in kept.ids
    assert "test/b/new.png" in kept.ids
    assert by_kind(found)["leak"].examples == ("test/a/copy.png = train/a/3.png",)


def test_copies_never_part_in_later_splits_and_folds() -> None:
    x = [f"text number {i // 3}" for i in range(180)]
    kept, _ = check(texts(x, [i // 3 % 2 for i in range(180)]))
    done = split(kept, seed=0)
    test = done.split == "test"
    assert test.any()
    assert not {x[i] for i in np.flatnonzero(test)} & {x[i] for i in np.flatnonzero(~test)}
    for fit, held in folds(kept.y, group=kept.group, seed=0):
        assert not {x[i] for i in fit} & {x[i] for i in held}


def test_the_findings_are_those_of_the_check_alone() -> None:
    samples = replace(texts(many(), [0, 1] * 10), findings=(Finding(kind="x", severity="note", count=1, message="x"),))
    kept, found = check(samples)
    assert found == ()
    assert kept.findings == samples.findings


def test_rare_classes_and_imbalance() -> None:
    kinds = by_kind(check(texts(many(50), [0] * 47 + [1] * 3))[1])
    assert "q (3)" in kinds["rare_class"].message
    assert kinds["rare_class"].count == 1
    assert "16 times" in kinds["imbalance"].message
    assert "imbalance" not in by_kind(check(texts(many(55), [0] * 50 + [1] * 5))[1])  # ten times is not more than ten


def test_labels_that_differ_by_case_or_space() -> None:
    samples = texts(many(), [0, 1, 2, 3] * 5, ("Dog", "cat", "dog ", "hot_dog"))
    finding = by_kind(check(samples)[1])["similar_labels"]
    assert finding.count == 1
    assert "'Dog' / 'dog '" in finding.message


def test_one_class_and_one_sample() -> None:
    one_class = check(texts(many(), [0] * 20, ("p",)))[1]
    assert (one_class[0].kind, one_class[0].severity) == ("one_class", "error")
    one_sample = check(texts(["a"], [0], ("p",)))[1]
    assert (one_sample[0].kind, one_sample[0].severity) == ("one_sample", "error")


def test_unlabelled_samples_pass(image) -> None:
    kept, found = check(read(image("x.png")))
    assert len(kept) == 1
    assert found == ()
    assert check(texts(many(), [-1] * 20, ()))[1] == ()


def test_a_class_that_lost_its_last_sample_is_dropped(image, write) -> None:
    for i in range(6):
        image(f"d/train/a/{i}.png", i)
        image(f"d/train/c/{i}.png", i + 20)
    write("d/train/b/1.jpg", b"")
    image("d/test/b/1.png", 90)
    root = image("d/test/c/1.png", 91).parents[2]
    kept, found = check(read(root))
    assert kept.classes == ("a", "c")
    assert kept.ids[0] == "test/c/1.png"
    assert sorted(set(kept.y.tolist())) == [0, 1]
    assert kept.y[0] == 1
    assert by_kind(found)["empty_class"].examples == ("b",)


def test_unlabelled_rows_stay_when_a_class_goes() -> None:
    kept, _ = check(texts(many(3), [-1, 0, 2], ("a", "b", "c")))
    assert kept.y.tolist() == [-1, 0, 1]
    assert kept.classes == ("a", "c")


def test_long_texts() -> None:
    finding = by_kind(check(texts([*many(), "word " * 300], [0, 1] * 10 + [0]))[1])["long_text"]
    assert finding.count == 1
    assert finding.examples == ("t:20",)
    assert "about so much" in finding.action and "`graft fit` says" in finding.action


def test_arrays() -> None:
    x = np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32)
    x[7] = x[3]
    samples = replace(texts(many(40), [0, 1] * 20), modality="array", x=x)
    assert by_kind(check(samples)[1])["duplicate"].examples == ("t:3 = t:7",)
    few = replace(samples, x=np.zeros((40, 4), dtype=np.float32))  # equal rows of few features prove nothing
    assert check(few)[1] == ()


def test_the_gravest_comes_first() -> None:
    found = check(texts(["a", "a", "b", "c"], [0, 1, 0, 0]))[1]
    ranks = [("error", "warning", "note").index(finding.severity) for finding in found]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) > 1


@pytest.mark.parametrize(
    ("a", "b"),
    [("Good  film.", "good film"), ("It’s – fine!", "it s fine"), ("STRASSE", "straße"), (" x\n", "x")],
)
def test_texts_that_are_equal_but_for_case_space_and_punctuation(a: str, b: str) -> None:
    assert normal(a) == normal(b)


@pytest.mark.parametrize(("a", "b"), [(":)", ":("), ("great 😀", "great 😡"), ("5.0", "50"), ("", "!")])
def test_texts_that_are_not(a: str, b: str) -> None:
    assert normal(a) != normal(b)


@pytest.mark.shared
def test_hymenoptera_is_clean(shared_data: Path) -> None:
    samples = read(shared_data / "hymenoptera")
    kept, found = check(samples)
    assert len(kept) == len(samples) == 396
    assert [finding for finding in found if finding.severity != "note"] == []


@pytest.mark.shared
def test_trec_has_questions_in_both_parts(shared_data: Path) -> None:
    samples = read(shared_data / "trec")
    kept, found = check(samples)
    train = {normal(x) for x, part in zip(samples.x, samples.split, strict=True) if part == "train"}
    both = [x for x, part in zip(samples.x, samples.split, strict=True) if part == "test" and normal(x) in train]
    assert by_kind(found)["leak"].count == len(both) > 0
    assert (kept.split == "test").sum() == 500 - len(both)


@pytest.mark.shared
def test_cifar10_subset_has_no_false_alarm(shared_data: Path) -> None:
    kept, found = check(read(shared_data / "cifar10_subset"))
    assert len(kept) == 3000
    assert found == ()
