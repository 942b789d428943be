"""Free bits, switched on in the objectives of any method that has a divergence to pay for."""

from __future__ import annotations

import math
from dataclasses import replace

from isthmus.methods.base import Method, Phase, Player
from isthmus.objectives import Charged, Objective
from isthmus.objectives.couplings import Coupled


def leave_free(method: Method, free_bits: float) -> Method:
    """A method that charges nothing for the first bits of an item's divergence, in every phase that charges at all.

    Args:
        method: Any with an objective that is `Charged`.
        free_bits: Bits per item; 0 changes nothing. A divergence summed over several codes has them once.

    Raises:
        ValueError: A number that is negative or not finite, or a method that charges for no divergence of its own.
    """
    check_free_bits(free_bits)
    if not free_bits:
        return method
    phases = [_free(phase, free_bits) for phase in method.phases]
    if all(phase is other for phase, other in zip(phases, method.phases, strict=True)):
        raise ValueError(
            f"free_bits={free_bits} has nothing to act on: this method weighs no divergence of codes from a prior, or "
            "does so draw by draw, as importance weights do. Leave free_bits out, or take a smaller beta."
        )
    return replace(method, phases=phases)


def check_free_bits(free_bits: float) -> float:
    """The number itself, if it can be one of bits.

    Raises:
        ValueError: It cannot.
    """
    if isinstance(free_bits, bool) or not isinstance(free_bits, int | float) or not 0 <= free_bits < math.inf:
        raise ValueError(f"free_bits is {free_bits!r}. Expected a number of bits per item, 0 or more.")
    return float(free_bits)


def _free(phase: Phase, free_bits: float) -> Phase:
    players = [_free_player(player, free_bits) for player in phase.players]
    same = all(player is other for player, other in zip(players, phase.players, strict=True))
    return phase if same else replace(phase, players=players)


def _free_player(player: Player, free_bits: float) -> Player:
    objective = _free_objective(player.objective, free_bits)
    return player if objective is player.objective else replace(player, objective=objective)


def _free_objective(objective: Objective, free_bits: float) -> Objective:
    if isinstance(objective, Charged):
        return replace(objective, free_bits=free_bits)
    if isinstance(objective, Coupled):
        inner = _free_objective(objective.objective, free_bits)
        return objective if inner is objective.objective else replace(objective, objective=inner)
    return objective
