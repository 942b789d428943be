"""Short proofs of faults seen in the two peers, each with the line of the release that `constraints-peers.txt` names.

python benchmarks/speed/check_faults.py
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from peers import Peer, build
from peers_networks import vectors
from torch import Tensor

TASK = vectors({"a": 5, "b": 7, "c": 3, "d": 4})
Values = dict[str, Tensor]


def made(peer: str, method: str, **options: Any) -> Peer:
    return build(peer, method, TASK, latent_dim=8, **options)


# --- MultiVae ---------------------------------------------------------------------------------------------------------


def likelihood_loses_a_modality(values: Values) -> str:
    """mmvaePlus_model.py:496 takes one out of the caller's data to count items."""
    from peers_multivae import dataset

    data = dataset(values)
    made("multivae", "mmvae+").model.compute_joint_nll(data, K=20, batch_size_K=20)
    return f"modalities left in the caller's data: {list(data.data)}"


def beta_is_not_used(values: Values) -> str:
    """mmvae_model.py:228."""
    losses = []
    for beta in (1.0, 100.0):
        torch.manual_seed(0)
        peer = made("multivae", "mmvae", beta=beta)
        torch.manual_seed(1)
        losses.append(float(peer.step(values)()))
    return f"losses at beta 1 and 100: {losses}"


def batch_loses_a_modality(values: Values) -> str:
    """data/utils.py:62."""
    from multivae.data.datasets import DatasetOutput

    peer = made("multivae", "mmvae")
    present = {name: torch.full((len(x),), name != "d") for name, x in values.items()}
    batch = DatasetOutput(data=dict(values), masks=present)
    peer.model(batch)
    return f"modalities left in the caller's batch: {list(batch.data)}"


def encoders_run_twice(values: Values) -> str:
    """mvae_model.py:61: again for every subset."""
    peer, runs = made("multivae", "mvae"), []
    for encoder in peer.model.encoders.values():
        encoder.register_forward_hook(lambda *_: runs.append(1))
    peer.step(values)()
    return f"{len(runs)} encodings of 4 modalities a step"


def joint_network_on_kept_features(values: Values) -> str:
    """No fault: the adapter's joint network, unlike MultiVae's own, runs no second set of encoders."""
    peer, runs = made("multivae", "jmvae"), []
    for encoder in peer.model.encoders.values():
        encoder.expert.encoder.register_forward_hook(lambda *_: runs.append(1))
    peer.step(values)()
    return f"{len(runs)} runs of 4 encoders a step"


def likelihood_builds_a_graph(values: Values) -> str:
    """joint_model.py:82: no `no_grad`, though nothing of the graph is kept in what it returns."""
    from peers_multivae import dataset

    peer, graphs = made("multivae", "jmvae"), []
    for decoder in peer.model.decoders.values():
        decoder.register_forward_hook(lambda _, __, output: graphs.append(output.reconstruction.requires_grad))
    peer.model.compute_joint_nll(dataset({name: x[:2] for name, x in values.items()}), K=10)
    return f"decoded with gradients: {all(graphs)}"


# --- multi-view-AE ----------------------------------------------------------------------------------------------------


def dreg_cannot_run(values: Values) -> str:
    """mmvae.py:177: `self` inside `eval` inside a comprehension."""
    return f"loss {float(made('multiviewae', 'mmvae', DREG_loss=True, K=2).step(values)())}"


def each_decoder_sees_other_codes(values: Values) -> str:
    """mmvae.py:106, 182."""
    peer, seen = made("multiviewae", "mmvae", K=2), []
    peer.model._training = True
    for decoder in peer.model.decoders:
        decoder.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    peer.model.decode(peer.model.encode(list(values.values())))
    return f"codes of the first expert that its decoders see are equal: {torch.equal(seen[0], seen[1])}"


def private_priors_are_not_trained(values: Values) -> str:
    """mmvaeplus.py:51: kept in plain lists."""
    model = made("multiviewae", "mmvae+").model
    known = {id(parameter) for parameter in model.parameters()}
    among = any(id(prior) in known for prior in model.logvar_priors_private)
    return f"among the parameters: {among}, with learn_private_prior={model.learn_private_prior}"


def forward_needs_training(values: Values) -> str:
    """mmvaeplus.py:235."""
    model = made("multiviewae", "mmvae+").model
    model._training = False
    return f"forward outside training gave {type(model(list(values.values()))).__name__}"


def one_private_draw_for_a_batch(values: Values) -> str:
    """mmvaeplus.py:182."""
    peer, seen = made("multiviewae", "mmvae+"), []
    for decoder in peer.model.decoders:
        decoder.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    peer.step(values)()
    private = seen[1][0, :, 4:]
    return (
        f"private code of a modality that is decoded from another is one for all: {bool((private == private[0]).all())}"
    )


def predicting_ends_training(values: Values) -> str:
    """base_model.py:464."""
    peer = made("multiviewae", "mvae")
    peer.embed(values)
    return f"after predict_latents: _training={peer.model._training}, training={peer.model.encoders[0].training}"


def seeds_are_set_unasked(values: Values) -> str:
    """base_model.py:310."""
    from multiviewae.models import mVAE

    drawn = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "config.yaml"
            path.write_text(yaml.safe_dump({"model": {"seed_everything": False}}), encoding="utf-8")
            mVAE(cfg=str(path), input_dim=[3, 3], z_dim=2)
        drawn.append(float(torch.rand(1)))
    return f"seed_everything=False; torch.rand after seeds 1 and 2 and building: {drawn}"


def likelihood_of_pictures(values: Values) -> str:
    """mvae.py:256 sums over the last axis alone."""
    from multiviewae.base.distributions import Normal

    pictures = Normal(loc=torch.zeros(10, 4, 3, 28, 28), scale=1.0)
    shape = tuple(pictures.log_likelihood(torch.zeros(4, 3, 28, 28)).sum(dim=-1).shape)
    return f"log p(x|z) has shape {shape} beside (10, 4) of log p(z)"


def no_private_heads_in_pictures(values: Values) -> str:
    """cnn.py:123."""
    from multiviewae.architectures.cnn import VariationalEncoder

    layers = {"layer0": {"layer": "Flatten"}, "layer1": {"layer": "Linear", "in_features": 192, "out_features": 8}}
    sizes = {"input_dim": (3, 8, 8), "z_dim": 4, "u_dim": 2, "w_dim": 2, "multiple_latents": True}
    rest = {"non_linear": True, "bias": True, "sparse": False, "log_alpha": None, "enc_dist": None}
    given = VariationalEncoder(**sizes, **rest, **layers)(torch.zeros(2, 3, 8, 8))
    return f"an encoder with multiple_latents gives {len(given)} outputs; mmVAEPlus takes 4"


def subsets_by_place(values: Values) -> str:
    """representations.py:72."""
    from multiviewae.base.representations import MixtureOfExperts

    loc = torch.arange(15.0)[:, None, None].expand(15, 64, 1)
    chosen = MixtureOfExperts()(loc, loc)[0][:, 0].long()
    few = MixtureOfExperts()(loc[:, :14], loc[:, :14])[0].unique().long()
    return f"subset of each place in a batch of 64: {chosen.tolist()}; in one of 14: {few.tolist()}"


PROOFS: dict[str, list[Callable[[Values], str]]] = {
    "MultiVae": [
        likelihood_loses_a_modality,
        beta_is_not_used,
        batch_loses_a_modality,
        encoders_run_twice,
        joint_network_on_kept_features,
        likelihood_builds_a_graph,
    ],
    "multi-view-AE": [
        dreg_cannot_run,
        each_decoder_sees_other_codes,
        private_priors_are_not_trained,
        forward_needs_training,
        one_private_draw_for_a_batch,
        predicting_ends_training,
        seeds_are_set_unasked,
        likelihood_of_pictures,
        no_private_heads_in_pictures,
        subsets_by_place,
    ],
}


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for peer, proofs in PROOFS.items():
        for proof in proofs:
            torch.manual_seed(0)
            values = {name: torch.randn_like(x) for name, x in TASK.zeros(32).items()}
            try:
                said = proof(values)
            except Exception as error:  # some faults are errors
                said = f"{type(error).__name__}: {str(error)[:200]}"
            print(f"{peer}, {proof.__name__.replace('_', ' ')}: {said}", flush=True)


if __name__ == "__main__":
    main()
