"""A small table with gaps that several tests use: pictures, sounds, texts, numbers and categories of birds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

NUM_ROWS = 30
HABITATS = ("forest", "marsh", "coast")


def birds(num_rows: int = NUM_ROWS, seed: int = 0) -> dict[str, list]:
    """Columns of a table with gaps: pictures, sounds, texts, numbers, categories; row 2 has nothing at all."""
    rng = np.random.default_rng(seed)
    columns: dict[str, list] = {name: [] for name in ("ring", "photo", "song", "note", "wing_mm", "habitat")}
    for row in range(num_rows):
        habitat = row % 3
        pixels = (rng.random((6, 6)) * 80 + 80 * habitat).astype(np.uint8)
        pitch = np.sin(np.arange(800) * (habitat + 1) / 5).astype(np.float32)
        cells = (
            pixels,
            (pitch, 8000),
            f"{row} seen in the {HABITATS[habitat]} today",
            round(60 + 10 * habitat + rng.normal(), 1),
        )
        columns["ring"].append(f"r{row:02d}")
        for name, cell in zip(columns, (None, *cells, HABITATS[habitat]), strict=True):
            if cell is not None:
                columns[name].append(None if row == 2 or rng.random() < 0.25 else cell)
    return columns


def write_files(folder: Path, num_rows: int = 12) -> Path:
    """The table with files and text in place of arrays and numbers; its path."""
    columns = birds(num_rows)
    lines = [",".join(columns)]
    for row in range(num_rows):
        ring, pixels, song, note, wing, habitat = (columns[name][row] for name in columns)
        if pixels is not None:
            Image.fromarray(pixels).save(folder / f"{ring}.png")
        if song is not None:
            soundfile.write(folder / f"{ring}.wav", *song)
        cells = [
            ring,
            "" if pixels is None else f"{ring}.png",
            "" if song is None else f"{ring}.wav",
            note,
            wing,
            habitat,
        ]
        lines.append(",".join("" if cell is None else str(cell) for cell in cells))
    path = folder / "birds.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
