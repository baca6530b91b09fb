"""Prepared arrays: built once, kept in the cache under all that they depend on, and mapped into memory."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ganbench.contract.types import digest
from ganbench.errors import DiskError, UserError
from ganbench.files import cache_folder, sha256_of, write_atomically
from ganbench.toolbox.sources import digest_of

try:
    import fcntl
except ImportError:  # on Windows what killed builds leave is told by its age alone
    fcntl = None  # type: ignore[assignment]

_HELD = ".held.part"  # ends the name of an unfinished folder that its builder holds a lock of
_STALE = 86_400  # seconds after which an unfinished folder without a lock belongs to a process that was killed


class Prepared(NamedTuple):
    """Arrays by file name, memory-mapped (writing changes a private copy), and what their builder noted."""

    arrays: Mapping[str, Tensor]
    notes: Mapping[str, Any]


def prepared(key: Mapping[str, Any], build: Callable[[Path], Mapping[str, Any] | None]) -> Prepared:
    """Return the arrays kept under `key`, built if they are not there or not whole.

    `key`: JSON-like; everything that the arrays depend on (digest of the source, preprocessing). `build` writes
    `NAME.npy` files, none of them empty, into the folder it is given and returns JSON-like notes. The folder is renamed
    into place when it is whole; of two processes that build at once, the first one's is used.
    """
    folder = cache_folder() / "data" / digest(key)
    for _ in range(3):  # more than once only where what was built is damaged or moved away before it is opened
        if (found := _open(folder)) is not None:
            return found
        with _unfinished(folder) as temporary:
            notes = dict(build(temporary) or {})
            _seal(temporary, key, notes)
            _put(temporary, folder)
    if (found := _open(folder)) is not None:
        return found
    raise DiskError(f"cannot read back what was written to {folder}")


def _open(folder: Path) -> Prepared | None:
    """Map an entry of the cache; None where it is missing or differs from what was written."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        if meta.pop("sha256") != digest(meta) or digest(meta["key"]) != folder.name:
            return None
        paths = {name: folder / f"{name}.npy" for name in meta["arrays"]}
        if any(digest_of(paths[name]) != meta["arrays"][name] for name in paths):
            return None
        arrays = {name: torch.from_numpy(np.load(path, mmap_mode="c")) for name, path in paths.items()}
        return Prepared(arrays, meta["notes"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, UserError):
        return None


def _seal(folder: Path, key: Mapping[str, Any], notes: Mapping[str, Any]) -> None:
    sums = {}
    for path in sorted(folder.glob("*.npy")):
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        sums[path.stem] = sha256_of(path)
    meta = {"key": key, "arrays": sums, "notes": notes}
    text = json.dumps({**meta, "sha256": digest(meta)}, indent=1)
    write_atomically(folder / "meta.json", lambda out: out.write(text.encode()))


def _put(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
        return
    except OSError:
        if not os.path.lexists(folder):  # else another process was first, or something damaged stands there
            raise
    if _open(folder) is None:
        damaged = folder.parent / f".{folder.name[:16]}.{secrets.token_hex(8)}{_HELD}"  # which the next build sweeps
        with suppress(OSError):
            folder.rename(damaged)
            temporary.rename(folder)  # refused where another process put its own there meanwhile
        _remove(damaged)


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """Give a folder to build in, beside `folder`; nothing of it is left when the block ends, nor of killed builds."""
    temporary, lock = None, -1
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        # Not mkdtemp's: what a group shares, the umask says.
        temporary = folder.parent / f".{folder.name[:16]}.{secrets.token_hex(8)}.part"
        temporary.mkdir()
        if (lock := _lock(temporary)) >= 0:
            temporary = temporary.rename(temporary.with_suffix(_HELD))
        yield temporary
    except OSError as error:
        reason = f"{error.strerror or error}; make room or name another folder in GANBENCH_CACHE"
        raise DiskError(f"cannot prepare data in {folder.parent}: {reason}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if lock >= 0:
            os.close(lock)


def _sweep(folder: Path) -> None:
    """Remove what killed builds left: what nobody holds a lock of any more, else what is a day old."""
    for old in folder.glob(".*.part"):
        with suppress(FileNotFoundError):  # its builder has just finished
            if not old.name.endswith(_HELD):
                if abs(time.time() - old.stat().st_mtime) > _STALE:  # from the future where a clock was wrong
                    _remove(old)
            elif (lock := _lock(old)) >= 0:
                _remove(old)
                os.close(lock)


def _remove(path: Path) -> None:
    """Remove a folder, or what stands in the place of one, as far as that can be done."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _lock(folder: Path) -> int:
    """Lock a folder until what is returned is closed, by the end of the process at the latest; -1 if that cannot be."""
    if fcntl is None:
        return -1
    file = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return -1
    return file
