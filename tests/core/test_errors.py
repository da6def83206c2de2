"""Messages: what was expected, what came, what to do."""

from __future__ import annotations

import pytest

from torchgraft.core import errors
from torchgraft.core.errors import GraftError, MissingExtra, UnknownName, UserError, did_you_mean, shorten


def test_an_unknown_name_gets_a_near_miss_and_the_known_names() -> None:
    error = UnknownName("adapt", "corall", ["dan", "coral", "dann"], see="See `graft list methods`.")
    assert (
        str(error) == "adapt has no 'corall'. Did you mean 'coral'? Known: coral, dan, dann. See `graft list methods`."
    )
    assert error.name == "corall"


def test_a_missing_extra_says_how_to_install_it() -> None:
    error = MissingExtra("backbone 'transformers/bert'", "transformers", "text")
    assert str(error) == "backbone 'transformers/bert' needs transformers. Install it: pip install 'torchgraft[text]'."


@pytest.mark.parametrize(
    ("name", "hint"),
    [("LDA", " Did you mean 'lda'?"), ("lin_probe", " Did you mean 'linear_probe'?"), ("zzz", ""), ("", "")],
)
def test_near_misses(name: str, hint: str) -> None:
    assert did_you_mean(name, ["lda", "linear_probe"]) == hint


@pytest.mark.parametrize(
    ("names", "words"), [([], "nothing"), (["a"], "a"), (["a", "b"], "a, b"), (["a", "b", "c"], "a, b, ... (+1 more)")]
)
def test_long_lists_are_cut(names: list[str], words: str) -> None:
    assert shorten(names, limit=2) == words


def test_every_error_is_one_of_the_tree() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) >= 8
    assert all(issubclass(kind, GraftError) for kind in kinds)
    assert all(issubclass(kind, UserError) for kind in kinds if kind is not GraftError)
