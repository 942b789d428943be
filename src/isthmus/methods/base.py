"""What a method is: a model, the phases of its training, and what it can do."""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

from isthmus.fusions import Attention, Concatenation, FeatureFusion, Mean
from isthmus.given import check_plain
from isthmus.modality import Modality
from isthmus.model import MultimodalAutoencoder
from isthmus.networks.named import weights_name
from isthmus.objectives import Objective
from isthmus.suggest import nearest


@dataclass(frozen=True)
class Player:
    """One side of a training: an objective, and the parameters that lower its loss.

    Args:
        objective: Gives the loss.
        parameters: Prefixes of parameter names, as in `("encoders.", "inference.")`; empty means all.
    """

    objective: Objective
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Phase:
    """A stage of training. Most methods have one, with one player.

    Args:
        players: Take turns within each step.
        share: Of all epochs, relative to the other phases.
        data: "items" trains on the table; "codes" on the code of each modality of the training items, encoded once when
            the phase begins: a batch then holds codes `(n, D)` in the place of values.
        frozen: Prefixes of modules that stay as they are, in eval mode.
        name: Shown in the log.
        passes: Over the data in an epoch: several where a step is cheap beside one on items.
    """

    players: Sequence[Player]
    share: float = 1.0
    data: str = "items"
    frozen: tuple[str, ...] = ()
    name: str = "train"
    passes: int = 1


@dataclass(frozen=True)
class Capabilities:
    """What the conformance suite, the command line and the documentation may expect of a method.

    Args:
        min_modalities: Fewest it is defined for.
        max_modalities: Most; None for any number.
        density: Its posterior has a density, so likelihoods can be estimated.
        bound: Its terms carry a bound on the evidence.
        generative: New items can be drawn.
        uncertainty: Codes come with a spread.
        experimental: It has not reproduced its paper yet.
    """

    min_modalities: int = 1
    max_modalities: int | None = None
    density: bool = True
    bound: bool = True
    generative: bool = True
    uncertainty: bool = True
    experimental: bool = False


@dataclass(frozen=True)
class Method:
    """A model and how it is trained.

    Args:
        model: To be trained.
        phases: In order.
        capabilities: What it can do.
        sampler: Density fitted to the codes after training, for joint samples: "mixture" or "prior".
        min_batch: Fewest items of a batch that its objectives can be taken over, as correlations need some.
    """

    model: MultimodalAutoencoder
    phases: Sequence[Phase]
    capabilities: Capabilities = field(default_factory=Capabilities)
    sampler: str = "mixture"
    min_batch: int = 1


FEATURE_FUSIONS: dict[str, type[FeatureFusion]] = {"concat": Concatenation, "mean": Mean, "attention": Attention}


def feature_fusion(name: str) -> type[FeatureFusion]:
    """A fusion of features by name.

    Raises:
        ValueError: Unknown name.
    """
    if name not in FEATURE_FUSIONS:
        known = ", ".join(FEATURE_FUSIONS)
        raise ValueError(f"fusion='{name}' is unknown. Expected {known}.{nearest(name, FEATURE_FUSIONS)}")
    return FEATURE_FUSIONS[name]


def parameters_but(model: MultimodalAutoencoder, prefix: str) -> tuple[str, ...]:
    """The names of all parameters but those that begin with a prefix: what a player trains beside its opponent."""
    return tuple(name for name, _ in model.named_parameters() if not name.startswith(prefix))


def check_modality(option: str, name: str, modalities: Mapping[str, Modality]) -> None:
    """Look at an option that names a modality.

    Raises:
        ValueError: There is none of this name; the message names the nearest.
    """
    if name not in modalities:
        raise ValueError(
            f"{option}='{name}' is no modality. Expected {', '.join(modalities)}, or none.{nearest(name, modalities)}"
        )


def check_share(option: str, share: float) -> None:
    """Look at an option that divides the epochs between phases, all of which need some.

    Raises:
        ValueError: It leaves none to one of them.
    """
    if not 0 < share < 1:
        raise ValueError(f"{option}={share} leaves a phase without epochs. Expected 0 < {option} < 1.")


def encoder_parts(modalities: Iterable[str], part: str) -> tuple[str, ...]:
    """Prefixes of one half, "joint" or "own", of every modality's twin encoders."""
    return tuple(f"encoders.{weights_name(name)}.{part}" for name in modalities)


def joint_parts(modalities: Iterable[str]) -> tuple[str, ...]:
    """Prefixes of decoders and joint network of a model of twin encoders: what is frozen while experts learn alone."""
    return ("decoders", "likelihoods", "inference.joint", "inference.joint_head", *encoder_parts(modalities, "joint"))


Preset = Callable[..., Method]
_METHODS: dict[str, Preset] = {}


def register(preset: Preset) -> Preset:
    """File a preset function `(modalities, *, latent_dim, ...) -> Method` under its name."""
    _METHODS[preset.__name__.removesuffix("_").replace("_plus", "+").replace("_", "-")] = preset
    return preset


def list_methods(pattern: str = "*") -> list[str]:
    """Names of the methods that match a pattern such as `"m*vae"`: ours, and those of entry point `isthmus.methods`."""
    for entry in entry_points(group="isthmus.methods"):
        if entry.name not in _METHODS:
            _METHODS[entry.name] = entry.load()
    return sorted(fnmatch.filter(_METHODS, pattern))


def get_method(name: str) -> Preset:
    """The preset function of a method.

    Raises:
        ValueError: There is none of this name; the message names the nearest.
    """
    names = list_methods()
    if name not in names:
        raise ValueError(f"Unknown method '{name}'. Methods are {', '.join(names)}.{nearest(name, names)}")
    return _METHODS[name]


def method_defaults(name: str) -> dict[str, Any]:
    """The options of a method beside `latent_dim`, and their defaults: its whole configuration."""
    parameters = inspect.signature(get_method(name)).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty and p.name != "latent_dim"}


def build_method(
    name: str, modalities: Mapping[str, Modality], *, latent_dim: int, options: Mapping[str, Any] | None = None
) -> Method:
    """Build a method by name.

    Raises:
        ValueError: Unknown method or option, or a number of modalities it is not defined for.
    """
    check_options(name, options)
    return get_method(name)(modalities, latent_dim=latent_dim, **(options or {}))


def check_options(name: str, options: Mapping[str, Any] | None) -> None:
    """Look at what a method is to be built with, before there is anything to build it for.

    Raises:
        ValueError: Unknown method or option; the message names the nearest. A value of another type than the option's.
    """
    defaults = method_defaults(name)
    for option in options or {}:
        if option not in defaults:
            known = ", ".join(defaults) or "none"
            raise ValueError(
                f"Method '{name}' has no option '{option}'. Its options are {known}.{nearest(option, defaults)}"
            )
    check_plain(get_method(name), options or {}, f"Option of method '{name}'")
