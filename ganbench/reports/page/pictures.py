"""Pictures of a run for a page: read from the folder beside its record, checked, made small, written anew."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = {
    "nearest": "Nearest training images",
    "interpolation": "Interpolations",
    "arithmetic": "Latent arithmetic",
}
"""What a folder may hold beside the samples at each mark."""
LEFT_OUT, LONGEST_NOTE = "left-out.txt", 4_000
LARGEST_FILE, MOST_PIXELS = 30_000_000, 20_000_000
"""A picture beyond is not read."""
SIDE, SIDE_OF_STRIP = 512, 256
"""The longest side on the page, in pixels: of a picture, and of one in a strip over the marks."""
SMALL = 40_000
"""Up to so many pixels nothing is lost in writing."""
MOST_BYTES = 2_600_000
"""So much all pictures of a page take together; those that come last are left out."""


@dataclass(frozen=True)
class Picture:
    """`uri`: the picture as WebP in a data URI. `share`: of the budget in per cent, for samples."""

    uri: str
    width: int
    height: int
    share: int = 0


@dataclass
class Shown:
    """The pictures of one run: its samples at the end, at all marks, and the others by name; why some were not made."""

    last: Picture | None = None
    strip: list[Picture] = field(default_factory=list)
    others: dict[str, Picture] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


@dataclass
class Room:
    """What pictures a page still has room for, and what became of those that it does not show."""

    left: int = MOST_BYTES
    dropped: int = 0
    problems: list[str] = field(default_factory=list)

    def take(self, path: Path, side: int, share: int = 0) -> Picture | None:
        """Return a picture as the page shows it, None where there is no room or it is no usable picture."""
        if self.dropped:  # it is full
            self.dropped += 1
            return None
        try:
            encoded = _encoded(path, side)
        except Exception as error:  # whatever a damaged file makes the decoder say
            self.problems.append(f"{path.name} in {path.parent.name} is not shown: {_reason(error)}")
            return None
        text = base64.b64encode(encoded[0]).decode()
        if len(text) > self.left:
            self.dropped += 1
            return None
        self.left -= len(text)
        return Picture(f"data:image/webp;base64,{text}", *encoded[1], share)


def pictures_of(folders: list[Path], room: Room) -> list[Shown]:
    """Return what is shown of the folders of runs: first everybody's last samples, strips at the end."""
    shown = [Shown(left_out=_left_out(folder)) for folder in folders]
    marks = [list(_marks(folder)) for folder in folders]
    for each, of in zip(shown, marks, strict=True):
        each.last = room.take(of[-1][1], SIDE, of[-1][0]) if of else None
    for name in NAMES:
        for each, folder in zip(shown, folders, strict=True):
            path = folder / f"{name}.png"
            if path.is_file() and (picture := room.take(path, SIDE)):
                each.others[name] = picture
    for each, of in zip(shown, marks, strict=True):
        if len(of) > 1:
            taken = (room.take(path, SIDE_OF_STRIP, share) for share, path in of)
            each.strip = [picture for picture in taken if picture]
    return shown


def _marks(folder: Path) -> Iterator[tuple[int, Path]]:
    """Yield the samples of a folder with the share of the budget they were drawn at, the first first."""
    found = sorted(folder.glob("[0-9]*.png")) if folder.is_dir() else []
    for path in found:
        if path.is_file() and (share := re.fullmatch(r"(\d{3})\.png", path.name)):
            yield int(share[1]), path


def _left_out(folder: Path) -> list[str]:
    """Return what a run says of the pictures that it did not make, a line each."""
    try:
        with (folder / LEFT_OUT).open("rb") as file:
            lines = file.read(LONGEST_NOTE).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [line.strip()[:300] for line in lines if line.strip()]


def _encoded(path: Path, side: int) -> tuple[bytes, tuple[int, int]]:
    """Read a PNG and return it as WebP with its size, at most `side` pixels wide and high. Raises where it is none."""
    from PIL import Image

    if path.stat().st_size > LARGEST_FILE:
        raise ValueError("the file is too large")
    with Image.open(path, formats=["PNG"]) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError("it has too many pixels")
        picture: Any = image.convert("RGB")
    picture = _single(picture)
    if max(picture.size) > side:
        picture.thumbnail((side, side))
    file = io.BytesIO()
    lossless = picture.width * picture.height <= SMALL
    picture.save(file, "WEBP", lossless=lossless, quality=80, method=4)
    return file.getvalue(), picture.size


def _single(picture: Any) -> Any:
    """Return a picture whose every pixel was written as a square of several with one for each."""
    import numpy as np
    from PIL import Image

    pixels = np.asarray(picture)
    for factor in range(16, 1, -1):
        if pixels.shape[0] % factor == 0 and pixels.shape[1] % factor == 0:
            small = pixels[::factor, ::factor]
            if np.array_equal(small[0].repeat(factor, 0), pixels[0]) and np.array_equal(
                small.repeat(factor, 0).repeat(factor, 1), pixels
            ):
                return Image.fromarray(small)
    return picture


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
