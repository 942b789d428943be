"""Isthmus on the networks of the comparison, with the options under which its objective is a peer's."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from peers import Peer
from peers_networks import Task
from torch import Tensor, nn

from isthmus.batch import Masked
from isthmus.fusions import MixtureOfExperts
from isthmus.likelihoods import LaplaceHead, NormalHead, TokensHead
from isthmus.methods.base import Method, Phase, Player, build_method
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives import SingleRoutes

NORMAL = {"family": "normal", "learn_prior": False}
# By peer and method; what is not here has no match in Isthmus or is refused by the peer; `pairs.py` says what differs.
MATCHED: dict[tuple[str, str], dict[str, Any]] = {
    ("multivae", "mvae"): {"scheme": "separate", "warmup": 0.0},
    ("multivae", "mmvae"): NORMAL | {"dreg": True},
    ("multivae", "mopoe"): {"warmup": 0.0},
    ("multivae", "mvtcae"): {"dropout": 0.0},
    ("multivae", "mmvae+"): NORMAL,
    ("multivae", "jmvae"): {"warmup": 0.0, "fusion": "concat"},
    ("multiviewae", "mvae"): {"scheme": "joint", "warmup": 0.0},
    ("multiviewae", "mmvae"): NORMAL | {"dreg": False},
    ("multiviewae", "mopoe"): {"warmup": 0.0},
    ("multiviewae", "mvtcae"): {"dropout": 0.0},
    ("multiviewae", "mmvae+"): NORMAL,
    ("multiviewae", "fused"): {},
}


class Characters(nn.Module):
    """Ids of characters `Masked (n, L)`, as Isthmus has texts, as one-hot ones `(n, L, V)`."""

    def __init__(self, alphabet: int):
        super().__init__()
        self.alphabet = alphabet

    def forward(self, ids: Masked) -> Tensor:
        return nn.functional.one_hot(ids.value, self.alphabet).to(torch.get_default_dtype())


def modalities(task: Task) -> dict[str, Modality]:
    """The task as Isthmus has it."""
    return {name: _text(task, name) if name in task.texts else _array(task, name) for name in task.shapes}


def _array(task: Task, name: str) -> Modality:
    head = {"laplace": LaplaceHead, "normal": NormalHead}[task.family]
    shape = task.shapes[name]
    return Modality(
        encoder=partial(task.encoder, shape),
        decoder=partial(task.decoder, shape),
        likelihood=partial(head, task.scale),
        example=torch.zeros(1, *shape),
        num_dimensions=math.prod(shape),
    )


def _text(task: Task, name: str) -> Modality:
    """What stands behind the end counts too, as it does for the peers."""
    length, alphabet = shape = task.shapes[name]
    return Modality(
        encoder=lambda: nn.Sequential(Characters(alphabet), task.encoder(shape)),
        decoder=partial(task.decoder, shape),
        likelihood=partial(TokensHead, alphabet - 1),
        example=Masked(torch.zeros(1, length, dtype=torch.long), torch.ones(1, length, dtype=torch.bool)),
        num_dimensions=length,
    )


def matched(peer: str, method: str, task: Task, *, latent_dim: int = 64, **options: Any) -> Method:
    """The method of Isthmus with the objective of a peer's.

    multi-view-AE's AE decodes every modality from each one alone, from codes that no fusion makes: of ours that is
    `SingleRoutes` over the means of single experts, which no method has by itself.
    """
    if method == "fused":
        model = MultimodalAutoencoder(modalities(task), latent_dim=latent_dim, fusion=MixtureOfExperts())
        return Method(model, [Phase([Player(SingleRoutes("all"))])])
    chosen: dict[str, Any] = {"balance": "nats", **MATCHED[peer, method], **options}
    if method == "mmvae+":
        latent_dim = chosen["private_dim"] = latent_dim // 2
    return build_method(method, modalities(task), latent_dim=latent_dim, options=chosen)


@torch.no_grad()
def copy_weights(method: Method, peer: Peer) -> None:
    """Give a peer's model the weights of ours."""
    model, theirs = method.model, peer.model
    inference: Any = model.inference
    by_name = isinstance(theirs.encoders, nn.ModuleDict)
    for place, name in enumerate(model.modalities):
        key: Any = name if by_name else place
        expert = theirs.encoders[key].expert
        expert.encoder.load_state_dict(model.encoders[name].state_dict())
        expert.head.load_state_dict(inference.heads[name].state_dict())
        if expert.private_head is not None:
            expert.private_head.load_state_dict(inference.private_heads[name].state_dict())
        theirs.decoders[key].network.load_state_dict(model.decoders[name].state_dict())
    if hasattr(theirs, "joint_encoder"):
        joint, fusion = theirs.joint_encoder.joint, inference.joint
        for layers, own in ((joint.project, fusion.project), (joint.join, fusion.join)):
            for layer, name in zip(layers, model.modalities, strict=True):
                layer.load_state_dict(own[name].state_dict())
        joint.head.load_state_dict(inference.joint_head.state_dict())
