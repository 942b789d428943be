"""Texts in any language, as tokens of a byte-level BPE that is learnt from the training texts.

Shapes: `n` or `R` rows, `T` tokens, `V` vocabulary.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from numbers import Number
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from torch import Tensor, nn

from isthmus.batch import Masked, Values
from isthmus.kinds.base import CellError, Kind, register_kind
from isthmus.likelihoods import TokensHead
from isthmus.networks.recurrent import RecurrentEncoder
from isthmus.networks.sequence import AlternativesDecoder, ConvolutionalSequenceEncoder, pool, with_steps
from isthmus.networks.tokens import WordTokens
from isthmus.networks.transformer import TransformerEncoder
from isthmus.suggest import nearest

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NUM_BYTES = 256
MAX_LEARNED_VOCABULARY = 2048
# One new token for each 40 bytes of training text: it is then met about ten times, enough to learn what it means.
BYTES_PER_TOKEN = 40
MIN_LEARNED_MERGES = 64
# A parallel decoder settles every token by the code alone; beyond this length that says little about a text.
MAX_LEARNED_TOKENS = 64
NUM_ENCODED = 1024  # texts at a time: what the tokenizer tells of each takes many times the memory of the text
TOKEN_FEATURES = 64
# Ways in which a text can be said that a decoder keeps apart, as long as all their logits are no more than this: the
# time of long texts goes into logits, and each way costs as much again.
MAX_ALTERNATIVES, MAX_LOGITS = 4, 2**14


@register_kind
class TextKind(Kind):
    """Texts as tokens, ended by an end token; any text that fits the length comes back exactly.

    A cell is a string; a number is read as its digits. Nothing is normalised, neither Unicode nor case nor spaces.
    Tokens do not cross words, and a Chinese character is a word, so that a caption never seen is made of tokens that
    were. A text that is too long is cropped, and has no end token.

    Args:
        vocabulary_size: Number of tokens, 257 or more: bytes, an end token, and what is learnt. None: grows with the
            training texts, up to 2,048.
        min_frequency: How often a pair of tokens must stand together to become one.
        max_tokens: Longest text, the end token included. None: the 95th percentile of the training texts, at most 64.
        network: `"cnn"`, `"gru"`, `"lstm"`, `"transformer"`, or `"mean"` (no order) reads the tokens.

    Raises:
        ValueError: A setting is out of range, or the network is unknown.
    """

    name = "text"
    ragged = True
    setting_names = ("vocabulary_size", "min_frequency", "max_tokens", "network")
    state_names = ("tokenizer_", "max_tokens_", "mean_tokens_", "num_cropped_", "num_fitted_")

    tokenizer_: dict[str, Any]  # as the tokenizers library writes it
    max_tokens_: int
    mean_tokens_: int
    num_cropped_: int
    num_fitted_: int

    def __init__(
        self,
        *,
        vocabulary_size: int | None = None,
        min_frequency: int = 2,
        max_tokens: int | None = None,
        network: str = "cnn",
    ):
        if vocabulary_size is not None and not NUM_BYTES < vocabulary_size <= 2**15:
            raise ValueError(f"Kind 'text' got vocabulary_size={vocabulary_size}. Expected 257 to 32,768, or None.")
        for setting, value in {"min_frequency": min_frequency, "max_tokens": max_tokens}.items():
            if value is not None and value < 1:
                raise ValueError(f"Kind 'text' got {setting}={value}. Expected 1 or more.")
        if network not in _ENCODERS:
            known = ", ".join(_ENCODERS)
            raise ValueError(f"Kind 'text' has no network '{network}'. It has {known}.{nearest(network, _ENCODERS)}")
        self.vocabulary_size, self.min_frequency = vocabulary_size, min_frequency
        self.max_tokens, self.network = max_tokens, network

    def fit(self, cells: Sequence[Any]) -> Self:
        """Learn the tokens and the length of training texts."""
        texts, reason = [], ""
        for cell in cells:
            try:
                texts.append(_text(cell))
            except CellError as error:
                reason = reason or str(error)
        if not texts:
            raise ValueError(f"Not one of {len(cells)} texts could be read: {reason or 'there are none'}.")
        num_bytes = sum(len(text.encode()) for text in texts)
        learnt = min(MAX_LEARNED_VOCABULARY, NUM_BYTES + 1 + max(MIN_LEARNED_MERGES, num_bytes // BYTES_PER_TOKEN))
        tokenizer = _train(texts, (self.vocabulary_size or learnt) - 1, self.min_frequency)
        self.tokenizer_ = json.loads(tokenizer.to_str())
        self.__dict__.pop("_tokenizer", None)
        chunks = (texts[start : start + NUM_ENCODED] for start in range(0, len(texts), NUM_ENCODED))
        encoded = (encoding for chunk in chunks for encoding in self._tokenizer.encode_batch(chunk))
        lengths = np.array([len(encoding.ids) + 1 for encoding in encoded])
        self.max_tokens_ = self.max_tokens or min(math.ceil(np.percentile(lengths, 95)), MAX_LEARNED_TOKENS)
        self.mean_tokens_ = round(float(np.minimum(lengths, self.max_tokens_).mean()))
        self.num_cropped_, self.num_fitted_ = int((lengths > self.max_tokens_).sum()), len(lengths)
        return self

    @property
    def end(self) -> int:
        """The id of the end token. It stands outside the tokenizer, so that no text can spell it."""
        return self._tokenizer.get_vocab_size()

    def encode(self, cell: Any) -> np.ndarray:
        """int16 `(T,)`: token ids, the end token last."""
        ids = [*self._tokenizer.encode(_text(cell)).ids, self.end]
        return np.array(ids[: self.max_tokens_], dtype=np.int16)

    def normalise(self, values: Values) -> Masked:
        """Ids as long `(n, T)`; 0 behind the end of a row."""
        assert isinstance(values, Masked)
        return Masked(values.value.long(), values.mask)

    def decode(self, array: np.ndarray) -> str:
        # Bytes that are no UTF-8, as a network may draw them, become U+FFFD.
        ids = [int(token) for token in array if token != self.end]
        return self._tokenizer.decode(ids, skip_special_tokens=False)

    def encoder(self, width: int) -> nn.Module:
        return TokenEncoder(self.end + 1, _ENCODERS[self.network](width))

    def tokens(self, width: int) -> nn.Module:
        return WordTokens(self.end + 1, width)

    def decoder(self, width: int) -> nn.Module:
        num_tokens = self.end + 1
        num_alternatives = min(MAX_ALTERNATIVES, max(1, MAX_LOGITS // (self.max_tokens_ * num_tokens)))
        return AlternativesDecoder(width, self.max_tokens_, num_tokens, num_alternatives)

    def likelihood(self) -> nn.Module:
        return TokensHead(self.end)

    @property
    def num_dimensions(self) -> int:
        return self.mean_tokens_

    def describe(self) -> str:
        cropped = f", {self.num_cropped_} of {self.num_fitted_} cropped" if self.num_cropped_ else ""
        return f"byte-level BPE, {self.end + 1} tokens, up to {self.max_tokens_}{cropped}"

    def html(self, cell: Any) -> str:
        return f'<span class="text" dir="auto">{html.escape(_text(cell))}</span>'

    def write(self, cell: Any, stem: Path) -> str:
        """The text itself; nothing is written."""
        return _text(cell)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        return Tokenizer.from_str(json.dumps(self.tokenizer_))


class TokenEncoder(nn.Module):
    """A vector for each token, then any network over sequences: ids `Masked (n, T)` -> features of the network."""

    def __init__(self, num_tokens: int, network: nn.Module, num_features: int = TOKEN_FEATURES):
        super().__init__()
        self.embedding = nn.Embedding(num_tokens, num_features)
        self.network = network

    def forward(self, values: Masked) -> Tensor:
        return self.network(Masked(self.embedding(values.value), values.mask))


class BagEncoder(nn.Module):
    """Mean and maximum of what is there, whatever the order: `Masked (n, T, C)` -> `(n, width)`."""

    def __init__(self, num_inputs: int, width: int):
        super().__init__()
        self.dense = nn.Sequential(nn.Linear(2 * num_inputs, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, values: Masked) -> Tensor:
        values = with_steps(values)
        return self.dense(pool(values.value, values.mask))


_ENCODERS: dict[str, Callable[[int], nn.Module]] = {
    "cnn": lambda width: ConvolutionalSequenceEncoder(TOKEN_FEATURES, width),
    "gru": lambda width: RecurrentEncoder(TOKEN_FEATURES, width, "gru", num_hidden=64),
    "lstm": lambda width: RecurrentEncoder(TOKEN_FEATURES, width, "lstm", num_hidden=64),
    "transformer": lambda width: TransformerEncoder(TOKEN_FEATURES, width, num_features=64),
    "mean": lambda width: BagEncoder(TOKEN_FEATURES, width),
}


def _text(cell: Any) -> str:
    if isinstance(cell, Number | np.bool_):
        return str(cell)
    if not isinstance(cell, str):
        raise CellError(f"expected text, got {type(cell).__name__}")
    try:
        cell.encode()
    except UnicodeEncodeError as error:
        raise CellError(f"not valid Unicode: character {error.start} is half a surrogate pair") from None
    return str(cell)  # a str of numpy's own is made a plain one


def _train(texts: Sequence[str], vocabulary_size: int, min_frequency: int) -> Tokenizer:
    """Byte-level BPE (Sennrich, Haddow & Birch 2016, arXiv:1508.07909; over bytes: Radford et al. 2019, GPT-2)."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    # Chinese has no spaces: without the split, "数字七" would become one token, and share nothing with "数字八".
    words = pre_tokenizers.Split(Regex(r"\p{Han}"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=min_frequency,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
