"""Files: atomic writes, checksums, and the folders where ganbench keeps what it can make again."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from ganbench.errors import DiskError, UserError


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call `write` on a temporary file beside `path` and rename it into place; whoever reads sees old or new, whole.

    Raises `DiskError` where the disk refuses (full, read-only, a file where a folder should be).
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", suffix=".part", delete=False
        ) as file:
            temporary = Path(file.name)
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise DiskError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """Return where prepared data, features and trained classifiers are kept: `GANBENCH_CACHE` or the user's cache."""
    import platformdirs

    named = os.environ.get("GANBENCH_CACHE")
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_dir("ganbench"))


def locate(name: str, argument: str, root: Path) -> Path:
    """Find the path of the data set `NAME:argument`, as seen from the current directory, else from the data root.

    It is given back as it is written, links and all. Raises `UserError` that names both places where it is in neither.
    """
    try:
        asked = Path(argument).expanduser()
        places = list(dict.fromkeys((Path.cwd() / asked, root.absolute() / asked)))
        for place in places:
            with suppress(FileNotFoundError, NotADirectoryError):
                place.stat()
                return place
        link = next((place for place in places if place.is_symlink()), None)
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{name}:{argument} cannot be read: {reason}") from None
    if link is not None:
        raise UserError(f"{name}:{argument} is a link to {link.readlink()}, which is not there")
    raise UserError(f"{name}:{argument} is not there: looked for {' and '.join(map(str, places))}")


def parted(argument: str) -> list[str]:
    """Split the argument of a data set at its commas; one that is written `\\,` belongs to a path."""
    return [part.replace("\\,", ",") for part in re.split(r"(?<!\\),", argument)]


def path_name(argument: str) -> str:
    """Return what to call the data in a path: its last part as it is written; of `.` and `..` that of the folder."""
    name = Path(argument).name
    return printable(Path(os.path.realpath(argument)).name if name in ("", "..") else name)


def printable(path: str) -> str:
    """Return a path as text that every record can hold: bytes that are no UTF-8 stand as `\\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
