"""What the documentation shows is run: commands and Python, on a small table of birds, in the order of each page."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from PIL import Image

import isthmus.kinds.base as kinds
import isthmus.methods.base as methods
from birds import birds
from isthmus.cli.main import main
from isthmus.cli.methods import tell

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"^```(?P<language>\w+)(?: title=\"(?P<file>[^\"]+)\")?\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
# Not run here: they install, or train for minutes. `make` is what runs these tests; the demo has a test of its own.
LEFT_OUT = ("make", "python3 -m pip", "isthmus demo")
EPOCHS = 1
NUM_ROWS = 50  # of which the split by hash leaves some to validate and test


def blocks(page: Path) -> Iterator[tuple[str, str, str | None]]:
    """Language, text and file name of every fenced block."""
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        yield block["language"], block["text"], block["file"]


def commands(text: str) -> list[list[str]]:
    """The words of each command of a block; none of those left out."""
    return [shlex.split(line, comments=True) for line in text.splitlines() if line and not line.startswith(LEFT_OUT)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the tables that the pages speak of, where epochs are few and what a page registers is forgotten."""
    write_birds(tmp_path)
    monkeypatch.chdir(tmp_path)
    # Epochs follow from the number of items, by this function; a page that says how many has its way.
    for place in ("isthmus.training.loop.default_epochs", "isthmus.training.default_epochs"):
        monkeypatch.setattr(place, lambda num_items, batch_size: EPOCHS)
    kinds.kind_names(), methods.list_methods()  # all of ours are filed before copies are made
    monkeypatch.setattr(kinds, "_KINDS", dict(kinds._KINDS))
    monkeypatch.setattr(methods, "_METHODS", dict(methods._METHODS))
    return tmp_path


def write_birds(folder: Path) -> None:
    """`birds.csv` and `new.csv`, which lacks a column, with their files."""
    table = birds(NUM_ROWS)
    lines = ["photo,song,description,wing_mm,habitat"]
    for ring, photo, song, note, wing, habitat in zip(*table.values(), strict=True):
        if photo is not None:
            Image.fromarray(photo).save(folder / f"{ring}.png")
        if song is not None:
            soundfile.write(folder / f"{ring}.wav", *song)
        files = ("" if photo is None else f"{ring}.png", "" if song is None else f"{ring}.wav")
        lines.append(",".join([*files, *("" if cell is None else str(cell) for cell in (note, wing, habitat))]))
    (folder / "birds.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    without_habitat = [line.rpartition(",")[0] for line in lines[:7]]
    (folder / "new.csv").write_text("\n".join(without_habitat) + "\n", encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_does_what_it_shows(page, here, monkeypatch, capsys):
    names = {"__name__": "page"}  # a block knows what those before it made
    for language, text, file in blocks(page):
        if file is not None:
            (here / file).write_text(text, encoding="utf-8")
        elif language == "python":
            exec(compile(text, f"{page.name}: {text[:40]!r}", "exec"), names)
        elif language == "bash":
            for words in commands(text):
                assert words[0] == "isthmus", (
                    f"{page.name} shows '{' '.join(words)}': run it here, or leave it out by name"
                )
                monkeypatch.setattr(sys, "argv", words)
                with pytest.raises(SystemExit) as ended:
                    main()
                assert not ended.value.code, f"'{' '.join(words)}' of {page.name} failed:\n{capsys.readouterr().err}"


def test_the_pages_of_methods_are_those_of_the_registry(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from write_methods import pages

    written = pages()
    assert set((ROOT / "docs" / "methods").glob("*.md")) < set(written)
    for path, text in written.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of date: run scripts/write_methods.py"


@pytest.mark.parametrize("name", methods.list_methods())
def test_every_method_tells_its_equation_what_it_is_good_and_bad_at_and_its_cost(name):
    told = tell(name)
    assert told["paper"] and all(told["option_words"].values())
    for part in ("```text\n", "- **Good at**: ", "- **Weak**: ", "- **Cost of a step**: "):
        assert part in told["notes"], f"the head of {name}'s file lacks {part!r}"


def test_every_page_is_in_the_navigation():
    import yaml

    entries = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    paths = [path for entry in entries for path in entry.values()]
    named = {path for path in paths if isinstance(path, str)}
    named |= {path for inner in paths if not isinstance(inner, str) for entry in inner for path in entry.values()}
    assert named == {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
