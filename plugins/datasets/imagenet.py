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
    MOST_BYTES,
    Dataset,
    Encoded,
    ImageSet,
    Splits,
    UserError,
    digest,
    divide,
    hookimpl,
    image_tree,
    left_out,
    listed,
    listed_folders,
    locate,
    parted,
    path_name,
    prepared,
    read_image,
    role_of,
    told_classes,
    tree_digest,
    undamaged,
    write_split,
)

SIZES = (32, 64, 128)
TRAIN_TAR, VAL_TAR, DEVKIT = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"
SHARE = 0.04  # of each class is held out where there is no val: 50 of 1,300 images, as many as val has


@dataclass(frozen=True)
class Config:
    """Options.

    skip_damaged: leave out files that cannot be read instead of ending with the first.
    """

    skip_damaged: bool = False


class Item(NamedTuple):
    """An image and its class; `size` bytes from `offset` where `path` is an archive, else 0."""

    path: str
    wnid: str
    name: str = ""
    offset: int = 0
    size: int = 0


class Found(NamedTuple):
    """The files of a split, relative to the path: those of a folder, or archives; and what the user is told of them."""

    folder: str
    names: Sequence[str]
    notes: tuple[str, ...] = ()


class ImageNet(Dataset):
    name, summary = "imagenet", "imagenet:PATH, ImageNet in class folders or in the official archives, 32, 64 or 128 px"
    size = 64
    budget = "1M-images"
    metrics = ("fid", "fid-768", "is", "ms-ssim", "grad-norm-g", "grad-norm-d")
    config: Config = Config()
    argument = ""

    def of(self, argument: str) -> Dataset:
        chosen = copy.copy(self)
        chosen.argument = ",".join(parted(argument))
        chosen.name = f"imagenet:{path_name(chosen.argument)}"
        return chosen

    def load(self, root: Path, size: int) -> Splits:
        if not self.argument.strip():
            raise UserError(f"data set 'imagenet' needs a path: write imagenet:PATH, with train/ or {TRAIN_TAR} in it")
        if size not in SIZES:
            raise UserError(f"imagenet comes at {', '.join(map(str, SIZES))} pixels a side, but {size} was asked for")
        path = locate("imagenet", self.argument, root)
        train, val = files_of(path)
        content = tree_digest(path, [*train.names, *val.names], sampled=True)
        key = {"format": "imagenet 1", "content": content, "size": size, "config": asdict(self.config)}
        arrays, protocol = prepared(key, lambda folder: self._build(folder, path, train, val, size))
        first, second = (ImageSet(arrays[split], arrays[f"{split}_labels"]) for split in ("train", "test"))
        return Splits(first, second, digest(key), protocol, notes=(*train.notes, *val.notes))

    def _build(self, folder: Path, path: Path, train: Found, val: Found, size: int) -> Mapping[str, Any]:
        items = list(in_folders(train.names) if train.folder else train_tar(path / TRAIN_TAR))
        others = list(in_folders(val.names) if val.folder or not val.names else val_tar(path / VAL_TAR, path / DEVKIT))
        classes = {wnid: label for label, wnid in enumerate(sorted({item.wnid for item in items}))}
        if unknown := next((item for item in others if item.wnid not in classes), None):
            raise UserError(f"{path}: class {unknown.wnid!r} is in {val.folder or 'val'}, but has no image in train")
        labels = np.array([classes[item.wnid] for item in items], dtype=np.int64)
        if others:
            usual = (train.folder or "train", val.folder or "val") == ("train", "val")
            kept, rule = items, "official train and val" if usual else f"the folders {train.folder} and {val.folder}"
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


def files_of(path: Path) -> tuple[Found, Found]:
    """Return the files of train and of val: folders called so in any case, or the official archives.

    In the place of val stands test where there is no val and images of test lie in class folders.
    """
    folders = [place.name for place in listed_folders(path)]
    of = {role: named(path, folders, role) for role in ("train", "val", "test")}
    if of["train"]:
        train = class_files(path, of["train"])
    elif (path / TRAIN_TAR).is_file():
        train = Found("", [TRAIN_TAR], (f"train is {TRAIN_TAR}",))
    else:
        there = f" (it holds {listed(folders)})" if folders else ""
        raise UserError(f"{path} holds neither train/<wnid>/*.JPEG nor {TRAIN_TAR}{there}")
    if of["val"]:
        return train, class_files(path, of["val"])
    if (path / VAL_TAR).is_file():
        if not (path / DEVKIT).is_file():
            raise UserError(f"{path / VAL_TAR} holds no classes: put {DEVKIT}, which has them, beside it")
        return train, Found("", [VAL_TAR, DEVKIT], (f"val is {VAL_TAR}",))
    if of["test"] and any(name.count("/") > 1 for name in image_tree(path / of["test"], f"{of['test']}/").names):
        return train, class_files(path, of["test"])
    return train, Found("", [], ("there is no val: a part of each class of train is held out",))


def named(path: Path, folders: Sequence[str], role: str) -> str:
    """Return the folder that is a split, "" where there is none; the usual name goes before others."""
    found = [role] if role in folders else [name for name in folders if role_of(name) == role]
    if len(found) > 1:
        raise UserError(f"{path} holds {listed(found)}, and which is {role} cannot be told: take one of them away")
    return found[0] if found else ""


def class_files(path: Path, split: str) -> Found:
    tree = image_tree(path / split, f"{split}/")
    if not tree.names:
        raise UserError(f"{path / split} holds no images: right are class folders, {split}/<wnid>/*.JPEG")
    if loose := next((name for name in tree.names if name.count("/") < 2), None):
        raise UserError(f"{path / loose} lies in no class folder: right is {split}/<wnid>/{Path(loose).name}")
    filled = sorted({name.split("/")[1] for name in tree.names})
    empty = sorted({folder.split("/")[1] for folder in tree.folders} - set(filled))
    notes = [f"{split}: {len(tree.names):,} images, {told_classes(filled)}"]
    notes += [f"{split}: without an image, left out: {listed(empty)}"] if empty else []
    return Found(split, tree.names, (*notes, *(f"{split}: {note}" for note in left_out(tree.others))))


def in_folders(names: Sequence[str]) -> Iterator[Item]:
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
            if member.size > MOST_BYTES:
                raise UserError(f"{path}: {member.name} has {member.size:,} bytes, which no image has")
            yield Item(str(path), wnid, member.name, start + member.offset_data, member.size)


def val_wnids(devkit: Path) -> list[str]:
    """Return the class of each validation image: one file of the kit has numbers, another the wnid of each number."""
    from scipy.io import loadmat

    def read(archive: tarfile.TarFile, name: str) -> bytes:
        member = next((member for member in archive if member.name.endswith(f"/data/{name}")), None)
        content = archive.extractfile(member) if member else None
        if member is None or content is None:
            raise UserError(f"{devkit} lacks data/{name}")
        if member.size > MOST_BYTES:
            raise UserError(f"{devkit} is not the development kit: its data/{name} has {member.size:,} bytes")
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
        file.seek(item.offset)  # a cut archive gives a cut image, which is said when it is decoded
        return Encoded(f"{item.path}: {item.name}", file.read(item.size))


@hookimpl
def ganbench_datasets() -> list[Dataset]:
    return [ImageNet()]
