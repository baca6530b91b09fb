"""Samples of a finished run in files: PNG pictures in a folder, or arrays in one `.npz` file."""

from __future__ import annotations

import secrets
import shutil
import zipfile
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from ganbench.errors import DiskError, UserError
from ganbench.files import write_atomically
from ganbench.runs.kept import Kept
from ganbench.runs.steps import Begin, Step

if TYPE_CHECKING:  # it imports torch, as the process of the plugins may and the command need not
    from ganbench.contract.data import ImageSet

PNG_CHANNELS = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class Wanted:
    """What is to be drawn of a run. `seed`: None for the run's own, which gives the samples that it was scored by."""

    kept: Kept
    n: int
    seed: int | None = None
    label: int | None = None
    weights: str = ""
    dataset: str = ""
    plugins: tuple[Path, ...] = ()
    data_root: Path = Path("data")
    device: str = "cpu"


def export(wanted: Wanted, output: Path, begin: Begin) -> None:
    """Draw samples of a run and write them: an `.npz` file, else PNG pictures into `output`, a folder that is there.

    An `.npz` file holds `arr_0`, uint8 `[N, H, W, C]` (points: float32 `[N, 2]`), and `labels`, int64 `[N]`, where
    samples were asked for by label. Pictures are numbered, and lie in a subfolder a class where there are labels.
    Raises `UserError` where they cannot be drawn.
    """
    with closing(pieces_of(wanted, begin)) as pieces:
        if output.suffix.lower() == ".npz":
            write_atomically(output, lambda file: write_arrays(file, pieces, wanted.n))
        else:
            write_pictures(output, pieces)


def pieces_of(wanted: Wanted, begin: Begin) -> Generator[ImageSet]:
    """Yield the samples of a run in pieces, and tell how far it is."""
    from ganbench.runs.kept import reopen
    from ganbench.runs.registry import discover
    from ganbench.scoring.samples import drawn
    from ganbench.training.devices import cores, make_repeatable, resolve_device

    device = resolve_device(wanted.device)
    registry = discover(wanted.plugins, begin=begin)
    make_repeatable(device, cores())
    begin(Step((), f"opening {wanted.kept}"))
    found = reopen(
        wanted.kept,
        registry,
        root=wanted.data_root,
        dataset=wanted.dataset,
        weights=wanted.weights,
        device=device,
    )
    _require(wanted, found.variant.task, found.data.spec(found.variant.task).classes)
    if found.data.domain is not None and wanted.n > (most := len(found.data.domain.test)):
        raise UserError(f"-n {wanted.n}: {wanted.kept} translates, and there are {most} test images to translate")
    seed = wanted.kept.record.spec.seed if wanted.seed is None else wanted.seed
    done = 0
    for piece in drawn(found.variant, wanted.n, found.data, seed=seed, label=wanted.label):
        begin(Step((), f"sampling {wanted.kept}", share=done / wanted.n))
        yield piece
        done += len(piece.images)


def _require(wanted: Wanted, task: str, classes: int) -> None:
    """Raise `UserError` for a class that the run knows nothing of."""
    if wanted.label is None:
        return
    if task != "label":
        raise UserError(f"--class {wanted.label}: {wanted.kept} makes samples without asking for a class")
    if not 0 <= wanted.label < classes:
        raise UserError(f"--class {wanted.label}: {wanted.kept} knows the classes 0 to {classes - 1}")


def write_arrays(file: IO[bytes], pieces: Iterator[ImageSet], n: int) -> None:
    """Write samples as `arr_0` and `labels` into an archive as numpy makes it, a piece at a time."""
    labels: list[np.ndarray] = []
    with zipfile.ZipFile(file, "w") as archive:
        with archive.open(zipfile.ZipInfo("arr_0.npy"), "w", force_zip64=True) as member:
            for number, piece in enumerate(pieces):
                rows = as_rows(piece)
                if number == 0:
                    about = {"descr": rows.dtype.str, "fortran_order": False, "shape": (n, *rows.shape[1:])}
                    np.lib.format.write_array_header_1_0(member, about)
                member.write(rows.tobytes())
                if piece.cond is not None:
                    labels.append(piece.cond.numpy())
        if labels:
            with archive.open(zipfile.ZipInfo("labels.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.concatenate(labels), allow_pickle=False)


def as_rows(piece: ImageSet) -> np.ndarray:
    """Return samples as others keep them: images `[N, H, W, C]`, points as they are."""
    array = piece.images.numpy()
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if array.ndim == 4 else array


def write_pictures(folder: Path, pieces: Iterator[ImageSet]) -> None:
    """Write images as numbered PNG files, by class in subfolders where they have labels."""
    from PIL import Image

    number = 0
    for piece in pieces:
        rows = as_rows(piece)
        if rows.ndim != 4 or rows.shape[3] not in PNG_CHANNELS:
            what = "points" if rows.ndim != 4 else f"images of {rows.shape[3]} channels"
            raise UserError(f"PNG files hold no {what}: name an .npz file with --output")
        for row, array in enumerate(rows):
            place = folder if piece.cond is None else folder / str(int(piece.cond[row]))
            try:
                place.mkdir(exist_ok=True)
                pixels = array[..., 0] if array.shape[2] == 1 else array
                Image.fromarray(pixels).save(place / f"{number:06}.png")
            except OSError as error:
                raise DiskError(f"cannot write {place}: {error.strerror or error}") from error
            number += 1


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Make a folder beside `path` for the block to fill, and give it that name when the block has ended well.

    Raises `UserError` where something is there already that is no empty folder.
    """
    try:
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise UserError(f"--output {path}: there is something already; name a new folder, or an .npz file")
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        temporary.mkdir(parents=True)
    except OSError as error:
        raise DiskError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        yield temporary
        with suppress(FileNotFoundError):
            path.rmdir()
        temporary.replace(path)
    except OSError as error:
        raise DiskError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
