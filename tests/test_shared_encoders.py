"""One encoder for pictures of one shape: what is shared, what is not, and that it is held, trained and saved once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import isthmus
from isthmus.batch import Batch
from isthmus.fusions import Attention, Concatenation, Mean, ProductOfExperts
from isthmus.kinds.image import ImageKind
from isthmus.kinds.vector import VectorKind
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.networks.named import Named

SIDES = {"sketch": 8, "photo": 8, "map": 12}


def pictures(side: int, count: int = 6, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def modalities(names) -> dict[str, Modality]:
    found = {}
    for name in names:
        cells = pictures(SIDES[name]) if name in SIDES else list(np.eye(6))
        kind = (ImageKind() if name in SIDES else VectorKind()).fit(cells)
        example = kind.normalise(kind.collate([kind.encode(cell) for cell in cells[:2]]))
        found[name] = Modality.from_kind(kind, example, 16)
    return found


def model(names, share="encoders") -> MultimodalAutoencoder:
    torch.manual_seed(0)
    return MultimodalAutoencoder(modalities(names), latent_dim=3, fusion=ProductOfExperts(), share=share).eval()


def test_pictures_of_one_shape_share_and_nothing_else_does():
    shared = model(["sketch", "first", "photo", "map", "second"])
    encoders = shared.encoders
    assert encoders["sketch"] is encoders["photo"]
    assert len({id(encoders[name]) for name in shared.modalities}) == 4
    assert list(encoders) == list(shared.modalities)  # in the order of the modalities, whose place is the M axis
    apart = model(["sketch", "photo"], share=None)
    assert apart.encoders["sketch"] is not apart.encoders["photo"]


def test_one_picture_has_one_code_as_either():
    shared = model(["sketch", "photo", "map"])
    picture = torch.rand(2, 3, 8, 8)
    codes = [shared.encode(Batch.from_dense({name: picture})) for name in ("sketch", "photo")]
    assert_close(codes[0].mean, codes[1].mean, rtol=0, atol=0)
    assert_close(codes[0].spread, codes[1].spread, rtol=0, atol=0)
    apart = model(["sketch", "photo"], share=None)
    means = [apart.encode(Batch.from_dense({name: picture})).mean for name in apart.modalities]
    assert (means[0] - means[1]).abs().max() > 1e-3


@pytest.mark.parametrize("fusion", [Mean, Attention, Concatenation])
def test_point_codes_share_the_way_from_features_too(fusion):
    shared = MultimodalAutoencoder(modalities(["sketch", "photo"]), latent_dim=3, fusion=fusion, share="encoders")
    projections = shared.inference.fusion.project
    assert projections["sketch"] is projections["photo"] and list(projections) == ["sketch", "photo"]


def test_weights_are_held_once_under_a_name_that_no_order_changes_and_learn_from_both():
    shared = model(["sketch", "photo"])
    for part in ("encoders", "inference.heads"):
        names = [name for name in shared.state_dict() if name.startswith(part)]
        assert names and all(name.startswith(f"{part}.photo.") for name in names)
    assert shared.state_dict().keys() == model(["photo", "sketch"]).state_dict().keys()
    ids = [id(parameter) for _, parameter in shared.named_parameters(remove_duplicate=False)]
    assert len(ids) == len(set(ids))
    weight = next(shared.encoders["photo"].parameters())
    gradients = []
    for name in ("photo", "sketch"):
        shared.zero_grad()
        shared.encode(Batch.from_dense({name: torch.rand(2, 3, 8, 8)})).mean.sum().backward()
        gradients.append(weight.grad.clone())
    assert all(gradient.abs().max() > 0 for gradient in gradients)


def test_a_module_is_lent_once_and_to_itself_without_harm():
    named = Named({"a": torch.nn.Linear(1, 1), "b": torch.nn.Linear(1, 1)})
    for name in ("a", "b", "b"):
        named.lend("a", to=name)
    assert named["b"] is named["a"] and list(named) == ["a", "b"] and len(list(named.parameters())) == 2


@pytest.mark.parametrize("method", ["mvtcae", "fused"])
def test_a_model_with_shared_encoders_is_trained_saved_and_opened(method, tmp_path):
    table = {"sketch": pictures(8, 12), "photo": pictures(8, 12, seed=1), "name": ["a", "b", "c"] * 4}
    model = isthmus.Autoencoder(method, 4, width=16, options={"share": "encoders"}, kinds={"name": "text"}, epochs=2)
    codes = model.fit_transform(table)
    assert model.model.encoders["sketch"] is model.model.encoders["photo"]
    model.save(tmp_path)
    np.testing.assert_allclose(isthmus.load(tmp_path).transform(table), codes, atol=1e-6)
