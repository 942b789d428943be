"""Write the pages of methods from what the registry says of them: docstrings, options, capabilities.

    python scripts/write_methods.py

`docs/methods/NAME.md` is written whole; in `docs/methods.md` and `mkdocs.yml` only what stands between two marks is.
"""

from __future__ import annotations

import re
from pathlib import Path

from isthmus.cli.methods import ABLE, tell, typed, word
from isthmus.methods import list_methods

ROOT = Path(__file__).resolve().parents[1]
TABLE = re.compile(r"(<!-- methods -->\n).*?(<!-- end -->)", re.DOTALL)
NAVIGATION = re.compile(r"( +# methods\n).*?( +# end\n)", re.DOTALL)


def pages() -> dict[Path, str]:
    """Every file that is written, and what is to stand in it."""
    all_told = [tell(name) for name in list_methods()]
    written = {ROOT / "docs" / "methods" / f"{slug(told['name'])}.md": _page(told) for told in all_told}
    overview, settings = ROOT / "docs" / "methods.md", ROOT / "mkdocs.yml"
    table = "\n".join(_table(all_told))
    written[overview] = TABLE.sub(lambda mark: f"{mark[1]}\n{table}\n\n{mark[2]}", overview.read_text(encoding="utf-8"))
    lines = "".join(f"      - {told['name']}: methods/{slug(told['name'])}.md\n" for told in all_told)
    written[settings] = NAVIGATION.sub(lambda mark: f"{mark[1]}{lines}{mark[2]}", settings.read_text(encoding="utf-8"))
    return written


def slug(name: str) -> str:
    return name.replace("+", "-plus")


def _page(told: dict[str, object]) -> str:
    options, words = told["options"], told["option_words"]
    assert isinstance(options, dict) and isinstance(words, dict)
    rows = [f"| `{option}` | `{typed(value)}` | {words[option]} |" for option, value in options.items()]
    able = [f"- {sentence}: {'yes' if told[field] else 'no'}" for sentence, field in ABLE.items()]
    return "\n".join(
        [
            f"# {told['name']}",
            "",
            str(told["summary"]),
            "",
            *["Experimental, until it reproduces its paper.", ""] * bool(told["experimental"]),
            str(told["notes"]),
            "",
            "## Options",
            "",
            "| option | default | |",
            "|---|---|---|",
            *rows,
            "",
            "## What it can do",
            "",
            f"For {told['modalities']} modalities, with gaps in training and in use.",
            "",
            *able,
            "",
            "[All methods](../methods.md), with the notation of the equations.",
            "",
        ]
    )


def _table(all_told: list[dict[str, object]]) -> list[str]:
    """A row for each method; what is the same of all is left out."""
    headers = {
        "modalities": "modalities",
        "uncertainty": "spread",
        "density": "likelihood",
        "bound": "bound",
        "generative": "new items",
    }
    shown = [field for field in headers if len({told[field] for told in all_told}) > 1]
    lines = [f"| method | paper | {' | '.join(headers[field] for field in shown)} |", "|---" * (2 + len(shown)) + "|"]
    for told in all_told:
        name, able = str(told["name"]), " | ".join(word(told[field]) for field in shown)  # type: ignore[arg-type]
        star = " \\*" if told["experimental"] else ""
        lines.append(f"| [`{name}`](methods/{slug(name)}.md){star} | {told['paper']} | {able} |")
    return [*lines, "", "\\* experimental, until it reproduces its paper"]


def write() -> None:
    """Bring every page up to date, and take away those of methods that are gone."""
    written = pages()
    folder = ROOT / "docs" / "methods"
    folder.mkdir(exist_ok=True)
    for path in set(folder.glob("*.md")) - set(written):
        path.unlink()
    for path, text in written.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
