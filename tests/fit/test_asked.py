"""Methods and settings by name, in a run with a labelled source."""

from __future__ import annotations

import numpy as np
import pytest

from torchgraft import align
from torchgraft.core.errors import OptionError, UnknownName
from torchgraft.fit import FitOptions
from torchgraft.fit._asked import Deep, asked, asked_of_model, members


def options(**changes: object) -> FitOptions:
    return FitOptions(target="t.npz", source=("s.npz",), **changes)


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("coral", ["none", "coral"]),
        ("coral, jda ,coral,", ["none", "coral", "jda"]),
        ("kmm", ["none", "kmm"]),
    ],
)
def test_members_by_name(asked: str, names: list[str]) -> None:
    assert [one.method for one in members(asked)] == names


def test_methods_that_train_are_members_too(make_domain) -> None:
    """They answer by themselves; a class that the source lacks is one of theirs too."""
    given = [make_domain(24, seed=seed, move=seed) for seed in (0, 1)]
    ys = np.searchsorted(np.unique(given[0][1]), given[0][1])
    pair = align.Domains(xs=given[0][0], ys=ys, xt=given[1][0], n_classes=4)
    deep = members("deep_coral", seed=3)[1]
    assert isinstance(deep, Deep) and (deep.name, deep.seed) == ("deep_coral", 3)
    found = deep.answer(pair)
    assert found.probabilities.shape == (24, 4) and found.aligned is None
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-6)


def test_the_committee_is_asked_for_by_name_or_not_at_all() -> None:
    assert members("auto") == members("committee") == align.MEMBERS


def test_members_that_do_not_exist() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'coral'"):
        members("corral")
    with pytest.raises(UnknownName, match="lda"):
        members("coral,lda")
    with pytest.raises(OptionError, match="--method expects auto or names like coral"):
        members(" , ")


def test_settings_go_to_whoever_knows_them() -> None:
    found = asked(options(method="coral,dann,standardise", settings="ridge=0.5,width=16", rate=0.02, epochs=3))
    none, coral, dann, plain = found.members
    assert (none.settings, coral.settings, plain.settings) == ((), (("ridge", 0.5),), ())
    assert dict(dann.settings) == {"width": 16, "rate": 0.02, "epochs": 3}
    assert found.end_to_end == ""


def test_auto_is_the_committee_without_settings() -> None:
    assert asked(options()).members == asked(options(method="committee")).members == align.MEMBERS
    assert asked(options(class_weight="balanced")).members == align.MEMBERS
    with pytest.raises(OptionError, match="go with methods by name"):
        asked(options(epochs=3))


def test_end_to_end_is_one_method_with_its_settings_and_a_committee_that_votes() -> None:
    found = asked(options(method="dann", settings="end_to_end=true,hidden=8", epochs=2))
    assert (found.end_to_end, found.settings, found.members) == ("dann", {"hidden": 8, "epochs": 2}, align.MEMBERS)
    assert asked(options(method="dann", settings="end_to_end=false")).end_to_end == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"settings": "end_to_end=true"}, "takes one method that trains, got --method auto. Known: advent, afn, cdan"),
        ({"method": "coral", "settings": "end_to_end=true"}, "takes one method that trains"),
        ({"method": "dann,mcc", "settings": "end_to_end=true"}, "takes one method that trains"),
        ({"method": "dann", "settings": "end_to_end=2"}, "expects true or false, got 2"),
        ({"method": "dann", "settings": "end_to_ned=true"}, "no setting 'end_to_ned'. Did you mean 'end_to_end'"),
        ({"method": "coral", "epochs": 3}, "coral has no setting 'epochs'.*Known: align_means"),
        ({"method": "dann", "settings": "width=none"}, "dann: width expects a whole number"),
        ({"method": "dann", "settings": "end_to_end=true,batch=1"}, "batch expects a number in"),
    ],
)
def test_what_can_not_be_asked(changes: dict, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        asked(options(**changes))


def of_model(**changes: object) -> FitOptions:
    return FitOptions(target="t.npz", from_model="runs/old", **changes)


def test_methods_for_a_model_alone() -> None:
    assert asked_of_model(of_model()) == (("shot", {}),)
    assert asked_of_model(of_model(method="tent, adabn,tent")) == (("tent", {}), ("adabn", {}))
    assert asked_of_model(of_model(method="shot,adabn", settings="prior=16", epochs=3)) == (
        ("shot", {"epochs": 3}), ("adabn", {"epochs": 3, "prior": 16}),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"method": "shott"}, UnknownName, "'shott'. Did you mean 'shot'.*Known: adabn, shot, tent"),
        ({"method": "coral"}, OptionError, "coral learns from the source's data: use it with --source. With --from: "),
        ({"method": "pseudo_label"}, OptionError, "learns from the source's data"),
        ({"method": "lda"}, UnknownName, "These are for runs with --from"),
        ({"method": ","}, OptionError, "expects auto or names like shot,adabn"),
        ({"method": "shot", "settings": "prior=3"}, OptionError, "shot has no setting 'prior'.*Known: batch, beta"),
        ({"method": "shot", "settings": "beta=-1"}, OptionError, "beta expects a number"),
        ({"settings": "end_to_end=true"}, OptionError, "shot has no setting 'end_to_end'"),
    ],
)
def test_methods_that_a_model_alone_can_not_take(changes: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        asked_of_model(of_model(**changes))
