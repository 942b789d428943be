"""Modules by the names that people give to their columns, whatever these are."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping

from torch import Tensor, nn

_TAKEN = frozenset(dir(nn.ModuleDict()))


class Named(nn.ModuleDict):
    """A dictionary of modules by any names: `nn.ModuleDict` refuses those with a dot, and `values`, `type`, `keys`.

    Weights carry the name as it is wherever torch allows.
    """

    def __init__(self, modules: Mapping[str, nn.Module]):
        self._keys: dict[str, str] = {}
        super().__init__(dict(modules))

    def __setitem__(self, name: str, module: nn.Module) -> None:
        self._keys[name] = weights_name(name)
        self.add_module(self._keys[name], module)

    def lend(self, name: str, to: str) -> None:
        """Let `to` use the module of `name` in place of its own, which is dropped. The weights are held once."""
        if self._keys[to] != self._keys[name]:
            del self._modules[self._keys[to]]
            self._keys[to] = self._keys[name]

    def __getitem__(self, name: str) -> nn.Module:
        return super().__getitem__(self._keys[name])

    def __contains__(self, name: object) -> bool:
        return name in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def keys(self) -> KeysView[str]:
        return self._keys.keys()

    def items(self) -> ItemsView[str, nn.Module]:
        return {name: self[name] for name in self._keys}.items()


class Vector(nn.Module):
    """A learnt vector, from what it is at first."""

    def __init__(self, initial: Tensor):
        super().__init__()
        self.value = nn.Parameter(initial)

    def forward(self) -> Tensor:
        return self.value


def private_order(names: Iterable[str]) -> list[str]:
    """The order in which private codes of modalities stand in a whole code: by name, however they are given."""
    return sorted(names)


def weights_name(name: str) -> str:
    """What a name is called among the names of weights: itself, if torch takes it."""
    plain = name.replace("%", "%25").replace(".", "%2E")
    return f"{plain}%" if plain in _TAKEN or not plain else plain
