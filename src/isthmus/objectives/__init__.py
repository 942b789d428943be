"""What is raised in training: routes, divergences and couplings, as named terms per item.

A route `A -> B` encodes a subset A and scores the decoding of B. An objective adds routes and takes divergences away;
each term is in nats and per item, and the mean over items is taken once, in the training loop.
"""

from isthmus.objectives.base import Charged, Objective, Step, Terms, log_likelihoods, reconstruction_terms, warm, weigh
from isthmus.objectives.conditional import ConditionalELBO
from isthmus.objectives.elbo import ELBO, JointELBO, SubsetELBO
from isthmus.objectives.experts import (
    OwnELBO,
    SelfRoutes,
    SoftSharing,
    TotalCorrelation,
    divergence_to_experts,
    own_codes,
)
from isthmus.objectives.flows import FlowLikelihood, PairedCorrelation
from isthmus.objectives.ladder import LadderELBO
from isthmus.objectives.levels import TwoLevels
from isthmus.objectives.matching import CriticOfCodes, MatchedRoutes
from isthmus.objectives.mixtures import JensenShannon, MixtureIWAE, PrivateMixtureIWAE, importance_weighted
from isthmus.objectives.quantised import QuantisedRoutes
from isthmus.objectives.reference import ReferenceELBO
from isthmus.objectives.routes import Routes, SingleRoutes
from isthmus.objectives.separate import Apart, MultiTimeDenoising
from isthmus.objectives.subsets import random_parts, random_subsets
from isthmus.objectives.tokens import HiddenTokens, visible_tokens

__all__ = [
    "ELBO",
    "Apart",
    "Charged",
    "ConditionalELBO",
    "CriticOfCodes",
    "FlowLikelihood",
    "HiddenTokens",
    "JensenShannon",
    "JointELBO",
    "LadderELBO",
    "MatchedRoutes",
    "MixtureIWAE",
    "MultiTimeDenoising",
    "Objective",
    "OwnELBO",
    "PairedCorrelation",
    "PrivateMixtureIWAE",
    "QuantisedRoutes",
    "ReferenceELBO",
    "Routes",
    "SelfRoutes",
    "SingleRoutes",
    "SoftSharing",
    "Step",
    "SubsetELBO",
    "Terms",
    "TotalCorrelation",
    "TwoLevels",
    "divergence_to_experts",
    "importance_weighted",
    "log_likelihoods",
    "own_codes",
    "random_parts",
    "random_subsets",
    "reconstruction_terms",
    "visible_tokens",
    "warm",
    "weigh",
]
