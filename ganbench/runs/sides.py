"""The two sides of a comparison, each from what a user names: files of samples, a data set, or a finished run.

A name of an installed data set is that, `digits` or `folder:PATH`, its test split unless `@train` follows; `run:NAME`
and a record's file are finished runs, `@raw` or `@ema` their weights; all else is the path of a folder of images or of
an `.npy` or `.npz` file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganbench.contract.data import ImageSet, Splits
from ganbench.contract.types import digest
from ganbench.errors import UserError, quoted
from ganbench.files import expanded, printable
from ganbench.runs.array_files import prepare_arrays
from ganbench.runs.export import Wanted, pieces_of
from ganbench.runs.kept import find_kept
from ganbench.runs.opening import open_dataset
from ganbench.runs.registry import Registry
from ganbench.runs.steps import Begin, Step
from ganbench.toolbox.images import image_header, read_image, write_images
from ganbench.toolbox.prepared import prepared
from ganbench.toolbox.sources import digest_of, tree_digest
from ganbench.toolbox.trees import image_tree
from ganbench.training.switches import kept

SPLITS = ("train", "test")
WEIGHTS = ("raw", "ema")
USUAL = 10_000
"""So many samples of a run are drawn where nothing else is said."""


@dataclass(frozen=True)
class Side:
    """One side: its samples, a digest of their content (of a data set, of both splits), and how they were made.

    `data`: of a data set, both its splits; `split`: which of them this is, of everything else `all`, and empty where
    its features are not to be kept; `seed`: what metrics draw at random from.
    """

    name: str
    samples: ImageSet
    content: str
    about: Mapping[str, Any] = field(default_factory=dict)
    data: Splits | None = None
    dataset: str = ""
    split: str = "all"
    seed: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """That of one sample."""
        return tuple(self.samples.images.shape[1:])

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.samples.images)


@dataclass(frozen=True)
class Places:
    """Where sides are looked for and how they are read.

    `size`: the side to which folders and data sets are cropped and resized, 0 for their own; `n`: samples of a run.
    """

    data: Path
    results: Path
    size: int = 0
    n: int = USUAL
    seed: int | None = None
    device: str = "cpu"
    plugins: tuple[Path, ...] = ()


def is_run(text: str) -> bool:
    """Return whether a text names a finished run."""
    return text.startswith("run:") or bool(re.search(r"\.json(@(raw|ema))?$", text))


def open_side(text: str, registry: Registry, places: Places, begin: Begin) -> Side:
    """Open what a text names. Raises `UserError` where it is nothing, or not to be read."""
    begin(Step((), f"opening {text}"))
    if is_run(text):
        return _of_run(text, places, begin)
    whole, split = _marked(text, SPLITS)
    if whole.partition(":")[0] in registry.entries["dataset"]:
        return _of_dataset(text, whole, split or "test", registry, places)
    path = expanded(text)
    if path.is_dir():
        return _of_folder(text, path, places.size)
    if path.is_file() and path.suffix.lower() in (".npy", ".npz"):
        return _of_arrays(text, path, places.size)
    if path.is_file():
        raise UserError(f"{text} is no file of samples: name a folder of images, or a file that ends in .npy or .npz")
    known = ", ".join(sorted(registry.entries["dataset"]))
    raise UserError(
        f"{quoted(text)} is neither a file nor a folder nor a data set ({known}): name one of these, or a finished run "
        f"as run:NAME"
    )


def _marked(text: str, marks: tuple[str, ...]) -> tuple[str, str]:
    """Part a text from what follows its last @, where that is one of some marks."""
    whole, at, mark = text.rpartition("@")
    return (whole, mark) if at and mark in marks else (text, "")


def _of_dataset(text: str, named: str, split: str, registry: Registry, places: Places) -> Side:
    name = named.partition(":")[0]
    registry.get("dataset", name)  # says where two claim the name
    dataset = open_dataset(named, registry, {})
    with kept():
        data = dataset.load(places.data, places.size or dataset.size)
    samples = data.train if split == "train" else data.test
    return Side(text, samples, data.fingerprint, data.protocol, data, dataset.name, split)


def _of_folder(text: str, path: Path, size: int) -> Side:
    names = image_tree(path).names
    if not names:
        raise UserError(f"{text} holds no images")
    content = tree_digest(path, names)
    key = {"format": "side 1", "content": content, "size": size, "labels": [str(each) for each in _labels(names)]}

    def build(folder: Path) -> Mapping[str, Any]:
        headers = [image_header(path / name) for name in names]
        channels = max(header[2] for header in headers)
        shapes = sorted({header[:2] for header in headers})
        if len(shapes) > 1 and not size:
            (width, height), (other, another) = shapes[0], shapes[-1]
            raise UserError(
                f"{text} holds images of several sizes ({width}×{height} to {other}×{another}): give --size, to which "
                f"their central squares are resized"
            )
        write_images(folder / "images.npy", names, lambda name: read_image(path / name, channels, size))
        if labels := _labels(names):
            np.save(folder / "labels.npy", np.array(labels, dtype=np.int64))
        return {}

    arrays = prepared(key, build).arrays
    about = {"crop": "central square", "resize": f"Pillow bicubic, antialiased, to {size}"} if size else {}
    return Side(text, ImageSet(arrays["images"], arrays.get("labels")), digest(key), about)


def _labels(names: list[str]) -> list[int]:
    """Return the numbers of the folders that images lie in, where all of them lie in folders that are numbers."""
    folders = [name.rpartition("/")[0] for name in names]
    return [int(folder) for folder in folders] if all(re.fullmatch(r"\d{1,6}", folder) for folder in folders) else []


def _of_arrays(text: str, path: Path, size: int) -> Side:
    key = {"format": "arrays 1", "content": digest_of(path)}
    found = prepared(key, lambda folder: prepare_arrays(path, folder))
    images = found.arrays["images"]
    if size and images.ndim == 4 and tuple(images.shape[2:]) != (size, size):
        raise UserError(f"{text} holds images of {_pixels(images)} pixels, which --size {size} does not change")
    return Side(text, ImageSet(images, found.arrays.get("labels")), digest(key), {})


def _pixels(images: torch.Tensor) -> str:
    return f"{images.shape[3]}×{images.shape[2]}"


def _of_run(text: str, places: Places, begin: Begin) -> Side:
    named, weights = _marked(text.removeprefix("run:"), WEIGHTS)
    run = find_kept(named, places.results)
    wanted = Wanted(
        run,
        places.n,
        seed=places.seed,
        weights=weights,
        plugins=places.plugins,
        data_root=places.data,
        device=places.device,
    )
    seed = run.record.spec.seed if places.seed is None else places.seed
    drawn = {"n": places.n, "seed": seed, "weights": weights, "device": places.device}
    key = {"format": "samples 1", "run": run.record.spec.id, "checksum": digest_of(run.weights), **drawn}

    def build(folder: Path) -> Mapping[str, Any]:
        labels = []
        with (folder / "images.npy").open("wb") as out:
            for number, piece in enumerate(pieces_of(wanted, begin)):
                rows = np.ascontiguousarray(piece.images.numpy())
                if number == 0:
                    about = {"descr": rows.dtype.str, "fortran_order": False, "shape": (places.n, *rows.shape[1:])}
                    np.lib.format.write_array_header_1_0(out, about)
                out.write(rows.tobytes())
                labels += [piece.cond] if piece.cond is not None else []
        if labels:
            np.save(folder / "labels.npy", torch.cat(labels).numpy())
        return {}

    arrays = prepared(key, build).arrays
    samples = ImageSet(arrays["images"], arrays.get("labels"))
    return Side(printable(text), samples, digest(key), {"run": str(run)}, seed=seed)
