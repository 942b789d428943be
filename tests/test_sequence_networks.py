"""Networks over sequences: each is what a plain implementation gives, and heeds every step and their order."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.testing import assert_close

from isthmus.batch import Masked
from isthmus.kinds.audio import AudioKind
from isthmus.kinds.series import SeriesKind
from isthmus.kinds.text import BagEncoder, TextKind
from isthmus.networks.recurrent import RecurrentEncoder
from isthmus.networks.sequence import ConvolutionalSequenceEncoder
from isthmus.networks.transformer import TransformerBlock, TransformerEncoder, sinusoids

CLASSES = {
    "cnn": ConvolutionalSequenceEncoder,
    "gru": RecurrentEncoder,
    "lstm": RecurrentEncoder,
    "transformer": TransformerEncoder,
    "mean": BagEncoder,
}
CASES = [(kind, network) for kind in ("text", "audio", "series") for network in CLASSES if (kind, network) not in
         (("audio", "mean"), ("series", "mean"))]  # fmt: skip
LENGTHS = torch.tensor([6, 1, 4, 3])


def ragged(*shape: int) -> Masked:
    """Rows of `LENGTHS` steps, noise behind their ends."""
    torch.manual_seed(0)
    value = torch.randn(len(LENGTHS), 6, *shape, dtype=torch.float64)
    return Masked(value, torch.arange(6) < LENGTHS[:, None])


# --- second implementations -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "cell"), [("gru", nn.GRU), ("lstm", nn.LSTM)])
def test_a_recurrent_encoder_is_torchs_bidirectional_one_over_packed_rows(name, cell):
    values, size = ragged(3), 4
    encoder = RecurrentEncoder(3, 5, name, num_hidden=size).double()
    plain = cell(3, size, batch_first=True, bidirectional=True).double()
    weights = {key: weight for key, weight in encoder.forwards.named_parameters()}
    weights |= {f"{key}_reverse": weight for key, weight in encoder.backwards.named_parameters()}
    plain.load_state_dict(weights)
    packed = pack_padded_sequence(values.value, LENGTHS, batch_first=True, enforce_sorted=False)
    states, _ = pad_packed_sequence(plain(packed)[0], batch_first=True)
    ends = [
        torch.cat([row[length - 1, :size], row[0, size:], row[:length].mean(dim=0)])
        for row, length in zip(states, LENGTHS.tolist(), strict=True)
    ]
    assert_close(encoder(values), encoder.output(torch.stack(ends)))


def test_a_block_of_a_transformer_is_softmax_attention_and_a_layer_of_its_own():
    values, size = ragged(8), 4
    block = TransformerBlock(8, num_heads=2).double()
    query, key, value = block.query_key_value(block.attention_norm(values.value)).chunk(3, dim=2)
    attended = torch.zeros_like(values.value)
    for row, length in enumerate(LENGTHS.tolist()):
        for head in (slice(0, size), slice(size, 2 * size)):
            weight = (query[row, :, head] @ key[row, :length, head].T / math.sqrt(size)).softmax(dim=1)
            attended[row, :, head] = weight @ value[row, :length, head]
    hidden = values.value + block.attended(attended)
    assert_close(block(values.value, values.mask), hidden + block.dense(hidden))


def test_a_transformer_is_its_blocks_over_steps_that_know_their_place():
    values = ragged(3)
    encoder = TransformerEncoder(3, 5, num_features=8, num_layers=2, num_heads=2).double()
    hidden = encoder.input(values.value)
    place, rate = torch.arange(6.0)[:, None], 10_000.0 ** (-torch.arange(4) / 4)
    hidden = hidden + torch.cat([(place * rate).sin(), (place * rate).cos()], dim=1)
    for block in encoder.blocks:
        hidden = block(hidden, values.mask)
    hidden = encoder.norm(hidden)
    ends = [
        torch.cat([row[:length].mean(dim=0), row[:length].amax(dim=0)])
        for row, length in zip(hidden, LENGTHS.tolist(), strict=True)
    ]
    assert_close(encoder(values), encoder.output(torch.stack(ends)), rtol=1e-5, atol=1e-6)
    assert len(sinusoids(500, 8, like=place).unique(dim=0)) == 500


# --- by the setting of a kind -----------------------------------------------------------------------------------------


def encoder_and_values(kind: str, network: str) -> tuple[nn.Module, Masked]:
    """The encoder of a fitted kind, and three rows of seven steps that all differ."""
    torch.manual_seed(0)
    if kind == "text":
        encoder = TextKind(network=network).fit(["any text will do"]).encoder(12)
        value = torch.randperm(250)[:21].view(3, 7)
    elif kind == "audio":
        encoder = AudioKind(network=network, mels=20).fit([(np.sin(np.arange(4000.0)), 8000)]).encoder(12)
        value = torch.randn(3, 7, 20)
    else:
        encoder = SeriesKind(network=network).fit([np.random.default_rng(0).normal(size=(20, 2))]).encoder(12)
        value = torch.randn(3, 7, 2)
    return encoder.eval(), Masked(value, torch.ones(3, 7, dtype=torch.bool))


@pytest.mark.parametrize(("kind", "network"), CASES)
def test_a_setting_makes_its_network(kind, network):
    encoder, _ = encoder_and_values(kind, network)
    made = encoder if kind == "audio" else encoder.network
    assert type(made) is CLASSES[network]
    if network in ("gru", "lstm"):
        assert type(made.forwards) is type(made.backwards) is getattr(nn, network.upper())


@pytest.mark.parametrize(("kind", "network"), CASES)
def test_an_encoder_heeds_every_step_and_their_order(kind, network):
    encoder, values = encoder_and_values(kind, network)

    with torch.no_grad():
        features = encoder(values)

    def moved(*steps: int) -> float:
        """How far features of rows of these steps are from those of the rows as they are."""
        with torch.no_grad():
            other = encoder(Masked(values.value[:, list(steps)], values.mask))
        return float((other - features).abs().amax(dim=1).min())

    assert float((features - features.roll(1, dims=0)).abs().amax(dim=1).min()) > 1e-4
    for steps in ((3, 1, 2, 3, 4, 5, 6), (0, 1, 2, 3, 4, 5, 3)):  # another first step, another last one
        assert moved(*steps) > 1e-4
    for steps in ((1, 0, 2, 3, 4, 5, 6), (0, 1, 2, 6, 4, 5, 3)):
        assert (moved(*steps) > 1e-4) == (network != "mean")
