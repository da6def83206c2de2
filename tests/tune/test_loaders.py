from __future__ import annotations

import numpy as np
import pytest
import torch

from torchgraft.train.augment import AugmentOptions, suggest
from torchgraft.tune._loaders import augmentation, loader_for
from torchgraft.tune._recipe import TrainOptions


def test_texts_as_their_tokens(hard_text):
    problem = hard_text()
    backbone = problem.resources.backbones["test/text"]
    batch = loader_for(problem, backbone, TrainOptions()).load(np.array([3, 1]), None)
    assert batch.inputs[0].tolist() == backbone.tokenizer([problem.blocks["text"][i] for i in (3, 1)])
    assert batch.y.tolist() == problem.y[[3, 1]].tolist()


@pytest.mark.parametrize("mixing", [{}, {"mixup": 0.4}, {"cutmix": 1.0}])
def test_photos_are_mixed_where_asked(trained_photos, mixing):
    problem = trained_photos()
    backbone = problem.resources.backbones["test/photo"]
    loader = loader_for(problem, backbone, TrainOptions(augment="none", **mixing))
    plain = loader.load(np.arange(8), None)
    assert plain.inputs[0].shape == (8, 16, 16, 3)
    assert plain.y.tolist() == problem.y[:8].tolist()
    batch = loader.load(np.arange(8), torch.Generator().manual_seed(0))
    assert torch.equal(batch.inputs[0], plain.inputs[0]) is not bool(mixing)
    assert batch.y.shape == ((8, 2) if mixing else (8,))


def test_augmentation_by_number_and_size(trained_photos):
    problem = trained_photos()
    assert augmentation(problem, TrainOptions(augment="none")) == AugmentOptions()
    assert augmentation(problem, TrainOptions()) == suggest(24, 2, (16, 16))[0]
