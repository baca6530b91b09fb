"""Your own images: `folder:PATH` is any tree of images, or an `.npz` file of them; `folder-pair:A,B` are two."""

import copy
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from ganbench import (
    IMAGE_SUFFIXES,
    Dataset,
    Fraction,
    ImageSet,
    Splits,
    UserError,
    digest,
    divide,
    hookimpl,
    image_header,
    image_names,
    locate,
    prepared,
    read_image,
    translation,
    tree_digest,
    undamaged,
    write_split,
)

SIDES = (8, 16, 28, 32, 64, 128)  # where all images are squares of one of these sides, they stay as they are
SIDE = 64  # otherwise
NEEDED = "at least two are needed, one to train on and one to compare with"


@dataclass(frozen=True)
class Config:
    test_share: Fraction = 0.1
    channels: Literal["auto", "grey", "colour"] = "auto"
    skip_damaged: bool = False


class Source(NamedTuple):
    """Images not yet decoded: an item and a class number for each, the rows of both splits, and how to read one."""

    items: Sequence[Any]
    labels: np.ndarray
    classes: Sequence[str]  # empty where there are no labels
    train: np.ndarray
    test: np.ndarray
    rule: str
    header: Callable[[Any], tuple[int, int, int]]
    read: Callable[[Any, int, int], np.ndarray]


class Folder(Dataset):
    name, summary = "folder", "folder:PATH, your own images: any tree (class subfolders are labels) or an .npz file"
    config: Config = Config()
    argument = ""

    def of(self, argument: str) -> Dataset:
        path, chosen = Path(argument), copy.copy(self)
        chosen.argument = argument
        chosen.name = f"folder:{path.name if path.name not in ('', '..') else path.resolve().name}"
        return chosen

    def load(self, root: Path, size: int) -> Splits:
        if not self.argument.strip():
            raise UserError("data set 'folder' needs a path: write folder:PATH, a folder of images or an .npz file")
        if not self.config.test_share:
            raise UserError("folder.test_share must be above 0: metrics compare with the images held out")
        path, share = locate("folder", self.argument, root), self.config.test_share
        if path.is_dir():
            names = sorted(image_names(path))
            content, source = tree_digest(path, names), partial(tree_source, path, names, share)
        elif path.suffix.lower() == ".npz":
            content, source = tree_digest(path.parent, [path.name]), partial(npz_source, path, share)
        else:
            raise UserError(f"{path} is neither a folder of images nor an .npz file")
        key = {"format": "folder 1", "content": content, "size": size, "config": asdict(self.config)}
        arrays, protocol = prepared(key, lambda folder: self._build(folder, source(), size))
        train, test = (ImageSet(arrays[split], arrays.get(f"{split}_labels")) for split in ("train", "test"))
        return Splits(train, test, digest(key), protocol)

    def _build(self, folder: Path, source: Source, size: int) -> Mapping[str, Any]:
        config, kept = self.config, {}
        header = undamaged(source.header, "folder", config.skip_damaged)
        headers = (header(source.items[row]) for row in (*source.train, *source.test))
        channels, side = measure(headers, config.channels, size)
        for split, rows in (("train", source.train), ("test", source.test)):
            items = [source.items[row] for row in rows]
            read = undamaged(lambda item: source.read(item, channels, side), "folder", config.skip_damaged)
            labels = source.labels[rows] if source.classes else None
            kept[split] = rows[write_split(folder, split, items, read, labels)]
        empty = np.setdiff1d(np.arange(len(source.classes)), source.labels[kept["train"]])
        if len(empty):
            raise UserError(f"class {source.classes[empty[0]]!r} has no image in the train split")
        damaged = len(source.train) + len(source.test) - sum(map(len, kept.values()))
        return {
            "channels": "grey (ITU-R 601 luma)" if channels == 1 else "colour",
            "transparency": "on white",
            "crop": "central square",
            "resize": "Pillow bicubic, antialiased",
            "split": source.rule,
        } | ({"damaged images left out": damaged} if damaged else {})


@dataclass(frozen=True)
class PairConfig(Config):
    paired: bool = False


class FolderPair(Dataset):
    """Two folders to translate between, from the first into the second and back."""

    name = "folder-pair"
    summary = "folder-pair:A,B, two folders of your own images to translate between; --set folder-pair.paired=true"
    task = "translate"
    metrics = ("fid", "fid-768", "fd-pixels", "pixel-error", "grad-norm-g", "grad-norm-d")
    config: PairConfig = PairConfig()
    arguments = 2
    argument = ""

    def of(self, argument: str) -> Dataset:
        if len(paths := argument.split(",")) != 2 or not all(map(str.strip, paths)):
            raise UserError(f"data set 'folder-pair' needs two paths, not {argument!r}: write folder-pair:A,B")
        chosen = copy.copy(self)
        names = [Folder().of(path).name.partition(":")[2] for path in paths]
        chosen.argument, chosen.name = argument, f"folder-pair:{names[0]},{names[1]}"
        return chosen

    def load(self, root: Path, size: int) -> Splits:
        if not self.argument:
            raise UserError("data set 'folder-pair' needs two paths: write folder-pair:A,B")
        sides = [Folder().of(path) for path in self.argument.split(",")]
        for side in sides:
            side.config = Config(self.config.test_share, self.config.channels, self.config.skip_damaged)
        source, target = (side.load(root, size) for side in sides)
        names = tuple(side.name.partition(":")[2] for side in sides)
        return translation(source, target, names=(names[0], names[1]), paired=self.config.paired)


def tree_source(path: Path, names: list[str], share: float) -> Source:
    """Plan a tree: its own folders `train` and `test` (or `val`) are the splits; first-level subfolders are classes."""
    if len(names) < 2:
        found = f"only one image, {names[0]}" if names else f"no images ({', '.join(IMAGE_SUFFIXES)})"
        raise UserError(f"{path} holds {found}: {NEEDED}")
    tops = {name.partition("/")[0] for name in names if "/" in name}
    other = next((top for top in ("test", "val") if {"train", top} <= tops), None)
    if other is None:
        items, folders, rule = names, [name.split("/")[:-1] for name in names], ""
    else:
        items = [name for name in names if name.startswith(("train/", f"{other}/"))]
        folders = [name.split("/")[1:-1] for name in items]
        left = len(names) - len(items)
        rule = f"the folders train and {other}" + (f"; {left} images elsewhere left out" if left else "")
    classes = sorted({parts[0] for parts in folders if parts})
    if not all(folders) or len(classes) < 2 or (other is None and len(classes) == len(items)):
        classes = []
    number = {name: k for k, name in enumerate(classes)}
    labels = np.array([number[parts[0]] if classes else 0 for parts in folders], dtype=np.int64)
    if other is None:
        train, test, rule = divide(labels, share)
    else:
        in_train = np.array([name.startswith("train/") for name in items])
        train, test = np.flatnonzero(in_train), np.flatnonzero(~in_train)

    def read(name: str, channels: int, side: int) -> np.ndarray:
        return read_image(path / name, channels, side)

    return Source(items, labels, classes, train, test, rule, lambda name: image_header(path / name), read)


def npz_source(path: Path, share: float) -> Source:
    """Plan an `.npz` file: `images` (or its only uint8 array of 3 or 4 axes), and `labels` where there are some."""
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise UserError(f"{path} is a single array: write np.savez(path, images=array)")
            names = ["images"] if "images" in archive.files else [name for name in archive.files if name != "labels"]
            arrays = {name: np.asarray(archive[name]) for name in names}
            labels = np.asarray(archive["labels"]) if "labels" in archive.files else None
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is not a whole .npz file of plain arrays: {error}") from None
    fitting = [array for array in arrays.values() if array.dtype == np.uint8 and array.ndim in (3, 4)]
    if len(fitting) != 1 or (fitting[0].ndim == 4 and fitting[0].shape[3] not in (1, 3, 4)) or not fitting[0].size:
        found = ", ".join(f"{name}: {array.dtype} {array.shape}" for name, array in arrays.items()) or "nothing"
        raise UserError(f"{path} needs one array 'images', uint8 (N, H, W) or (N, H, W, 1, 3 or 4), but holds {found}")
    images = fitting[0]
    if len(images) < 2:
        raise UserError(
            f"{path} holds only one image: at least two are needed, one to train on and one to compare with"
        )
    classes, numbers = [], np.zeros(len(images), dtype=np.int64)
    if labels is not None:
        if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
            found = f"{labels.dtype} {labels.shape}"
            raise UserError(
                f"{path} needs 'labels' of integers, one for each of {len(images)} images, but holds {found}"
            )
        values, places = np.unique(labels, return_inverse=True)
        if 2 <= len(values) < len(images):
            classes, numbers = [str(value) for value in values], places.astype(np.int64)
    train, test, rule = divide(numbers, share)
    header = (images.shape[2], images.shape[1], 1 if images.ndim == 3 or images.shape[3] == 1 else 3)

    def read(row: int, channels: int, side: int) -> np.ndarray:
        return read_image(images[row], channels, side)

    return Source(range(len(images)), numbers, classes, train, test, rule, lambda row: header, read)


def measure(headers: Iterable[tuple[int, int, int] | None], channels: str, size: int) -> tuple[int, int]:
    """Return the channels and the side that all images get; reads no more headers than that takes."""
    colour, shapes = channels == "colour", set[tuple[int, int]]()
    for header in headers:
        if (colour or channels == "grey") and (size or len(shapes) > 1):
            break
        if header is not None:
            shapes.add(header[:2])
            colour = colour or (channels == "auto" and header[2] == 3)
    width, height = shapes.pop() if len(shapes) == 1 else (0, 1)
    return 3 if colour else 1, size or (width if width == height and width in SIDES else SIDE)


@hookimpl
def ganbench_datasets() -> list[Dataset]:
    return [Folder(), FolderPair()]
