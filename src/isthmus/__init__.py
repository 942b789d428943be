"""Isthmus: one small code that pictures, texts, sounds, tables and series of the same thing share.

The public names below are imported when they are first used, as torch alone takes seconds to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isthmus.batch import Batch as Batch
    from isthmus.batch import Masked as Masked
    from isthmus.data.table import Table as Table
    from isthmus.data.table import read_table as read_table
    from isthmus.estimator import Autoencoder as Autoencoder
    from isthmus.estimator import load as load
    from isthmus.methods import list_methods as list_methods
    from isthmus.methods import register as register
    from isthmus.recipes import recipe as recipe

__version__ = "0.1.0"

_HOMES = {
    "Autoencoder": "isthmus.estimator",
    "Batch": "isthmus.batch",
    "Masked": "isthmus.batch",
    "Table": "isthmus.data.table",
    "list_methods": "isthmus.methods",
    "load": "isthmus.estimator",
    "read_table": "isthmus.data.table",
    "recipe": "isthmus.recipes",
    "register": "isthmus.methods",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value  # so that this function is asked once per name
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
