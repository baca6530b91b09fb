"""`.npz` files of strangers: what they hold is told by their headers, so that nothing is unpacked to be refused."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from lzma import LZMAError
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

import numpy as np

from ganbench.errors import UserError
from ganbench.toolbox.trees import BOUNDED

R = TypeVar("R")

_BOMB, _RATIO = 2**28, 250  # bytes from which an array may not be so many times its packed size


class Member(NamedTuple):
    """An array that is not read yet."""

    dtype: np.dtype
    shape: tuple[int, ...]


def npz_members(path: Path) -> dict[str, Member]:
    """Return the arrays of a file by name, from their headers alone.

    Raises `UserError` where it is no whole `.npz` file of plain arrays, or one that unpacks to what no images do.
    """

    def read(archive: zipfile.ZipFile) -> dict[str, Member]:
        members = {}
        for info in archive.infolist():
            if info.filename.endswith(".npy"):
                if info.compress_type not in BOUNDED:
                    raise ValueError(f"{info.filename} is packed in a way that numpy does not write")
                with archive.open(info) as member:
                    found = _header(member)
                    packed = info.file_size - member.tell()
                size = found.dtype.itemsize * math.prod(found.shape)
                if size != packed:
                    raise ValueError(f"{info.filename} holds {packed:,} bytes of the {size:,} that its header tells")
                if size > max(_BOMB, _RATIO * info.compress_size):
                    raise ValueError(f"{info.filename} unpacks from {info.compress_size:,} to {size:,} bytes")
                members[info.filename.removesuffix(".npy")] = found
        return members

    return _in_archive(path, read)


def read_npz(path: Path, names: Iterable[str]) -> Mapping[str, np.ndarray]:
    """Read arrays of a file that `npz_members` has looked at. Raises `UserError` where they are damaged."""

    def read(archive: zipfile.ZipFile) -> Mapping[str, np.ndarray]:
        arrays = {}
        for name in names:
            with archive.open(f"{name}.npy") as member:
                arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
                if member.read(1):
                    raise ValueError(f"{name} goes on after its end")
        return arrays

    return _in_archive(path, read)


def _header(file: IO[bytes]) -> Member:
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"an array is of version {version}")
    shape, _, dtype = readers[version](file)
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded")
    return Member(dtype, shape)


def _in_archive(path: Path, read: Callable[[zipfile.ZipFile], R]) -> R:
    try:
        with path.open("rb") as file:
            if file.read(6) == b"\x93NUMPY":
                raise UserError(f"{path} is a single array: write np.savez(path, images=array)")
            file.seek(0)
            with zipfile.ZipFile(file) as archive:
                return read(archive)
    except (
        *(OSError, EOFError, ValueError, RuntimeError, KeyError, OverflowError, MemoryError),
        *(struct.error, zipfile.BadZipFile, zlib.error, LZMAError),
    ) as error:
        raise UserError(f"{path} is not a whole .npz file of plain arrays: {error}") from None
