"""The files that a run continues from: written whole, marked as the run's own, read without trust."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganbench.errors import DiskError
from ganbench.files import write_atomically
from ganbench.results.record import RunRecord

FORMAT = 2
"""Raise it when a state's content changes: one of another format is not half understood."""
UNMARKED = 1
"""The format of states that do not say whose they are, which are believed."""


class Unusable(ValueError):
    """A state that is not to be used; the message goes on from its path."""


def save_state(path: Path, state: Mapping[str, Any], run: str) -> str:
    """Write tensors and plain values, marked as those of a run, and return the checksum of their content.

    Raises `DiskError` where the disk refuses.
    """
    checksum = checksum_of(state)
    # In memory first: of a disk that is full, torch.save would say "enforce fail" instead of what is wrong.
    whole = io.BytesIO()
    torch.save({**state, "format": FORMAT, "run": run, "sha256": checksum}, whole)
    write_atomically(path, lambda file: file.write(whole.getbuffer()))
    return checksum


def load_state(path: Path, run: str, checksum: str | None = None) -> dict[str, Any] | None:
    """Read what `save_state` wrote for a run, on the host; None where there is nothing.

    `checksum`: what the content must have, where that is known. Raises `Unusable` for what is not the run's own, and
    `DiskError` where the disk refuses.
    """
    state = _read(path)
    if state is None:
        return None
    form, owner, said = state.pop("format", UNMARKED), state.pop("run", None), state.pop("sha256", None)
    if form not in (UNMARKED, FORMAT):
        raise Unusable("was written by another version of ganbench")
    if form == FORMAT and owner != run:
        raise Unusable(f"is of another run ({owner}, not {run})")
    found = checksum_of(state) if form == FORMAT or checksum else said
    if form == FORMAT and found != said:
        raise Unusable("is damaged (or edited: its checksum is not that of its content)")
    if checksum and found != checksum:
        raise Unusable("is not what the record of the run knows it to be (its checksum is another)")
    return state


def fault(path: Path, record: RunRecord) -> str | None:
    """Say what is wrong with weights or a checkpoint that lie in the working folder of a run, or nothing."""
    try:
        state = load_state(path, record.spec.id, record.checksums.get("weights") if path.name == "final.pt" else None)
        if state is not None and path.name.startswith("checkpoint"):
            _require_parts(state)
    except Unusable as error:
        return f"{path} {error}"
    except DiskError as error:
        return str(error)
    return None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        if not path.exists():
            return None
        if not path.is_file():
            raise Unusable("is damaged (not a regular file)")
        content = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise DiskError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        state = torch.load(content, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file fails in many ways
        raise Unusable(f"is damaged ({type(error).__name__})") from error
    if not isinstance(state, dict):
        raise Unusable("is damaged (no state)")
    return state


def checksum_of(state: Any) -> str:
    """Return the SHA-256 of nested mappings and sequences of tensors and plain values."""
    sha = hashlib.sha256()
    _add(sha, state)
    return sha.hexdigest()


def _add(sha: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        sha.update(f"tensor {value.dtype} {tuple(value.shape)}\n".encode())
        sha.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, Mapping):
        sha.update(f"mapping {len(value)}\n".encode())
        for key, item in value.items():
            _add(sha, key)
            _add(sha, item)
    elif isinstance(value, list | tuple):
        sha.update(f"sequence {len(value)}\n".encode())
        for item in value:
            _add(sha, item)
    else:
        sha.update(f"{type(value).__name__} {value!r}\n".encode())


class Checkpoints:
    """The last two checkpoints of a run: where the newest cannot be used, the one before is."""

    def __init__(self, folder: Path, run: str) -> None:
        self.run = run
        self.newest, self.before, self._next = (folder / f"checkpoint{which}.pt" for which in ("", "-before", "-next"))
        self._loaded = self.newest
        self._refused: list[str] = []

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep a state as the newest, and the newest as the one before. Raises `DiskError` where the disk refuses."""
        save_state(self._next, state, self.run)
        try:
            # Ended between the two, a run finds the one before; until the new one is whole, nothing moves.
            if self.newest.exists():
                self.newest.replace(self.before)
            self._next.replace(self.newest)
        except OSError as error:
            raise DiskError(f"cannot write {self.newest}: {error.strerror or error}") from error

    def load(self) -> dict[str, Any] | None:
        """Return the newest state that can be used, and set aside what cannot; `tell` says so."""
        for path in (self.newest, self.before):
            self._loaded = path
            try:
                if (state := load_state(path, self.run)) is not None:
                    _require_parts(state)
                    return state
            except Unusable as error:
                self.refuse(str(error))
        return None

    def refuse(self, why: str) -> None:
        """Set aside the state that was loaded last."""
        path = self._loaded
        try:
            path.replace(path.with_suffix(".damaged"))
        except OSError as error:
            raise DiskError(f"cannot set {path} aside: {error.strerror or error}") from error
        self._refused.append(f"{path} {why} and was set aside")

    def tell(self, begun_at: int) -> None:
        """Warn of what was set aside, now that it is known at which step the run goes on."""
        then = f"goes on from the checkpoint before, at step {begun_at:,}" if begun_at else "starts anew"
        for refused in self._refused:
            warnings.warn(f"{refused}; the run {then}", stacklevel=3)
        self._refused = []

    def remove(self) -> None:
        """Remove them: the run has ended. One that cannot be removed takes room alone, and `results prune` finds it."""
        for path in (self.newest, self.before, self._next):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _require_parts(state: Mapping[str, Any]) -> None:
    wanted = {"trainer": dict, "curve": str, "unscored": dict, "threads": int}
    wrong = [name for name, kind in wanted.items() if not isinstance(state.get(name), kind)]
    if wrong or state["threads"] < 1:
        raise Unusable(f"is damaged (no {' and no '.join(wrong) or 'number of threads'} in it)")
