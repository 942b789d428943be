"""Which of our objectives is a peer's: what is compared, what of it is marked, what is left out and why.

`check_objectives.py` measured it: with equal weights, the mean loss and the mean gradient over many draws. "Same" means
that the two losses differ by a constant factor, which is nothing to Adam. Options that stand in `peers_ours.MATCHED`
and in the adapters are those under which they do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from peers import PEERS
from peers_ours import MATCHED

MIXTURES = ("mmvae", "mmvae+")  # each expert's draw is decoded to every modality, K M^2 decodes
GAPPY = ("mvae", "mmvae", "mopoe", "mvtcae", "mmvae+")  # methods that some peer can train on items with gaps

ONE_EXPERT = "the peer adds the prior to the product of all modalities, one of its 31 experts, ours to none: same work"
SAMPLED = "ours decodes from one expert of an item, drawn in each step: the same in expectation, with more noise"
ONE_MEMBER = (
    "the peer draws all codes of an item from one member of the mixture: a bound with more noise, the same work"
)
MARKS = {
    ("multivae", "mvae"): "the ELBOs of all together and of each alone, without random subsets, on both sides",
    ("multivae", "mopoe"): ONE_EXPERT,
    ("multiviewae", "mvae"): "the ELBO of all modalities together alone, on both sides",
    ("multiviewae", "mmvae"): "the peer draws codes anew for each decoder: the same in expectation",
    ("multiviewae", "mopoe"): ONE_EXPERT,
    ("multiviewae", "mmvae+"): (
        "the peer never trains its private priors and draws from them once for a whole batch: the same decodes, and "
        "the same in expectation at the start"
    ),
    ("multiviewae", "fused"): (
        "the peer's AE: all decoded from each modality alone; of ours the same routes, not those of `fused`, which has "
        "two for any number of modalities"
    ),
}
GAP_MARKS = {
    (
        "multivae",
        "mvae",
    ): "the ELBO of what an item has alone, on both sides, as the peer asks for with gaps",
    ("multivae", "mvtcae"): (
        "same work, other weights: the peer's M is the number of all modalities, ours of those that an item has"
    ),
}
# Of the likelihood, which has no part in the objective.
LIKELIHOOD_MARKS = {
    ("multivae", "mmvae"): ONE_MEMBER,
    ("multivae", "mopoe"): ONE_MEMBER,
}
LEFT_OUT_DRAWS = (
    "with several draws the peer weighs other codes than those that it decodes: no importance-weighted bound"
)


@dataclass(frozen=True)
class Pair:
    """A method of a peer beside ours.

    Args:
        peer: Name of the peer.
        method: As Isthmus names it.
        ours: Options of ours beside those in `MATCHED`.
        theirs: Options of the peer beside those of its adapter.
        marks: What a reader has to know; none if the two objectives are one.
        left_out: Why it is not measured; empty if it is.
        num_draws: `K` of the importance-weighted methods.
        sampled: Ours draws one expert per item.
    """

    peer: str
    method: str
    ours: Mapping[str, Any] = field(default_factory=dict)
    theirs: Mapping[str, Any] = field(default_factory=dict)
    marks: tuple[str, ...] = ()
    left_out: str = ""
    num_draws: int = 1
    sampled: bool = False

    def decodes(self, num_modalities: int) -> int:
        """Rows that each decoder has to decode for an item, which the objective asks for whoever computes it."""
        if self.method in MIXTURES:
            return self.num_draws * (1 if self.sampled else num_modalities)
        if self.method == "fused":
            return num_modalities
        options = {**MATCHED.get((self.peer, self.method), {}), **self.ours}
        return 2 if options.get("scheme") == "separate" else 1


def pair(peer: str, method: str, *, num_draws: int = 1, gaps: bool = False, sampled: bool = False) -> Pair:
    """How ours and a peer's are made one, or why they are not.

    What a peer itself refuses, its adapter says.
    """
    ours: dict[str, Any] = {}
    theirs: dict[str, Any] = {}
    marks = [MARKS.get((peer, method), "")]
    if gaps and (peer, method) in GAP_MARKS:
        marks = [GAP_MARKS[peer, method]]
    if gaps and (peer, method) == ("multivae", "mvae"):
        ours, theirs = {"scheme": "joint"}, {"use_subsampling": False}
    if num_draws > 1:
        ours, theirs = ours | {"num_draws": num_draws}, theirs | {"K": num_draws}
    if sampled:
        ours["stratified"] = False
        marks.append(SAMPLED)
    left_out = LEFT_OUT_DRAWS if num_draws > 1 and peer == "multiviewae" else ""
    return Pair(peer, method, ours, theirs, tuple(filter(None, marks)), left_out, num_draws, sampled)


def pairs_of(method: str, *, num_draws: int = 1, gaps: bool = False, sampled: bool = True) -> list[Pair]:
    """All pairs of a method; of mixtures also those in which ours samples routes, if wanted."""
    ways = (False, True) if sampled and method in MIXTURES else (False,)
    return [pair(peer, method, num_draws=num_draws, gaps=gaps, sampled=way) for way in ways for peer in PEERS]
