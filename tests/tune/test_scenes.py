"""Answers for held-out scenes: counted where there are labels, at the size of the masks."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from torchgraft.features.decode import resized
from torchgraft.tune._scenes import Answered, answer, even, packed, scenes


def test_a_network_that_is_always_right_and_one_that_always_says_0(scene_problem) -> None:
    problem = scene_problem()
    loader = scenes(problem, 64)
    pixels, rows = even(loader, 3, 0), np.array([5, 2])

    def zero(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.ones(len(x), *x.shape[2:]), *[torch.zeros(len(x), *x.shape[2:])] * 2], 1)

    def by_colour(x: torch.Tensor) -> torch.Tensor:
        red, blue = (x[:, 0].float() > 120), (x[:, 2].float() > 120)
        return torch.stack([~(red | blue), red, blue], 1).float()

    found = answer(by_colour, loader, rows, pixels, 3)
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(found.counts[i], np.diag(problem.masks.counts[row]))
    none = answer(zero, loader, rows, pixels, 3)
    np.testing.assert_array_equal(none.counts[:, :, 0], problem.masks.counts[rows])
    assert (np.asarray(Image.open(__import__("io").BytesIO(none.maps[0]))) == 0).all()
    both = Answered.joined([found, none])
    assert both.counts.shape == (4, 3, 3) and len(both.maps) == 4 and len(both.logits) == len(both.labels)


def test_scenes_are_scaled_alike_and_answers_enlarged(scene_problem) -> None:
    problem = scene_problem()
    loader = scenes(problem, 24)
    assert loader.scale == 0.5 and loader.picture(0)[0].shape == (32, 32, 3), "never under 32 pixels"
    wide = resized(np.array([[0, 1]], dtype=np.uint8), (2, 4), smooth=False)
    np.testing.assert_array_equal(wide, [[0, 0, 1, 1], [0, 0, 1, 1]])
    assert Image.open(__import__("io").BytesIO(packed(wide))).size == (4, 2)
