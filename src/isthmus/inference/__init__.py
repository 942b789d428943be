"""From the features of each modality to beliefs about codes, computed once for any subset of what was observed."""

from isthmus.inference.adversarial import AdversarialInference
from isthmus.inference.base import Evidence, Inference
from isthmus.inference.diffusion import Completion, DiffusionInference, DiffusionPrior
from isthmus.inference.experts import ExpertEvidence, ExpertInference
from isthmus.inference.flows import FlowEvidence, FlowInference
from isthmus.inference.fused import FusedEvidence, FusedInference
from isthmus.inference.joint import JointEvidence, JointInference
from isthmus.inference.ladder import LadderEvidence, LadderInference
from isthmus.inference.nexus import NexusEvidence, NexusInference
from isthmus.inference.points import PointEvidence, PointInference
from isthmus.inference.predicted import PredictedInference
from isthmus.inference.private import PrivateEvidence, PrivateInference
from isthmus.inference.quantised import QuantisedEvidence, QuantisedInference
from isthmus.inference.separate import SeparateEvidence, SeparateInference
from isthmus.inference.summed import SummedEvidence, SummedInference
from isthmus.inference.tokens import TokenEvidence, TokenInference

__all__ = [
    "AdversarialInference",
    "Completion",
    "DiffusionInference",
    "DiffusionPrior",
    "Evidence",
    "ExpertEvidence",
    "ExpertInference",
    "FlowEvidence",
    "FlowInference",
    "FusedEvidence",
    "FusedInference",
    "Inference",
    "JointEvidence",
    "JointInference",
    "LadderEvidence",
    "LadderInference",
    "NexusEvidence",
    "NexusInference",
    "PointEvidence",
    "PointInference",
    "PredictedInference",
    "PrivateEvidence",
    "PrivateInference",
    "QuantisedEvidence",
    "QuantisedInference",
    "SeparateEvidence",
    "SeparateInference",
    "SummedEvidence",
    "SummedInference",
    "TokenEvidence",
    "TokenInference",
]
