"""LSUN, `lsun:CLASS`: the LMDB folders as they are published, or a folder or zip of images exported from them."""

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ganbench import (
    Dataset,
    ImageFiles,
    ImageSet,
    Splits,
    UserError,
    digest,
    hookimpl,
    image_files,
    image_names,
    is_there,
    lmdb_files,
    prepared,
    printable,
    read_image,
    suggestion,
    tree_digest,
    undamaged,
    write_split,
)

SIZES = (32, 64, 128)
HELD_OUT, SHARE = 10_000, 0.1  # images held out of train as the reference, but at most this share
FORMS = ("{}_train_lmdb", "{}", "{}.zip")  # of objects the published folder is the class itself


@dataclass(frozen=True)
class Config:
    """Options.

    test: a part held out of the training images, or the published "val", whose 300 images are few for a reference.
    skip_damaged: leave out images that cannot be read instead of ending with the first.
    """

    test: Literal["held-out", "val"] = "held-out"
    skip_damaged: bool = False


class LSUN(Dataset):
    name, summary = "lsun", "lsun:CLASS, LSUN's scenes and objects (lsun:bedroom), colour, 32, 64 or 128 px"
    size = 64
    budget = "1M-images"
    metrics = ("fid", "fid-768", "fd-pixels", "copies", "ms-ssim", "grad-norm-g", "grad-norm-d")
    places = ("lsun",)
    config: Config = Config()
    category = ""

    def of(self, argument: str) -> Dataset:
        chosen = copy.copy(self)
        chosen.category, chosen.name = argument, f"lsun:{printable(argument)}"
        return chosen

    def load(self, root: Path, size: int) -> Splits:
        if size not in SIZES:
            raise UserError(f"lsun comes at {', '.join(map(str, SIZES))} pixels a side, but {size} was asked for")
        places = {"train": self._find(root / "lsun")}
        if self.config.test == "val":
            places["val"] = root / "lsun" / f"{self.category}_val_lmdb"
            if not places["val"].is_dir():
                raise UserError(f"lsun.test=val needs the folder {places['val']}, which is not there")
        content = {name: content_digest(place) for name, place in places.items()}
        key = {"format": "lsun 1", "content": content, "size": size, "config": asdict(self.config)}
        arrays, protocol = prepared(key, lambda folder: self._build(folder, places, size))
        notes = left_out_of(places["train"])  # what is left out is no part of what is prepared, and may change
        return Splits(ImageSet(arrays["train"]), ImageSet(arrays["test"]), digest(key), protocol, notes=notes)

    def _find(self, folder: Path) -> Path:
        category = self.category
        if not category.strip() or "/" in category or category.startswith("."):
            raise UserError("data set 'lsun' needs a class: write lsun:bedroom")
        places = [folder / form.format(category) for form in FORMS]
        found = next((place for place in places if is_there(place)), None)
        if found is None:
            if val := next((p for p in (folder / f"{category}_val_lmdb",) if is_there(p)), None):
                raise UserError(f"{val} has the 300 images of val alone: put {places[0].name} beside it to train on")
            here = {p.name.removesuffix(".zip").removesuffix("_train_lmdb") for p in folder.glob("[!.]*")} - {category}
            packed = f"; unpack {p.name}" if (p := folder / f"{category}_train_lmdb.zip").exists() else ""
            raise UserError(
                f"{folder} has no class {category!r}{suggestion(category, here)}; put {places[0].name} there, or images"
                f" exported from it as {places[1].name}/ or {places[2].name}{packed}"
            )
        return found

    def _build(self, folder: Path, places: Mapping[str, Path], size: int) -> Mapping[str, Any]:
        with open_images(places["train"]) as images:
            if "val" in places:
                with open_images(places["val"]) as others:
                    left_out = self._write(folder, "test", others, others.names, size)
                names, rule = images.names, "official train and val"
            else:
                if len(images.names) < 2:
                    raise UserError(f"{places['train']} holds {len(images.names)} images: at least two are needed")
                last = len(images.names) - max(1, min(HELD_OUT, round(len(images.names) * SHARE)))
                left_out = self._write(folder, "test", images, images.names[last:], size)
                names = images.names[:last]
                rule = f"the last {len(images.names) - last} of the training images by key are test"
            left_out += self._write(folder, "train", images, names, size)
        return {
            "crop": "central square",
            "resize": "Pillow bicubic, antialiased",
            "split": rule,
            "fingerprint": "names, sizes and samples of the files",
        } | ({"damaged images left out": left_out} if left_out else {})

    def _write(self, folder: Path, split: str, images: ImageFiles, names: Sequence[str], size: int) -> int:
        """Write a split and return how many of its images are damaged."""

        def read(name: str) -> np.ndarray:
            return read_image(images.find(name), 3, size)

        tolerant = undamaged(read, "lsun", self.config.skip_damaged)
        return len(names) - len(write_split(folder, split, names, tolerant))


def content_digest(place: Path) -> str:
    """Return a digest of names, sizes and samples of content: these files can have more than 100 GB."""
    if not place.is_dir():
        return tree_digest(place.parent, [place.name], sampled=True)
    names = ["data.mdb"] if (place / "data.mdb").exists() else sorted(image_names(place))
    return tree_digest(place, names, sampled=True)


def left_out_of(place: Path) -> tuple[str, ...]:
    """Return what to tell of files that are not read; a database has none."""
    if (place / "data.mdb").exists():
        return ()
    with image_files(place) as images:
        return images.notes


def open_images(place: Path) -> AbstractContextManager[ImageFiles]:
    """Open an LMDB of encoded images, a folder or a zip archive, to be read from several threads."""
    return lmdb_files(place) if (place / "data.mdb").exists() else image_files(place)


@hookimpl
def ganbench_datasets() -> list[Dataset]:
    return [LSUN()]
