"""Write into docs/tests-of-methods.md which tests show of which method that it is right: closed forms, identities,
second implementations.

    python scripts/write_tests_of_methods.py

The tests say it themselves, with `@shows` (tests/shown.py). Only what stands between `<!-- tests -->` and
`<!-- end -->` is replaced.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from isthmus.methods import list_methods

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tests-of-methods.md"
BLOCK = re.compile(r"(<!-- tests -->\n).*?(<!-- end -->)", re.DOTALL)

# How a sentence made of a test's name writes what is no word.
WORDS = {"elbo": "ELBO", "iwae": "IWAE", "vae": "VAE", "vaes": "VAEs"}


def fill(page: str) -> str:
    """The page with its block as the tests have it."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{_about()}\n\n{block[2]}", page)


def _about() -> str:
    from shown import KINDS, all_shown  # of the tests, which are on the path by now

    shown = all_shown()
    lines = [f"| method | {' | '.join(KINDS.values())} |", "|---" * (len(KINDS) + 1) + "|"]
    for method in list_methods():
        counts = [sum(mark.kind == kind and method in mark.methods for mark in shown) for kind in KINDS]
        link = f"methods/{method.replace('+', '-plus')}.md"
        lines.append(f"| [`{method}`]({link}) | {' | '.join(str(count or '-') for count in counts)} |")
    for kind, plural in KINDS.items():
        lines += ["", f"### {plural.capitalize()}", ""]
        for mark in (mark for mark in shown if mark.kind == kind):
            methods = ", ".join(f"`{method}`" for method in sorted(mark.methods))
            sentence = " ".join(WORDS.get(word, word) for word in mark.sentence.split())
            lines.append(f"- {sentence} ({methods}; `tests/{mark.module}.py`)")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests"))
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
