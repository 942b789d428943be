"""What can be switched on beside any objective to hold the codes of modalities together, one idea a file."""

from isthmus.objectives.couplings.adversarial import Adversarial, Critic
from isthmus.objectives.couplings.augmentation import Augmentation
from isthmus.objectives.couplings.base import Coupled, Coupling, PairCoupling, uncoupled
from isthmus.objectives.couplings.contrast import Contrastive, Sigmoid
from isthmus.objectives.couplings.correlation import Barlow, Canonical, Correlation
from isthmus.objectives.couplings.cycle import Cycle
from isthmus.objectives.couplings.discrepancy import Discrepancy
from isthmus.objectives.couplings.distance import Distance
from isthmus.objectives.couplings.information import Information
from isthmus.objectives.couplings.prediction import Prediction

COUPLINGS: dict[str, type[Coupling]] = {
    coupling.name: coupling
    for coupling in (
        *(Contrastive, Sigmoid, Canonical, Barlow, Correlation, Distance),
        *(Prediction, Cycle, Discrepancy, Adversarial),
    )
}

__all__ = [
    "COUPLINGS",
    "Adversarial",
    "Augmentation",
    "Barlow",
    "Canonical",
    "Contrastive",
    "Correlation",
    "Coupled",
    "Coupling",
    "Critic",
    "Cycle",
    "Discrepancy",
    "Distance",
    "Information",
    "PairCoupling",
    "Prediction",
    "Sigmoid",
    "uncoupled",
]
