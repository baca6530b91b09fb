"""Archives of arrays that say whose they are and carry a checksum of what they hold; numpy reads them too."""

from __future__ import annotations

import errno
import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

Arrays = Mapping[str, np.ndarray]


class Unusable(ValueError):
    """What an archive holds cannot be used; the message goes on from its path."""


@dataclass(frozen=True)
class Archive:
    """What an archive holds. `owner`: whose it says it is, empty where it says nothing; `checksum`: of the arrays."""

    arrays: Arrays
    owner: str
    checksum: str


def checksum_of(arrays: Arrays) -> str:
    """Return the SHA-256 of arrays: their names, types, shapes and bytes."""
    sha = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        array = np.ascontiguousarray(array)
        sha.update(json.dumps([name, array.dtype.str, np.shape(arrays[name])]).encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def write_archive(file: IO[bytes], arrays: Arrays, owner: str, *, compress: bool = True) -> None:
    """Write arrays with a mark; equal arrays of one owner give equal bytes."""
    # As numpy.savez does, but an array may be called `file`.
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in sorted(arrays.items()):
            info = zipfile.ZipInfo(f"{name}.npy")
            info.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
        archive.comment = json.dumps({"owner": owner, "sha256": checksum_of(arrays)}).encode()


def read_archive(path: Path) -> Archive:
    """Read arrays and check them against their mark, where they have one: numpy's own archives have none.

    Raises `OSError` where the file cannot be read, and `Unusable` for what it holds.
    """
    try:
        if path.exists() and not path.is_file():
            raise Unusable("is not a regular file")
        with path.open("rb") as file:
            with zipfile.ZipFile(file) as archive:
                mark = json.loads(archive.comment) if archive.comment else {}
            file.seek(0)
            with np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        owner, kept = str(mark.get("owner", "")), mark.get("sha256")
    except (Unusable, FileNotFoundError):
        raise
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # a wrong place in the archive to look at is no fault of the disk
            raise
        raise Unusable(f"is damaged: {error}") from error
    except (
        ValueError, KeyError, TypeError, AttributeError, EOFError, MemoryError, NotImplementedError, RuntimeError,
        zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise Unusable(f"is damaged: {error}") from error
    checksum = checksum_of(arrays)
    if mark and checksum != kept:
        raise Unusable("is damaged or was edited: its checksum is not that of what it holds")
    return Archive(arrays, owner, checksum)
