"""Rules that join what several modalities say into one posterior, or one feature vector.

A fusion of experts takes `q(z | x_m)` of every modality; a fusion of features works before any distribution is made.
Both know who was observed: an absent expert has weight zero, an absent feature is never read.

Shapes: `J` components, `M` modalities, `B` items, `D` latent dimensions, `F` features.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from isthmus.gaussians import barycentre_of_normals, product_of_normals, root_product_of_normals
from isthmus.networks.named import Named, Vector
from isthmus.posteriors import Mixture, Posterior, one_component

MAX_MODALITIES_WITH_ALL_SUBSETS = 6
# From experts `(M, B, D)` and which to use, `(J, M, B)`, to locations and log-scales `(J, B, D)`.
Rule = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
NUM_CHOSEN_SUBSETS = 48


@dataclass(frozen=True)
class Experts:
    """`q(z | x_m)` of every modality: `loc`, `log_scale (M, B, D)`, and `present`, bool `(M, B)`.

    An absent expert holds the prior's location and scale: finite, and never read by a fusion but where an item has
    nothing at all. Of a prior that is no single component, it has the mean and standard deviation.
    """

    loc: Tensor
    log_scale: Tensor
    present: Tensor
    family: str = "normal"

    def among(self, present: Tensor) -> Experts:
        """The same experts, of which only `present` bool `(M, B)` may be used."""
        return replace(self, present=self.present & present)

    def with_absent(self, loc: Tensor, log_scale: Tensor) -> Experts:
        """The same experts, the absent ones with this location and log-scale `(D,)`."""
        there = self.present[..., None]
        return replace(
            self,
            loc=torch.where(there, self.loc, loc.to(self.loc)),
            log_scale=torch.where(there, self.log_scale, log_scale.to(self.log_scale)),
        )


class Fusion(nn.Module, ABC):
    """Joins experts into a posterior."""

    @abstractmethod
    def forward(self, experts: Experts) -> Posterior: ...


class ProductOfExperts(Fusion):
    """The normalised product of the experts observed, and of the standard Normal if `with_prior`.

    With prior: MVAE (Wu & Goodman 2018, arXiv:1802.05335, section 2.2). Without: MVTCAE (Hwang et al. 2021, section
    3.2); there an item with nothing observed gets exactly the prior, where a plain product would be 0/0.
    """

    def __init__(self, with_prior: bool = True):
        super().__init__()
        self.with_prior = with_prior

    def forward(self, experts: Experts) -> Mixture:
        _normals_only(experts, "ProductOfExperts")
        loc, log_scale, present = experts.loc, experts.log_scale, experts.present
        num_modalities = len(present)
        if self.with_prior:
            zero = torch.zeros_like(loc[:1])
            loc, log_scale = torch.cat([loc, zero]), torch.cat([log_scale, zero])
            present = torch.cat([present, torch.ones_like(present[:1])])
        return one_component(*product_of_normals(loc, log_scale, present[None]), num_modalities)


class MixtureOfExperts(Fusion):
    """Each observed expert with equal weight: MMVAE (Shi et al. 2019, arXiv:1911.03393, section 3)."""

    def forward(self, experts: Experts) -> Mixture:
        members = torch.eye(len(experts.present), dtype=torch.bool, device=experts.loc.device)
        log_weight = _equal_log_weight(experts.present, like=experts.loc)
        return Mixture(experts.loc, experts.log_scale, log_weight, members, experts.family)


class MixtureOfProducts(Fusion):
    """The products of the experts of every subset, with equal weight: MoPoE (Sutter et al. 2021, arXiv:2105.02470).

    Up to six modalities all subsets are used; one that is not wholly observed weighs nothing. Above six, their number
    would grow as 2^M, and a fixed choice of 48 is used, all single modalities and the full set among them, each
    cut to what an item has: cost is linear in M, and any pattern of gaps keeps all 48.

    Args:
        modalities: Names.
        rule: Joins the experts of each subset; their product, unless it is given.
    """

    members: Tensor

    def __init__(self, modalities: Sequence[str], rule: Rule = product_of_normals):
        super().__init__()
        self.rule = rule
        self.exact = len(modalities) <= MAX_MODALITIES_WITH_ALL_SUBSETS
        members = all_subsets(len(modalities)) if self.exact else chosen_subsets(modalities, NUM_CHOSEN_SUBSETS)
        self.register_buffer("members", members, persistent=False)

    def forward(self, experts: Experts) -> Mixture:
        _normals_only(experts, "MixtureOfProducts")
        use = self.members[..., None] & experts.present  # (J, M, B)
        loc, log_scale = self.rule(experts.loc, experts.log_scale, use)
        there = (use == self.members[..., None]).all(dim=1) if self.exact else use.any(dim=1)
        return Mixture(loc, log_scale, _equal_log_weight(there, like=loc), self.members)


class FirstExpert(Fusion):
    """The expert of the first modality, in an order that is given, which an item has; the others are not read.

    VCCA infers codes from one view (Wang et al. 2016, arXiv:1610.03454, section 2); here the next one in the order
    stands in for it where an item lacks it.

    Args:
        modalities: Names.
        order: The same names, the one that codes come from first.
    """

    def __init__(self, modalities: Sequence[str], order: Sequence[str]):
        super().__init__()
        self.place = [list(order).index(name) for name in modalities]

    def first(self, present: Tensor) -> Tensor:
        """Bool `(M, B)`: the one modality that an item's code comes from; none where it has nothing."""
        place = torch.tensor(self.place, device=present.device)[:, None]
        chosen = torch.where(present, place, len(self.place)).argmin(dim=0, keepdim=True)
        return torch.zeros_like(present).scatter(0, chosen, True) & present

    def forward(self, experts: Experts) -> Mixture:
        # At most one is left of each item, and where none is the sums are those of the prior, zero.
        chosen = self.first(experts.present)[..., None]
        loc, log_scale = (torch.where(chosen, part, 0.0).sum(dim=0) for part in (experts.loc, experts.log_scale))
        return replace(one_component(loc[None], log_scale[None], len(experts.present)), family=experts.family)


class WeightedProduct(Fusion):
    r"""A product of experts to learnt powers that sum to one over those observed, in each dimension.

    .. math:: q(z | x_A) \propto \prod_{m \in A} q(z | x_m)^{a_m}, \qquad a = softmax_A(l)

    Cao & Fleet 2014, "Generalized product of experts for automatic and principled fusion of Gaussian process
    predictions", arXiv:1410.7827, section 3. Never more certain than the most certain expert, so that none wins by
    being too sure of itself alone.

    Args:
        modalities: Names.
        latent_dim: `D`.
    """

    def __init__(self, modalities: Sequence[str], latent_dim: int):
        super().__init__()
        self.logits = Named({name: Vector(torch.zeros(latent_dim)) for name in modalities})

    def forward(self, experts: Experts) -> Mixture:
        _normals_only(experts, "WeightedProduct")
        logits = torch.stack([vector() for vector in self.logits.values()])[:, None]
        present = experts.present[..., None]
        power = torch.where(present | ~present.any(dim=0), logits, -torch.inf).softmax(dim=0)
        power = torch.where(present, power, 0.0)
        return one_component(*product_of_normals(experts.loc, experts.log_scale, power[None]), len(present))


class Barycentre(Fusion):
    """The Wasserstein barycentre of the experts observed, or a mixture of those of all subsets.

    Qiu et al. 2025, AAAI, "Multimodal variational autoencoder: a barycentric view", arXiv:2412.20487.

    Args:
        modalities: Names.
        mixture: Of the subsets that `MixtureOfProducts` uses, with equal weight.
    """

    def __init__(self, modalities: Sequence[str], mixture: bool = False):
        super().__init__()
        self.subsets = MixtureOfProducts(modalities, barycentre_of_normals) if mixture else None

    def forward(self, experts: Experts) -> Mixture:
        _normals_only(experts, "Barycentre")
        if self.subsets is not None:
            return self.subsets.forward(experts)
        pooled = barycentre_of_normals(experts.loc, experts.log_scale, experts.present[None])
        return one_component(*pooled, len(experts.present))


class HoelderPooling(Fusion):
    r"""The symmetric member of Hoelder pooling: the squared sum of the roots of the experts' densities.

    .. math:: q(z | x_A) = c \Big( \sum_{m \in A} \sqrt{q(z | x_m)} \Big)^2
        = c \Big( \sum_m q_m(z) + 2 \sum_{i<j} S_{ij}\, N(z; \mu_{ij}, \sigma_{ij}^2) \Big)

    A mixture of all experts and, for each pair, of a Normal between them that weighs by how much they agree: `S_ij` is
    their Bhattacharyya coefficient, `sigma_ij^2 = 2 s_i s_j / (s_i + s_j)` and `mu_ij = (mu_i s_j + mu_j s_i) /
    (s_i + s_j)` with `s` the variances. Hoelder++ (Vo et al. 2026, arXiv:2606.13381) uses it as it is, HELVAE (Vo &
    Valera 2026, arXiv:2601.06572) the one Normal with its mean and variance.

    Args:
        num_modalities: `M`.
        exact: Keep all `M (M + 1) / 2` components; else their mean and variance make one Normal.
    """

    members: Tensor

    def __init__(self, num_modalities: int, exact: bool = False):
        super().__init__()
        self.exact = exact
        self.first, self.second = torch.triu_indices(num_modalities, num_modalities, offset=1).tolist()
        single = torch.eye(num_modalities, dtype=torch.bool)
        self.register_buffer("members", torch.cat([single, single[self.first] | single[self.second]]), persistent=False)

    def forward(self, experts: Experts) -> Mixture:
        _normals_only(experts, "HoelderPooling")
        between, width, overlap = root_product_of_normals(
            *(value[pair] for pair in (self.first, self.second) for value in (experts.loc, experts.log_scale))
        )
        loc, log_scale = torch.cat([experts.loc, between]), torch.cat([experts.log_scale, width])
        weight = torch.cat([torch.zeros_like(experts.loc[..., 0]), math.log(2) + overlap])
        there = (self.members[..., None] <= experts.present).all(dim=1)
        nothing = ~there.any(dim=0)
        log_weight = torch.where(there | nothing, weight, -torch.inf).log_softmax(dim=0)
        mixture = Mixture(loc, log_scale, log_weight, self.members)
        if self.exact:
            return mixture
        return one_component(mixture.mean[None], mixture.spread.log()[None], len(experts.present))


def all_subsets(num_modalities: int) -> Tensor:
    """Bool `(2^M - 1, M)`: every non-empty subset, single modalities first, the full set last."""
    codes = sorted(range(1, 2**num_modalities), key=lambda code: (code.bit_count(), code))
    return torch.tensor([[bool(code >> m & 1) for m in range(num_modalities)] for code in codes])


def chosen_subsets(modalities: Sequence[str], count: int) -> Tensor:
    """Bool `(count, M)`: single modalities, subsets chosen by a hash of the names, the full set last.

    A hash and not a generator: the choice must not depend on the order in which modalities are named.
    """
    num_modalities, trial = len(modalities), 0
    chosen = {tuple(row) for row in torch.eye(num_modalities, dtype=torch.bool).tolist()}
    while len(chosen) < count - 1:
        flips = [hashlib.blake2b(f"{trial}/{name}".encode(), digest_size=1).digest()[0] & 1 for name in modalities]
        if 2 <= sum(flips) < num_modalities:
            chosen.add(tuple(map(bool, flips)))
        trial += 1
    return torch.tensor([*sorted(chosen, key=sum), (True,) * num_modalities])


def _equal_log_weight(there: Tensor, like: Tensor) -> Tensor:
    """Log-weights `(J, B)`, equal over the components that are there; over all where none is, each then the prior."""
    there = there | ~there.any(dim=0)
    return torch.where(there, -there.sum(dim=0).to(like).log(), -torch.inf)


def _normals_only(experts: Experts, fusion: str) -> None:
    if experts.family != "normal":
        raise ValueError(f"{fusion} got {experts.family} experts. Only products of Normals have a closed form.")


class FeatureFusion(nn.Module, ABC):
    """Joins features into one vector per item.

    Args:
        widths: Features of each modality's encoder, by name; the order is that of `present`.
        width: Of the result.
    """

    def __init__(self, widths: dict[str, int], width: int):
        super().__init__()
        self.width = width
        self.project = Named({name: nn.Linear(size, width) for name, size in widths.items()})
        # What stands for a modality that an item lacks. It is learnt: zero would be a value like any other.
        self.absent = Named({name: Vector(torch.randn(width) / width**0.5) for name in widths})

    def gather(self, features: dict[str, Tensor], present: Tensor) -> Tensor:
        """`(M, B, width)`: projected features `(n, F_m)` at the items that have them, the learnt vector elsewhere."""
        rows = []
        for m, name in enumerate(self.project):
            row = self.absent[name]().expand(present.shape[1], self.width)
            if len(features.get(name, ())):
                # In half precision a layer gives coarser numbers than `row` has, which a GPU refuses to put in.
                there = self.project[name](features[name]).to(row)
                row = row.index_copy(0, present[m].nonzero().squeeze(1), there)
            rows.append(row)
        return torch.stack(rows)

    @abstractmethod
    def forward(self, features: dict[str, Tensor], present: Tensor) -> Tensor:
        """`(B, width)` from features of the rows that are there, and `present`, bool `(M, B)`."""


class Concatenation(FeatureFusion):
    """All features side by side, then one layer; a learnt vector stands for what is absent (Ngiam et al. 2011)."""

    def __init__(self, widths: dict[str, int], width: int):
        super().__init__(widths, width)
        # One layer for each is one layer for all side by side, and knows modalities by name, not by place.
        self.join = Named({name: nn.Linear(width, width) for name in widths})

    def forward(self, features: dict[str, Tensor], present: Tensor) -> Tensor:
        rows = nn.functional.silu(self.gather(features, present))
        joined = torch.stack([layer(row) for layer, row in zip(self.join.values(), rows, strict=True)])
        return joined.sum(dim=0) / len(joined) ** 0.5


class Mean(FeatureFusion):
    """The mean of the features observed, all projected to one width; the learnt vectors' mean where nothing is."""

    def forward(self, features: dict[str, Tensor], present: Tensor) -> Tensor:
        rows = self.gather(features, present)
        there = (present | ~present.any(dim=0)).to(rows)[..., None]
        return (rows * there).sum(dim=0) / there.sum(dim=0)


class Attention(FeatureFusion):
    """One token per modality, a transformer layer between those observed, read by a learnt query.

    A gap is a key that is padded out, so an item's answer depends on what it has alone. Where an item has nothing, the
    query reads the learnt vectors. Hirt et al. 2023, arXiv:2309.00380, section 3 (permutation-invariant fusion).

    Args:
        widths: Features of each modality's encoder, by name.
        width: Of the result.
        num_heads: Of attention, at most: as many of them as divide the width.
    """

    def __init__(self, widths: dict[str, int], width: int, num_heads: int = 4):
        super().__init__(widths, width)
        num_heads = math.gcd(width, num_heads)
        self.name = Named({name: Vector(torch.randn(width) / width**0.5) for name in widths})
        self.query = nn.Parameter(torch.randn(width) / width**0.5)
        self.between = nn.TransformerEncoderLayer(
            width, num_heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(width)
        self.read = nn.MultiheadAttention(width, num_heads, batch_first=True)

    def forward(self, features: dict[str, Tensor], present: Tensor) -> Tensor:
        names = torch.stack([vector() for vector in self.name.values()])
        tokens = (self.gather(features, present) + names[:, None]).transpose(0, 1)
        padded = ~(present | ~present.any(dim=0)).t()
        tokens = self.norm(self.between(tokens, src_key_padding_mask=padded))
        query = self.query.expand(len(tokens), 1, self.width)
        fused, _ = self.read(query, tokens, tokens, key_padding_mask=padded, need_weights=False)
        return fused.squeeze(1)
