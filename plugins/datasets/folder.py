"""Your own images: `folder:PATH` is any tree of images, or an `.npz` file of them; `folder-pair:A,B` are two trees."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from ganbench import (
    IMAGE_SUFFIXES,
    Dataset,
    Fraction,
    ImageSet,
    ImageTree,
    Layout,
    Splits,
    UserError,
    digest,
    divide,
    hookimpl,
    image_header,
    image_tree,
    layout_of,
    left_out,
    listed,
    listed_folders,
    locate,
    npz_members,
    pair_splits,
    parted,
    path_name,
    prepared,
    read_image,
    read_npz,
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
    """Options.

    test_share: share of the images that are held back for the test split where the folder names none.
    channels: grey or colour; "auto" takes colour where any image has it.
    skip_damaged: leave out files that cannot be read instead of ending with the first.
    """

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
    # A classifier of its own where there are labels; where there are none, what needs neither them nor weights.
    metrics = ("fd-classifier", "fid", "fid-768", "fd-pixels", "copies", "ms-ssim", "grad-norm-g", "grad-norm-d")
    config: Config = Config()
    argument = ""

    splits: tuple[str, str] | None = None  # the folders of train and test, where whoever asks knows them
    labelled = True

    def of(self, argument: str) -> Dataset:
        chosen = copy.copy(self)
        chosen.argument = ",".join(parted(argument))
        chosen.name = f"folder:{path_name(chosen.argument)}"
        return chosen

    def load(self, root: Path, size: int) -> Splits:
        if not self.argument.strip():
            raise UserError("data set 'folder' needs a path: write folder:PATH, a folder of images or an .npz file")
        if not self.config.test_share:
            raise UserError("folder.test_share must be above 0: metrics compare with the images held out")
        path, share = locate("folder", self.argument, root), self.config.test_share
        key: dict[str, Any] = {"format": "folder 1", "size": size, "config": asdict(self.config)}
        notes: tuple[str, ...] = ()
        if path.is_dir():
            tree = self._tree(path)
            layout = layout_of(path, tree, splits=self.splits, labelled=self.labelled)
            notes = (*layout.notes, *left_out(tree.others))
            content, source = tree_digest(path, tree.names), partial(tree_source, path, layout, len(tree.names), share)
            key |= {"layout": layout.key} if layout.key else {}
        elif path.suffix.lower() == ".npz":
            content, source = tree_digest(path.parent, [path.name]), partial(npz_source, path, share)
        else:
            raise UserError(f"{path} is neither a folder of images nor an .npz file")
        key["content"] = content
        arrays, protocol = prepared(key, lambda folder: self._build(folder, source(), size))
        train, test = (ImageSet(arrays[split], arrays.get(f"{split}_labels")) for split in ("train", "test"))
        if not notes:
            count = 0 if train.cond is None else int(train.cond.max()) + 1
            notes = (f"{count} classes, by its array 'labels'" if count else "no classes: no 'labels' of several",)
        return Splits(train, test, digest(key), protocol, notes=notes)

    def _tree(self, path: Path) -> ImageTree:
        if self.splits is None:
            tree = image_tree(path)
        else:
            parts = [image_tree(path / split, f"{split}/") for split in self.splits]
            names, folders = (sorted(name for part in parts for name in part[k]) for k in (0, 1))
            tree = ImageTree(names, folders, parts[0].others + parts[1].others)
        if len(tree.names) < 2:
            found = f"only one image, {tree.names[0]}" if tree.names else f"no images ({', '.join(IMAGE_SUFFIXES)})"
            others = f"; {told[0]}" if (told := left_out(tree.others)) and tree.names else ""
            raise UserError(f"{path} holds {found}: {NEEDED}{others}")
        return tree

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
    """Options of a folder, and

    paired: whether the test images of both sides correspond, one by one, so that the error of a translation is known.
    """

    paired: bool = False


class FolderPair(Dataset):
    """Two folders to translate between, from the first into the second and back; or one that holds both.

    A folder that holds both has `trainA`, `trainB`, `testA` and `testB`, the layout of CycleGAN, in any case.
    """

    name = "folder-pair"
    summary = "folder-pair:A,B, two folders of your own to translate between, or one with trainA trainB testA testB"
    task = "translate"
    metrics = ("fid", "fid-768", "fd-pixels", "pixel-error", "grad-norm-g", "grad-norm-d")
    config: PairConfig = PairConfig()
    arguments = 2
    paths: tuple[str, ...] = ()

    def of(self, argument: str) -> Dataset:
        paths = parted(argument)
        if len(paths) > 2 or not all(map(str.strip, paths)):
            raise UserError(needs_two(argument))
        chosen = copy.copy(self)
        chosen.paths, chosen.name = tuple(paths), f"folder-pair:{','.join(map(path_name, paths))}"
        return chosen

    def load(self, root: Path, size: int) -> Splits:
        if not self.paths:
            raise UserError("data set 'folder-pair' needs two paths: write folder-pair:A,B")
        places = self._places(root)
        sides = _within(places[0]) if len(places) == 1 else [_side(str(place)) for place in places]
        for side in sides:
            side.config = Config(self.config.test_share, self.config.channels, self.config.skip_damaged)
        whole = list(map(path_name, self.paths))
        first, second = whole if len(whole) == 2 else [f"{whole[0]} {letter}" for letter in "AB"]
        source, target = (side.load(root, size) for side in sides)
        data = translation(source, target, names=(first, second), paired=self.config.paired)
        return replace(data, notes=(*_unused(places), *data.notes))

    def _places(self, root: Path) -> list[Path]:
        try:
            return [locate("folder", path, root) for path in self.paths]
        except UserError as error:
            if len(self.paths) == 2:
                raise
            raise UserError(f"{needs_two(self.paths[0])} ({error})") from None


def needs_two(given: str) -> str:
    return (
        f"data set 'folder-pair' needs two paths, not {given!r}: write folder-pair:A,B, or folder-pair:PATH where PATH "
        "holds trainA, trainB, testA and testB"
    )


def _side(path: str, splits: tuple[str, str] | None = None) -> Folder:
    side = Folder()
    side.argument, side.splits, side.labelled = path, splits, False
    return side


def _within(path: Path) -> list[Folder]:
    """Find both domains in one folder: CycleGAN's layout, or folders called A and B."""
    names = [place.name for place in listed_folders(path)]
    if (found := pair_splits(path, names)) is None:
        sides = sorted((name for name in names if name.casefold() in ("a", "b")), key=str.casefold)
        if list(map(str.casefold, sides)) != ["a", "b"]:
            raise UserError(f"{needs_two(str(path))} (it holds {listed(names) or 'no folders'})")
        return [_side(str(path / side)) for side in sides]
    if not found[0][1]:
        return [_side(str(path / train)) for train, _ in found]
    return [_side(str(path), splits) for splits in found]


def _unused(places: Sequence[Path]) -> list[str]:
    """Say that folders of test images lie beside those of training images and are not read."""
    if len(places) != 2 or len({place.parent for place in places}) != 1:
        return []
    try:
        found = pair_splits(places[0].parent, [place.name for place in listed_folders(places[0].parent)])
    except UserError:
        return []
    if found is None or not found[0][1] or {place.name for place in places} != {train for train, _ in found}:
        return []
    tests = listed(test for _, test in found)
    return [f"{tests} beside them are not read: write folder-pair:{places[0].parent} to test on these"]


def tree_source(path: Path, layout: Layout, count: int, share: float) -> Source:
    """Plan a tree of `count` images in all: its folders of splits are the splits, else a share is held out."""
    items, labels = layout.items, layout.labels
    if layout.test:
        in_train = np.array([name.startswith(f"{layout.train}/") for name in items])
        train, test = np.flatnonzero(in_train), np.flatnonzero(~in_train)
        rule = f"the folders {layout.train} and {layout.test}"
        rule += f"; {count - len(items)} images elsewhere left out" if count > len(items) else ""
    else:
        train, test, rule = divide(labels, share)

    def read(name: str, channels: int, side: int) -> np.ndarray:
        return read_image(path / name, channels, side)

    return Source(items, labels, layout.classes, train, test, rule, lambda name: image_header(path / name), read)


def npz_source(path: Path, share: float) -> Source:
    """Plan an `.npz` file: `images` (or its only uint8 array of 3 or 4 axes), and `labels` where there are some."""
    members = npz_members(path)
    names = ["images"] if "images" in members else [name for name in members if name != "labels"]
    fitting = [name for name in names if members[name].dtype == np.uint8 and len(members[name].shape) in (3, 4)]
    shape = members[fitting[0]].shape if len(fitting) == 1 else ()
    if not shape or shape[3:] not in ((), (1,), (3,), (4,)) or 0 in shape:
        found = ", ".join(f"{name}: {members[name].dtype} {members[name].shape}" for name in names) or "nothing"
        raise UserError(f"{path} needs one array 'images', uint8 (N, H, W) or (N, H, W, 1, 3 or 4), but holds {found}")
    if shape[0] < 2:
        raise UserError(f"{path} holds only one image: {NEEDED}")
    given = members.get("labels")
    if given is not None and (given.shape != shape[:1] or not np.issubdtype(given.dtype, np.integer)):
        found = f"{given.dtype} {given.shape}"
        raise UserError(f"{path} needs 'labels' of integers, one for each of {shape[0]} images, but holds {found}")
    arrays = read_npz(path, [fitting[0], *(["labels"] if given is not None else [])])
    images, classes, numbers = arrays[fitting[0]], [], np.zeros(shape[0], dtype=np.int64)
    if given is not None:
        values, places = np.unique(arrays["labels"], return_inverse=True)
        if 2 <= len(values) < len(images):
            classes, numbers = [str(value) for value in values], places.astype(np.int64)
    train, test, rule = divide(numbers, share)
    header = (shape[2], shape[1], 1 if shape[3:] in ((), (1,)) else 3)

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
