from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from sklearn.datasets import load_digits

from torchgraft.core.errors import DataError, OptionError
from torchgraft.core.types import ImagePreprocessing
from torchgraft.features.decode import fit
from torchgraft.train._geometry import resized_box
from torchgraft.train.augment import AugmentOptions, ImageAugment, flip_is_safe, suggest


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int = 6, height: int = 20, width: int = 20) -> torch.Tensor:
    """Noise: every window of it is like no other."""
    return torch.randint(0, 256, (n, height, width, 3), dtype=torch.uint8, generator=seeded(99))


def windows(picture: torch.Tensor, size: int) -> torch.Tensor:
    """All size x size windows of a picture."""
    return picture.unfold(0, size, 1).unfold(1, size, 1).permute(0, 1, 3, 4, 2).flatten(0, 1)


def is_window(result: torch.Tensor, picture: torch.Tensor) -> bool:
    found = windows(picture, len(result))
    return bool((found == result).flatten(1).all(1).any())


def test_by_default_it_is_the_centre_crop() -> None:
    x = pictures(height=20, width=23)
    augment = ImageAugment(AugmentOptions(), 16)
    assert augment.options.off
    generator = seeded()
    before = generator.get_state()
    assert torch.equal(augment(x, generator), x[:, 2:18, 4:20])
    assert torch.equal(augment.plain(x), x[:, 2:18, 4:20])
    assert torch.equal(generator.get_state(), before)


def test_plain_is_what_evaluation_sees() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 67, 3), dtype=np.uint8)
    large, small = (
        ImagePreprocessing(size=size, resize=40, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic")
        for size in (40, 32)
    )
    cached = fit(image, large).permute(1, 2, 0)[None]
    expected = fit(image, small).permute(1, 2, 0)
    assert torch.equal(ImageAugment(AugmentOptions(), 32).plain(cached)[0], expected)


@given(
    options=st.builds(
        AugmentOptions,
        crop=st.sampled_from(["centre", "random", "resized"]),
        scale=st.sampled_from([(0.1, 0.4), (0.5, 1.0)]),
        shift=st.sampled_from([0.0, 0.3]),
        flip=st.sampled_from([0.0, 0.5]),
        vertical_flip=st.sampled_from([0.0, 0.5]),
        rotation=st.sampled_from([0.0, 20.0]),
        colour=st.sampled_from([0.0, 0.8]),
        noise=st.sampled_from([0.0, 30.0]),
        erasing=st.sampled_from([0.0, 0.5]),
        randaugment=st.sampled_from([0.0, 3.0, 10.0]),
        randaugment_ops=st.integers(1, 3),
    ),
    n=st.integers(0, 4),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=60)
def test_any_options_give_pictures_and_only_the_generator_counts(options: AugmentOptions, n: int, seed: int) -> None:
    x = pictures(n, 20, 18)
    before = x.clone()
    augment = ImageAugment(options, 16)
    torch.manual_seed(seed)
    result = augment(x, seeded(seed))
    assert result.shape == (n, 16, 16, 3)
    assert result.dtype == (torch.float32 if options.changes_values else torch.uint8)
    assert torch.equal(x, before)
    assert n == 0 or (result.float().isfinite().all() and result.min() >= 0 and result.max() <= 255.001)
    torch.manual_seed(seed + 1)
    kept = result.clone()
    assert torch.equal(augment(x, seeded(seed)), result)
    augment(x, seeded(seed + 1))
    assert torch.equal(kept, result), "a result stays as it is when the next is made"


def test_random_crops_are_windows_each_its_own() -> None:
    x = pictures(1).expand(40, -1, -1, -1)
    result = ImageAugment(AugmentOptions(crop="random"), 16)(x, seeded())
    assert all(is_window(one, x[0]) for one in result)
    assert len(result.flatten(1).unique(dim=0)) > 15  # of 25 places


@pytest.mark.parametrize(("name", "axis"), [("flip", 1), ("vertical_flip", 0)])
def test_flips(name: str, axis: int) -> None:
    x = pictures(60)
    always = ImageAugment(AugmentOptions(**{name: 1.0}), 16)
    assert torch.equal(always(x, seeded()), always.plain(x).flip(axis + 1))
    sometimes = ImageAugment(AugmentOptions(**{name: 0.3}), 16)
    flipped = (sometimes(x, seeded()) != sometimes.plain(x)).flatten(1).any(1)
    assert 8 <= int(flipped.sum()) <= 28


def test_shifts_reach_as_far_as_asked_and_mirror_the_edges() -> None:
    x = pictures(1, 16, 16).expand(300, -1, -1, -1)
    result = ImageAugment(AugmentOptions(shift=0.125), 16)(x, seeded())
    padded = torch.from_numpy(np.pad(x[0].numpy(), ((2, 2), (2, 2), (0, 0)), mode="symmetric"))
    assert all(is_window(one, padded) for one in result)
    assert len(result.flatten(1).unique(dim=0)) == 25


def test_resized_crops_of_a_plain_picture_are_plain() -> None:
    x = torch.full((8, 40, 40, 3), 77, dtype=torch.uint8)
    options = AugmentOptions(crop="resized", scale=(0.1, 1.0), rotation=30, flip=0.5)
    assert torch.allclose(ImageAugment(options, 16)(x, seeded()), torch.tensor(77.0), atol=1e-3)


def test_resized_crops_are_those_of_pillow() -> None:
    y, x = np.mgrid[:40, :44]
    image = np.stack([x * 5, y * 6, 250 - x * 2 - y * 3], axis=-1).astype(np.uint8)
    batch = torch.from_numpy(image).expand(20, -1, -1, -1)
    found = ImageAugment(AugmentOptions(crop="resized", scale=(0.2, 1.0)), 32)(batch, seeded())
    for result, draw in zip(found, torch.rand(20, 15, generator=seeded()).tolist(), strict=True):
        top, left, height, width = resized_box(40, 44, (0.2, 1.0), *draw[:4])
        crop = Image.fromarray(image).crop((left, top, left + width, top + height))
        expected = np.array(crop.resize((32, 32), Image.Resampling.BILINEAR))
        assert (result.int() - torch.from_numpy(expected).int()).abs().max() <= 1


def test_rotation_stays_within_its_degrees() -> None:
    x = torch.zeros(50, 41, 41, 3, dtype=torch.uint8)
    x[:, 20, 30:] = 255  # a line to the right
    result = ImageAugment(AugmentOptions(rotation=25), 41)(x, seeded())[..., 0]
    rows = torch.arange(41.0) - 20
    column = result[:, :, 35]
    degrees = torch.rad2deg(torch.atan2((column * rows).sum(1) / column.sum(1), torch.tensor(15.0)))
    assert degrees.abs().max() < 26.5 and degrees.max() > 15 and degrees.min() < -15


def test_colour_is_a_factor_around_one() -> None:
    x = torch.full((200, 8, 8, 3), 100, dtype=torch.uint8)
    values = ImageAugment(AugmentOptions(colour=0.3), 8)(x, seeded())[:, 0, 0, 0]
    # of a plain grey picture only the brightness can change
    assert values.min() > 69.9 and values.max() < 130.1
    assert values.max() > 125 and values.min() < 75 and abs(float(values.mean()) - 100) < 5


def test_noise_has_its_standard_deviation() -> None:
    x = torch.full((4, 64, 64, 3), 128, dtype=torch.uint8)
    result = ImageAugment(AugmentOptions(noise=12.0), 64)(x, seeded())
    assert float(result.std()) == pytest.approx(12, rel=0.02)
    assert float(result.mean()) == pytest.approx(128, abs=0.3)
    assert not torch.equal(result[0], result[1])


def test_erasing_has_its_probability() -> None:
    x = pictures(300, 16, 16)
    result = ImageAugment(AugmentOptions(erasing=0.25), 16)(x, seeded())
    assert result.dtype == torch.uint8
    assert 50 < int((result != x).flatten(1).any(1).sum()) < 100


def test_randaugment_gives_what_pillow_gives() -> None:
    y, x = np.mgrid[:32, :32]
    image = np.stack([x * 7 + 10, y * 5 + 30, 200 - x * 2 - y * 3], axis=-1).astype(np.uint8)
    batch = torch.from_numpy(image).expand(120, -1, -1, -1)
    result = ImageAugment(AugmentOptions(randaugment=10, randaugment_ops=1), 32)(batch, seeded())
    picture = Image.fromarray(image)
    for expected, tolerance in (
        (ImageOps.equalize(picture), 0.01), (ImageOps.autocontrast(picture), 1.01), (ImageOps.posterize(picture, 4), 0),
        (ImageOps.invert(picture), 0), (picture, 0),
    ):  # fmt: skip
        distance = (result - torch.from_numpy(np.array(expected)).float()).abs().amax((1, 2, 3))
        assert (distance <= tolerance).any()


def test_each_picture_of_a_batch_gets_its_own_draw() -> None:
    x = pictures(1).expand(30, -1, -1, -1)
    for options in (
        AugmentOptions(crop="resized"), AugmentOptions(rotation=20), AugmentOptions(colour=0.4),
        AugmentOptions(noise=3), AugmentOptions(erasing=1),
    ):  # fmt: skip
        result = ImageAugment(options, 16)(x, seeded())
        assert len(result.flatten(1).unique(dim=0)) > 25


def test_wrong_options_are_named_all_at_once() -> None:
    with pytest.raises(OptionError, match=r"crop expects.*'resizd'\. Did you mean 'resized'.*scale.*flip.*randaugment"):
        AugmentOptions(crop="resizd", scale=(0.9, 0.2), flip=1.2, randaugment=11)
    with pytest.raises(OptionError, match="noise expects a number from 0 to 255, got nan"):
        AugmentOptions(noise=float("nan"))
    with pytest.raises(OptionError, match="randaugment_ops"):
        AugmentOptions(randaugment_ops=0)
    with pytest.raises(OptionError, match="size"):
        ImageAugment(AugmentOptions(), 0)


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(2, 3, 20, 20, dtype=torch.uint8),
        torch.zeros(2, 20, 20, 3),
        torch.zeros(2, 20, 15, 3, dtype=torch.uint8),
        torch.zeros(20, 20, 3, dtype=torch.uint8),
    ],
    ids=["channels first", "float", "too small", "one picture"],
)
def test_wrong_input_is_named(x: torch.Tensor) -> None:
    for options in (AugmentOptions(), AugmentOptions(flip=0.5)):
        with pytest.raises(DataError, match=r"expected pictures as B x H x W x 3 uint8.*got 2?"):
            ImageAugment(options, 16)(x, seeded())


def test_suggestions_grow_with_the_data() -> None:
    few, why_few = suggest(40, 4, (300, 400))
    some, why_some = suggest(400, 4, (300, 400))
    more, why_more = suggest(4000, 4, (300, 400))
    assert (few.crop, few.flip, few.colour, few.randaugment) == ("random", 0.5, 0, 0)
    assert (some.crop, some.flip, some.randaugment) == ("resized", 0.5, 0) and some.colour > 0
    assert (more.crop, more.flip) == ("resized", 0.5) and more.randaugment > 0 and more.erasing > 0
    assert "10 pictures a class" in why_few and "colour" in why_some and "RandAugment" in why_more
    assert all("mirroring" in why for why in (why_few, why_some, why_more))


@pytest.mark.parametrize("n", [40, 640, 6400])
def test_small_pictures_are_cropped_gently_and_asymmetric_ones_never_flipped(n: int) -> None:
    options, why = suggest(n, 10, (32, 32), asymmetric=True)
    assert options.crop == "random" and options.shift == 0.125
    assert options.flip == options.vertical_flip == 0
    assert "no mirroring" in why and "32 x 32" in why
    assert not options.off


def test_suggest_refuses_nothing_to_train_on() -> None:
    with pytest.raises(OptionError, match="0 samples"):
        suggest(0, 2, (32, 32))
    assert "less than one" in suggest(2, 3, (64, 64))[1]


def test_flips_of_digits_are_not_safe_and_those_of_themselves_are() -> None:
    images, y = load_digits(return_X_y=True)
    images = images[:300].reshape(-1, 8, 8)
    z, mirrored = images.reshape(300, -1), images[:, :, ::-1].reshape(300, -1)
    assert not flip_is_safe(z, mirrored, y[:300])
    assert flip_is_safe(z, z, y[:300])
    names = np.array([f"digit {label}" for label in y[:300]])
    assert not flip_is_safe(z, mirrored, names)


def test_flip_is_safe_by_hand() -> None:
    # two classes at 0 and 10; four of ten lost are within chance, five are not
    y = np.repeat([0, 1], 10)
    z = (10.0 * y + np.tile(np.linspace(-1, 1, 10), 2))[:, None]
    for lost, safe in ((0, True), (4, True), (5, False), (10, False)):
        flipped = z.copy()
        flipped[:lost] += 10
        assert flip_is_safe(z, flipped, y) is safe


def test_gains_make_up_for_losses() -> None:
    y = np.repeat([0, 1], 20)
    z = (10.0 * y + np.tile(np.linspace(-1, 1, 20), 2))[:, None]
    flipped = z.copy()
    z[:6] += 10  # wrong before, right when mirrored
    flipped[20:26] -= 10  # the other way round
    assert flip_is_safe(z, flipped, y)


def test_a_class_of_one_picture_is_not_judged_by_itself() -> None:
    z = np.eye(5)
    assert not flip_is_safe(z, z, np.arange(5))
    assert not flip_is_safe(z, z, np.zeros(5, int))
    y = np.array([0, 0, 1, 1, 2])
    z = np.array([[0.0], [1.0], [10.0], [11.0], [20.0]])
    assert flip_is_safe(z, z, y)


def test_many_lost_pictures_need_no_huge_numbers() -> None:
    y = np.repeat([0, 1], 5000)
    z = np.stack([y, np.random.default_rng(0).normal(size=10_000)], axis=1)
    assert not flip_is_safe(z, np.stack([1 - y, z[:, 1]], axis=1), y)


def test_flip_is_safe_names_wrong_input() -> None:
    z = np.zeros((4, 2))
    with pytest.raises(DataError, match="N labels"):
        flip_is_safe(z, z, np.zeros(3))
    with pytest.raises(DataError, match="finite"):
        flip_is_safe(z, z + np.nan, np.zeros(4))
