"""Collapse, told in words: a modality that the code says nothing of, or that cannot be reached from another."""

from __future__ import annotations

import torch
from torch import Tensor

from isthmus.batch import Batch
from isthmus.inference import Evidence
from isthmus.methods import Method
from isthmus.model import MultimodalAutoencoder
from isthmus.objectives.couplings import uncoupled

MIN_ITEMS = 16
MAX_ITEMS = 512


@torch.no_grad()
def gains(model: MultimodalAutoencoder, batch: Batch) -> dict[tuple[str, str], tuple[float, float, int]]:
    """How much better each target is scored from an item's own source than from another item's.

    The control is the same code of the same source, handed to the wrong item: whatever it scores is known of the target
    without looking at the item. Both are compared item by item.

    Args:
        model: In eval mode.
        batch: Normalised items, on the model's device.

    Returns:
        By `(source, target)`: mean gain in nats per item, its standard error, and the number of items that have both.
        Pairs with fewer than 16 such items are left out.
    """
    evidence = model.evidence(batch)
    found = {}
    for s, source in enumerate(model.modalities):
        code = _code_from(evidence, s)
        for target in model.modalities:
            both = (batch.present[source] & batch.present[target]).nonzero().squeeze(1)
            if len(both) < MIN_ITEMS:
                continue
            shuffled = code.clone()
            # Neighbours may be alike in a sorted table; half a turn away they are not.
            shuffled[both] = code[both.roll(len(both) // 2)]
            use = torch.zeros(1, len(batch), dtype=torch.bool, device=code.device)
            use[0, both] = True
            own, control = (
                model.log_likelihood(target, z[None, None], use, batch)[0, 0, both] for z in (code, shuffled)
            )
            gain = (own - control).double()
            found[source, target] = (float(gain.mean()), float(gain.std() / len(both) ** 0.5), len(both))
    return found


def collapse_warnings(method: Method, batch: Batch) -> list[str]:
    """A sentence for each modality that collapsed and one for the routes that did, with the cures; none if every route
    does better than its shuffled control.

    A route counts as collapsed when its gain is within two standard errors of zero.
    """
    collapsed = [pair for pair, (gain, error, _) in gains(method.model, batch).items() if not gain > 2 * error]
    lost = [source for source, target in collapsed if source == target]
    missed: dict[str, list[str]] = {}
    for source, target in collapsed:
        if source not in lost and target not in lost:
            missed.setdefault(target, []).append(source)
    cures = "; ".join(_cures(method))
    warnings = [
        f"'{name}' has collapsed: it is reconstructed no better from its own code than from that of a shuffled "
        f"'{name}', so the code says nothing of it. Try: {cures}."
        for name in lost
    ]
    if missed:
        routes = "; ".join(f"{_listed(sources)} to '{target}'" for target, sources in missed.items())
        warnings.append(
            f"These translations score no better than from a shuffled source: {routes}. Modalities with nothing in "
            f"common cannot do better. If these have something in common, try: {cures}."
        )
    return warnings


def _listed(names: list[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _code_from(evidence: Evidence, source: int) -> Tensor:
    among = torch.zeros_like(evidence.present)
    among[source] = True
    return evidence.posterior(among).mean


def _cures(method: Method) -> list[str]:
    objectives = [player.objective for phase in method.phases for player in phase.players]
    cures = ["more epochs"]
    if all(weight == 1.0 for weight in method.model.weights.values()):
        cures.insert(0, 'balance="per_dimension", so that large modalities do not drown small ones')
    if any(getattr(uncoupled(objective)[0], "beta", 0) for objective in objectives):
        cures.append("a lower beta, or a longer warmup")
    return [*cures, "another method"]
