"""Messages: what was expected, what came, what is near."""

from __future__ import annotations

import inspect

import pytest

from torchgraft.core import errors


def test_every_error_of_ours_is_one_tree() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
    assert all(issubclass(kind, errors.GraftError) for kind in kinds)
    assert all(issubclass(kind, errors.UserError) for kind in kinds if kind is not errors.GraftError)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("corall", " Did you mean 'coral'?"),
        ("CORAL", " Did you mean 'coral'?"),
        ("zebra", ""),
        ("", ""),
    ],
)
def test_near_misses(name: str, expected: str) -> None:
    assert errors.did_you_mean(name, ["coral", "lda", "knn"]) == expected


def test_two_near_misses_at_most() -> None:
    said = errors.did_you_mean("prob", ["probe", "probs", "prone"])
    assert said.count("'") == 4


def test_an_unknown_name_says_what_is_known() -> None:
    error = errors.UnknownName("tune", "ldaa", {"lda", "knn"}, see="See `graft list methods`.")
    assert str(error) == "tune has no 'ldaa'. Did you mean 'lda'? Known: knn, lda. See `graft list methods`."
    assert error.name == "ldaa"


def test_a_missing_extra_says_how_to_install_it() -> None:
    error = errors.MissingExtra("Parquet", "pyarrow", "parquet")
    assert str(error) == "Parquet needs pyarrow. Install it: pip install 'torchgraft[parquet]'."


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], "nothing"),
        (["a", "b"], "a, b"),
        (["a", "b", "c"], "a, b, c"),
        (["a", "b", "c", "d"], "a, b, c, ... (+1 more)"),
    ],
)
def test_long_lists_are_cut(names: list[str], expected: str) -> None:
    assert errors.shorten(names, 3) == expected
