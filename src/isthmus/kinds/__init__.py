"""Kinds of data, one file each. A kind knows cells, tensors, networks and likelihoods; it knows nothing of methods."""

from isthmus.kinds.base import CellError, Kind, get_kind, kind_names, register_kind

__all__ = ["CellError", "Kind", "get_kind", "kind_names", "register_kind"]
