"""Where data come from: files with checksums, found or downloaded, and digests of what is on disk."""

from __future__ import annotations

import hashlib
import os
import stat
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.error import HTTPError

from ganbench.errors import DiskError, UserError
from ganbench.files import cache_folder, write_atomically
from ganbench.toolbox.images import in_threads

_TIMEOUT = 30  # seconds without a byte from a host
_SETTLED = 2_000_000_000  # nanoseconds; a file changed more recently could change again under the same time stamp
_BLOCK, _MOST_BLOCKS = 4096, 1024  # of a file that is hashed by samples: bytes in one, and how many


@dataclass(frozen=True)
class Download:
    """A file that a data set or an extractor needs.

    `path`: where it lies under the data root. `checksum`: `sha256:…` or `md5:…`. `size`: bytes. `urls`: where it is to
    be had, best first; none where its host wants a person. `also`: other forms of the same content (an unpacked file),
    used where they lie under the data root.
    """

    path: str
    checksum: str
    size: int
    urls: tuple[str, ...] = ()
    also: tuple[Download, ...] = ()


class _Unreachable(Exception):
    """A host did not give the right file."""


def fetch(root: Path, *files: Download, place: str = "the data root") -> list[Path]:
    """Find each file under the data root, else in the cache of downloads, else download it there; checked always.

    `place`: what `root` is called in an error, where it is another folder than the data root.
    Raises `UserError` that names a file under the root which is not the right one, or all those to be put there.
    """
    found = {file: _find(root, file) for file in files}
    missing = [file for file in files if found[file] is None]
    for done, file in enumerate(missing):
        try:
            found[file] = _download(file)
        except _Unreachable as error:
            names = ", ".join(other.path for other in missing[done:])
            raise UserError(f"put {names} into {place} {root}: not found there, and {error}") from None
    return [path for path in found.values() if path is not None]


def _find(root: Path, file: Download) -> Path | None:
    for form in (file, *file.also):
        path = root / form.path
        if os.path.lexists(path):
            if (fault := _fault(path, form)) is not None:
                raise UserError(f"{path} is not the right file: it {fault}; replace or remove it")
            return path
    path = cache_folder() / "downloads" / file.path
    with suppress(PermissionError):  # what may not be looked at is not there, and writing it says why
        return path if path.exists() and _fault(path, file) is None else None
    return None


def _fault(path: Path, file: Download) -> str | None:
    size = _stat(path).st_size
    if size != file.size:
        return f"has {size} bytes instead of {file.size}"
    algorithm, _, right = file.checksum.partition(":")
    if digest_of(path, algorithm) == right:
        return None
    found = _hash(path, algorithm)  # nobody is told to replace a file because of what was noted about it
    return None if found == right else f"has the {algorithm} {found} instead of {right}"


def _download(file: Download) -> Path:
    target, reasons = cache_folder() / "downloads" / file.path, []
    for url in file.urls:
        try:
            write_atomically(target, partial(_receive, url, file))
            return target
        except _Unreachable as error:
            reasons.append(f"{url} failed ({error})")
    raise _Unreachable("; ".join(reasons) or "it cannot be downloaded without a person")


def _receive(url: str, file: Download, out: IO[bytes]) -> None:
    algorithm, _, right = file.checksum.partition(":")
    found, count = hashlib.new(algorithm), 0
    for piece in _pieces(url):
        found.update(piece)
        count += len(piece)
        if count > file.size:
            break
        out.write(piece)
    if count != file.size or found.hexdigest() != right:
        raise _Unreachable(f"it sent a file of another content, {count} bytes, right are {file.size}")


def _pieces(url: str) -> Iterator[bytes]:
    """Yield what a host sends. Errors of the network are told apart from those of the disk that takes the pieces."""
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "ganbench"})
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            while piece := response.read(2**20):
                yield piece
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, HTTPError):
            error.close()
        raise _Unreachable(f"{getattr(error, 'reason', None) or error}") from None


def tree_digest(root: Path, names: Sequence[str], *, sampled: bool = False) -> str:
    """Return the SHA-256 over the relative names and contents of files, in the order given.

    `sampled`: of each file take the size and blocks of 4096 bytes, one a MiB but 2 to 1024, evenly spaced from its
    first byte to its last: for data too large to be read whole for this.
    An unchanged list of names, inodes, sizes and times gives the answer of last time without reading a byte.
    """
    stamp, changed = hashlib.sha256(os.fsencode(os.path.realpath(root)) + b"\0sampled" * sampled), 0
    hashed = _hash_samples if sampled else partial(_hash, algorithm="sha256")
    for name in names:
        found = _stat(f"{root}/{name}")
        stamp.update(os.fsencode(name) + _version(found))
        changed = max(changed, found.st_mtime_ns, found.st_ctime_ns)

    def compute() -> str:
        total = hashlib.sha256()
        for name, content in zip(names, in_threads(lambda name: hashed(root / name), names), strict=True):
            total.update(os.fsencode(name) + b"\0" + bytes.fromhex(content))
        return total.hexdigest()

    return _remembered(stamp.hexdigest(), changed, compute)


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    """Return a digest of a file's content, hexadecimal; of an unchanged file, the answer of last time."""
    found = _stat(path)
    stamp = hashlib.sha256(algorithm.encode() + os.fsencode(os.path.realpath(path)) + _version(found))
    changed = max(found.st_mtime_ns, found.st_ctime_ns)
    return _remembered(stamp.hexdigest(), changed, lambda: _hash(path, algorithm))


def _remembered(stamp: str, changed: int, compute: Callable[[], str]) -> str:
    note, settled = cache_folder() / "digests" / stamp, time.time_ns() - changed > _SETTLED
    with suppress(OSError, ValueError):
        value, _, check = note.read_text(encoding="ascii").partition(":")
        if check and check == _check(stamp, value):  # a note that was cut, edited or put elsewhere says nothing
            return value
    value = compute()
    if settled:
        with suppress(DiskError):  # a digest that cannot be noted is computed again
            write_atomically(note, lambda out: out.write(f"{value}:{_check(stamp, value)}".encode()))
    return value


def _check(stamp: str, value: str) -> str:
    return hashlib.sha256(f"{stamp} {value}".encode()).hexdigest()


def _stat(path: Path | str) -> os.stat_result:
    try:
        found = os.stat(path)  # noqa: PTH116 (a million strings, not a million paths)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path} is not a file")
    return found


def _version(found: os.stat_result) -> bytes:
    return f"\0{found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}\0".encode()


def _hash(path: Path, algorithm: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None


def _hash_samples(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            count, last = min(_MOST_BLOCKS, max(2, size >> 20)), max(0, size - _BLOCK)
            found = hashlib.sha256(str(size).encode())
            for block in range(count):
                file.seek(last * block // (count - 1))
                found.update(file.read(_BLOCK))
            return found.hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
