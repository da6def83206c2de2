from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchgraft.core.errors import DataError, OptionError
from torchgraft.train.tokens import TokenOptions, augment_tokens

START, END, PAD, MASK = 101, 102, 0, 103


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def texts(lengths: list[int], left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts of that many own tokens, all different, between a start and an end token, padded to the longest."""
    ids = torch.full((len(lengths), max(lengths) + 2), PAD)
    mask = torch.zeros_like(ids)
    for row, n in enumerate(lengths):
        first = ids.shape[1] - n - 2 if left else 0
        ids[row, first : first + n + 2] = torch.tensor([START, *range(1000, 1000 + n), END])
        mask[row, first : first + n + 2] = 1
    return ids, mask


def test_off_gives_back_what_came() -> None:
    ids, mask = texts([3, 5])
    assert augment_tokens(ids, mask, TokenOptions(), seeded(), replacement=MASK) is ids


@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=6),
    dropout=st.sampled_from([0.0, 0.1, 0.9]),
    cut=st.sampled_from([0.0, 0.2, 0.9]),
    named=st.booleans(),
    left=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_only_own_tokens_change(
    lengths: list[int], dropout: float, cut: float, named: bool, left: bool, seed: int
) -> None:
    ids, mask = texts(lengths, left)
    special = {START, END, PAD} if named else None
    options = TokenOptions(dropout=dropout, cut=cut)
    before = ids.clone()
    found = augment_tokens(ids, mask, options, seeded(seed), replacement=MASK, special=special)
    assert torch.equal(ids, before)
    assert found.shape == ids.shape and found.dtype == ids.dtype
    changed = found != ids
    assert (found[changed] == MASK).all()
    assert (ids[changed] >= 1000).all()
    own = ids >= 1000
    assert ((own & ~changed).sum(1) >= own.sum(1).clamp(max=1)).all(), "a token of its own is left in every text"


def test_share_of_hidden_tokens() -> None:
    ids, mask = texts([200] * 50)
    found = augment_tokens(ids, mask, TokenOptions(dropout=0.15), seeded(), replacement=MASK)
    assert (found == MASK).sum().item() / 10_000 == pytest.approx(0.15, abs=0.015)


def test_a_cut_is_one_piece_of_the_asked_length() -> None:
    ids, mask = texts([10, 20, 3])
    starts = set()
    for seed in range(60):
        hidden = augment_tokens(ids, mask, TokenOptions(cut=0.3), seeded(seed), replacement=MASK) == MASK
        assert hidden.sum(1).tolist() == [3, 6, 1]
        at = hidden[0].nonzero().view(-1).tolist()
        assert at == list(range(at[0], at[0] + 3))
        starts.add(at[0])
    assert starts == set(range(1, 9))  # the text's own tokens stand at 1 to 10


def test_special_tokens_in_the_middle_stay() -> None:
    ids = torch.tensor([[START, 1000, 1001, END, 1002, 1003, END]])
    mask = torch.ones_like(ids)
    for seed in range(30):
        found = augment_tokens(
            ids, mask, TokenOptions(dropout=0.9), seeded(seed), replacement=MASK, special={START, END}
        )
        assert found[0, [0, 3, 6]].tolist() == [START, END, END]


def test_one_own_token_is_never_hidden() -> None:
    ids, mask = texts([1, 4])
    for seed in range(30):
        found = augment_tokens(ids, mask, TokenOptions(dropout=0.99), seeded(seed), replacement=MASK)
        assert torch.equal(found[0], ids[0])
        assert (found[1, 1:5] != MASK).sum() >= 1


def test_randomness_comes_from_the_generator_alone() -> None:
    ids, mask = texts([30, 30])
    options = TokenOptions(dropout=0.3, cut=0.2)
    torch.manual_seed(1)
    first = augment_tokens(ids, mask, options, seeded(3), replacement=MASK)
    torch.manual_seed(2)
    second = augment_tokens(ids, mask, options, seeded(3), replacement=MASK)
    assert torch.equal(first, second)
    assert not torch.equal(first, augment_tokens(ids, mask, options, seeded(4), replacement=MASK))
    assert not torch.equal(first[0] == MASK, first[1] == MASK)


def test_an_empty_batch_stays_empty() -> None:
    ids = torch.empty(0, 4, dtype=torch.long)
    assert augment_tokens(ids, ids, TokenOptions(dropout=0.5), seeded(), replacement=MASK).shape == (0, 4)


def test_wrong_options_and_input_are_named() -> None:
    with pytest.raises(OptionError, match=r"dropout expects.*1\.0.*cut expects.*-0\.1"):
        TokenOptions(dropout=1.0, cut=-0.1)
    ids, mask = texts([3])
    with pytest.raises(DataError, match="mask of the same shape"):
        augment_tokens(ids, mask[:, 1:], TokenOptions(dropout=0.5), seeded(), replacement=MASK)
    with pytest.raises(DataError, match="whole numbers"):
        augment_tokens(ids.float(), mask, TokenOptions(dropout=0.5), seeded(), replacement=MASK)
