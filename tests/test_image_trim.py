"""Margins: what is cut away, and what is not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from isthmus.kinds.base import Kind
from isthmus.kinds.image import ImageKind

SIDE = 24


def drawing(scale: int, top: int, left: int, side: int = SIDE) -> np.ndarray:
    """An L of 4 x 3 cells in red, `scale` pixels each, on a transparent frame."""
    shape = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 1]], bool).repeat(scale, 0).repeat(scale, 1)
    picture = np.zeros((side, side, 4), np.uint8)
    picture[top : top + shape.shape[0], left : left + shape.shape[1]][shape] = (255, 0, 0, 255)
    return picture


def on_paper(picture: np.ndarray, colour: str, mode: str) -> np.ndarray:
    drawn = Image.fromarray(picture)
    return np.asarray(Image.alpha_composite(Image.new("RGBA", drawn.size, colour), drawn).convert(mode))


@pytest.mark.parametrize("style", ["transparent", "white", "grey", "deep"])
def test_one_drawing_of_any_size_at_any_place_is_one_picture(style):
    def styled(picture):
        if style == "transparent":
            return picture
        if style == "deep":
            return on_paper(picture, "white", "L").astype(np.uint16) * 257
        return on_paper(picture, style, "L" if style == "grey" else "RGB")

    cells = [styled(drawing(*at)) for at in ((2, 1, 1), (2, 9, 14), (4, 3, 2), (5, 2, 6))]

    def apart(kind, cell):
        """How far a cell is from the largest drawing, as the encoder sees both."""
        return abs(kind.encode(cell).astype(float) - kind.encode(cells[-1])).mean()

    trimmed, plain = ImageKind(trim=True).fit(cells), ImageKind().fit(cells)
    for cell in cells[:-1]:
        # Not zero: soft edges come from another number of pixels.
        assert apart(trimmed, cell) < 0.35 * apart(plain, cell)


def test_what_is_cut_out_is_exact_and_centred_and_keeps_the_aspect_ratio():
    cell = np.full((20, 40), 7, np.uint8)
    cell[2:7, 30:36] = np.arange(30, dtype=np.uint8).reshape(5, 6) * 8
    # 5 of 20 rows and 6 of 40 columns show something: a quarter of either side is kept.
    kind = ImageKind(trim=True, size=(5, 10)).fit([cell])
    expected = np.full((5, 10), 7)
    expected[:, 2:8] = cell[2:7, 30:36]
    assert np.array_equal(kind.encode(cell)[0], expected)


def test_a_trimmed_picture_is_left_as_it_is():
    kind = ImageKind(trim=True).fit([drawing(2, 3, 5)])
    once = kind.cells(kind.normalise(kind.collate([kind.encode(drawing(2, 3, 5))])))[0]
    twice = kind.encode(once)
    assert abs(twice.astype(int).transpose(1, 2, 0) - np.asarray(once)).mean() < 4


def test_where_nothing_shows_or_corners_differ_nothing_is_cut():
    rng = np.random.default_rng(0)
    corners = np.zeros((8, 8), np.uint8)
    corners[0, 0], corners[4, 4] = 255, 255
    for cell in (np.zeros((8, 8, 4), np.uint8), np.full((8, 8), 9, np.uint8), corners, rng.integers(0, 256, (1, 1))):
        plain, trimmed = ImageKind().fit([cell]), ImageKind(trim=True).fit([cell])
        assert np.array_equal(plain.encode(cell), trimmed.encode(cell))


def test_margins_may_be_noisy_as_those_of_a_jpeg_are():
    rng = np.random.default_rng(0)
    cell = rng.integers(250, 256, (32, 32), dtype=np.uint8)
    cell[10:18, 12:20] = 0
    kind = ImageKind(trim=True).fit([cell])
    assert (kind.encode(cell) < 20).mean() > 0.9


def test_pictures_are_not_trimmed_unless_it_is_said_and_the_setting_is_kept():
    cell = drawing(2, 3, 5)
    assert ImageKind().trim is False
    kind = Kind.from_config(ImageKind(trim=True).fit([cell]).to_config())
    assert np.array_equal(kind.encode(cell), ImageKind(trim=True).fit([cell]).encode(cell))
    with pytest.raises(ValueError, match=r"trim='yes' is unknown\. Expected true or false\."):
        ImageKind(trim="yes")
