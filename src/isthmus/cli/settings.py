"""What a training is told: a YAML file, and flags that win over it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from isthmus.cli.voice import WrongUse
from isthmus.suggest import nearest

# YAML wants a point in a number with an exponent; people do not.
EXPONENT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+")


def read_settings(path: Path) -> dict[str, Any]:
    """Settings from a YAML file, by the names of `Autoencoder`, and `table`.

    Raises:
        WrongUse: It is no mapping, or has a name that means nothing.
    """
    import yaml

    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise WrongUse(f"'{path}' is no YAML: {error}") from None
    if not isinstance(settings, dict):
        raise WrongUse(f"'{path}' holds no settings. Expected lines such as 'method: mvae' or 'latent_dim: 32'.")
    settings = {str(name).replace("-", "_"): mend(value) for name, value in settings.items()}
    known = known_settings()
    for name in settings:
        if name not in known:
            raise WrongUse(
                f"Unknown setting '{name}' in '{path}'. Settings are {', '.join(known)}.{nearest(name, known)}"
            )
    return settings


def known_settings() -> tuple[str, ...]:
    """Every name that such a file may hold."""
    import inspect

    from isthmus.estimator import Autoencoder
    from isthmus.training import TrainingConfig

    own = [name for name in inspect.signature(Autoencoder).parameters if name not in ("encoder", "decoder", "training")]
    return ("table", *own, *TrainingConfig.model_fields)


def mend(value: Any) -> Any:
    """YAML's values with `1e-3` read as a number, which YAML takes for text."""
    if isinstance(value, dict):
        return {key: mend(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [mend(entry) for entry in value]
    return float(value) if isinstance(value, str) and EXPONENT.fullmatch(value) else value


def read_value(text: str) -> Any:
    """A value as a YAML file would hold it: a number, true, null, a list in brackets, or text."""
    import yaml

    try:
        return mend(yaml.safe_load(text))
    except yaml.YAMLError:
        return text


def read_names(texts: Iterable[str] | None) -> list[str]:
    """Names, parted by commas or given one by one."""
    return [name.strip() for text in texts or () for name in text.split(",") if name.strip()]


def read_pairs(texts: Iterable[str] | None, flag: str, example: str) -> dict[str, str]:
    """`name=value` of a flag that may come again.

    Raises:
        WrongUse: There is no name, or no value.
    """
    pairs = {}
    for text in texts or ():
        # A column's name may hold an equals sign; what it is set to does not.
        name, _, value = text.rpartition("=") if flag == "--kind" else text.partition("=")
        if not name.strip() or not value.strip():
            raise WrongUse(f"{flag} {text}: expected a name, '=' and a value, as in {flag} {example}.")
        pairs[name.strip()] = value.strip()
    return pairs


def read_weights(texts: Iterable[str] | None) -> dict[str, float | None]:
    """`name=weight`, or a name alone, whose weight is None.

    Raises:
        WrongUse: There is no name, or the weight is no number.
    """
    weights: dict[str, float | None] = {}
    for text in texts or ():
        name, equals, weight = (part.strip() for part in text.partition("="))
        try:
            weights[name] = float(weight) if equals else None
        except ValueError:
            name = ""
        if not name:
            raise WrongUse(f"--couple {text}: expected a name, or a name and a weight, as in --couple contrastive=0.1.")
    return weights


def read_kind_settings(texts: Iterable[str] | None) -> dict[str, dict[str, Any]]:
    """`modality.setting=value` as `{modality: {setting: value}}`."""
    settings: dict[str, dict[str, Any]] = {}
    for place, value in read_pairs(texts, "--setting", "photo.size=32").items():
        modality, _, name = place.rpartition(".")
        if not modality:
            raise WrongUse(f"--setting {place}={value}: expected a modality and its setting, as in photo.size=32.")
        settings.setdefault(modality, {})[name] = read_value(value)
    return settings


def merge(file: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Both, where flags win; of options, kinds and their like, name by name."""
    merged = dict(file)
    for name, value in flags.items():
        if value is None or value in ([], {}):
            continue
        if name == "couplings":  # in which None, the default weight, is a value like another
            known = merged.get(name, {})
            known = known if isinstance(known, Mapping) else dict.fromkeys([known] if isinstance(known, str) else known)
            merged[name] = {**known, **value}
            continue
        both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = merge(merged[name], value) if both else value
    return merged
