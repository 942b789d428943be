"""`isthmus methods`"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.options import Json
from isthmus.cli.voice import Voice, WrongUse, aligned, judging_words

if TYPE_CHECKING:
    from isthmus.methods import Capabilities

# Authors, year and where it appeared; a title in quotes is for the method's own page.
PAPER = re.compile(r'[^()]*\(([^()"]*?)(?:, "|\))')
ABLE = {
    "codes come with a spread": "uncertainty",
    "likelihoods can be estimated": "density",
    "its objective bounds the evidence": "bound",
    "new items can be drawn": "generative",
}


def methods(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A method, or a pattern such as 'm*vae'.")
    ] = None,
    json: Json = False,
) -> None:
    """List the published methods, or tell all about one."""
    from isthmus.methods import get_method, list_methods

    voice = Voice(json)
    if name is not None and not re.search(r"[*?\[]", name):
        with judging_words():
            get_method(name)
        told = tell(name)
        voice.show(page(told))
        voice.figures(told)
        return
    names = list_methods(name or "*")
    if not names:
        raise WrongUse(f"No method matches '{name}'. Methods are {', '.join(list_methods())}.")
    all_told = [tell(method) for method in names]
    header = ("name", "paper", "modalities", "spread", "density", "bound", "new items")
    columns = ("modalities", "uncertainty", "density", "bound", "generative")
    rows = [(starred(told), told["paper"], *(word(told[column]) for column in columns)) for told in all_told]
    voice.show(aligned(header, rows))
    if any(told["experimental"] for told in all_told):
        voice.show("\n* experimental, until it reproduces its paper")
    voice.show("\nAll of them train on and encode items with gaps. 'isthmus methods NAME' tells more.")
    voice.figures(all_told)


def tell(name: str) -> dict[str, Any]:
    """What is known of a method: its paper, what it can do, its options, and the notes at the head of its file."""
    from isthmus.methods import get_method, method_defaults

    preset = get_method(name)
    about = inspect.getdoc(preset) or ""
    paper = PAPER.match(about)
    words = _arguments(about)
    capabilities = _capabilities(preset)
    most = capabilities.max_modalities
    fewest = capabilities.min_modalities
    return {
        "name": name,
        "paper": " ".join(paper[1].split()) if paper else "",
        "modalities": f"{fewest} or more" if most is None else str(most) if fewest == most else f"{fewest} to {most}",
        "uncertainty": capabilities.uncertainty,
        "density": capabilities.density,
        "bound": capabilities.bound,
        "generative": capabilities.generative,
        "experimental": capabilities.experimental,
        "options": method_defaults(name),
        "option_words": {option: words.get(option, "") for option in method_defaults(name)},
        "summary": " ".join(about.partition("\n\n")[0].split()),
        "notes": _notes(preset),
    }


def page(told: dict[str, Any], width: int = 100) -> str:
    """A method's page in plain text."""
    options = []
    for option, value in told["options"].items():
        options.append(f"  --option {option}={typed(value)}")
        options += textwrap.wrap(told["option_words"][option], width, initial_indent=" " * 6, subsequent_indent=" " * 6)
    can = [f"  {'yes' if told[field] else 'no ':3}  {words}" for words, field in ABLE.items()]
    notes = [line.replace("**", "") for line in told["notes"].splitlines() if not line.startswith("```")]
    return "\n".join(
        [
            f"{told['name']}\n",
            *textwrap.wrap(told["summary"], width),
            "",
            *["Experimental, until it reproduces its paper.", ""] * told["experimental"],
            *notes,
            *[""] * bool(notes),
            "Options and their defaults:",
            *options,
            "",
            f"For {told['modalities']} modalities:",
            *can,
        ]
    )


def _notes(preset: Callable[..., Any]) -> str:
    """Equation, strengths, weaknesses and cost, as Markdown: the head of the method's own file, without its title."""
    module = inspect.getmodule(preset)
    written = inspect.cleandoc(module.__doc__ or "") if module else ""
    # A file of several presets has one head; only what speaks of one method is that method's page.
    return written.partition("\n\n")[2].strip() if "```" in written else ""


def _arguments(docstring: str) -> dict[str, str]:
    """What a docstring's `Args:` say, by name."""
    section = docstring.partition("Args:\n")[2].partition("\n\n")[0]
    entries = re.split(r"^ {4}(\w+): ", section, flags=re.MULTILINE)[1:]
    return {name: " ".join(text.split()) for name, text in zip(entries[::2], entries[1::2], strict=True)}


def _capabilities(preset: Callable[..., Any]) -> Capabilities:
    """What a method says it can do: it has to be built to be asked, on a toy."""
    from isthmus.testing.conformance import LATENT_DIM, toy_modalities

    for number in (2, 1, 3, 4):
        try:
            capabilities: Capabilities = preset(toy_modalities(number), latent_dim=LATENT_DIM).capabilities
            return capabilities
        except ValueError:
            continue  # a method for another number of modalities
    raise ValueError(f"Method '{preset.__name__}' could not be built for 1 to 4 modalities.")


def starred(told: dict[str, Any]) -> str:
    """A method's name, with a star while it is experimental."""
    return f"{told['name']}{' *' if told['experimental'] else ''}"


def word(value: bool | str) -> str:
    return value if isinstance(value, str) else "yes" if value else "-"


def typed(value: Any) -> str:
    """A value as one would type it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(typed, value))}]"
    words = {True: "true", False: "false", None: "null"}
    return (
        words[value]
        if value is None or isinstance(value, bool)
        else str(round(value, 4) if isinstance(value, float) else value)
    )
