"""CelebA's aligned faces in the layout of torchvision: `celeba/img_align_celeba/` (or its zip) under the data root."""

import codecs
import gzip
import lzma
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from annotated_types import Ge, Le

from ganbench import (
    Dataset,
    ImageFiles,
    ImageSet,
    Splits,
    UserError,
    digest,
    hookimpl,
    image_files,
    image_header,
    is_there,
    prepared,
    read_image,
    suggestion,
    tree_digest,
    undamaged,
    write_split,
)

SIZES = (32, 64, 128)
WIDTH, HEIGHT = 178, 218  # of the official files
PARTITION, ATTRIBUTES = "list_eval_partition.txt", "list_attr_celeba.txt"
TRAIN, TEST = 0, 2  # in the official partition; 1 is its validation split, which is left out
LARGEST_LIST = 2**26  # bytes; the attributes have 27 million
OPENERS: Mapping[str, Callable[[Path], Any]] = {"": partial(open, mode="rb"), ".gz": gzip.open, ".xz": lzma.open}
SHARE = 0.1  # of a set without official test images is held out


@dataclass(frozen=True)
class Config:
    """Options.

    crop: side of the central square that is kept, in pixels of the official files.
    labels: name of the attribute that gives the labels 0 and 1; without it there are none.
    skip_damaged: leave out files that cannot be read instead of ending with the first.
    """

    crop: Annotated[int, Ge(1), Le(WIDTH)] = WIDTH
    labels: str = ""
    skip_damaged: bool = False


class Plan(NamedTuple):
    """The images by number (CelebA's ids start at 1), the rows of both splits in that order, and the rule in words."""

    ids: np.ndarray
    names: Sequence[str]
    train: np.ndarray
    test: np.ndarray
    rule: str


class CelebA(Dataset):
    name, summary = "celeba", "CelebA: 202,599 aligned faces in colour, or a part of them; 32, 64 or 128 px"
    size = 64
    budget = "1M-images"
    metrics = ("fid", "fid-768", "fd-pixels", "copies", "ms-ssim", "grad-norm-g", "grad-norm-d")
    places = ("celeba/img_align_celeba", "celeba/img_align_celeba.zip")
    config: Config = Config()
    count = 202_599

    def load(self, root: Path, size: int) -> Splits:
        if size not in SIZES:
            raise UserError(f"celeba comes at {', '.join(map(str, SIZES))} pixels a side, but {size} was asked for")
        folder = root / "celeba"
        place = next((p for p in (folder / "img_align_celeba", folder / "img_align_celeba.zip") if is_there(p)), None)
        if place is None:
            raise UserError(
                f"put img_align_celeba.zip (or its folder img_align_celeba), {PARTITION} and {ATTRIBUTES} into "
                f"{folder}: there are no images, and their host, Google Drive, does not hand them to programs reliably"
            )
        with image_files(place) as images:
            plan, notes = self._plan(place, images.names), images.notes
            labels = attribute(folder, self.config.labels, self.count) if self.config.labels else None
            labels = None if labels is None else labels[plan.ids - 1]
            content = tree_digest(*((place, images.names) if place.is_dir() else (folder, [place.name])))
            lists = [plan.train.tolist(), plan.test.tolist(), plan.rule, None if labels is None else labels.tolist()]
            key = {"format": "celeba 1", "content": content, "lists": digest(lists), "size": size}
            key |= {"config": asdict(self.config)}
            arrays, protocol = prepared(key, lambda into: self._build(into, place, images, plan, labels, size))
        train, test = (ImageSet(arrays[split], arrays.get(f"{split}_labels")) for split in ("train", "test"))
        labelled = f"labels are {self.config.labels}" if self.config.labels else "no labels: celeba.labels names none"
        notes = (f"{len(plan.ids):,} images, {plan.rule}; {labelled}", *notes)
        return Splits(train, test, digest(key), protocol, notes=notes)

    def _plan(self, place: Path, found: Sequence[str]) -> Plan:
        names = dict[int, str]()
        for name in found:
            stem, _, suffix = name.rpartition("/")[2].partition(".")
            number = int(stem) if len(stem) == 6 and stem.isascii() and stem.isdigit() and suffix == "jpg" else 0
            if not 1 <= number <= self.count:
                raise UserError(f"{place}/{name} is none of CelebA's images, 000001.jpg to {self.count:06}.jpg")
            if number in names:
                raise UserError(f"{place} holds one image twice: {names[number]} and {name}")
            names[number] = name
        ids = np.array(sorted(names), dtype=np.int64)
        if len(ids) < 2:
            raise UserError(f"{place} holds {len(ids)} of CelebA's images: at least two are needed, train and test")
        official = partition(place.parent, self.count)
        reason = f"there is no {PARTITION}"
        if official is not None:
            parts = official[ids - 1]
            train, test = np.flatnonzero(parts == TRAIN), np.flatnonzero(parts == TEST)
            if len(train) and len(test):
                return Plan(ids, [names[k] for k in ids.tolist()], train, test, "official train and test")
            reason = f"no image here is of the official {'train' if len(test) else 'test'} split"
        last = len(ids) - max(1, round(len(ids) * SHARE))
        rule = f"the last {SHARE:.0%} by id are test, because {reason}"
        return Plan(ids, [names[k] for k in ids.tolist()], np.arange(last), np.arange(last, len(ids)), rule)

    def _build(
        self, into: Path, place: Path, images: ImageFiles, plan: Plan, labels: np.ndarray | None, size: int
    ) -> Mapping[str, Any]:
        skip = self.config.skip_damaged

        def look(name: str) -> tuple[int, int, int]:
            return image_header(images.find(name))

        def decode(name: str) -> np.ndarray:
            return read_image(images.find(name), 3)

        header, pixels_of = undamaged(look, "celeba", skip), undamaged(decode, "celeba", skip)
        first, shape = next(((name, shape) for name in plan.names if (shape := header(name))), ("", (0, 0, 0)))
        width, height, _ = shape
        if abs(height * WIDTH - width * HEIGHT) > WIDTH:  # a pixel may be lost in rounding
            raise UserError(
                f"{place}/{first} is {width}×{height}, which is not {WIDTH}×{HEIGHT} scaled: take the aligned images "
                f"as they are published, or read yours with --dataset folder:{place}"
            )
        crop = max(1, round(self.config.crop * width / WIDTH))
        left, top = (width - crop) // 2, (height - crop) // 2

        def read(name: str) -> np.ndarray | None:
            pixels = pixels_of(name)
            if pixels is None:
                return None
            if pixels.shape[:2] != (height, width):
                found = f"{pixels.shape[1]}×{pixels.shape[0]}"
                raise UserError(f"{place}/{name} is {found}, but {first} is {width}×{height}: all must be of one size")
            return read_image(pixels[top : top + crop, left : left + crop], 3, size)

        left_out = 0
        for split, rows in (("train", plan.train), ("test", plan.test)):
            of = None if labels is None else labels[rows]
            left_out += len(rows) - len(write_split(into, split, [plan.names[row] for row in rows], read, of))
        whole = len(plan.ids) == self.count and width == WIDTH
        return {
            "crop": f"central {crop}² of {width}×{height}",
            "resize": "Pillow bicubic, antialiased",
            "split": plan.rule,
            **({} if whole else {"subset": f"n={len(plan.ids)}, {width}×{height}"}),
            **({"damaged images left out": left_out} if left_out else {}),
        }


class Lines(NamedTuple):
    """The lines of a list file, without blank ones at its end, where it lies, and whether it is Kaggle's form of it."""

    path: Path
    lines: list[str]
    csv: bool


def read_lines(folder: Path, name: str) -> Lines | None:
    """Read a list file, plain or packed, as published (`.txt`) or as on Kaggle (`.csv`); None where it is missing."""
    forms = [f"{stem}{packed}" for stem in (name, f"{Path(name).stem}.csv") for packed in OPENERS]
    path = next((p for form in forms if is_there(p := folder / form)), None)
    if path is None:
        return None
    try:
        with OPENERS[path.suffix if path.suffix in OPENERS else ""](path) as file:
            content = file.read(LARGEST_LIST + 1)
        if len(content) > LARGEST_LIST:
            raise UserError(f"{path} is no list of CelebA: it has more than {LARGEST_LIST:,} bytes")
        lines = content.removeprefix(codecs.BOM_UTF8).decode("ascii").rstrip().splitlines()
    except (OSError, EOFError, zlib.error, lzma.LZMAError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    return Lines(path, lines, ".csv" in path.suffixes)


def partition(folder: Path, count: int) -> np.ndarray | None:
    """Return the official part of each image, int64 `[count]`: 0 train, 1 val, 2 test; None without the list file."""
    if (found := read_lines(folder, PARTITION)) is None:
        return None
    path, lines, first = found.path, found.lines, 1
    if found.csv:
        if not lines or lines[0].split(",") != ["image_id", "partition"]:
            raise UserError(f"{path} begins with {(lines or [''])[0][:40]!r} instead of 'image_id,partition'")
        lines, first = [line.replace(",", " ") for line in lines[1:]], 2
    if len(lines) != count:
        raise UserError(f"{path} has {len(lines)} lines instead of {count}, one for each image of CelebA")
    parts = np.empty(count, dtype=np.int64)
    for row, line in enumerate(lines):
        name, *part = line.split() or [""]
        if name != f"{row + 1:06}.jpg" or part not in (["0"], ["1"], ["2"]):
            right = f"'{row + 1:06}.jpg' and 0, 1 or 2"
            raise UserError(f"{path}, line {row + first}, is {line[:40]!r} instead of {right}")
        parts[row] = int(part[0])
    return parts


def attribute(folder: Path, wanted: str, count: int) -> np.ndarray:
    """Return an attribute of each image, int64 `[count]`: 1 where the list says 1, 0 where it says -1."""
    if (found := read_lines(folder, ATTRIBUTES)) is None:
        raise UserError(f"celeba.labels={wanted} needs {ATTRIBUTES} in {folder}, which is not there")
    path, lines, first = found.path, found.lines, 3
    if found.csv:
        if not lines or not lines[0].startswith("image_id,"):
            raise UserError(f"{path} begins with {(lines or [''])[0][:40]!r} instead of 'image_id,' and the attributes")
        names = lines[0].split(",")[1:]
        lines, first = [line.replace(",", " ") for line in lines[1:]], 2
        if len(lines) != count:
            raise UserError(f"{path} has {len(lines)} lines after its first instead of {count}, one for each image")
    else:
        if len(lines) != count + 2 or lines[0].strip() != str(count):
            raise UserError(
                f"{path} has {len(lines)} lines and begins with {(lines or [''])[0][:40]!r}, instead of {count + 2} "
                f"lines: the number {count}, the names of the attributes, and one for each image of CelebA"
            )
        names, lines = lines[1].split(), lines[2:]
    if wanted not in names:
        hint = suggestion(wanted, names) or f" (it has {', '.join(names)})"
        raise UserError(f"celeba.labels: {path} has no attribute {wanted!r}{hint}")
    column, labels = names.index(wanted) + 1, np.empty(count, dtype=np.int64)
    for row, line in enumerate(lines):
        name, *values = line.split() or [""]
        if name != f"{row + 1:06}.jpg" or len(values) != len(names) or not {"1", "-1"}.issuperset(values):
            right = f"'{row + 1:06}.jpg' and {len(names)} times 1 or -1"
            raise UserError(f"{path}, line {row + first}, is {line[:40]!r} instead of {right}")
        labels[row] = values[column - 1] == "1"
    return labels


@hookimpl
def ganbench_datasets() -> list[Dataset]:
    return [CelebA()]
