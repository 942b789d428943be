"""Values that people type, held against the annotations of what takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

_PLAIN: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    float: ("a number", lambda value: isinstance(value, Real) and not isinstance(value, bool)),
    int: ("a whole number", lambda value: isinstance(value, Integral) and not isinstance(value, bool)),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    str: ("a text", lambda value: isinstance(value, str)),
    NoneType: ("nothing (null)", lambda value: value is None),
}


def check_plain(taker: Callable[..., Any], given: Mapping[str, Any], what: str) -> None:
    """Look at numbers, texts and truths before they are used, deep inside and long after.

    Args:
        taker: Has parameters of these names. Those with other annotations, or none, are not looked at.
        given: Values by name.
        what: What they are, for the error: "Option of method 'mvae'".

    Raises:
        ValueError: Names the value and what was expected.
    """
    try:
        hints = get_type_hints(taker)
    except (NameError, TypeError):  # annotations of somebody else's that mean nothing here
        return
    for name, value in given.items():
        hint = hints.get(name, Any)
        choices = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        if all(choice in _PLAIN for choice in choices) and not any(_PLAIN[choice][1](value) for choice in choices):
            expected = " or ".join(_PLAIN[choice][0] for choice in choices)
            raise ValueError(f"{what}: {name} is {value!r}. Expected {expected}.")
