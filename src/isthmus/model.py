"""The multimodal autoencoder: one encoder and decoder per modality, joined in one code.

It knows modalities, a way to infer codes and a prior; it knows no method by name. Everything that trains, scores or
serves a model calls `encode`, `decode`, `log_likelihood`, `translate`, `reconstruct`, `impute` and `generate`.

Shapes: `K` draws, `S` sources, `M` modalities, `B` items, `R` rows of a decoder call, `n` rows that are there,
`D` latent dimensions, `F` features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from isthmus.batch import Batch, Masked, Values, concatenate, take
from isthmus.fusions import FeatureFusion, Fusion
from isthmus.inference import Evidence, ExpertInference, Inference, PointInference
from isthmus.likelihoods import Likelihood
from isthmus.modality import Modality
from isthmus.networks.named import Named, private_order
from isthmus.noise import Noise
from isthmus.posteriors import Mixture, Posterior
from isthmus.priors import LocationScale, Prior, StandardNormal
from isthmus.samplers import CodeDensity, Sampler
from isthmus.suggest import nearest

SHARES = ("trunk", "encoders")
# The power of (mean dimensions / own dimensions) that weighs a modality's reconstruction.
BALANCES = {"nats": 0.0, "predictable": 0.5, "per_root_dimension": 0.5, "per_dimension": 1.0}
# balance="predictable": the weight by root of dimensions is taken in full where the others tell a tenth of a modality
# or more, in proportion where they tell less, but never less than a twentieth of it, so that every modality has a place
# in the code; what some lose the others gain. Where nothing tells of anything, all count alike. docs/methods.md has the
# figures.
PREDICTABLE, LEAST_WEIGHT, NOISE = 0.1, 0.05, 0.01
# Where no gradient is needed, about as many numbers of events are decoded at a time: what a decoder makes on the way to
# them then stays in a processor's caches. Rows by the thousand of small pictures took half as long again.
CACHED_NUMBERS = 2**20


class SharedTrunk(nn.Module):
    """Layers that every modality's features pass through, behind an adapter of its own: sharing by weights.

    Ngiam et al. 2011, "Multimodal deep learning", section 3: higher layers are common to the modalities.
    """

    def __init__(self, widths: Mapping[str, int], width: int):
        super().__init__()
        self.width = width
        self.adapters = Named({name: nn.Linear(size, width) for name, size in widths.items()})
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, name: str, features: Tensor) -> Tensor:
        adapted: Tensor = self.adapters[name](features)
        return adapted + cast(Tensor, self.layers(adapted))


def lenders(modalities: Mapping[str, Modality], encoders: Named) -> dict[str, str]:
    """By name of each picture, whose encoder it may use: of pictures `(n, C, H, W)` of one shape, the first by name.

    Pictures alone: a place in them means the same in each, a column, a token or a dimension of a vector does not.
    Encoders must be built alike too, or one of the user's own would be lost.
    """
    first: dict[tuple[object, ...], str] = {}
    found = {}
    for name in sorted(modalities):
        example = modalities[name].example
        if isinstance(example, Tensor) and example.dim() == 4:
            found[name] = first.setdefault((example.shape[1:], repr(encoders[name])), name)
    return found


class MultimodalAutoencoder(nn.Module):
    """Encoders, an inference over their features, a prior, and decoders with their likelihoods.

    Args:
        modalities: By name; their order is the order of the `M` axis.
        latent_dim: Dimensions `D` of the code that modalities share; none for codes side by side.
        private_dim: Dimensions `P` of a private code for each modality, behind the shared one in the order of names:
            the whole code then has `D + M P` numbers, of which a decoder sees the shared ones and its own.
        fusion: A `Fusion` of experts, a `FeatureFusion` class for point codes, or what makes another `Inference` from
            the widths of the encoders by name and the dimensions of the code.
        prior: Density of codes; the standard Normal by default.
        family: Of the experts, "normal" or "laplace".
        share: "trunk" sends every modality's features through common layers; "encoders" gives one encoder to
            pictures of one shape, as of one thing drawn in two styles, and one layer from its features to codes: it
            learns from both; None keeps encoders apart.
        balance: What a nat of each modality's reconstruction weighs in the loss: "nats" counts all alike,
            "per_dimension" divides by a modality's dimensions (and multiplies by the mean number, so that the sum
            keeps its size), "per_root_dimension" by their root; "predictable" does so too, and counts modalities less
            of which the others tell little, as `Modality.predictability` says; a mapping gives weights by name.
        pooled: Give the inference one vector of features per row; False gives it each row's tokens.
        max_decode_rows: More rows than this are decoded in parts, which are computed again in the backward pass:
            memory is then bounded for any number of draws and sources.

    Raises:
        ValueError: An encoder or decoder does not fit, or an argument is unknown.
    """

    def __init__(
        self,
        modalities: Mapping[str, Modality],
        *,
        latent_dim: int,
        private_dim: int = 0,
        fusion: Fusion | type[FeatureFusion] | Callable[[Mapping[str, int], int], Inference],
        prior: Prior | None = None,
        family: str = "normal",
        share: str | None = None,
        balance: str | Mapping[str, float] = "nats",
        pooled: bool = True,
        max_decode_rows: int = 8192,
    ):
        super().__init__()
        if not modalities:
            raise ValueError("A model needs at least one modality.")
        if share not in (None, *SHARES):
            known = " or ".join(map(repr, SHARES))
            raise ValueError(f"share='{share}' is unknown. Expected None, {known}.{nearest(str(share), SHARES)}")
        self.pooled, self.max_decode_rows = pooled, max_decode_rows
        self.modalities = tuple(modalities)
        self.shared_dim, self.private_dim = latent_dim, private_dim
        self.latent_dim = latent_dim + private_dim * len(modalities)
        self.encoders = Named({name: modality.encoder() for name, modality in modalities.items()})
        lent = lenders(modalities, self.encoders) if share == "encoders" else {}
        for name, lender in lent.items():
            self.encoders.lend(lender, to=name)
        self.decoders = Named(
            {name: modality.decoder(latent_dim + private_dim) for name, modality in modalities.items()}
        )
        self.likelihoods = Named({name: modality.likelihood() for name, modality in modalities.items()})
        self.corruptions = {name: modality.corrupt for name, modality in modalities.items()}
        self.num_dimensions = {name: modality.num_dimensions for name, modality in modalities.items()}
        self.weights = balance_weights(
            balance, self.num_dimensions, {name: modality.predictability for name, modality in modalities.items()}
        )
        self.trunk: SharedTrunk | None = None
        widths = {name: self._dry_run(name, modality) for name, modality in modalities.items()}
        if share == "trunk":
            self.trunk = SharedTrunk(widths, max(widths.values()))
            widths = dict.fromkeys(widths, self.trunk.width)
        self.prior = StandardNormal(self.latent_dim) if prior is None else prior
        self.density: CodeDensity | None = None
        # What couplings learn, by their names; `methods.couple` puts it here, to be trained and saved with the rest.
        self.couplings = nn.ModuleDict()
        self.sampler: Sampler | None = None
        self.inference: Inference
        if isinstance(fusion, Fusion):
            self.inference = ExpertInference(widths, latent_dim, fusion, family)
        elif isinstance(fusion, type) and issubclass(fusion, FeatureFusion):
            self.inference = PointInference(fusion(widths, max(widths.values())), latent_dim)
        else:
            self.inference = cast(Callable[..., Inference], fusion)(widths, latent_dim)
        for name, lender in lent.items():
            self.inference.lend(lender, to=name)
        # Convolutions are quickest with the channels of a pixel side by side, and ask for it by their weights.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch has it and does not say so

    def _dry_run(self, name: str, modality: Modality) -> int:
        """Try the networks on the example; the number of features."""
        with torch.no_grad():
            width = _shape(self._features(name, modality.example))[-1]
            z = torch.zeros(len(modality.example), self.latent_dim)
            try:
                score = self.decode(name, z).log_prob(modality.example)
            except (RuntimeError, IndexError, ValueError) as error:
                raise ValueError(
                    f"Decoder '{name}' does not fit its data: from codes of shape ({len(z)}, {self.latent_dim}) its "
                    f"output could not be scored against values of shape {_shape(modality.example)}. {error}"
                ) from error
            if score.shape != (len(z),):
                raise ValueError(
                    f"Likelihood of '{name}' gave scores of shape {tuple(score.shape)}. Expected ({len(z)},): one "
                    "number per row, summed over the event."
                )
        return width

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    # --- from data to codes ---------------------------------------------------------------------------------------

    def _features(self, name: str, values: Values) -> Tensor | Masked:
        features: Tensor | Masked = self.encoders[name](values)
        if self.pooled:
            features = pool(features)
        if len(_shape(features)) != 2 + (not self.pooled) or len(features) != len(values):
            raise ValueError(
                f"Encoder '{name}' returned shape {_shape(features)} for {len(values)} rows. Expected "
                f"({len(values)}, width) features, or ({len(values)}, tokens, width) with a mask. Does it drop a last "
                "incomplete group, or flatten the batch?"
            )
        if self.trunk is None:
            return features
        shared: Tensor = self.trunk(name, features)
        return shared

    def evidence(self, batch: Batch, noise: Noise | None = None) -> Evidence:
        """Run every encoder once, on the rows that are there. A modality that the batch does not name is a gap.

        Args:
            batch: Items.
            noise: In training, hides from the encoders what a kind of data says may be hidden, such as some columns
                of a table. Any posterior bounds the evidence, so a bound stays one.

        Raises:
            ValueError: The batch has a modality that the model does not know.
        """
        for name in batch:
            if name not in self.modalities:
                raise ValueError(
                    f"The batch has modality '{name}', which this model was not made for. It knows "
                    f"{', '.join(self.modalities)}.{nearest(name, self.modalities)}"
                )
        seen = batch if noise is None or not self.training else self._corrupted(batch, noise)
        features = {
            name: self._features(name, seen.values[name]) for name in self.modalities if len(seen.values.get(name, ()))
        }
        evidence: Evidence = self.inference(features, batch.presence(self.modalities))
        unknown = self.prior.moments()
        return evidence if unknown is None else evidence.with_unknown(*unknown)

    def _corrupted(self, batch: Batch, noise: Noise) -> Batch:
        values = dict(batch.values)
        for name, corrupt in self.corruptions.items():
            if corrupt is None or not len(values.get(name, ())):
                continue

            # Drawn for all items of the batch and cut to those that have the modality: noise goes by place.
            def uniform(*shape: int, name: str = name) -> Tensor:
                like = torch.empty(0, device=batch.device, dtype=self.dtype)
                return noise.uniform(f"corrupt/{name}", len(batch), *shape, like=like)[batch.present[name]]

            values[name] = corrupt(values[name], uniform)
        return Batch(values, batch.present, batch.index)

    def encode(self, batch: Batch) -> Posterior:
        """Beliefs about the codes of `B` items, from whatever each of them has; the prior where it has nothing."""
        return self.evidence(batch).posterior()

    def own_codes(self, batch: Batch) -> Batch:
        """The code that each modality alone gives, `(n, D)`, in the place of its values: what phases on codes see."""
        evidence = self.evidence(batch)
        own = dict(zip(self.modalities, evidence.own(), strict=True))
        return Batch({name: own[name][batch.present[name]] for name in batch}, batch.present, batch.index)

    # --- from codes to data ---------------------------------------------------------------------------------------

    def private(self, name: str) -> slice:
        """Where the private code of a modality stands in the whole code; empty where there are none."""
        start = self.shared_dim + self.private_dim * private_order(self.modalities).index(name)
        return slice(start, start + self.private_dim)

    def shared(self, z: Tensor) -> Tensor:
        """The part of codes `(..., D + M P)` that modalities share, `(..., D)`; the whole where they share none."""
        return z[..., : self.shared_dim] if self.shared_dim else z

    @property
    def code_dim(self) -> int:
        """Numbers of the code that `shared` gives."""
        return self.shared_dim or self.latent_dim

    def decode(self, name: str, z: Tensor) -> Likelihood:
        """`p(x_name | z)` of codes `(R, D)`, with private codes `(R, D + M P)`."""
        self._known(name, "modality")
        if self.private_dim:
            z = torch.cat([z[..., : self.shared_dim], z[..., self.private(name)]], dim=-1)
        likelihood: Likelihood = self.likelihoods[name](self.decoders[name](z))
        return likelihood

    def log_likelihood(self, name: str, z: Tensor, use: Tensor, batch: Batch) -> Tensor:
        """`log p(x_name | z)` wherever it is wanted and known: the one primitive behind every objective.

        All draws and sources go through the decoder in one call, of the rows alone that are used and observed.

        Args:
            name: Modality.
            z: `(K, S, B, D)`.
            use: Bool `(S, B)`: which sources matter for which items.
            batch: Has the targets.

        Returns:
            `(K, S, B)` in nats; zero where not used or not observed.
        """
        num_draws, num_sources, num_items, latent_dim = z.shape
        wanted = use & batch.present[name]
        if num_draws * num_sources == 1 and len(batch.values[name]) == num_items and bool(wanted.all()):
            # As most calls in training without gaps: nothing to pick out, nothing to put back.
            rows = torch.arange(num_items, device=z.device)
            return self._score(name, z[0, 0], batch.values[name], rows).to(self.dtype)[None, None]
        source, item = wanted.nonzero(as_tuple=True)
        score = z.new_zeros(z.shape[:3], dtype=self.dtype)  # z may be bf16, too coarse for nats
        if not len(item):
            return score
        slots = batch.slots(name)[item]
        z_rows = z[:, source, item].reshape(-1, latent_dim)
        scored = self._score(name, z_rows, batch.values[name], slots.repeat(num_draws))
        draw = torch.arange(num_draws, device=z.device).repeat_interleave(len(item))
        return score.index_put((draw, source.repeat(num_draws), item.repeat(num_draws)), scored.to(score))

    def _score(self, name: str, z: Tensor, values: Values, slots: Tensor) -> Tensor:
        def part(z_part: Tensor, slots_part: Tensor) -> Tensor:
            whole = len(slots_part) == len(values) and bool((slots_part[1:] > slots_part[:-1]).all())
            return self.decode(name, z_part).log_prob(values if whole else take(values, slots_part))

        size = self.max_decode_rows
        if not torch.is_grad_enabled():
            size = min(size, max(1, CACHED_NUMBERS // self.num_dimensions[name]))
        if len(z) <= size:
            return part(z, slots)
        parts = zip(z.split(size), slots.split(size), strict=True)
        if not torch.is_grad_enabled():
            return torch.cat([part(*rows) for rows in parts])
        return torch.cat([cast(Tensor, checkpoint(part, *rows, use_reentrant=False)) for rows in parts])

    # --- what people ask of a model -------------------------------------------------------------------------------

    def codes(self, posterior: Posterior, noise: Noise | None, name: str = "z") -> Tensor:
        """`(B, D)`: the mean, or one draw if noise is given.

        A draw heeds where the codes of the training items lie, once `density` is fitted to them: it is drawn by Bayes'
        rule with that density as the prior (`CodeDensity.condition`). Of a mixture, one member is drawn by its weight
        first: no belief counts for more because it agrees better with the density. It needs a Normal posterior and
        prior; other posteriors are drawn from as they are.
        """
        if noise is None:
            return posterior.mean
        prior = self.prior
        normal = isinstance(prior, LocationScale) and prior.family == "normal"
        if self.density is None or not normal or not isinstance(posterior, Mixture) or posterior.family != "normal":
            return posterior.rsample(1, noise, name).z[0, 0]
        assert isinstance(prior, LocationScale)
        component = noise.categorical(f"{name}/member", posterior.log_weight.t())
        item = torch.arange(len(component), device=component.device)
        loc, log_scale = posterior.loc[component, item], posterior.log_scale[component, item]
        return self.density.condition(loc, log_scale, prior.log_scale, noise, name)

    def draw(self, rows: int, noise: Noise) -> Tensor:
        """Codes `(rows, D)` of new items: from `sampler`, else from `density`, or from the prior where neither is
        fitted; of codes out of a finite set, the nearest to what was drawn.
        """
        source = self.prior if self.density is None else self.density
        drawn = (source if self.sampler is None else self.sampler).sample(rows, noise)
        return self.inference.nearest(drawn.to(self.device, self.dtype))

    def translate(
        self, batch: Batch, source: Sequence[str], target: str, noise: Noise | None = None, sample: bool = False
    ) -> Values:
        """Encode the modalities `source` and decode `target`, for all `B` items.

        Args:
            batch: Items; those who lack every source are decoded from the prior's mean or a draw from it.
            source: Names of modalities.
            target: Name of a modality.
            noise: Draws the code; None takes its mean.
            sample: Draws the event too, in place of its mode; needs noise.

        Returns:
            Normalised values, `B` rows.
        """
        known = [name for name in source if name in batch.present]
        for name in source:
            self._known(name, "source")
        among = torch.tensor([name in known for name in self.modalities], device=batch.device)
        seen = batch.only(*known) if known else batch
        posterior = self.evidence(seen).posterior(among[:, None].expand(-1, len(batch)))
        return self.event(target, self.codes(posterior, noise), noise, sample)

    def reconstruct(self, batch: Batch, noise: Noise | None = None) -> dict[str, Values]:
        """Every modality of every item from all that the item has, `B` rows each: what was seen, and what was not."""
        z = self.codes(self.encode(batch), noise)
        return {name: self.event(name, z, noise, sample=False) for name in self.modalities}

    def impute(self, batch: Batch, noise: Noise | None = None, sample: bool = False) -> dict[str, Values]:
        """Decoded values of the items that lack each modality, in batch order; what was observed is not touched."""
        z = self.codes(self.encode(batch), noise)
        presence = batch.presence(self.modalities)
        return {
            name: self.event(name, z[(~presence[m]).nonzero().squeeze(1)], noise, sample)
            for m, name in enumerate(self.modalities)
            if not bool(presence[m].all())
        }

    def generate(self, z: Tensor, noise: Noise | None = None, sample: bool = False) -> dict[str, Values]:
        """All modalities of new items from their codes `(R, D)`, as a sampler or the prior drew them."""
        return {name: self.event(name, z, noise, sample) for name in self.modalities}

    def _known(self, name: str, what: str) -> None:
        if name not in self.modalities:
            raise ValueError(
                f"Unknown {what} '{name}'. This model knows {', '.join(self.modalities)}."
                f"{nearest(name, self.modalities)}"
            )

    def event(self, name: str, z: Tensor, noise: Noise | None = None, sample: bool = False) -> Values:
        """The likeliest event of codes `(R, D)`, or a draw with `sample`, normalised, `R` rows."""
        if sample and noise is None:
            raise ValueError("sample=True draws an event and needs noise. Pass noise=Noise(seed).")
        size = self.max_decode_rows
        parts: list[Values] = []
        for part, z_part in enumerate(z.split(size) if len(z) else [z]):
            likelihood = self.decode(name, z_part)
            if sample and noise is not None:
                parts.append(likelihood.sample(noise, f"event/{name}/{part}"))
            else:
                parts.append(likelihood.mode)
        return concatenate(parts) if len(parts) > 1 else parts[0]


def pool(features: Tensor | Masked) -> Tensor:
    """Features `(n, F)` as they are; tokens `(n, T, F)`, masked or not, as their mean."""
    if isinstance(features, Masked):
        there = features.mask.to(features.value)[..., None]
        return (features.value * there).sum(dim=1) / there.sum(dim=1).clamp_min(1)
    return features.mean(dim=1) if features.dim() == 3 else features


def balance_weights(
    balance: str | Mapping[str, float],
    num_dimensions: Mapping[str, int],
    predictability: Mapping[str, float | None] | None = None,
) -> dict[str, float]:
    """The weight of each modality's reconstruction in the loss.

    Args:
        balance: As in `MultimodalAutoencoder`.
        num_dimensions: By modality.
        predictability: By modality, from 0 to 1; None where it was not measured, which counts in full.
    """
    if isinstance(balance, Mapping):
        for name in balance:
            if name not in num_dimensions:
                raise ValueError(f"balance names an unknown modality '{name}'.{nearest(name, num_dimensions)}")
        return {name: float(balance.get(name, 1.0)) for name in num_dimensions}
    if balance not in BALANCES:
        raise ValueError(
            f"balance='{balance}' is unknown. Expected {', '.join(map(repr, BALANCES))} or weights by modality name."
            f"{nearest(balance, BALANCES)}"
        )
    mean = sum(num_dimensions.values()) / len(num_dimensions)
    weights = {name: (mean / size) ** BALANCES[balance] for name, size in num_dimensions.items()}
    if balance != "predictable":
        return weights
    told = {name: PREDICTABLE if share is None else share for name, share in (predictability or {}).items()}
    full = min(PREDICTABLE, max(told.values(), default=0.0))
    if full >= NOISE:
        weights = {name: weight * min(1.0, max(LEAST_WEIGHT, told[name] / full)) for name, weight in weights.items()}
    # What some lose the others gain, so that a divergence weighs as much against the whole as it did.
    sizes = sum(num_dimensions.values()), sum(weights[name] * size for name, size in num_dimensions.items())
    return {name: weight * sizes[0] / sizes[1] for name, weight in weights.items()}


def num_parameters(modules: Iterable[nn.Module]) -> int:
    """Trainable numbers in all of `modules`."""
    return sum(p.numel() for module in modules for p in module.parameters() if p.requires_grad)


def _shape(values: Values) -> tuple[int, ...]:
    return tuple((values.value if isinstance(values, Masked) else values).shape)
