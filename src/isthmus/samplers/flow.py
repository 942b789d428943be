"""A flow: an invertible network between codes and N(0, I), with an exact density.

Shapes: `R` rows, `N` codes, `D` latent dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from isthmus.networks.flows import CouplingFlow
from isthmus.noise import Noise
from isthmus.samplers.base import Sampler, best_known, moments

LAYERS, WIDTH = 8, 128
STEPS, BATCH, RATE, LOOK_EVERY = 1500, 256, 1e-3, 50
# Standard deviation, in that of the codes, of noise added to codes in fitting: codes that repeat have no density.
JITTER = 0.05


class CodeFlow(Sampler):
    """A flow between codes and noise.

    Args:
        latent_dim: `D`.
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, latent_dim: int):
        super().__init__()
        self.flow = CouplingFlow(latent_dim, num_layers=LAYERS, hidden=WIDTH)
        self.register_buffer("loc", torch.zeros(latent_dim))
        self.register_buffer("scale", torch.ones(latent_dim))

    @classmethod
    def fit(cls, codes: Tensor, observed: Tensor | None = None, seed: int = 0) -> CodeFlow:
        """Raise the likelihood of the codes; the state is kept that a held-out tenth of them finds likeliest."""
        codes = best_known(codes, observed, seed).float()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            flow = cls(codes.shape[1])
        loc, scale = moments(codes)
        flow.loc.copy_(loc)
        flow.scale.copy_(scale)
        held = Noise(seed).uniform("held", len(codes), like=codes).argsort() < len(codes) // 10
        seen, unseen = codes[~held], codes[held] if held.any() else codes
        optimiser = torch.optim.Adam(flow.parameters(), RATE)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
        best, kept = -torch.inf, flow.state_dict()
        with torch.enable_grad():
            for step in range(STEPS):
                noise = Noise(seed, step)
                some = seen[(noise.uniform("items", BATCH, like=codes) * len(seen)).long()]
                some = some + JITTER * flow.scale * noise.normal("jitter", *some.shape, like=codes)
                optimiser.zero_grad(set_to_none=True)
                (-flow.log_prob(some).mean()).backward()
                optimiser.step()
                decay.step()
                if step % LOOK_EVERY == LOOK_EVERY - 1:
                    with torch.no_grad():
                        score = float(flow.log_prob(unseen).mean())
                    if score > best:
                        best, kept = score, {name: value.clone() for name, value in flow.state_dict().items()}
        flow.load_state_dict(kept)
        return flow.requires_grad_(False)

    @classmethod
    def like(cls, state: Mapping[str, Tensor]) -> CodeFlow:
        return cls(len(state["loc"])).requires_grad_(False)

    def log_prob(self, codes: Tensor) -> Tensor:
        """Log density of codes `(R, D)`, `(R,)`, in nats, by the change of variables."""
        return self.flow.log_prob((codes - self.loc) / self.scale) - self.scale.log().sum()

    def sample(self, rows: int, noise: Noise, name: str = "sampler") -> Tensor:
        u = noise.normal(name, rows, len(self.loc), like=self.loc)
        return self.loc + self.scale * self.flow.inverse(u)
