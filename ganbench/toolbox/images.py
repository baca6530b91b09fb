"""Images: decoding files of them, and streaming many into one array on disk."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ganbench.errors import UserError

T = TypeVar("T")
R = TypeVar("R")

MOST_BYTES = 2**28
"""An encoded image has no more, so that an archive that lies about its members cannot fill the memory."""

_AHEAD = 512  # items that threads may be ahead of their reader, so that memory stays bounded
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000")  # none that starts another program
_LARGE = 2**24  # pixels; larger images are decoded one at a time, so that a few of them do not fill the memory
_ONE_LARGE = threading.Lock()
_GREY = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})


class Encoded(NamedTuple):
    """The bytes of an image file that lies in an archive, and the name that errors give it."""

    name: str
    content: bytes


def read_image(source: Path | Encoded | np.ndarray, channels: int, size: int = 0) -> np.ndarray:
    """Decode an image to uint8 `[H, W, channels]`, upright, its first frame; 1 channel is ITU-R 601 luma.

    `source`: a file, one from an archive, or uint8 `[H, W]` or `[H, W, 1 | 3 | 4]`. `size`: crop the central square and
    resample it to this side (Pillow's bicubic, antialiased); 0 leaves the image whole. Transparency is laid on white.
    16-bit grey becomes round(v / 257), as do the numbers of a 32-bit TIFF that fill 16 bits but not those that may fill
    8 alone; of 16-bit colour Pillow keeps the upper byte.
    Raises `UserError` that names the file where it cannot be read or is not a whole image.
    """
    if isinstance(source, np.ndarray):
        flat = source[..., 0] if source.ndim == 3 and source.shape[2] == 1 else source
        return _pixels(Image.fromarray(np.ascontiguousarray(flat)), channels, size)
    with _opened(source) as image, _ONE_LARGE if image.width * image.height > _LARGE else nullcontext():
        if image.format == "TIFF" and image.mode == "I":
            _require_sixteen_bits(np.asarray(image))
        return _pixels(ImageOps.exif_transpose(image), channels, size)


def image_header(source: Path | Encoded) -> tuple[int, int, int]:
    """Return width, height and channels (1 grey, 3 colour) without decoding; raises `UserError` as `read_image`."""
    with _opened(source) as image:
        palette = image.getpalette("RGB") if image.mode in ("P", "PA") else None
        grey = palette[::3] == palette[1::3] == palette[2::3] if palette else image.mode in _GREY
        return image.width, image.height, 1 if grey else 3


@contextmanager
def _opened(source: Path | Encoded) -> Iterator[Image.Image]:
    name = source.name if isinstance(source, Encoded) else source
    try:
        file: IO[bytes] = io.BytesIO(source.content) if isinstance(source, Encoded) else source.open("rb")
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror or error}") from None
    with file:
        try:
            with Image.open(file, formats=_FORMATS) as image:
                yield image
        except UnidentifiedImageError:
            raise UserError(f"{name} is not an image, whatever its name says: remove it") from None
        except Exception as error:  # damage makes Pillow's decoders raise almost anything
            reason = str(error) or type(error).__name__
            raise UserError(f"{name} cannot be decoded ({reason}): replace or remove it") from error


def _require_sixteen_bits(values: np.ndarray) -> None:
    # A 32-bit integer does not tell its range, and read as 16 bits an image of 8 would be black.
    if 0 < (most := int(values.max())) <= 255:
        raise ValueError(f"its pixels are 32-bit integers up to {most}, of unknown range: save it with 8 or 16 bits")


def _pixels(image: Image.Image, channels: int, size: int) -> np.ndarray:
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("its pixels do not fit into 16 bits")
        image = Image.fromarray(np.round(values / 257).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode != "L" or channels != 1:
        image = image.convert("RGB")
    if channels == 1:
        image = image.convert("L")
    if size:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.array(image).reshape(image.height, image.width, channels)


def undamaged(function: Callable[[T], R], owner: str, skip: bool) -> Callable[[T], R | None]:
    """Let a reader return None for what is damaged if `skip`, else say that `OWNER.skip_damaged` would do so."""

    def attempt(item: T) -> R | None:
        try:
            return function(item)
        except UserError as error:
            if skip:
                return None
            raise UserError(f"{error}, or leave such images out with --set {owner}.skip_damaged=true") from None

    return attempt


def write_split(
    folder: Path,
    split: str,
    items: Sequence[T],
    read: Callable[[T], np.ndarray | None],
    labels: np.ndarray | None = None,
) -> list[int]:
    """Stream a split into `SPLIT.npy`, as `write_images`, and its labels (one an item) into `SPLIT_labels.npy`.

    Raises `UserError` where no image is left.
    """
    written = write_images(folder / f"{split}.npy", items, read)
    if not written:
        raise UserError(f"no image of the {split} split can be decoded")
    if labels is not None:
        np.save(folder / f"{split}_labels.npy", labels[written])
    return written


def write_images(path: Path, items: Sequence[T], read: Callable[[T], np.ndarray | None]) -> list[int]:
    """Stream one image an item into a `.npy` file, uint8 `[N, C, H, W]`; return the numbers of the items written.

    `read` returns uint8 `[H, W, C]`, all of one shape, or None to leave an item out; it runs on threads, and the order
    is that of `items`. Written piece by piece, so that neither memory nor a full disk ends the process.
    """
    written: list[int] = []
    shape: tuple[int, ...] = ()
    with path.open("wb") as out:
        for number, image in enumerate(in_threads(read, items)):
            if image is None:
                continue
            row = np.ascontiguousarray(image.transpose(2, 0, 1))
            if not written:
                shape = row.shape
                _write_header(out, (len(items), *shape))
            if row.shape != shape or row.dtype != np.uint8:
                raise ValueError(f"image {number} is {row.dtype} {row.shape}, those before are uint8 {shape}")
            out.write(row.tobytes())
            written.append(number)
        out.seek(0)
        _write_header(out, (len(written), *shape))  # numpy pads a header, so that another count fits into its place
    return written


def _write_header(out: IO[bytes], shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": shape})


def in_threads(function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Yield `function(item)` for each item, computed on all cores, in the order of the items."""
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(items), _AHEAD):
            yield from pool.map(function, items[start : start + _AHEAD])
