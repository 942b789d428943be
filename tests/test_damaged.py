"""A table of a thousand rows with damaged cells of every make: training goes on, and every one of them is named."""

from __future__ import annotations

import csv
import json
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from isthmus.cli.main import main

NUM_ROWS = 1000
COLUMNS = ("key", "photo", "song", "pen", "traits", "note", "wing_mm", "mass_g", "habitat", "split")


def bomb() -> bytes:
    """A PNG whose header says 10,000 x 10,000 pixels, in a few hundred bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 10_001)) + chunk(b"IEND", b"")


class Damage:
    """Writes damaged cells into rows of their own, and knows what should be said of each."""

    def __init__(self, folder: Path, rows: list[dict[str, str]]):
        self.folder, self.rows = folder, rows
        self.expected: dict[tuple[int, str], str] = {}
        self.next = 7

    def cell(self, column: str, cell: str, reason: str) -> None:
        """Put `cell` into the next row's `column`; `reason` is a word of what is said."""
        self.rows[self.next][column] = cell
        self.expected[self.next + 1, column] = reason
        self.next += 1

    def file(self, column: str, name: str, data: bytes, reason: str) -> None:
        (self.folder / name).write_bytes(data)
        self.cell(column, name, reason)


def write_table(folder: Path) -> tuple[Path, Damage]:
    """The table: ten pictures, sounds and pen lines that many rows share, so that it is written quickly."""
    rng = np.random.default_rng(0)
    for number in range(10):
        Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8)).save(folder / f"{number}.png")
        soundfile.write(folder / f"{number}.wav", np.sin(np.arange(400) * (number + 1) / 9), 8000)
        np.save(folder / f"{number}.npy", rng.normal(size=(5 + number % 3, 2)).astype(np.float32))
    rows = []
    for row in range(NUM_ROWS):
        number = row % 10
        rows.append(
            {
                "key": f"r{row}",
                "photo": f"{number}.png",
                "song": f"{number}.wav",
                "pen": f"{number}.npy",
                "traits": json.dumps(rng.normal(size=3).round(3).tolist()),
                "note": f"bird {row} sat on branch {number}",
                "wing_mm": f"{60 + number + rng.random():.1f}",
                "mass_g": f"{10 + number * 2 + rng.random():.1f}",
                "habitat": ("forest", "marsh", "coast")[row % 3],
                "split": ("train", "train", "train", "train", "validation", "test")[row % 6],
            }
        )
    damage = Damage(folder, rows)
    png, wav = (folder / "0.png").read_bytes(), (folder / "0.wav").read_bytes()
    damage.file("photo", "cut.png", png[: len(png) // 2], "")
    damage.file("photo", "really-a-sound.png", wav, "")
    damage.file("photo", "bomb.png", bomb(), "pixels")
    damage.cell("photo", "no-such.png", "file not found")
    damage.file("song", "nothing.wav", b"", "file is empty")
    damage.file("song", "header-only.wav", wav[:44], "")
    damage.file("song", "really-a-picture.wav", png, "")
    os.mkfifo(folder / "pipe.wav")
    damage.cell("song", "pipe.wav", "not a regular file")
    damage.cell("song", "/dev/zero", "not a regular file")
    (folder / "folder.png").mkdir()
    damage.cell("photo", "folder.png", "not a regular file")
    np.save(folder / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    damage.cell("pen", "objects.npy", "")
    damage.cell("traits", "[1, 2, 3, 4]", "")
    damage.cell("traits", "[1, 2", "")
    damage.cell("traits", "[1, NaN, 3]", "")
    damage.cell("wing_mm", "inf", "finite")
    damage.cell("wing_mm", "long", "not a number")
    damage.cell("mass_g", "1e999", "finite")
    damage.cell("note", "\udcff\udcfe", "UTF-8")
    path = folder / "birds.csv"
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    # A whole row that is damaged: it has too many fields.
    lines = path.read_bytes().splitlines()
    row = damage.next
    lines[row + 1] += b",one,field,too,many"
    damage.expected[row + 1, ""] = "fields"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path, damage


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_damaged_cells_become_gaps_and_every_one_is_named(tmp_path, monkeypatch, capsys):
    path, damage = write_table(tmp_path)
    out = tmp_path / "run"
    options = "--epochs 1 --latent-dim 4 --width 16 --batch-size 500 --method fused --kind traits=vector --json".split()
    monkeypatch.setattr(sys, "argv", ["isthmus", "train", str(path), "--out", str(out), *options])
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr()
    assert not stopped.value.code, said.err
    with (out / "rejected.csv").open(encoding="utf-8", newline="") as file:
        rejected = {(int(entry["row"]), entry["column"]): entry for entry in csv.DictReader(file)}
    assert set(rejected) == set(damage.expected)
    for place, word in damage.expected.items():
        assert word in rejected[place]["reason"] and rejected[place]["reason"], rejected[place]
    for row, column in damage.expected:
        culprit = damage.rows[row - 1][column] if column in ("photo", "song", "pen") else "birds.csv"
        assert Path(rejected[row, column]["file"]).name == Path(culprit).name
    assert f"{len(rejected)} cells could not be used" in said.err
    figures = json.loads(said.out)
    assert figures["rejected"] == len(damage.expected) >= 12
    assert (out / "model" / "config.json").exists()
    assert sum(figures["items"].values()) == NUM_ROWS - 1  # the row without fields has no split
