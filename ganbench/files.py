"""Files: atomic writes, checksums, and the folders where ganbench keeps what it can make again."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from ganbench.errors import DiskError, UserError

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed anyway
    fcntl = None  # type: ignore[assignment]


def write_atomically(path: Path, write: Callable[[IO[bytes]], object], *, lasting: bool = True) -> None:
    """Call `write` on a temporary file beside `path` and rename it into place; whoever reads sees old or new, whole.

    What killed writers left beside it is swept. `lasting`: it also outlasts a loss of power, for which the disk is
    waited for. Raises `DiskError` where the disk refuses (full, read-only, a file where a folder should be).
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        temporary, file = _open_beside(path)
        with file:
            write(file)
            file.flush()
            if lasting:
                os.fsync(file.fileno())
            if fcntl is not None:  # renamed while it is locked, so nobody sweeps it in between
                temporary.replace(path)
        if fcntl is None:
            temporary.replace(path)
    except OSError as error:
        raise DiskError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _open_beside(path: Path) -> tuple[Path, BinaryIO]:
    """Make a new file beside `path`, with the permissions that the umask gives, and keep sweepers away from it."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        file = os.fdopen(
            os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666), "wb"
        )
        if fcntl is None:
            return temporary, file
        with suppress(OSError):  # a file system without locks keeps nobody away, and sweeps nothing
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return temporary, file
        file.close()  # swept before it was locked


def _sweep(folder: Path) -> None:
    """Remove the temporary files that killed writers left in a folder: those that nobody holds a lock on."""
    if fcntl is None:
        return
    with suppress(OSError), os.scandir(folder) as entries:
        left = [entry.path for entry in entries if entry.name.startswith(".") and entry.name.endswith(".part")]
        for name in left:
            with suppress(OSError), _opened(name) as descriptor:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                Path(name).unlink()


def is_held(path: Path) -> bool:
    """Return whether somebody is writing a temporary file, whatever its times say; False where that cannot be told."""
    if fcntl is None:
        return False
    try:
        with _opened(str(path)) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def _opened(name: str) -> Iterator[int]:
    descriptor = os.open(name, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expanded(path: str | Path) -> Path:
    """Return a path with its `~` or `~user` in full. Raises `UserError` where no such home is known."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path}: the home folder that ~ stands for is not known; write the path in full") from None


def cache_folder() -> Path:
    """Return where prepared data, features and trained classifiers are kept: `GANBENCH_CACHE` or the user's cache.

    Raises `UserError` where there is no home to keep a cache in.
    """
    import platformdirs

    if named := os.environ.get("GANBENCH_CACHE"):
        try:
            return expanded(named).absolute()
        except (UserError, OSError) as error:
            raise UserError(f"GANBENCH_CACHE={named}: {error}") from None
    try:
        folder = Path(platformdirs.user_cache_dir("ganbench"))
    except (RuntimeError, KeyError):  # neither HOME nor an entry of this user
        folder = Path("~")
    if not folder.is_absolute():  # an older platformdirs leaves the ~ as it is
        raise UserError("no home folder is known to keep a cache in: set GANBENCH_CACHE to a folder")
    return folder


def settle_cache() -> None:
    """Let the cache stay where `GANBENCH_CACHE` says, though a plugin should change the current folder."""
    if os.environ.get("GANBENCH_CACHE"):
        os.environ["GANBENCH_CACHE"] = str(cache_folder())


def locate(name: str, argument: str, root: Path) -> Path:
    """Find the path of the data set `NAME:argument`, as seen from the current directory, else from the data root.

    It is given back as it is written, links and all. Raises `UserError` that names both places where it is in neither.
    """
    try:
        asked = expanded(argument)
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
