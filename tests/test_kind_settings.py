"""Every setting of every kind reaches what it sets: stored values, networks, the likelihood, or what is corrupted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from isthmus.batch import Masked
from isthmus.kinds import get_kind, kind_names
from isthmus.kinds.base import CellError, Kind
from isthmus.networks.dense import ResidualBlock
from isthmus.noise import Noise

# By kind and setting: a value that is not the default, and what of a fitted kind it changes.
OTHER: dict[str, dict[str, tuple[Any, str]]] = {
    "audio": {
        "rate": (4000, "stored"),
        "mels": (20, "stored"),
        "hop": (0.02, "stored"),
        "max_seconds": (0.15, "stored"),
        "network": ("gru", "networks"),
        "scale": (0.5, "likelihood"),
    },
    "image": {
        "size": (12, "stored"),
        "mode": ("L", "stored"),
        "framing": ("stretch", "stored"),
        "distribution": ("laplace", "likelihood"),
        "scale": (0.3, "likelihood"),
        "trim": (True, "stored"),
        "max_pixels": (300, "stored"),
        "jitter": (0.3, "corrupted"),
    },
    "series": {"max_steps": (5, "stored"), "resample": (20, "stored"), "network": ("gru", "networks")},
    "table": {
        "columns": ([{"name": "b", "type": "category"}], "stored"),
        "overrides": ({"a": "normal"}, "likelihood"),
        "num_blocks": (1, "networks"),
        "hide": (0.0, "corrupted"),
    },
    "text": {
        "vocabulary_size": (260, "stored"),
        "min_frequency": (9, "stored"),
        "max_tokens": (2, "stored"),
        "network": ("gru", "networks"),
    },
    "vector": {"length": (4, "stored"), "distribution": ("laplace", "likelihood"), "scale": (0.3, "likelihood")},
}


def cells_of(name: str) -> list[Any]:
    """Cells of a kind, a few of them of another size."""
    rng = np.random.default_rng(0)
    if name == "audio":
        return [(np.sin(np.arange(1600 + 400 * (i % 2)) * (i + 1) / 20), 8000) for i in range(6)]
    if name == "image":
        cells = [np.full((16, 16 + 4 * (i == 5), 3), 200, dtype=np.uint8) for i in range(6)]
        for cell in cells:  # a margin around noise
            cell[3:-3, 3:-3] = rng.integers(0, 250, cell[3:-3, 3:-3].shape)
        return cells
    if name == "series":
        return [rng.normal(size=(8 + i, 2)) for i in range(6)]
    if name == "table":
        return [{"a": i, "b": "xyz"[i % 3], "c": i / 7} for i in range(12)]
    if name == "text":
        return [f"seen {word} in the {word}" for word in ("forest", "marsh", "coast", "forest", "city")]
    return [rng.normal(size=4 if i == 5 else 5) for i in range(12)]


def fitted(name: str, **settings: Any) -> Kind:
    return get_kind(name)(**settings).fit(cells_of(name))


def rows_of(kind: Kind) -> tuple[list[Any], Any]:
    """What is stored of each cell, or why it is refused; and what could be stored, normalised."""
    stored: list[Any] = []
    for cell in cells_of(kind.name):
        try:
            stored.append(kind.encode(cell))
        except CellError as error:
            stored.append(str(error))
    return stored, kind.normalise(kind.collate([array for array in stored if not isinstance(array, str)]))


def plain(values: Any) -> list[Any]:
    return [values.value.tolist(), values.mask.tolist()] if isinstance(values, Masked) else values.tolist()


def seen(kind: Kind) -> dict[str, Any]:
    """All that a training sees of a kind."""
    stored, values = rows_of(kind)
    head = kind.likelihood()
    torch.manual_seed(0)
    likelihood = head(kind.decoder(4)(torch.zeros(1, 4)))
    scales = [*head.named_parameters(), *head.named_buffers()]
    networks = [*kind.encoder(8).named_parameters(), *kind.decoder(4).named_parameters()]
    corrupted = kind.corrupt(values, lambda *shape: Noise(0).uniform("x", len(values), *shape, like=torch.zeros(())))
    return {
        "stored": [array if isinstance(array, str) else array.tolist() for array in stored],
        "networks": [(name, tuple(parameter.shape)) for name, parameter in networks],
        "likelihood": [type(likelihood), *((name, value.tolist()) for name, value in scales)],
        "corrupted": plain(corrupted),
    }


def test_the_table_of_settings_is_whole():
    assert {name: set(get_kind(name).setting_names) for name in kind_names()} == {
        name: set(settings) for name, settings in OTHER.items()
    }


@pytest.mark.parametrize(("name", "setting"), [(name, setting) for name in OTHER for setting in OTHER[name]])
def test_a_setting_changes_what_it_is_for(name, setting):
    value, part = OTHER[name][setting]
    assert getattr(get_kind(name)(), setting) != value
    assert seen(fitted(name, **{setting: value}))[part] != seen(fitted(name))[part]


@pytest.mark.parametrize("distribution", [torch.distributions.Normal, torch.distributions.Laplace])
@pytest.mark.parametrize("name", ["image", "vector"])
def test_distribution_and_scale_are_those_of_the_likelihood(name, distribution):
    kind = fitted(name, distribution=distribution.__name__.lower(), scale=0.3)
    _, values = rows_of(kind)
    expected = distribution(torch.tensor(0.25), torch.tensor(0.3)).log_prob(values).flatten(1).sum(dim=1)
    assert_close(kind.likelihood()(torch.full_like(values, 0.25)).log_prob(values), expected)


def test_a_sound_has_the_scale_that_was_set():
    kind = fitted("audio", scale=0.5)
    assert_close(kind.likelihood()(kind.decoder(4)(torch.zeros(1, 4))).log_scale.exp(), torch.tensor(0.5))


@pytest.mark.parametrize("num_blocks", [0, 1, 3])
def test_networks_of_a_table_have_as_many_blocks_as_were_set(num_blocks):
    kind = fitted("table", num_blocks=num_blocks)
    for network in (kind.encoder(8), kind.decoder(4)):
        assert sum(isinstance(module, ResidualBlock) for module in network.modules()) == num_blocks


def test_where_nothing_is_to_be_hidden_nothing_is():
    kind = fitted("table", hide=0.0)
    _, values = rows_of(kind)
    corrupted = kind.corrupt(values, lambda columns: torch.tensor([1e-6, 1e-6, 0.9]).expand(len(values), columns))
    assert torch.equal(corrupted.mask, values.mask) and torch.equal(corrupted.value, values.value)


def test_a_pair_of_tokens_is_joined_if_it_is_met_as_often_as_was_set():
    texts = ["ab"] * 4 + ["cd"] * 3
    kind = get_kind("text")(min_frequency=4, vocabulary_size=300).fit(texts)
    assert [len(kind.encode(text)) for text in ("ab", "cd")] == [2, 3]  # the end token is the last


def test_pictures_of_more_pixels_than_were_set_are_refused():
    kind = get_kind("image")(max_pixels=300).fit(cells_of("image"))
    with pytest.raises(CellError, match="20x16 pixels is larger than the limit of 300"):
        kind.encode(cells_of("image")[5])
