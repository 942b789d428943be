"""Each code can be told from the others.

Shapes: `M` modalities, `B` items, `D` latent dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from isthmus.batch import Batch
from isthmus.inference import PredictedInference
from isthmus.model import MultimodalAutoencoder
from isthmus.networks.predictor import Predictor
from isthmus.objectives.base import Step
from isthmus.objectives.couplings.base import Coupling, mean_by_item


@dataclass(frozen=True)
class Prediction(Coupling):
    r"""The mean squared error of small networks that tell each code from the others that an item has.

    .. math:: \frac{1}{M} \sum_n \frac{1}{D} \Big\| z_n - B_n\Big( \frac{1}{M - 1} \sum_{m \neq n} A_m(z_m) \Big)
        \Big\|^2

    The dual prediction of COMPLETER (Lin et al. 2021, CVPR, section 3.4) for two modalities: codes keep what the others
    can tell. A model that fills in codes by such networks shares its own.

    Args:
        start: Share of training that lies behind before it counts: codes should stand for something first.
        free: Leave the codes alone, and train the networks that tell them.
    """

    name: ClassVar[str] = "prediction"
    default_weight: ClassVar[float] = 0.1

    start: float = 0.0
    free: bool = False

    def parts(self, model: MultimodalAutoencoder) -> nn.Module | None:
        if isinstance(model.inference, PredictedInference):
            return None
        return Predictor(model.modalities, model.shared_dim or model.private_dim)

    def __call__(self, model: MultimodalAutoencoder, batch: Batch, step: Step) -> Tensor:
        evidence = step.evidence(model, batch)
        codes, inference = evidence.own(), model.inference
        if self.free:
            codes = codes.detach()
        predict = inference.predict if isinstance(inference, PredictedInference) else model.couplings[self.name]
        told, known = predict(codes, evidence.present)
        error = ((told - codes) ** 2).mean(dim=-1).to(model.dtype)
        return (step.fraction >= self.start) * mean_by_item(error, evidence.present & known)
