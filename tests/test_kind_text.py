"""What the text kind promises: any text that fits comes back exactly, and padding changes nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from isthmus.batch import Masked
from isthmus.kinds.base import CellError, Kind
from isthmus.kinds.text import TextKind
from isthmus.likelihoods import TokensMixture
from isthmus.noise import Noise

ENGLISH = "zero one two three four five six seven eight nine".split()
CAPTIONS = [f"the digit {word}" for word in ENGLISH] + [f"数字{sign}" for sign in "零一二三四五六七八九"]
NETWORKS = ["cnn", "gru", "lstm", "transformer", "mean"]
LONG = TextKind(max_tokens=10_000).fit(CAPTIONS * 20)


def normalised(kind: Kind, cells: Sequence[Any]) -> Masked:
    values = kind.normalise(kind.collate([kind.encode(cell) for cell in cells]))
    assert isinstance(values, Masked)
    return values


def test_captions_come_back_and_share_words() -> None:
    kind = TextKind().fit(CAPTIONS * 20)
    values = normalised(kind, CAPTIONS)
    assert values.value.dtype == torch.long
    assert kind.cells(values) == CAPTIONS
    assert values.mask.sum(dim=1).tolist() == [4] * 20  # the, digit, seven, end; 数, 字, 七, end
    assert kind.encode("the digit seven")[:2].tolist() == kind.encode("the digit two")[:2].tolist()
    assert kind.encode("数字七")[:2].tolist() == kind.encode("数字二")[:2].tolist()


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "  leading, and trailing  ",
        "a\x00b\x1b\x7f\r\n\t",
        "e\u0301 is not é, ﬁ is not fi",
        "👩‍👩‍👧 🇨🇳 \u200f\ufeff",
        "नमस्ते ١٢٣ สวัสดี 한국어 ひらがな",
        "<end> </s> [PAD] Ġ",
        "the digit 七",
    ],
)
def test_any_text_comes_back(text: str) -> None:
    stored = LONG.encode(text)
    assert stored.dtype == np.int16 and stored[-1] == LONG.end and (stored[:-1] < LONG.end).all()
    assert LONG.cells(normalised(LONG, [text, "a longer text beside it, for padding"]))[0] == text


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_drawn_text_comes_back(text: str) -> None:
    assert LONG.decode(LONG.encode(text)) == text


def test_numbers_are_read_as_text() -> None:
    assert [LONG.decode(LONG.encode(cell)) for cell in (7, 2.5, np.int64(3), True, np.str_("x"))] == [
        "7",
        "2.5",
        "3",
        "True",
        "x",
    ]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (None, "expected text, got NoneType"),
        (b"bytes", "expected text, got bytes"),
        (["a", "list"], "expected text, got list"),
        ("half \ud800 a pair", "character 5 is half a surrogate pair"),
    ],
)
def test_cells_that_are_no_text_say_why(cell: Any, reason: str) -> None:
    with pytest.raises(CellError, match=reason):
        LONG.encode(cell)
    with pytest.raises(ValueError, match=f"Not one of 2 texts could be read: .*{reason}"):
        TextKind().fit([cell, cell])
    assert TextKind().fit([cell, *CAPTIONS]).num_fitted_ == len(CAPTIONS)


def test_fit_of_nothing_says_so() -> None:
    with pytest.raises(ValueError, match="there are none"):
        TextKind().fit([])


def test_length_is_learnt_and_longer_texts_are_cropped_and_counted() -> None:
    texts = ["a b c"] * 97 + ["a b c a b c a b c"] * 3
    kind = TextKind().fit(texts)
    assert (kind.max_tokens_, kind.num_cropped_, kind.mean_tokens_, kind.num_dimensions) == (4, 3, 4, 4)
    assert kind.decode(kind.encode("a b c")) == "a b c" and kind.encode("a b c")[-1] == kind.end
    # A cropped text has not ended.
    assert kind.decode(kind.encode(texts[-1])) == "a b c a" and kind.end not in kind.encode(texts[-1])
    assert kind.describe().endswith("up to 4, 3 of 100 cropped")
    assert TextKind(max_tokens=2).fit(texts).max_tokens_ == 2
    assert TextKind().fit(["word " * 500]).max_tokens_ == 64


def test_vocabulary_grows_with_the_texts() -> None:
    drawn = np.random.default_rng(0)
    texts = ["".join(drawn.choice(list("abcdefgh"), 6)) for _ in range(4000)]
    sizes = [TextKind().fit(texts[:num]).end + 1 for num in (10, 1000, 4000)]
    assert sizes == sorted(sizes) and sizes[0] <= 257 + 64 and sizes[2] == 257 + 24_000 // 40
    assert TextKind(vocabulary_size=257).fit(texts).end == 256
    assert TextKind(vocabulary_size=300).fit(texts).end == 299


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocabulary_size": 256}, "vocabulary_size=256. Expected 257 to 32,768"),
        ({"max_tokens": 0}, "max_tokens=0. Expected 1 or more"),
        ({"network": "lstn"}, "no network 'lstn'.*Did you mean 'lstm'"),
    ],
)
def test_settings_are_checked(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextKind(**arguments)


def test_a_saved_kind_reads_and_shows_exactly_the_same() -> None:
    kind = TextKind(max_tokens=5, network="gru").fit(CAPTIONS)
    again = Kind.from_config(json.loads(json.dumps(kind.to_config())))
    assert again.to_config() == kind.to_config() and again.describe() == kind.describe()
    for text in (*CAPTIONS, "数字 and a new text"):
        assert np.array_equal(kind.encode(text), again.encode(text))
        assert again.decode(kind.encode(text)) == kind.decode(kind.encode(text))


def test_a_second_fit_forgets_the_first() -> None:
    kind = TextKind().fit(CAPTIONS * 20)
    kind.fit(["other words"] * 9)
    assert len(kind.encode("other words")) == 3 and len(kind.encode("the digit seven")) == kind.max_tokens_


def test_html_is_escaped_and_a_text_is_its_own_file(tmp_path: Path) -> None:
    text = '<script>alert("x")</script> & </span>'
    html = LONG.html(text)
    assert "&lt;script&gt;alert(&quot;x&quot;)" in html and html.count("<") == 2
    assert LONG.write(text, tmp_path / "item") == text and not list(tmp_path.iterdir())


@pytest.mark.parametrize("network", NETWORKS)
def test_rows_depend_neither_on_each_other_nor_on_padding(network: str) -> None:
    torch.manual_seed(0)
    kind = TextKind(network=network).fit(CAPTIONS)
    texts = ["", "the", "the digit seven", "数字七 数字七"]
    values, encoder = normalised(kind, texts), kind.encoder(24)
    features = encoder(values)
    assert features.shape == (4, 24)
    for i, text in enumerate(texts):
        assert_close(encoder(normalised(kind, [text]))[0], features[i], atol=1e-5, rtol=0)
    filled = values.value.masked_fill(~values.mask, 5)
    assert_close(encoder(Masked(filled, values.mask)), features, atol=1e-5, rtol=0)
    assert encoder(values.take(torch.tensor([], dtype=torch.long))).shape == (0, 24)
    assert encoder(Masked(values.value[:0, :0], values.mask[:0, :0])).shape == (0, 24)
    assert encoder(Masked(values.value, torch.zeros_like(values.mask))).isfinite().all()
    assert encoder.double()(values).dtype == torch.float64


def test_the_decoder_draws_texts_that_end() -> None:
    torch.manual_seed(0)
    kind = TextKind().fit(CAPTIONS)
    decoder, z = kind.decoder(6), torch.randn(5, 6)
    logits, weights = decoder(z)
    assert logits.shape == (5, 4, kind.max_tokens_, kind.end + 1) and weights.shape == (5, 4)
    for alone, among in zip(decoder(z[3:4]), (logits, weights), strict=True):
        assert_close(alone[0], among[3], atol=1e-5, rtol=0)
    assert [part.shape[0] for part in decoder(z[:0])] == [0, 0]
    assert decoder.double()(z.double())[0].dtype == torch.float64
    likelihood = kind.likelihood()((logits, weights))
    assert isinstance(likelihood, TokensMixture)
    # Bytes drawn at random are seldom UTF-8: they still make a text.
    assert all(isinstance(text, str) for text in kind.cells(likelihood.sample(Noise(0), "text")))


def test_a_text_is_said_in_one_language_where_the_code_does_not_say_which() -> None:
    torch.manual_seed(0)
    kind = TextKind().fit(CAPTIONS)
    values = normalised(kind, CAPTIONS)
    # The code tells the digit alone; each digit has a caption in English and one in Chinese.
    half = len(CAPTIONS) // 2
    code = torch.eye(half).repeat(2, 1)
    decoder, head = kind.decoder(half), kind.likelihood()
    optimiser = torch.optim.Adam(decoder.parameters(), 2e-3)
    for _ in range(200):
        loss = -head(decoder(code)).log_prob(values).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    # All that is not known is the language: one bit.
    assert loss.item() == pytest.approx(np.log(2), abs=0.1)
    said = kind.cells(head(decoder(code[:half])).mode)
    assert all(text in (CAPTIONS[digit], CAPTIONS[half + digit]) for digit, text in enumerate(said))
    drawn = [kind.cells(head(decoder(code[:half])).sample(Noise(seed), "text")) for seed in range(20)]
    right = [text in (CAPTIONS[digit], CAPTIONS[half + digit]) for texts in drawn for digit, text in enumerate(texts)]
    assert np.mean(right) > 0.9


def test_the_ways_to_say_it_are_fewer_for_long_texts() -> None:
    kind = TextKind(max_tokens=64, vocabulary_size=600, min_frequency=1).fit(CAPTIONS)
    kind.max_tokens_ = 64
    logits, _ = kind.decoder(6)(torch.randn(1, 6))
    assert logits.shape[1] == 1  # one is always left


@pytest.mark.parametrize("network", ["cnn", "gru"])
def test_an_autoencoder_learns_twenty_captions(network: str) -> None:
    torch.manual_seed(0)
    kind = TextKind(network=network).fit(CAPTIONS)
    values = normalised(kind, CAPTIONS)
    encoder, code, decoder, head = kind.encoder(64), torch.nn.Linear(64, 8), kind.decoder(8), kind.likelihood()
    optimiser = torch.optim.Adam([*encoder.parameters(), *code.parameters(), *decoder.parameters()], 2e-3)
    for _ in range(200):
        loss = -head(decoder(code(encoder(values)))).log_prob(values).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    # The constant predictor knows the words and not which of 20: log 20 nats at least.
    assert loss < 0.2 * np.log(20)
    assert kind.cells(head(decoder(code(encoder(values)))).mode) == CAPTIONS


def test_the_lengths_of_many_texts_are_taken_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{caption} {number}" for number in range(125) for caption in CAPTIONS]
    expected = TextKind().fit(texts).to_config()
    sizes: list[int] = []

    class Counting:
        def __init__(self, tokenizer: Any) -> None:
            self.tokenizer = tokenizer

        def encode_batch(self, chunk: list[str]) -> Any:
            sizes.append(len(chunk))
            return self.tokenizer.encode_batch(chunk)

    known = TextKind._tokenizer.func
    monkeypatch.setattr(TextKind, "_tokenizer", property(lambda kind: Counting(known(kind))))
    assert TextKind().fit(texts).to_config() == expected
    assert sum(sizes) == len(texts) == 2500 and max(sizes) <= 1024
