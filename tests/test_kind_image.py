"""What the image kind promises: pictures of any sort in, the model's pictures out."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from isthmus.kinds.base import CellError, Kind
from isthmus.kinds.image import ImageKind
from isthmus.likelihoods import LearnedScale, NormalHead
from isthmus.networks.convolutional import ConvDecoder, ConvEncoder, Pyramid, pixel_shuffle

SIZES = [(1, 1), (3, 5), (8, 8), (16, 16), (28, 28), (28, 20), (64, 64), (72, 72), (100, 7)]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def saved(picture: Image.Image | np.ndarray, format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(file, format, **options)
    return file.getvalue()


def stored_as_read(kind: ImageKind, cell: Any) -> np.ndarray:
    """A cell all the way in and out again, as `(H, W[, C])`."""
    values = kind.normalise(kind.collate([kind.encode(cell)]))
    return np.asarray(kind.cells(values)[0])


@pytest.mark.parametrize("shape", [(28, 28), (9, 5, 3), (9, 5, 4)])
def test_pictures_of_the_models_size_and_mode_come_back_exactly(shape: tuple[int, ...], tmp_path: Path) -> None:
    pixels = noise(*shape)
    path = tmp_path / "x.png"
    path.write_bytes(saved(pixels))
    kind = ImageKind().fit([pixels])
    expected = pixels.copy()
    if shape[-1] == 4:
        expected[expected[:, :, 3] == 0, :3] = 255
    for cell in (pixels, path, str(path), path.read_bytes(), Image.fromarray(pixels), torch.from_numpy(pixels)):
        assert np.array_equal(stored_as_read(kind, cell), expected)


def test_stored_arrays_are_bytes_and_normalised_ones_run_from_black_to_white() -> None:
    kind = ImageKind().fit([noise(4, 6, 3)])
    stored = kind.encode(np.array([[[0, 128, 255]] * 6] * 4, dtype=np.uint8))
    assert stored.dtype == np.uint8 and stored.shape == kind.shape == (3, 4, 6) and kind.num_dimensions == 72
    values = kind.normalise(kind.collate([stored]))
    assert isinstance(values, torch.Tensor)
    assert_close(values[0, :, 0, 0], torch.tensor([0.0, 128 / 255, 1.0]))


@pytest.mark.parametrize(
    ("cells", "mode"),
    [
        ([noise(8, 8)], "L"),
        ([np.repeat(noise(8, 8, 1), 3, axis=2)], "L"),
        ([saved(np.repeat(noise(8, 8, 1), 3, axis=2), "JPEG", quality=60)], "L"),
        ([noise(8, 8), noise(8, 8, 3)], "RGB"),
        ([np.dstack([noise(8, 8, 3), np.full((8, 8), 255, np.uint8)])], "RGB"),
        ([np.dstack([noise(8, 8, 3), np.full((8, 8), 255)]).astype(np.int64)], "RGB"),
        ([noise(8, 8, 3), noise(8, 8, 4)], "RGBA"),
        ([Image.fromarray(noise(8, 8)).convert("1")], "L"),
        ([Image.merge("LA", [Image.fromarray(noise(8, 8, seed=s)) for s in (1, 2)])], "RGBA"),
    ],
)
def test_the_mode_is_the_smallest_that_holds_what_training_pictures_show(cells: list[Any], mode: str) -> None:
    assert ImageKind().fit(cells).mode_ == mode


@pytest.mark.parametrize(
    ("shapes", "size"),
    [
        ([(28, 28)] * 3, [28, 28]),
        ([(64, 64)] * 3, [64, 64]),
        ([(72, 72)] * 3, [64, 64]),
        ([(400, 200)] * 2, [64, 32]),
        ([(1, 300)], [1, 64]),
        ([(30, 32), (32, 30), (40, 40)], [32, 32]),
        ([(100, 200), (150, 300), (90, 180)], [32, 64]),
        ([(200, 100), (300, 150)], [64, 32]),
    ],
)
def test_the_size_is_the_common_one_or_the_median_shape_up_to_64_pixels(
    shapes: list[tuple[int, int]], size: list[int]
) -> None:
    kind = ImageKind().fit([noise(*shape) for shape in shapes])
    assert kind.size_ == size
    assert all(kind.encode(noise(*shape)).shape == (1, *size) for shape in shapes)


def test_framing_pads_with_the_colour_of_the_border_crops_or_stretches() -> None:
    wide = np.full((10, 20), 200, np.uint8)
    wide[3:7, 6:14] = 0
    frames = {how: ImageKind(size=20, framing=how).fit([wide]).encode(wide)[0] for how in ("pad", "crop", "stretch")}
    assert (frames["pad"][:5] == 200).all() and (frames["pad"][-5:] == 200).all()
    assert np.array_equal(frames["pad"][5:15], wide)
    dark = {how: (frame < 100).mean() for how, frame in frames.items()}
    assert (
        dark["pad"] == pytest.approx(0.08) and dark["crop"] > 0.25 and dark["stretch"] == pytest.approx(0.16, abs=0.03)
    )


def test_transparent_pictures_are_laid_on_white_where_the_mode_has_no_opacity() -> None:
    clear = np.zeros((4, 4, 4), np.uint8)
    clear[0, 0] = (10, 20, 30, 255)
    assert stored_as_read(ImageKind(mode="RGB").fit([clear]), clear)[1, 1].tolist() == [255, 255, 255]
    assert stored_as_read(ImageKind(mode="RGB").fit([clear]), clear)[0, 0].tolist() == [10, 20, 30]
    assert stored_as_read(ImageKind(mode="L").fit([clear]), clear)[1, 1] == 255
    # Colours under full transparency are not learnt as if they could be seen.
    assert stored_as_read(ImageKind().fit([clear]), clear)[1, 1].tolist() == [255, 255, 255, 0]


def test_palettes_and_one_bit_and_cmyk_pictures_are_read_for_what_they_show() -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[:, :4, 0] = 255
    kind = ImageKind().fit([red])
    picture = Image.fromarray(red)
    for cell in (saved(picture.quantize(4)), saved(picture.quantize(4), "GIF"), picture.convert("CMYK")):
        assert np.array_equal(stored_as_read(kind, cell), red)
    checks = Image.fromarray(np.eye(8) > 0)
    assert np.array_equal(stored_as_read(ImageKind().fit([checks]), saved(checks)), np.eye(8) * 255)
    glass = picture.quantize(4)
    glass.info["transparency"] = glass.getpixel((0, 0))
    kind = ImageKind().fit([saved(glass, transparency=glass.getpixel((0, 0)))])
    assert kind.mode_ == "RGBA"


def test_deep_pictures_keep_their_shades() -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    expected = np.rint(ramp / 257).astype(np.uint8)
    for cell in (ramp, saved(Image.fromarray(ramp)), saved(Image.fromarray(ramp), "TIFF")):
        assert np.array_equal(stored_as_read(ImageKind().fit([cell]), cell), expected)
    twelve_bits = ramp // 16
    assert np.array_equal(
        stored_as_read(ImageKind().fit([twelve_bits]), twelve_bits), np.rint(twelve_bits / 4095 * 255)
    )


def test_arrays_of_every_number_type_are_read() -> None:
    bytes_ = noise(6, 6)
    bytes_[0, 0] = 255
    mask = bytes_ > 100
    assert np.array_equal(stored_as_read(ImageKind().fit([bytes_]), bytes_ / 255), bytes_)
    assert np.array_equal(stored_as_read(ImageKind().fit([bytes_]), mask), mask * 255)
    for cell in (bytes_.astype(np.int64), bytes_.astype(np.int32).tolist()):
        assert np.array_equal(stored_as_read(ImageKind().fit([cell]), cell), bytes_)
    assert np.array_equal(stored_as_read(ImageKind().fit([mask.astype(int)]), mask.astype(int)), mask * 255)
    colour = noise(6, 7, 3)
    assert np.array_equal(stored_as_read(ImageKind().fit([colour]), colour.transpose(2, 0, 1)), colour)


def test_pictures_are_turned_as_their_exif_orientation_says() -> None:
    pixels = noise(10, 20)
    exif = Image.Exif()
    exif[0x0112] = 6
    for cell in (saved(pixels, exif=exif), Image.open(io.BytesIO(saved(pixels, exif=exif)))):
        kind = ImageKind().fit([cell])
        assert kind.size_ == [20, 10]
        assert np.array_equal(stored_as_read(kind, cell), np.rot90(pixels, -1))
    assert ImageKind().fit([saved(noise(1500, 3000), "JPEG", exif=exif)]).size_ == [64, 32]


def test_the_first_frame_of_an_animation_counts() -> None:
    frames = [Image.fromarray(np.full((8, 8), shade, np.uint8)) for shade in (40, 200)]
    for format in ("GIF", "PNG", "WEBP"):
        cell = saved(
            frames[0],
            format,
            save_all=True,
            append_images=frames[1:],
            **({"lossless": True} if format == "WEBP" else {}),
        )
        assert (stored_as_read(ImageKind().fit([cell]), cell) == 40).all()


def test_a_large_jpeg_read_at_a_fraction_of_its_size_shows_the_same_picture() -> None:
    x, y = np.meshgrid(np.linspace(0, 6, 1200), np.linspace(0, 6, 900))
    smooth = (127 + 100 * np.sin(x) * np.cos(y)).astype(np.uint8)
    kind = ImageKind().fit([smooth])
    assert kind.size_ == [48, 64]
    difference = stored_as_read(kind, saved(smooth, "JPEG", quality=95)).astype(int) - stored_as_read(kind, smooth)
    assert np.abs(difference).max() <= 4


def bomb(width: int, height: int) -> bytes:
    """The header of a PNG that claims a size, and no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (bomb(10_000, 10_000), "10000x10000 pixels is larger than the limit of 64000000"),
        (bomb(60_000, 60_000), "larger than the limit of 64000000"),
        (saved(noise(64, 64))[:2000], "picture cannot be decoded: .*truncated"),
        (saved(noise(64, 64), "JPEG")[:2000], "picture cannot be decoded: .*truncated"),
        (b"this is text in a .png", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (b"", "file is empty"),
        (Path("nowhere.png"), "file not found"),
        (3.5, "expected a path or bytes, got float"),
        (np.zeros((8, 8, 2), np.uint8), r"shape \(8, 8, 2\) is no picture"),
        (np.zeros(8), r"shape \(8,\) is no picture"),
        (np.zeros((0, 8)), "8x0 pixels is empty"),
        (np.full((8, 8), np.nan), "pixels run from nan to nan; expected floats from 0 to 1"),
        (np.full((8, 8), 16.0), "pixels run from 16 to 16; expected floats"),
        (np.full((8, 8), -1), "expected whole numbers from 0 to 65535"),
        (np.full((8, 8), "x"), "expected whole numbers, or floats"),
        ([[1, 2], [3]], "differ in length"),
    ],
)
def test_cells_that_cannot_be_read_say_why(cell: Any, reason: str) -> None:
    kind = ImageKind().fit([noise(8, 8), cell])
    with pytest.raises(CellError, match=reason):
        kind.encode(cell)


def uniform(*shape: int) -> torch.Tensor:
    return torch.rand(600, *shape, generator=torch.Generator().manual_seed(0))


def test_training_shifts_pictures_evenly_and_repeats_their_border() -> None:
    kind = ImageKind(jitter=0.1)
    pictures = torch.rand(600, 3, 20, 30, generator=torch.Generator().manual_seed(1))
    seen = kind.corrupt(pictures, uniform)
    # Two pixels of twenty, three of thirty: shifted by y and x, row i shows row i + y, or the border beyond it.
    counts: dict[tuple[int, int], int] = {}
    for picture, shown in zip(pictures, seen, strict=True):
        found = [
            (y, x)
            for y in range(-3, 4)
            for x in range(-4, 5)
            if torch.equal(
                shown, picture[:, (torch.arange(20) + y).clamp(0, 19)][:, :, (torch.arange(30) + x).clamp(0, 29)]
            )
        ]
        (shift,) = found
        counts[shift] = counts.get(shift, 0) + 1
    assert {y for y, _ in counts} == set(range(-2, 3)) and {x for _, x in counts} == set(range(-3, 4))
    # Evenly: the middle and every inner shift alike, the outermost half as often, by rounding.
    for axis, reach in ((0, 2), (1, 3)):
        share = [sum(n for shift, n in counts.items() if shift[axis] == s) / 600 for s in range(-reach, reach + 1)]
        expected = [0.5 if abs(s) == reach else 1.0 for s in range(-reach, reach + 1)]
        assert_close(share, [e / sum(expected) for e in expected], atol=4 * (0.25 / 600) ** 0.5, rtol=0)


def test_pictures_too_small_to_shift_and_those_without_jitter_are_seen_as_they_are() -> None:
    small, large = torch.rand(600, 1, 8, 8), torch.rand(600, 1, 40, 40)
    assert ImageKind().corrupt(small, uniform) is small
    assert ImageKind(jitter=0).corrupt(large, uniform) is large
    assert not torch.equal(ImageKind().corrupt(large, uniform), large)


def test_a_folder_is_no_picture_and_fitting_needs_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Not one picture could be read\. The last of 1 tried: not a regular file"):
        ImageKind().fit([tmp_path])
    with pytest.raises(ValueError, match=r"Not one picture could be read\..*no cell was given"):
        ImageKind().fit([])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "rgb"}, "mode='rgb' is unknown. Expected one of None, 'L', 'RGB', 'RGBA'. Did you mean 'RGB'"),
        ({"framing": "padd"}, "Did you mean 'pad'"),
        ({"distribution": "gauss"}, "distribution='gauss' is unknown"),
        ({"size": (0, 3)}, r"size=\(0, 3\) is no size"),
        ({"size": "big"}, "size='big' is no size"),
        ({"scale": -1.0}, "scale=-1.0 is unknown"),
        ({"jitter": 1.5}, r"jitter=1.5 is no share of a side. Expected 0 to below 1\."),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageKind(**settings)


@pytest.mark.parametrize("settings", [{}, {"size": (12, 9), "mode": "RGB", "distribution": "laplace", "scale": 0.1}])
def test_a_saved_kind_reads_and_shows_the_same(settings: dict[str, Any]) -> None:
    cells = [noise(20, 30, 3, seed=s) for s in range(3)]
    kind = ImageKind(**settings).fit(cells)
    again = Kind.from_config(json.loads(json.dumps(kind.to_config())))
    assert isinstance(again, ImageKind) and again.to_config() == json.loads(json.dumps(kind.to_config()))
    assert np.array_equal(stored_as_read(again, cells[0]), stored_as_read(kind, cells[0]))
    assert again.describe() == kind.describe()
    assert_close(again.likelihood().state_dict(), kind.likelihood().state_dict())


def test_a_description_names_size_mode_and_likelihood() -> None:
    assert ImageKind().fit([noise(28, 20)]).describe() == "20x28 grey, normal, scale learned"
    assert ImageKind(distribution="bernoulli").fit([noise(28, 20, 3)]).describe() == "20x28 colour, bernoulli"


def test_html_holds_the_whole_picture_and_files_open(tmp_path: Path) -> None:
    pixels = noise(7, 5, 3)
    kind = ImageKind().fit([pixels])
    cell = kind.decode(kind.encode(pixels) / 255)
    html = kind.html(cell)
    encoded = re.search(r'^<img src="data:image/png;base64,([^"]+)" width="5" height="7" [^<>]*>$', html)
    assert encoded is not None
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded[1])))), pixels)
    assert kind.write(cell, tmp_path / "item.1") == "item.1.png"
    assert np.array_equal(np.asarray(Image.open(tmp_path / "item.1.png")), pixels)


def test_values_beyond_black_and_white_are_held_at_them() -> None:
    kind = ImageKind().fit([noise(2, 2)])
    assert np.asarray(kind.decode(np.array([[[-0.5, 0.0], [1.0, 3.0]]]))).tolist() == [[0, 0], [255, 255]]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_networks_take_every_size_and_rows_do_not_depend_on_each_other(size: tuple[int, int], channels: int) -> None:
    torch.manual_seed(0)
    shape = (channels, *size)
    encoder, decoder = ConvEncoder(shape, 24), ConvDecoder(6, shape)
    pictures, z = torch.rand(3, *shape), torch.randn(3, 6)
    for network, given, event in ((encoder, pictures, (24,)), (decoder, z, shape)):
        all_rows = network(given)
        assert all_rows.shape == (3, *event)
        for i in range(3):
            assert_close(network(given[i : i + 1])[0], all_rows[i], atol=1e-5, rtol=0)
        assert network(given[:0]).shape == (0, *event)
        assert network.double()(given.double()).dtype == torch.float64


def test_a_step_without_a_single_row_has_gradients() -> None:
    encoder, decoder = ConvEncoder((1, 8, 8), 4), ConvDecoder(4, (1, 8, 8))
    decoder(encoder(torch.zeros(0, 1, 8, 8))).sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in (*encoder.parameters(), *decoder.parameters()))


def test_our_pixel_shuffle_is_that_of_torch_also_without_rows() -> None:
    grid = torch.randn(2, 12, 3, 5)
    for given in (grid, grid.contiguous(memory_format=torch.channels_last)):
        assert torch.equal(pixel_shuffle(given, 2), torch.nn.functional.pixel_shuffle(given, 2))
    assert pixel_shuffle(grid[:0], 2).shape == (0, 3, 6, 10)


@pytest.mark.parametrize("size", [*SIZES, (65, 65), (224, 160), (1000, 30)])
def test_a_pyramid_covers_the_picture_and_ends_in_a_small_grid(size: tuple[int, int]) -> None:
    pyramid = Pyramid.of(*size)
    for side, first, last in zip(size, pyramid.grids[0], pyramid.grids[-1], strict=True):
        assert 0 <= first * pyramid.patch - side < pyramid.patch and first <= 16 and 1 <= last <= 4


def test_every_weight_takes_part() -> None:
    kind = ImageKind().fit([noise(28, 20, 3)])
    encoder, decoder = kind.encoder(16), kind.decoder(16)
    values = kind.normalise(kind.collate([kind.encode(noise(28, 20, 3, seed=s)) for s in range(4)]))
    likelihood = kind.likelihood()
    (-likelihood(decoder(encoder(values))).log_prob(values)).sum().backward()
    for module in (encoder, decoder, likelihood):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


@pytest.mark.parametrize("distribution", ["normal", "laplace", "bernoulli"])
def test_an_autoencoder_learns_a_handful_of_pictures(distribution: str) -> None:
    torch.manual_seed(0)
    cells = [np.zeros((8, 8), np.uint8) for _ in range(8)]
    for i, picture in enumerate(cells):
        picture[i, :] = 255
        picture[:, i // 2] = 255
    kind = ImageKind(distribution=distribution).fit(cells)
    values = kind.normalise(kind.collate([kind.encode(cell) for cell in cells]))
    assert isinstance(values, torch.Tensor)
    encoder, code, decoder, head = kind.encoder(32), torch.nn.Linear(32, 8), kind.decoder(8), kind.likelihood()
    modules = torch.nn.ModuleList([encoder, code, decoder, head])
    optimiser = torch.optim.Adam(modules.parameters(), 2e-3)
    for _ in range(200):
        loss = -head(decoder(code(encoder(values)))).log_prob(values).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    error = (head(decoder(code(encoder(values)))).mean - values).square().mean()
    assert error < 0.15 * values.var(dim=0).mean()


def start_of_scale(kind: ImageKind) -> float:
    head = kind.likelihood()
    assert isinstance(head, NormalHead)
    return head.log_scale().exp().item()


def test_a_learned_scale_starts_at_the_spread_of_the_pixels_and_ends_at_their_rounding() -> None:
    cells = [noise(8, 8, seed=s) for s in range(5)]
    kind = ImageKind().fit(cells)
    assert start_of_scale(kind) == pytest.approx(np.std(np.stack(cells) / 255), rel=1e-4)
    head = kind.likelihood()
    assert isinstance(head, NormalHead) and isinstance(head.log_scale, LearnedScale)
    with torch.no_grad():
        head.log_scale.raw.fill_(-100.0)
    assert head.log_scale().exp().item() == pytest.approx(1 / 255 / 12**0.5, rel=1e-4)
    assert start_of_scale(ImageKind(scale=0.5).fit(cells)) == pytest.approx(0.5)
    # A training set without any variation has no spread to start from.
    assert start_of_scale(ImageKind().fit([np.zeros((4, 4), np.uint8)])) > 0
