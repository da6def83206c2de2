from __future__ import annotations

from dataclasses import replace

import pytest

from torchgraft.core.errors import OptionError
from torchgraft.train.augment import AugmentOptions
from torchgraft.tune._augmenting import PICTURES, RULES, SWITCHED, Size, adjust, settle, words
from torchgraft.tune._options import TrainOptions

PHOTOS = Size(modality="image", samples=5000, classes=10, epochs=10)
TEXTS = Size(modality="text", samples=20_000, classes=10, epochs=3)


def _values(options: TrainOptions) -> dict[str, float]:
    return {name: value for name in SWITCHED if (value := getattr(options, name))}


def test_pictures_by_hand() -> None:
    settled, on, off = settle(TrainOptions(), PHOTOS)
    assert _values(settled) == {"mixup": 0.2, "cutmix": 1.0, "smoothing": 0.1}
    assert (settled.token_dropout, off) == (0.0, {})
    assert on == ["mixup 0.2 (5000 pictures)", "cutmix 1 (5000 pictures)", "smoothing 0.1 (5000 pictures)"]
    settled, on, off = settle(TrainOptions(), replace(PHOTOS, epochs=1, classes=9))
    assert _values(settled) == {}
    assert off == {"at most 1 epoch, on from 10": ["mixup", "cutmix"], "9 classes, on from 10": ["smoothing"]}


def test_texts_by_hand() -> None:
    settled, on, _ = settle(TrainOptions(), TEXTS)
    assert _values(settled) == {"token_dropout": 0.1, "smoothing": 0.1}
    assert on == ["token_dropout 0.1 (20000 texts)", "smoothing 0.1 (20000 texts)"]
    _, on, off = settle(TrainOptions(cutmix=1.0, colour=0.1), replace(TEXTS, epochs=2))
    assert words(on, off) == (
        "On: smoothing 0.1 (20000 texts). "
        "Off: token_dropout (at most 2 epochs, on from 3); colour, cutmix (not made for texts)."
    )


@pytest.mark.parametrize(
    "size",
    [
        Size(modality="image", samples=4999, classes=100, epochs=100),
        Size(modality="text", samples=19_999, classes=100, epochs=100),
    ],
)
def test_with_less_data_nothing_is_on(size: Size) -> None:
    settled, on, off = settle(TrainOptions(), size)
    assert (_values(settled), on) == ({}, [])
    least = 5000 if size.modality == "image" else 20_000
    assert off == {f"{size.samples} {size.unit}, on from {least}": list(RULES[size.modality])}


def test_what_was_given_stays() -> None:
    settled, on, off = settle(TrainOptions(mixup=0.0, smoothing=0.3), PHOTOS)
    assert _values(settled) == {"cutmix": 1.0, "smoothing": 0.3}
    assert words(on, off) == "On: cutmix 1 (5000 pictures), smoothing 0.3 (as asked). Off: mixup (as asked)."
    settled, _, off = settle(TrainOptions(token_dropout=0.1), replace(PHOTOS, samples=10))
    assert settled.token_dropout == 0.0
    assert off["not made for pictures"] == ["token_dropout"]


def test_without_augmentation_labels_are_still_smoothed() -> None:
    settled, _, off = settle(TrainOptions(augment="none"), PHOTOS)
    assert _values(settled) == {"smoothing": 0.1}
    assert off == {"as asked": ["mixup", "cutmix"]}
    adjusted, on, off = adjust(AugmentOptions(), TrainOptions(augment="none", noise=3.0), 1000)
    assert (adjusted, on) == (AugmentOptions(noise=3.0), ["noise 3 (as asked)"])
    assert off == {"as asked": [name for name in PICTURES if name != "noise"]}


def test_pictures_with_randaugment_need_no_more_of_colour_and_rotation() -> None:
    suggested = AugmentOptions(randaugment=6.0, erasing=0.1, flip=0.5)
    off = adjust(suggested, TrainOptions(), 300)[2]
    assert off == {"randaugment has it": ["rotation", "colour"], "only when asked": ["noise", "vertical_flip"]}
    off = adjust(suggested, TrainOptions(randaugment=0.0), 300)[2]
    assert off == {"only when asked": ["rotation", "noise", "vertical_flip", "colour"], "as asked": ["randaugment"]}


def test_every_setting_is_an_option_that_is_left_to_the_data() -> None:
    assert all(getattr(TrainOptions(), name) is None for name in (*PICTURES, *SWITCHED))
    assert set(PICTURES) <= set(AugmentOptions.__dataclass_fields__)


def test_an_unknown_augment() -> None:
    with pytest.raises(OptionError, match="augment expects auto or none, got 'non'. Did you mean 'none'"):
        settle(TrainOptions(augment="non"), PHOTOS)
