"""Are two objectives the same? Equal weights, the mean loss and the mean gradient over many draws, ours and theirs.

A factor between the two losses is no difference to Adam. What is printed: that factor with its standard error, what it
should be, and the cosine of the two mean gradients of encoders and decoders with the one that two halves of our own
draws have, which is what noise leaves of one.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from peers import build
from peers_multivae import MultiVae
from peers_networks import draw_presence, vectors
from peers_ours import MATCHED, copy_weights, matched
from torch import Tensor, nn

from isthmus.batch import Batch
from isthmus.noise import Noise
from isthmus.objectives import Step

torch.set_num_threads(1)
ITEMS = 60  # four for each of the 15 subsets of four modalities
TASK = vectors({"a": 5, "b": 7, "c": 3, "d": 4})


def sampled(loss: Callable[[int], Tensor], model: nn.Module, draws: int) -> tuple[list[float], list[dict[str, Tensor]]]:
    """Losses, and the mean gradients of two halves of the draws."""
    losses, halves = [], []
    for half in range(2):
        model.zero_grad()
        for draw in range(draws // 2):
            value = loss(half * draws // 2 + draw)
            value.backward()
            losses.append(float(value.detach()))
        names = {
            part: [p.grad.flatten() for n, p in model.named_parameters() if n.startswith(part) and p.grad is not None]
            for part in ("encoders", "decoders")
        }
        halves.append({part: torch.cat(grads) for part, grads in names.items()})
    return losses, halves


def cosine(a: Tensor, b: Tensor) -> float:
    return float(nn.functional.cosine_similarity(a, b, dim=0))


def compare(peer_name: str, method_name: str, draws: int, gaps: float, k: int, ours: dict, theirs: dict) -> None:
    torch.manual_seed(1)
    more, less = ({"num_draws": k}, {"K": k}) if method_name in ("mmvae", "mmvae+") else ({}, {})
    method = matched(peer_name, method_name, TASK, latent_dim=8, **more, **ours)
    peer = build(peer_name, method_name, TASK, latent_dim=8, **less, **theirs)
    copy_weights(method, peer)
    values = {name: torch.randn_like(x) for name, x in TASK.zeros(ITEMS).items()}
    present = draw_presence(ITEMS, list(values), gaps) if gaps else None
    batch, objective = Batch.from_dense(values, present), method.phases[0].players[0].objective
    method.model.train()

    def our_loss(seed: int) -> Tensor:
        return objective(method.model, batch, Step(0, 1.0, Noise(seed, 0))).loss

    def their_loss(seed: int) -> Tensor:
        if isinstance(peer, MultiVae):
            from multivae.data.datasets import DatasetOutput

            parts = {"data": dict(values)} if present is None else {"data": dict(values), "masks": dict(present)}
            return peer.model(DatasetOutput(**parts), epoch=1, batch_ratio=0.0).loss
        x = list(values.values())
        return peer.model.loss_function(x, peer.model(x))["loss"].sum()

    if isinstance(peer, MultiVae):
        peer.model.train()
    else:
        peer._mode(training=True)
    own, (own_a, own_b) = sampled(our_loss, method.model, draws)
    other, (their_a, their_b) = sampled(their_loss, peer.model, draws)
    ratio = statistics.mean(other) / statistics.mean(own)
    error = ratio * sum((statistics.stdev(x) / statistics.mean(x)) ** 2 / draws for x in (own, other)) ** 0.5
    parts = []
    for part in own_a:
        # Of ours the linear heads are beside the encoders: both sides are cut to what comes first, the networks.
        mine = [d[part] for d in (own_a, own_b)]
        its = [network_part(peer.model, part, d) for d in (their_a, their_b)]
        length = float(sum(its).norm() / sum(mine).norm())
        noise = f"own halves {cosine(*mine):.4f}, theirs {cosine(*its):.4f}"
        parts.append(f"{part} {cosine(sum(mine), sum(its)):.4f} ({noise}, length {length:.3f})")
    label = f"{peer_name} {method_name} K={k} gaps={gaps} {ours or ''} {theirs or ''}"
    losses = f"loss {statistics.mean(own):.3f} and {statistics.mean(other):.3f}, ratio {ratio:.4f} +- {error:.4f}"
    print(f"{label}: {losses}; {'; '.join(parts)}", flush=True)


def network_part(model: nn.Module, part: str, gradients: dict[str, Tensor]) -> Tensor:
    """Of a peer's gradients, those of encoders without their heads, or of decoders."""
    kept, start = [], 0
    for name, parameter in model.named_parameters():
        if name.startswith(part) and parameter.grad is not None:
            if "head" not in name:
                kept.append(gradients[part][start : start + parameter.numel()])
            start += parameter.numel()
    return torch.cat(kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=100)
    arguments = parser.parse_args()
    rows = [
        (p, m, gaps, k, {}, {})
        for p, m in MATCHED
        for gaps in (0, 0.5)
        for k in ((1, 10) if m.startswith("mmvae") else (1,))
    ]
    rows += [
        ("multivae", "mvae", 0.5, 1, {"scheme": "joint"}, {"use_subsampling": False}),
        ("multivae", "mvae", 0, 1, {"scheme": "joint"}, {"use_subsampling": False}),
        ("multivae", "mmvae", 0, 10, {"dreg": False}, {"loss": "iwae_looser"}),
        ("multivae", "mmvae+", 0, 10, {}, {"loss": "dreg_looser"}),
    ]
    for peer, method, gaps, k, ours, theirs in rows:
        if gaps and (peer == "multiviewae" or method == "jmvae"):
            continue
        compare(peer, method, arguments.draws, gaps, k, ours, theirs)


if __name__ == "__main__":
    main()
