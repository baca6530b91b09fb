"""Finding images: in folders of any depth and in archives, with what is left out."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ganbench.errors import UserError
from ganbench.toolbox.images import MOST_BYTES, Encoded

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".jp2"),
)
_SYSTEM = frozenset(  # folders and files that systems and programs put beside images, in lower case
    (
        *("@eadir", "__macosx", "#recycle", "@recycle", "$recycle.bin", "system volume information", "lost+found"),
        *("__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
    )
)
_PIECE = 2**16  # bytes that are asked of a packed member at once
BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Ways of packing in which a few bytes cannot unpack to millions of times as many, as in bzip2."""


class ImageTree(NamedTuple):
    """Names of images, sorted; all folders, relative and without the last slash; and how many files are left out.

    `others`: by suffix, in lower case.
    """

    names: list[str]
    folders: list[str]
    others: Counter[str]


class ImageFiles(NamedTuple):
    """Images in one place, by name in the order of the names, and how to get at one for `read_image`.

    `notes`: what was left out, for the user.
    """

    names: Sequence[str]
    find: Callable[[str], Path | Encoded]
    notes: tuple[str, ...] = ()


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, or put there by a system (`@eaDir`, `__MACOSX`, `Thumbs.db`)."""
    return name.startswith(".") or name.casefold() in _SYSTEM


def image_tree(folder: Path, prefix: str = "") -> ImageTree:
    """Find all images below a folder that are not hidden; follows links, but not back into a folder above.

    `prefix`: what names begin with. Raises `UserError` that names what cannot be read.
    """
    names, folders, others = list[str](), list[str](), Counter[str]()
    left: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(str(folder), prefix, frozenset())]
    while left:
        place, before, above = left.pop()
        try:
            found = os.stat(place)  # noqa: PTH116 (names of a million images, not a million paths)
            here = (found.st_dev, found.st_ino)
            entries = list(os.scandir(place)) if here not in above else []
        except OSError as error:
            raise _unreadable(place, error) from None
        if before != prefix and here not in above:
            folders.append(before[:-1])
        for entry in entries:
            if is_hidden(entry.name):
                continue
            try:
                is_folder = entry.is_dir()
            except OSError as error:
                raise _unreadable(entry.path, error) from None
            if is_folder:
                left.append((entry.path, f"{before}{entry.name}/", above | {here}))
            elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                names.append(before + entry.name)
            else:
                others[_suffix(entry.name) if entry.is_file() else "that are no files"] += 1
    return ImageTree(sorted(names), sorted(folders), others)


def is_there(path: Path) -> bool:
    """Return whether a file or folder is there. Raises `UserError` where that is forbidden, or links go in a circle."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unreadable(str(path), error) from None
    return True


def listed_folders(path: Path) -> list[Path]:
    """Return the folders in a folder that are not hidden, sorted. Raises `UserError` that names what cannot be read."""
    found = []
    try:
        entries = list(os.scandir(path))
    except OSError as error:
        raise _unreadable(str(path), error) from None
    for entry in entries:
        try:
            found += [path / entry.name] if entry.is_dir() and not is_hidden(entry.name) else []
        except OSError as error:
            raise _unreadable(entry.path, error) from None
    return sorted(found)


def _unreadable(path: str, error: OSError) -> UserError:
    link = f", a link to {os.readlink(path)}," if os.path.islink(path) else ""  # noqa: PTH114, PTH115
    return UserError(f"{path}{link} cannot be read: {error.strerror or error}")


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower() or "without a suffix"


def image_names(folder: Path, prefix: str = "") -> Iterator[str]:
    """Yield the relative names of all images below a folder, as `image_tree` finds them."""
    yield from image_tree(folder, prefix).names


def left_out(others: Mapping[str, int]) -> tuple[str, ...]:
    """Say which files are no images and are left out; nothing where there are none."""
    if not (total := sum(others.values())):
        return ()
    most = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    told = [f"{count:,} {suffix}" for suffix, count in most[:6]]
    told += [f"{sum(count for _, count in most[6:]):,} of other kinds"] if len(most) > 6 else []
    verb = "file is" if total == 1 else "files are"
    return (f"{total:,} {verb} left out: {', '.join(told)} (images are {', '.join(IMAGE_SUFFIXES)})",)


@contextmanager
def image_files(path: Path) -> Iterator[ImageFiles]:
    """Open a folder (any depth) or a zip archive of images, read without unpacking; hidden files are left out.

    Raises `UserError` where it is neither.
    """
    if path.is_dir():
        tree = image_tree(path)
        yield ImageFiles(tree.names, lambda name: path / name, left_out(tree.others))
        return
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, ValueError, struct.error, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is neither a folder nor a whole zip archive: {error}") from None
    with archive:
        members = [name for name in archive.namelist() if not name.endswith("/")]
        seen = [name for name in members if not any(map(is_hidden, name.split("/")))]
        names = [name for name in seen if name.lower().endswith(IMAGE_SUFFIXES)]
        others = Counter(_suffix(name) for name in seen if not name.lower().endswith(IMAGE_SUFFIXES))
        yield ImageFiles(sorted(names), lambda name: _unpacked(path, archive, name), left_out(others))


def _unpacked(path: Path, archive: zipfile.ZipFile, name: str) -> Encoded:
    """Read a member, piece by piece, because what it says of its size may be a lie."""
    content = bytearray()
    try:
        info = archive.getinfo(name)
        if info.file_size > MOST_BYTES:
            raise UserError(f"{path}/{name} unpacks to {info.file_size:,} bytes, which no image has: remove it")
        if info.compress_type not in BOUNDED:
            raise UserError(f"{path}/{name} is packed in a way that may fill the memory: pack the archive with deflate")
        with archive.open(name) as member:
            while piece := member.read(_PIECE):
                content += piece
                if len(content) > MOST_BYTES:
                    raise UserError(f"{path}/{name} unpacks to more than {MOST_BYTES:,} bytes: remove it")
    except (
        *(OSError, EOFError, RuntimeError, ValueError, KeyError),
        *(struct.error, zlib.error, LZMAError, zipfile.BadZipFile),
    ) as error:
        raise UserError(f"{path}/{name} cannot be unpacked ({error}): replace or remove it") from None
    return Encoded(f"{path}/{name}", bytes(content))
