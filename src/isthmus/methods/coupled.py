"""Couplings, switched on beside the objectives of any method."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from isthmus.methods.base import Method, Phase, Player
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives.couplings import COUPLINGS, Coupled, Coupling, uncoupled
from isthmus.suggest import nearest

# What makes codes of data: where none of it is trained in a phase, no penalty on codes can move anything.
ENCODING = ("encoders", "trunk", "inference")

Couplings = str | Iterable[str | Coupling] | Mapping[str | Coupling, float | None] | Mapping[str, float | None]


def couple(method: Method, couplings: Couplings) -> Method:
    """A method with penalties on codes beside its objectives, in every phase in which codes are learnt from items.

    What they learn is put on the model. The method given must not be used any more, as both share the model.

    Args:
        method: Any.
        couplings: Weights by the names of couplings, or by couplings with settings of their own; None, or names alone,
            take their defaults. A weight counts against reconstructions in nats per dimension: at 0.1, one nat of
            coupling is worth a tenth of a nat in each dimension of all modalities.

    Raises:
        ValueError: An unknown coupling, one that the method has already or that makes no sense of its codes, a weight
            that is not positive, or a method that learns no codes from items.
    """
    model, weights = method.model, check_couplings(couplings)
    if not weights:
        return method
    # The size of what is reconstructed: weights then mean the same for pictures and for rows of ten columns.
    size = sum(model.weights[name] * dimensions for name, dimensions in model.num_dimensions.items())
    for coupling in weights:
        if any(coupling.name == known for known in coupled(method)):
            raise ValueError(f"This method already has the coupling '{coupling.name}'. Leave it out of couplings.")
        if (reason := coupling.refusal(model)) is not None:
            raise ValueError(f"The coupling '{coupling.name}' does not go with this method. {reason}")
        if (parts := coupling.parts(model)) is not None:
            model.couplings[coupling.name] = parts
    weighed = tuple((coupling, weight * size) for coupling, weight in weights.items())
    phases = [_coupled(phase, weighed, model) if _learns_codes(phase, model) else phase for phase in method.phases]
    if all(phase is other for phase, other in zip(phases, method.phases, strict=True)):
        raise ValueError(
            "This method learns no codes from items: in each of its phases encoders are frozen or codes are given. "
            "Couplings would have nothing to act on; leave them out."
        )
    least = max(method.min_batch, *(coupling.min_batch(model) for coupling in weights))
    return replace(method, phases=phases, min_batch=least)


def check_couplings(couplings: Couplings) -> dict[Coupling, float]:
    """Couplings and their weights, before there is anything to couple.

    Raises:
        ValueError: An unknown coupling, with the nearest; or a weight that is not positive.
    """
    weights = {}
    if not isinstance(couplings, Mapping):
        couplings = dict.fromkeys([couplings] if isinstance(couplings, str) else couplings)
    for named, weight in couplings.items():
        if isinstance(named, str) and named not in COUPLINGS:
            known = ", ".join(COUPLINGS)
            raise ValueError(f"Unknown coupling '{named}'. Couplings are {known}.{nearest(named, COUPLINGS)}")
        coupling = COUPLINGS[named]() if isinstance(named, str) else named
        weight = coupling.default_weight if weight is None else weight
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise ValueError(f"The weight of coupling '{coupling.name}' is {weight!r}. Expected a positive number.")
        weights[coupling] = float(weight)
    return weights


def coupled(method: Method) -> list[str]:
    """The names of the couplings that a method has."""
    found = [uncoupled(player.objective)[1] for phase in method.phases for player in phase.players]
    return list(dict.fromkeys(coupling.name for couplings in found for coupling, _ in couplings))


def _learns_codes(phase: Phase, model: MultimodalAutoencoder) -> bool:
    """Whether the first player of a phase trains what makes codes of items."""
    if phase.data != "items":
        return False
    trained = phase.players[0].parameters
    names = [name for name, _ in model.named_parameters() if name.split(".")[0] in ENCODING]
    return any(
        (not trained or name.startswith(tuple(trained)))
        and not any((name + ".").startswith(prefix.rstrip(".") + ".") for prefix in phase.frozen)
        for name in names
    )


def _coupled(phase: Phase, weights: tuple[tuple[Coupling, float], ...], model: MultimodalAutoencoder) -> Phase:
    """The phase, where its first player also lowers the couplings, and their opponents are players of their own."""
    first, *others = phase.players
    parameters = first.parameters
    if parameters and any(True for _ in model.couplings.parameters()):
        parameters = (*parameters, "couplings.")
    opponents = [
        Player(opponent, (f"couplings.{coupling.name}.",))
        for coupling, _ in weights
        if (opponent := coupling.opponent()) is not None
    ]
    return replace(phase, players=[Player(Coupled(first.objective, weights), parameters), *others, *opponents])
