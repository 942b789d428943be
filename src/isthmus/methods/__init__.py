"""Published methods, one short file each; `@register` files a method under its name."""

from importlib import import_module
from pkgutil import iter_modules

from isthmus.methods.base import (
    Capabilities,
    Method,
    Phase,
    Player,
    get_method,
    list_methods,
    method_defaults,
    register,
)
from isthmus.methods.coupled import couple

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "Capabilities",
    "Method",
    "Phase",
    "Player",
    "couple",
    "get_method",
    "list_methods",
    "method_defaults",
    "register",
]
