"""Which items train, which validate, which test: by hash of their key, or as a column says."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from isthmus.data.rejected import quote
from isthmus.suggest import nearest

# What a split column may say, in any case, and what it means.
SPLITS = {
    "train": "train", "training": "train",
    "valid": "validation", "val": "validation", "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
NAMES = ("train", "validation", "test")


def assign_split(
    keys: Sequence[str],
    groups: Sequence[Any] | None = None,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    salt: str = "isthmus",
) -> np.ndarray:
    """The split of each item, by hash of its key, or of its group.

    An item's split depends on its key alone: rows may be added, removed and shuffled, and it stays where it is. One
    exception: where at least ten different keys (or groups) leave a split empty that is to have a share, the
    training key whose hash is nearest to that split moves there. From about a hundred keys on this does not happen.

    Args:
        keys: One per item, as text.
        groups: One per item; items of one group stay together. An item whose group is None goes by its key.
        fractions: Shares of train, validation and test, which sum to 1.
        salt: Another salt gives another split.

    Returns:
        Array of "train", "validation" and "test", shape `(N,)`.

    Raises:
        ValueError: Shares that are negative or do not sum to 1; groups that are not one per key.
    """
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"Fractions of a split are {fractions}. Expected shares of train, validation, test; sum 1.")
    if groups is not None and len(groups) != len(keys):
        raise ValueError(f"There are {len(groups)} groups for {len(keys)} keys. Expected one for each.")
    # A group may be named like some item's key; the prefix keeps the two apart.
    names = [
        f"key {key}" if group is None else f"group {group}"
        for key, group in zip(keys, groups or [None] * len(keys), strict=True)
    ]
    place = {name: _uniform(f"{salt}\0{name}") for name in dict.fromkeys(names)}
    split = _by_place(place, fractions)
    return np.array([split[name] for name in names], dtype=object).astype(str)


def read_split(cells: Sequence[Any], column: str = "split") -> np.ndarray:
    """The split that a column states.

    Args:
        cells: train, training; valid, val, validation, dev; test, testing; in any case. A blank cell leaves its item
            out of every split: it is neither trained on nor scored.
        column: Its name, for the error.

    Returns:
        Array of "train", "validation", "test" and "", shape `(N,)`.

    Raises:
        ValueError: A cell that says anything else, or a column that names no training item.
    """
    plain = ["" if cell is None else str(cell).strip().casefold() for cell in cells]
    unknown: dict[str, int] = {}
    for row, word in enumerate(plain, start=1):
        if word and word not in SPLITS:
            unknown.setdefault(word, row)
    if unknown:
        listed = ", ".join(f"{quote(word)} (row {row})" for word, row in list(unknown.items())[:3])
        raise ValueError(
            f"Split column '{column}' holds {listed}. Expected train, validation or test."
            f"{nearest(next(iter(unknown)), SPLITS)}"
        )
    split = np.array([SPLITS[word] if word else "" for word in plain])
    if "train" not in split:
        raise ValueError(f"Split column '{column}' has no training item. Expected 'train' in some rows.")
    return split


def count_duplicates(digests: Sequence[Any], split: Sequence[str] | np.ndarray) -> dict[tuple[str, str], int]:
    """How many items of one split are exact copies of an item in an earlier one.

    Args:
        digests: One per item, equal for exact copies; None for an item that is not to be compared.
        split: One per item.

    Returns:
        Counts by (split of the copies, split they are copied from), for ("validation", "train"), ("test", "train") and
        ("test", "validation"); each counts the items of the first that have a copy in the second.
    """
    pairs = [(str(name), digest) for name, digest in zip(split, digests, strict=True) if digest is not None]
    seen = {name: {digest for of, digest in pairs if of == name} for name in NAMES}
    return {
        (name, earlier): sum(of == name and digest in seen[earlier] for of, digest in pairs)
        for name, earlier in (("validation", "train"), ("test", "train"), ("test", "validation"))
    }


def _uniform(text: str) -> float:
    """A number in [0, 1) that is a pure function of the text, on every machine."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    # 53 bits, as many as a float holds: with 64 the quotient could round up to 1.
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def _by_place(place: dict[str, float], fractions: tuple[float, float, float]) -> dict[str, str]:
    ends = np.cumsum(fractions)
    index = np.minimum(np.searchsorted(ends, list(place.values()), side="right"), 2)
    split = {name: NAMES[i] for name, i in zip(place, index.tolist(), strict=True)}
    if len(place) < 10:
        return split
    for i, name in enumerate(NAMES[1:], start=1):
        training = [key for key, of in split.items() if of == "train"]
        if fractions[i] > 0 and name not in split.values() and len(training) > 1:
            split[max(training, key=lambda key: place[key])] = name
    return split
