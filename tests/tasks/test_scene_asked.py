"""Which ways between two domains stand for choice, and what AdvEnt is told."""

from __future__ import annotations

import pytest

from torchgraft.core import registry
from torchgraft.core.errors import OptionError, UnknownName
from torchgraft.fit import FitOptions
from torchgraft.tasks import _scene_shift
from torchgraft.tasks._scene_asked import SELF_TRAINING, SETTINGS, TRAINED, asked
from torchgraft.tasks.segmentation import WAYS


def _asked(**more: object):
    return asked(FitOptions(target="night", source=("day",), **more))


def test_auto_is_every_way_on_the_frozen_network() -> None:
    found = _asked()
    assert found.ways == ("standardise", "fda", "moments", "camera", "looks", "self_training")
    assert found.bases == found.ways[:-1]


def test_the_names_are_those_of_the_ways() -> None:
    own = [way.name for way in _scene_shift.WAYS[1:]]
    assert list(WAYS) == [*own, SELF_TRAINING, *TRAINED]
    assert registry.constant("tasks", "segmentation", "WAYS", default=()) == WAYS  # read without an import


def test_a_list_is_what_stands_for_choice() -> None:
    found = _asked(method="fda, self_training,fda")
    assert found.ways == ("fda", "self_training") and found.bases == ("fda",)
    assert _asked(method="advent").bases == ("standardise", "fda", "moments", "camera", "looks")


def test_advent_trains_as_scenes_are_trained_but_for_what_is_set() -> None:
    found = _asked(method="advent", settings="trade_off=0.5,hidden=8", epochs=3).advent
    assert (found.trade_off, found.hidden, found.epochs) == (0.5, 8, 3)
    assert (found.optimizer, found.batch, found.rate) == ("adamw", 8, 1e-3)
    assert _asked(method="adabn,advent", class_weight="balanced", rate=1e-4).advent.rate == 1e-4


def test_what_cannot_be_used_is_said() -> None:
    with pytest.raises(UnknownName, match=r"--method has no 'dann'\. .*Known: adabn, advent"):
        _asked(method="dann")
    with pytest.raises(UnknownName, match="--method has no 'committee'"):
        _asked(method="committee")
    with pytest.raises(OptionError, match="there is no 'advnt'. Did you mean 'advent'"):
        _asked(method="advnt")
    with pytest.raises(OptionError, match="expects auto or names"):
        _asked(method=",")
    with pytest.raises(OptionError, match=r"trade_of: .* advent alone has settings"):
        _asked(method="fda", settings="trade_of=1")
    with pytest.raises(OptionError, match=r"no setting 'trade_of' for scenes\. Did you mean 'trade_off'"):
        _asked(method="advent", settings="trade_of=1")
    with pytest.raises(OptionError, match="no setting 'width' for scenes"):
        _asked(method="advent", settings="width=64")
    with pytest.raises(OptionError, match="hidden expects a number in"):
        _asked(method="advent", settings="hidden=0")
    assert len(set(SETTINGS)) == len(SETTINGS)
