"""Places in the documentation that are made from results: between `<!-- NAME: OF -->` and `<!-- end -->`."""

from __future__ import annotations

import re
from collections.abc import Callable


def start_of(name: str, of: str = "") -> str:
    """The mark at which a block begins."""
    return f"<!-- {name}{': ' if of else ''}{of} -->"


def fill_blocks(page: str, name: str, make: Callable[[str], str]) -> str:
    """The page with every block of a name replaced by what `make` gives for what the block is of; the rest as it is."""
    block = re.compile(rf"(<!-- {name}(?:: (?P<of>\S+))? -->\n).*?(<!-- end -->)", re.DOTALL)
    return block.sub(lambda found: f"{found[1]}\n{make(found['of'] or '')}\n\n{found[3]}", page)
