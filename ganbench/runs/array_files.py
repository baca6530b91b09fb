"""Samples of strangers in `.npy` and `.npz` files, read piece by piece: images, channels last or first, or points."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from ganbench.errors import UserError
from ganbench.toolbox.npz import Member, npz_members, read_npz

PIECE_BYTES = 2**24
"""About so much is read at once."""
NAMES = ("arr_0", "images")
"""What the array of samples is called in an `.npz` file; where none is, the only one that fits is taken."""
NEEDED = "uint8 (N, H, W), (N, H, W, 1 or 3) or (N, 1 or 3, H, W), or points, float (N, 2)"


class Found(NamedTuple):
    """An array of samples in a file. `labels`: the name of theirs, where there are any."""

    name: str
    member: Member
    labels: str = ""


def prepare_arrays(path: Path, folder: Path) -> Mapping[str, str]:
    """Write the samples of a file into `images.npy`, as ganbench lays them out, and `labels.npy` where it has labels.

    Images become uint8 `[N, C, H, W]`, points float32 `[N, 2]`. Returns notes: which array was taken, and how it lies.
    Raises `UserError` where the file holds no samples, or several arrays that could be.
    """
    found = _samples_in(path)
    count, layout = found.member.shape[0], _layout(found.member)
    assert layout is not None
    with (folder / "images.npy").open("wb") as out, _rows_of(path, found) as pieces:
        for number, piece in enumerate(pieces):
            rows = np.ascontiguousarray(_as_laid_out(piece, layout))
            if number == 0:
                about = {"descr": rows.dtype.str, "fortran_order": False, "shape": (count, *rows.shape[1:])}
                np.lib.format.write_array_header_1_0(out, about)
            out.write(rows.tobytes())
    if found.labels:
        np.save(folder / "labels.npy", read_npz(path, [found.labels])[found.labels].astype(np.int64))
    return {"array": found.name, "layout": layout} if found.name else {"layout": layout}


def _samples_in(path: Path) -> Found:
    if path.suffix.lower() == ".npy":
        member = _header_of(path)
        if _layout(member) is None:
            raise UserError(f"{path} holds {member.dtype} {member.shape}, but samples are {NEEDED}")
        return Found("", member)
    members = npz_members(path)
    fitting = [name for name, member in members.items() if _layout(member) is not None]
    chosen = next((name for name in NAMES if name in fitting), fitting[0] if len(fitting) == 1 else None)
    if chosen is None:
        told = ", ".join(f"{name}: {member.dtype} {member.shape}" for name, member in members.items()) or "nothing"
        raise UserError(f"{path} needs one array of samples, 'arr_0' or 'images', {NEEDED}, but holds {told}")
    count = members[chosen].shape[:1]
    given = members.get("labels")
    if given is not None and (given.shape != count or not np.issubdtype(given.dtype, np.integer)):
        raise UserError(
            f"{path} needs 'labels' of integers, one for each of {count[0]} samples, but holds {given.dtype} "
            f"{given.shape}"
        )
    return Found(chosen, members[chosen], "labels" if given is not None else "")


def _layout(member: Member) -> str | None:
    """Return how samples lie in an array, or None where it holds no samples."""
    shape = member.shape
    if 0 in shape:
        return None
    if member.dtype.kind == "f" and len(shape) == 2 and shape[1] == 2:
        return "N2"
    if member.dtype != np.uint8:
        return None
    if len(shape) == 3:
        return "NHW"
    if len(shape) == 4:  # pixels last is the convention, so a picture of three lines is one
        return "NHWC" if shape[3] in (1, 3) else "NCHW" if shape[1] in (1, 3) else None
    return None


def _as_laid_out(rows: np.ndarray, layout: str) -> np.ndarray:
    if layout == "N2":
        return rows.astype(np.float32)
    if layout == "NHW":
        return rows[:, None]
    return rows.transpose(0, 3, 1, 2) if layout == "NHWC" else rows


@contextmanager
def _rows_of(path: Path, found: Found) -> Iterator[Iterator[np.ndarray]]:
    """Open an array and yield its rows, some at a time."""
    try:
        if path.suffix.lower() == ".npy":
            with path.open("rb") as file:
                yield _rows(file, found.member)
            return
        with zipfile.ZipFile(path) as archive, archive.open(f"{found.name}.npy") as member:
            yield _rows(member, found.member)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def _rows(file: IO[bytes], member: Member) -> Iterator[np.ndarray]:
    if _header(file)[1]:
        raise ValueError("it lies in Fortran's order; save it as numpy.ascontiguousarray makes it")
    count, *rest = member.shape
    each = int(np.prod(rest)) * member.dtype.itemsize
    step = max(1, PIECE_BYTES // each)
    for start in range(0, count, step):
        rows = min(step, count - start)
        content = file.read(rows * each)
        if len(content) < rows * each:
            raise EOFError("it ends too early")
        yield np.frombuffer(content, member.dtype).reshape(rows, *rest)


def _header_of(path: Path) -> Member:
    try:
        with path.open("rb") as file:
            return _header(file)[0]
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path} is not a whole .npy file of a plain array: {error}") from None


def _header(file: IO[bytes]) -> tuple[Member, bool]:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise ValueError(f"it is of version {version}")
    shape, fortran, dtype = readers[version](file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    return Member(dtype, shape), fortran
