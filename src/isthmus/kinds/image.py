"""Pictures: files, bytes, arrays and PIL images of any mode and size, as `uint8 (C, H, W)`.

Shapes: `C` is 1 (grey), 3 (RGB) or 4 (RGB and opacity), `H W` pixels.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Self

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor, nn

from isthmus.batch import Masked, Values
from isthmus.kinds.base import CellError, Kind, read_bytes, register_kind
from isthmus.likelihoods import BernoulliHead, LaplaceHead, LikelihoodHead, NormalHead
from isthmus.networks.convolutional import ConvDecoder, ConvEncoder
from isthmus.networks.tokens import PatchTokens
from isthmus.suggest import nearest

# Formats that only decode. Pillow also knows EPS and others that start a program to draw what a file says.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO", "JPEG2000", "AVIF")
CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
WORDS = {"L": "grey", "RGB": "colour", "RGBA": "colour with transparency"}
LONGEST_SIDE = 64
# Size, mode and scale are learnt from this many training pictures, evenly spaced: looking at more would change nothing.
NUM_LOOKED_AT = 1000
NUM_FOR_SCALE = 200
# Grey pictures saved as colour JPEG come back with channels that differ by rounding.
GREY_TOLERANCE = 3
# A margin is what differs from its corners by no more than this share of the picture's range: soft edges of a drawing
# and the noise of a JPEG.
MARGIN_TOLERANCE = 1 / 16
# An even spread of rounding errors over one step of 1/255 has this standard deviation: uint8 knows no pixel better, and
# a Normal narrower than it would gain likelihood from the rounding alone.
QUANTISATION = 1 / 255 / 12**0.5


@register_kind
class ImageKind(Kind):
    """Pictures of one size and mode.

    What is learnt where it is not said:

    - *Mode*: with opacity if any picture looked at is transparent somewhere; else grey if all are grey in content; else
      RGB. Where the mode has no opacity, transparent pictures are laid on white.
    - *Size*: the common size if all agree; else the median of the long sides at the median aspect ratio, square if that
      is between 4:5 and 5:4. A long side above 64 pixels is scaled down to 64.
    - *Bits*: deep pictures (16-bit files, integer arrays wider than a byte) are scaled by the bits that training
      pictures use, 8 to 16, or 1 for arrays of 0 and 1.

    Pictures are turned as their EXIF orientation says; of an animation, the first frame counts.

    Args:
        size: `(height, width)`, or one number for a square; None learns it.
        mode: `"L"`, `"RGB"`, `"RGBA"`; None learns it.
        framing: What happens to another aspect ratio. `"pad"` shows the whole picture and goes on with the median
            colour of its border; `"crop"` fills the frame from the centre; `"stretch"` distorts.
        distribution: Of a pixel: `"normal"`, `"laplace"` or `"bernoulli"`.
        scale: `"learned"`, or a number: the fixed scale of a normal or laplace pixel, where 1 is black to white.
        trim: Zoom in on what a picture shows: margins that are transparent, or all of the colour of its four corners,
            are cut away, the same share of height and width. Two styles of drawing then have one scale; leave it where
            size or place in the frame tell something.
        max_pixels: Larger pictures are refused by their header, before they are decoded.
        jitter: In training, encoders see each picture shifted by up to this share of its sides, and reconstruct it
            where it was: a picture a few pixels off is the same picture. 0 where the place itself is what matters.

    Raises:
        ValueError: A setting has an unknown or impossible value.
    """

    name = "image"
    setting_names = ("size", "mode", "framing", "distribution", "scale", "trim", "max_pixels", "jitter")
    state_names = ("size_", "mode_", "bits_", "spread_")

    size_: list[int]
    mode_: str
    bits_: int
    spread_: float

    def __init__(
        self,
        *,
        size: int | Sequence[int] | None = None,
        mode: str | None = None,
        framing: str = "pad",
        distribution: str = "normal",
        scale: str | float = "learned",
        trim: bool = False,
        max_pixels: int = 64_000_000,
        jitter: float = 0.05,
    ):
        _one_of("mode", mode, (None, *CHANNELS))
        _one_of("framing", framing, ("pad", "crop", "stretch"))
        _one_of("distribution", distribution, ("normal", "laplace", "bernoulli"))
        if size is not None and not _is_size(size):
            raise ValueError(f"Image setting size={size!r} is no size. Expected (height, width), or one whole number.")
        if scale != "learned" and not (isinstance(scale, int | float) and scale > 0):
            raise ValueError(f'Image setting scale={scale!r} is unknown. Expected "learned" or a positive number.')
        if not isinstance(trim, bool):
            raise ValueError(f"Image setting trim={trim!r} is unknown. Expected true or false.")
        if not 0 <= jitter < 1:
            raise ValueError(f"Image setting jitter={jitter!r} is no share of a side. Expected 0 to below 1.")
        self.size = size
        self.mode = mode
        self.framing = framing
        self.distribution = distribution
        self.scale = scale
        self.trim = trim
        self.max_pixels = max_pixels
        self.jitter = jitter

    def fit(self, cells: Sequence[Any]) -> Self:
        looked_at = cells[:: -(-len(cells) // NUM_LOOKED_AT) or 1]
        readable, sizes, grey, opaque, deepest, reason = [], [], True, True, 0, "no cell was given"
        for cell in looked_at:
            try:
                pixels, size = self._load(cell)
            except CellError as error:
                reason = str(error)
                continue
            readable.append(cell)
            sizes.append(size)
            colours = pixels[:, :, :3]
            grey = grey and bool((colours.max(axis=2) - colours.min(axis=2)).max() <= GREY_TOLERANCE)
            opaque = opaque and (pixels.shape[2] < 4 or _is_opaque(pixels[:, :, 3]))
            if pixels.dtype != np.uint8:
                deepest = max(deepest, int(pixels.max()))
        if not sizes:
            raise ValueError(f"Not one picture could be read. The last of {len(looked_at)} tried: {reason}.")
        self.mode_ = self.mode or ("RGBA" if not opaque else "L" if grey else "RGB")
        self.size_ = _target_size(sizes) if self.size is None else _sides(self.size)
        self.bits_ = 1 if deepest == 1 else max(8, deepest.bit_length()) if deepest else 16
        self.spread_ = float(
            np.std([self.encode(cell) for cell in readable[:: -(-len(readable) // NUM_FOR_SCALE)]]) / 255
        )
        return self

    def encode(self, cell: Any) -> np.ndarray:
        pixels, _ = self._load(cell)
        picture = Image.fromarray(
            self._shallow(pixels).squeeze(axis=2) if pixels.shape[2] == 1 else self._shallow(pixels)
        )
        array = np.asarray(self._in_mode(self._framed(picture)))
        return np.ascontiguousarray(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))

    def normalise(self, values: Values) -> Values:
        assert not isinstance(values, Masked)
        pixels = values if values.is_floating_point() else values / 255
        return pixels.contiguous(memory_format=torch.channels_last)  # as convolutions want them

    def corrupt(self, values: Values, uniform: Callable[..., Tensor]) -> Values:
        """Shift each picture by whole pixels, evenly up to `jitter` of a side; what moves in repeats the border."""
        assert isinstance(values, Tensor)
        height, width = values.shape[-2:]
        if self.jitter * max(height, width) < 0.5:
            return values
        shift = (2 * uniform(2) - 1) * self.jitter
        rows, columns = (
            (torch.arange(side, device=values.device) + (shift[:, axis, None] * side).round().long()).clamp(0, side - 1)
            for axis, side in enumerate((height, width))
        )
        item = torch.arange(len(values), device=values.device)[:, None, None]
        return values.movedim(1, -1)[item, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)

    def decode(self, array: np.ndarray) -> Image.Image:
        pixels = np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
        return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(C, H, W)` of a stored picture."""
        return CHANNELS[self.mode_], self.size_[0], self.size_[1]

    @property
    def num_dimensions(self) -> int:
        return int(np.prod(self.shape))

    def encoder(self, width: int = 256) -> nn.Module:
        return ConvEncoder(self.shape, width)

    def tokens(self, width: int) -> nn.Module:
        return PatchTokens(self.shape, width)

    def decoder(self, width: int) -> nn.Module:
        network = ConvDecoder(width, self.shape)
        if self.distribution == "bernoulli":
            return network
        # Pixels end at black and white. Held there, means are off by 0.084 on MNIST, else by 0.100 (root mean square).
        return nn.Sequential(network, nn.Sigmoid())

    def likelihood(self) -> LikelihoodHead:
        if self.distribution == "bernoulli":
            return BernoulliHead()
        head = LaplaceHead if self.distribution == "laplace" else NormalHead
        # The spread of training pixels: right for a decoder that knows nothing yet.
        return head(self.scale, initial=max(self.spread_, 2 * QUANTISATION), floor=QUANTISATION)

    def describe(self) -> str:
        height, width = self.size_
        scale = "" if self.distribution == "bernoulli" else f", scale {self.scale}"
        return f"{width}x{height} {WORDS[self.mode_]}, {self.distribution}{scale}"

    def html(self, cell: Image.Image) -> str:
        encoded = base64.b64encode(_png(cell)).decode()
        return (
            f'<img src="data:image/png;base64,{encoded}" width="{cell.width}" height="{cell.height}" '
            f'alt="picture of {cell.width}x{cell.height} pixels" style="image-rendering:pixelated">'
        )

    def write(self, cell: Image.Image, stem: Path) -> str:
        path = stem.with_name(f"{stem.name}.png")
        path.write_bytes(_png(cell))
        return path.name

    def _load(self, cell: Any) -> tuple[np.ndarray, tuple[int, int]]:
        """Pixels `(H, W, C)`, uint8, or uint16 where a deep picture is still to be scaled; and the size in full.

        A JPEG is decoded at a fraction of its size where that is enough, and margins may be trimmed, so the pixels may
        be fewer than the size says.
        """
        pixels, size = self._read(cell)
        return (_trimmed(pixels) if self.trim else pixels), size

    def _read(self, cell: Any) -> tuple[np.ndarray, tuple[int, int]]:
        """As `_load`, with its margins."""
        if not isinstance(cell, Image.Image) and (isinstance(cell, list | tuple) or hasattr(cell, "__array__")):
            pixels = _from_array(cell)
            self._check_size(pixels.shape[1], pixels.shape[0])
            return pixels, pixels.shape[:2]
        data = cell if isinstance(cell, Image.Image) else read_bytes(cell)
        try:
            return self._decoded(data)
        except (CellError, MemoryError):
            raise
        except UnidentifiedImageError:
            raise CellError("not a picture, or of a format that cannot be read") from None
        except Image.DecompressionBombError:
            raise CellError(f"picture is larger than the limit of {self.max_pixels} pixels") from None
        except Exception as error:  # Damaged files make Pillow's readers raise almost anything.
            raise CellError(f"picture cannot be decoded: {error}") from None

    def _decoded(self, data: Image.Image | bytes) -> tuple[np.ndarray, tuple[int, int]]:
        picture = data if isinstance(data, Image.Image) else _header(data)
        size = picture.size
        self._check_size(*size)
        if not isinstance(data, Image.Image):
            side = 2 * max(getattr(self, "size_", (LONGEST_SIDE,)))
            picture.draft(None, (side, side))
        upright = ImageOps.exif_transpose(picture)
        turned = upright.size != picture.size
        return _from_picture(upright), size if turned else (size[1], size[0])

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self.max_pixels:
            raise CellError(f"picture of {width}x{height} pixels is larger than the limit of {self.max_pixels} pixels")
        if width * height == 0:
            raise CellError(f"picture of {width}x{height} pixels is empty")

    def _shallow(self, pixels: np.ndarray) -> np.ndarray:
        if pixels.dtype == np.uint8:
            return pixels
        white = 2**self.bits_ - 1
        return np.rint(np.minimum(pixels, white) * (255 / white)).astype(np.uint8)

    def _framed(self, picture: Image.Image) -> Image.Image:
        height, width = self.size_
        if picture.size == (width, height):
            return picture
        # A difference below 3% is left over from rounding to whole pixels: not worth a border.
        same_aspect = abs(picture.width * height / (picture.height * width) - 1) < 0.03
        if self.framing == "stretch" or same_aspect:
            return _resized(picture, width, height)
        if self.framing == "crop":
            return ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC)
        ratio = min(width / picture.width, height / picture.height)
        inner = _resized(picture, max(1, round(picture.width * ratio)), max(1, round(picture.height * ratio)))
        frame = Image.new(picture.mode, (width, height), _border_colour(inner))
        frame.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
        return frame

    def _in_mode(self, picture: Image.Image) -> Image.Image:
        if picture.mode != "RGBA":
            return picture.convert(self.mode_)
        if self.mode_ != "RGBA":
            return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert(self.mode_)
        # Colours that nobody can see are whatever a program left there; white ones need no learning.
        pixels = np.array(picture)
        pixels[pixels[:, :, 3] == 0, :3] = 255
        return Image.fromarray(pixels)


def _header(data: bytes) -> Image.Image:
    with warnings.catch_warnings():
        # Pillow warns of what `max_pixels` decides.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(data), formats=FORMATS)


def _from_picture(picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith("I") or picture.mode == "F":
        # Never by `convert("L")`, which clips at 255: nearly all of a 16-bit picture would be white.
        return _from_array(np.asarray(picture))
    if picture.has_transparency_data:
        mode = "RGBA"
    else:
        mode = "L" if picture.mode in ("1", "L") else "RGB"
    array = np.asarray(picture if picture.mode == mode else picture.convert(mode))
    return array[:, :, None] if array.ndim == 2 else array


def _from_array(cell: Any) -> np.ndarray:
    """`(H, W)`, `(H, W, C)` or `(C, H, W)` of any number type as `(H, W, C)`, uint8 or uint16."""
    try:
        array = np.asarray(cell)
    except ValueError:
        raise CellError("rows of the picture differ in length") from None
    if array.ndim == 2:
        array = array[:, :, None]
    elif array.ndim == 3 and array.shape[2] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise CellError(f"array of shape {array.shape} is no picture; expected (H, W) or (H, W, C) with C = 1, 3 or 4")
    if array.dtype == np.uint8 or array.size == 0:
        return array.astype(np.uint8, copy=False)
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if array.dtype.kind not in "iuf":
        raise CellError(f"array of {array.dtype} is no picture; expected whole numbers, or floats from 0 to 1")
    lowest, highest = array.min(), array.max()
    whole = array.dtype.kind in "iu"
    # Written so that NaN fails, too.
    if not (lowest >= 0 and highest <= 65535 if whole else lowest >= -1e-3 and highest <= 1 + 1e-3):
        expected = "whole numbers from 0 to 65535" if whole else "floats from 0 to 1"
        raise CellError(f"pixels run from {lowest:g} to {highest:g}; expected {expected}")
    return array.astype(np.uint16) if whole else np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)


def _trimmed(pixels: np.ndarray) -> np.ndarray:
    """What a picture `(H, W, C)` shows, centred, as near as its aspect ratio allows; all of it where nothing shows."""
    height, width, channels = pixels.shape
    tolerance = MARGIN_TOLERANCE * (int(pixels.max()) - int(pixels.min()))
    if channels == 4 and not _is_opaque(pixels[:, :, 3]):
        margin = np.zeros(4, pixels.dtype)
        shows = pixels[:, :, 3] > tolerance
    else:
        corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int)
        margin = np.median(corners, axis=0).astype(pixels.dtype)
        if abs(corners - margin).max() > tolerance:
            return pixels
        shows = (abs(pixels.astype(int) - margin) > tolerance).any(axis=2)
    rows, columns = np.flatnonzero(shows.any(axis=1)), np.flatnonzero(shows.any(axis=0))
    if not len(rows):
        return pixels
    seen = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    nearness = max(seen.shape[0] / height, seen.shape[1] / width)
    framed = np.empty((round(height * nearness), round(width * nearness), channels), pixels.dtype)
    framed[:] = margin
    top, left = (framed.shape[0] - seen.shape[0]) // 2, (framed.shape[1] - seen.shape[1]) // 2
    framed[top : top + seen.shape[0], left : left + seen.shape[1]] = seen
    return framed


def _target_size(sizes: list[tuple[int, int]]) -> list[int]:
    if len(set(sizes)) == 1:
        height, width = sizes[0]
        ratio = min(1.0, LONGEST_SIDE / max(height, width))
        return [max(1, round(height * ratio)), max(1, round(width * ratio))]
    side = min(LONGEST_SIDE, round(median(max(size) for size in sizes)))
    aspect = median(width / height for height, width in sizes)
    if 0.8 <= aspect <= 1.25:
        return [side, side]
    return [side, max(1, round(side * aspect))] if aspect < 1 else [max(1, round(side / aspect)), side]


def _resized(picture: Image.Image, width: int, height: int) -> Image.Image:
    return picture.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)


def _border_colour(picture: Image.Image) -> int | tuple[int, ...]:
    array = np.atleast_3d(np.asarray(picture))
    border = np.concatenate([array[0], array[-1], array[:, 0], array[:, -1]])
    colour = tuple(int(value) for value in np.median(border, axis=0))
    return colour if len(colour) > 1 else colour[0]


def _is_opaque(opacity: np.ndarray) -> bool:
    # How many bits a deep picture uses is not known yet, so there the largest value stands for opaque.
    return bool(opacity.min() == (255 if opacity.dtype == np.uint8 else opacity.max()))


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _sides(size: int | Sequence[int]) -> list[int]:
    return [size, size] if isinstance(size, int) else list(size)


def _is_size(size: Any) -> bool:
    if not isinstance(size, int | list | tuple):
        return False
    sides = _sides(size)
    return len(sides) == 2 and all(isinstance(side, int) and side >= 1 for side in sides)


def _one_of(setting: str, value: str | None, choices: tuple[str | None, ...]) -> None:
    if value not in choices:
        names = ", ".join(repr(choice) for choice in choices)
        raise ValueError(
            f"Image setting {setting}={value!r} is unknown. Expected one of {names}.{nearest(value, choices)}"
        )
