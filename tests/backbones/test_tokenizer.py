from __future__ import annotations

import pytest

transformers = pytest.importorskip("transformers")
from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402

from torchgraft.backbones._tokenizer import WordPieces  # noqa: E402


def pieces(max_tokens: int = 4, **special: str) -> WordPieces:
    """A tokenizer of five words."""
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "a": 2, "b": 3, "<end>": 4}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return WordPieces(transformers.PreTrainedTokenizerFast(tokenizer_object=words, **special), max_tokens)


def test_texts_become_rows_of_their_own_length() -> None:
    assert pieces(pad_token="[PAD]")(["a b", "b", "a zzz"]) == [[2, 3], [3], [2, 1]]


def test_long_texts_are_cut() -> None:
    assert pieces(3)(["a b a b a b"]) == [[2, 3, 2]]


def test_an_empty_text_is_one_padding_token_and_no_text_no_row() -> None:
    assert pieces(pad_token="[PAD]")(["", "  ", "a"]) == [[0], [0], [2]]
    assert pieces()([]) == []


def test_padding_falls_back_to_the_end_token() -> None:
    assert pieces(pad_token="[PAD]", eos_token="<end>").padding == 0
    assert pieces(eos_token="<end>").padding == 4
    assert pieces().padding == 0


def test_half_a_surrogate_pair_does_not_stop_the_batch() -> None:
    assert pieces()(["a \ud800", "b"]) == [[2, 1], [3]]
