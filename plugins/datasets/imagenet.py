"""ImageNet, `imagenet:PATH`: class folders under `train/` and `val/`, or the official archives, read where they lie."""

import copy
import io
import sys
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ganbench import (
    IMAGE_SUFFIXES,
    Dataset,
    Encoded,
    ImageSet,
    Splits,
    UserError,
    digest,
    divide,
    hookimpl,
    image_names,
    locate,
    prepared,
    read_image,
    tree_digest,
    undamaged,
    write_split,
)

SIZES = (32, 64, 128)
TRAIN_TAR, VAL_TAR, DEVKIT = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"
SHARE = 0.04  # of each class is held out where there is no val: 50 of 1,300 images, as many as val has


@dataclass(frozen=True)
class Config:
    skip_damaged: bool = False


class Item(NamedTuple):
    """An image and its class; `size` bytes from `offset` where `path` is an archive, else 0."""

    path: str
    wnid: str
    name: str = ""
    offset: int = 0
    size: int = 0


class ImageNet(Dataset):
    name, summary = "imagenet", "imagenet:PATH, ImageNet in class folders or in the official archives, 32, 64 or 128 px"
    size = 64
    budget = "1M-images"
    metrics = ("fid", "fid-768", "is", "ms-ssim", "grad-norm-g", "grad-norm-d")
    config: Config = Config()
    argument = ""

    def of(self, argument: str) -> Dataset:
        chosen = copy.copy(self)
        chosen.argument = argument
        chosen.name = f"imagenet:{Path(argument).name or Path(argument).resolve().name}"
        return chosen

    def load(self, root: Path, size: int) -> Splits:
        if not self.argument.strip():
            raise UserError(f"data set 'imagenet' needs a path: write imagenet:PATH, with train/ or {TRAIN_TAR} in it")
        if size not in SIZES:
            raise UserError(f"imagenet comes at {', '.join(map(str, SIZES))} pixels a side, but {size} was asked for")
        path = locate("imagenet", self.argument, root)
        train, val = train_files(path), val_files(path)
        content = tree_digest(path, [*train, *val], sampled=True)
        key = {"format": "imagenet 1", "content": content, "size": size, "config": asdict(self.config)}
        arrays, protocol = prepared(key, lambda folder: self._build(folder, path, train, val, size))
        first, second = (ImageSet(arrays[split], arrays[f"{split}_labels"]) for split in ("train", "test"))
        return Splits(first, second, digest(key), protocol)

    def _build(
        self, folder: Path, path: Path, train: Sequence[str], val: Sequence[str], size: int
    ) -> Mapping[str, Any]:
        items = list(train_tar(path / TRAIN_TAR) if train == [TRAIN_TAR] else in_folders(path, train))
        others = list(val_tar(path / VAL_TAR, path / DEVKIT) if VAL_TAR in val else in_folders(path, val))
        classes = {wnid: label for label, wnid in enumerate(sorted({item.wnid for item in items}))}
        if unknown := next((item for item in others if item.wnid not in classes), None):
            raise UserError(f"{path}: class {unknown.wnid!r} is in val, but has no image in train")
        labels = np.array([classes[item.wnid] for item in items], dtype=np.int64)
        if others:
            kept, rule = items, "official train and val"
            splits = {"test": (others, np.array([classes[item.wnid] for item in others], dtype=np.int64))}
        else:
            rows, held_out, how = divide(labels, SHARE)
            if not len(held_out):
                raise UserError(
                    f"{path} has no val, and no class of two images, one to train on and one to compare with"
                )
            kept, rule = [items[row] for row in rows], f"no val: {how} is test"
            splits = {"test": ([items[row] for row in held_out], labels[held_out])}
            labels = labels[rows]
        splits["train"] = (kept, labels)

        def decode(item: Item) -> np.ndarray:
            return read_image(find(path, item), 3, size)

        read = undamaged(decode, "imagenet", self.config.skip_damaged)
        left_out = sum(len(of) - len(write_split(folder, name, of, read, to)) for name, (of, to) in splits.items())
        return {
            "crop": "central square",
            "resize": "Pillow bicubic, antialiased",
            "split": rule,
            "fingerprint": "names, sizes and samples of the files",
        } | ({"damaged images left out": left_out} if left_out else {})


def train_files(path: Path) -> list[str]:
    """Return the files with the training images, relative to `path`."""
    if (path / "train").is_dir():
        return class_files(path, "train")
    if (path / TRAIN_TAR).is_file():
        return [TRAIN_TAR]
    raise UserError(f"{path} holds neither train/<wnid>/*.JPEG nor {TRAIN_TAR}")


def val_files(path: Path) -> list[str]:
    """Return the files with the validation images, relative to `path`; none where there are none."""
    if (path / "val").is_dir():
        return class_files(path, "val")
    if not (path / VAL_TAR).is_file():
        return []
    if not (path / DEVKIT).is_file():
        raise UserError(f"{path / VAL_TAR} holds no classes: put {DEVKIT}, which has them, beside it")
    return [VAL_TAR, DEVKIT]


def class_files(path: Path, split: str) -> list[str]:
    names = sorted(image_names(path / split, f"{split}/"))
    if not names:
        raise UserError(f"{path / split} holds no images: right are class folders, {split}/<wnid>/*.JPEG")
    if loose := next((name for name in names if name.count("/") < 2), None):
        raise UserError(f"{path / loose} lies in no class folder: right is {split}/<wnid>/{Path(loose).name}")
    return names


def in_folders(path: Path, names: Sequence[str]) -> Iterator[Item]:
    """Yield the images that lie in class folders."""
    return (Item(name, sys.intern(name.split("/")[1])) for name in names)


def train_tar(path: Path) -> Iterator[Item]:
    """Yield the images of a tar file of one tar file a class, by where their bytes lie; reads headers alone."""
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                wnid, _, suffix = member.name.rpartition("/")[2].partition(".")
                if not member.isreg() or suffix != "tar":
                    raise UserError(f"{path} holds {member.name}: right is one tar file for each class, <wnid>.tar")
                with tarfile.open(fileobj=archive.extractfile(member), mode="r:") as inner:
                    yield from tar_items(path, inner, wnid, member.offset_data)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise UserError(f"{path} is not a whole tar file: {error}") from None


def val_tar(path: Path, devkit: Path) -> Iterator[Item]:
    """Yield the validation images, whose classes the development kit lists in the order of their names."""
    try:
        with tarfile.open(path, "r:") as archive:
            found = sorted(tar_items(path, archive, "", 0), key=lambda item: item.name)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise UserError(f"{path} is not a whole tar file: {error}") from None
    wnids = val_wnids(devkit)
    if len(wnids) != len(found):
        raise UserError(f"{path} has {len(found)} images, but {devkit} lists {len(wnids)} classes for them")
    return (item._replace(wnid=wnid) for item, wnid in zip(found, wnids, strict=True))


def tar_items(path: Path, archive: tarfile.TarFile, wnid: str, start: int) -> Iterator[Item]:
    for member in archive:
        if member.isreg() and member.name.lower().endswith(IMAGE_SUFFIXES):
            yield Item(str(path), wnid, member.name, start + member.offset_data, member.size)


def val_wnids(devkit: Path) -> list[str]:
    """Return the class of each validation image: one file of the kit has numbers, another the wnid of each number."""
    from scipy.io import loadmat

    def read(archive: tarfile.TarFile, name: str) -> bytes:
        member = next((member for member in archive if member.name.endswith(f"/data/{name}")), None)
        content = archive.extractfile(member) if member else None
        if content is None:
            raise UserError(f"{devkit} lacks data/{name}")
        return content.read()

    try:
        with tarfile.open(devkit) as archive:
            truth = read(archive, "ILSVRC2012_validation_ground_truth.txt").split()
            synsets = loadmat(io.BytesIO(read(archive, "meta.mat")), squeeze_me=True)["synsets"]
        wnids = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in np.atleast_1d(synsets)}
        return [wnids[int(number)] for number in truth]
    except (OSError, EOFError, tarfile.TarError, zlib.error, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{devkit} is not the development kit: {type(error).__name__}, {error}") from None


def find(path: Path, item: Item) -> Path | Encoded:
    """Return where the image lies, or its bytes out of an archive."""
    if not item.name:
        return path / item.path
    with Path(item.path).open("rb") as file:
        file.seek(item.offset)
        return Encoded(f"{item.path}: {item.name}", file.read(item.size))


@hookimpl
def ganbench_datasets() -> list[Dataset]:
    return [ImageNet()]
