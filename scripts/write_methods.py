"""Write into docs/methods.md what the registry says of each method: its docstring, its options and what it can do.

    python scripts/write_methods.py

Only what stands between `<!-- methods: NAME -->`, or `<!-- methods -->` for the table of all, and `<!-- end -->` is
replaced; equations and advice around it are written by hand.
"""

from __future__ import annotations

import re
from pathlib import Path

from isthmus.cli.methods import tell, typed, word
from isthmus.methods import list_methods

PAGE = Path(__file__).resolve().parents[1] / "docs" / "methods.md"
BLOCK = re.compile(r"(<!-- methods(?:: (?P<name>\S+))? -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(page: str) -> str:
    """The page with every block as the registry has it."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{_about(block['name'])}\n\n{block[3]}", page)


def _about(name: str | None) -> str:
    if name is None:
        return _overview()
    told = tell(name)
    summary, _, rest = told["page"].partition("\n\n")
    words = _arguments(rest)
    options = [f"| `{option}` | `{typed(value)}` | {words[option]} |" for option, value in told["options"].items()]
    return "\n".join([" ".join(summary.split()), "", "| option | default | |", "|---|---|---|", *options])


def _overview() -> str:
    header = "| method | paper | modalities | codes with spread | likelihoods | bound | new items |"
    lines = [header, "|---" * (header.count("|") - 1) + "|"]
    for told in map(tell, list_methods()):
        able = [word(told[name]) for name in ("modalities", "uncertainty", "density", "bound", "generative")]
        lines.append(
            f"| [`{told['name']}`](#{told['name'].replace('+', '-plus')}) | {told['paper']} | "
            + " | ".join(able)
            + " |"
        )
    return "\n".join(lines)


def _arguments(docstring: str) -> dict[str, str]:
    """What a docstring's `Args:` say, by name."""
    section = docstring.partition("Args:\n")[2].partition("\n\n")[0]
    entries = re.split(r"^ {4}(\w+): ", section, flags=re.MULTILINE)[1:]
    return {name: " ".join(text.split()) for name, text in zip(entries[::2], entries[1::2], strict=True)}


if __name__ == "__main__":
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
