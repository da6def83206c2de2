"""A transformers tokenizer as the `Tokenizer` of a backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class WordPieces:
    """Texts to token ids with special tokens, cut at `max_tokens`, not padded.

    A text without any token (an empty text where the model has no special tokens) becomes one padding token, since a
    network needs at least one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self.max_tokens = max_tokens

    def __call__(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text: 1 to `max_tokens` of them."""
        if not texts:
            return []
        # Half of a surrogate pair is no Unicode text; JSON can hold one, and the tokenizer refuses the whole batch.
        clean = [text.encode("utf-8", "replace").decode() for text in texts]
        rows = self._tokenizer(
            clean,
            truncation=True,
            max_length=self.max_tokens,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        return [row or [self.padding] for row in rows]

    @property
    def padding(self) -> int:
        """The id of the padding token; of the end token for models that have none (GPT-2)."""
        for found in (self._tokenizer.pad_token_id, self._tokenizer.eos_token_id):
            if found is not None:
                return found
        return 0
