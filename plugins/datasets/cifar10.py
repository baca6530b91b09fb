"""CIFAR-10 as its authors publish it: `cifar-10-python.tar.gz`, or its `cifar-10-batches-py/` unpacked."""

import hashlib
import io
import pickle
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ganbench import (
    Dataset,
    Download,
    ImageSet,
    Splits,
    UserError,
    digest,
    fetch,
    hookimpl,
    prepared,
    read_image,
    write_split,
)

SIZES = (16, 32, 64)
FOLDER = "cifar-10-batches-py"
ARRAYS = {  # all that the official files name; numpy has moved since Python 2 wrote them
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class Unpickler(pickle.Unpickler):
    """Read plain values and arrays of numbers, and refuse by name whatever else a pickle would call."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAYS:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no batch of CIFAR-10 does")
        return ARRAYS[module, name]


def unpickle(content: bytes, name: str) -> Any:
    """Read what Python 2 pickled; its strings become bytes. `name` is for the `UserError`."""
    try:
        return Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle raises almost anything
        raise UserError(f"{name} is refused: {error or type(error).__name__}") from None


def read_batch(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the images of a batch, uint8 `[N, 3, 32, 32]`, and their labels, int64 `[N]` from 0 to 9."""
    batch = unpickle(content, name)
    pixels, labels = (batch.get(key) if isinstance(batch, dict) else None for key in (b"data", b"labels"))
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (3072,):
        found = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise UserError(f"{name} needs 'data', uint8 (N, 3072), but holds {found}")
    numbers = labels if isinstance(labels, list) else []
    if len(numbers) != len(pixels) or not all(type(label) is int and 0 <= label <= 9 for label in numbers):
        raise UserError(f"{name} needs 'labels', a list of {len(pixels)} numbers from 0 to 9, one for each image")
    return pixels.reshape(-1, 3, 32, 32), np.array(numbers, dtype=np.int64)


def read_members(path: Path, files: tuple[Download, ...]) -> Mapping[str, bytes]:
    """Read the wanted members of a tar file, each of its own checksum; nothing is unpacked to the disk."""
    wanted, found = {file.path: file for file in files}, dict[str, bytes]()
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if (file := wanted.get(member.name)) is None:
                    continue
                content = archive.extractfile(member) if member.isreg() and member.size == file.size else None
                found[member.name] = content.read() if content else b""
                if f"md5:{hashlib.md5(found[member.name]).hexdigest()}" != file.checksum:
                    raise UserError(f"{path}: its member {member.name} is not the right file; replace the archive")
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise UserError(f"{path} is not a whole tar file: {error}") from None
    if missing := [name for name in wanted if name not in found]:
        raise UserError(f"{path} lacks {', '.join(missing)}; replace the archive")
    return found


class CIFAR10(Dataset):
    name, summary = "cifar10", "CIFAR-10: 60,000 small photographs in colour, 32×32 (16 and 64 resampled), 10 classes"
    size = 32
    budget = "1M-images"
    metrics = ("fid", "fid-768", "is", "ms-ssim", "grad-norm-g", "grad-norm-d")
    places = (FOLDER, "cifar-10-python.tar.gz")
    archive = Download(
        "cifar-10-python.tar.gz",
        "md5:c58f30108f718f92721af3b95e74349a",
        170498071,
        ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
    )
    batches = (  # the last one is the test split
        Download(f"{FOLDER}/data_batch_1", "md5:c99cafc152244af753f735de768cd75f", 31035704),
        Download(f"{FOLDER}/data_batch_2", "md5:d4bba439e000b95fd0a9bffe97cbabec", 31035320),
        Download(f"{FOLDER}/data_batch_3", "md5:54ebc095f3ab1f0389bbae665268c751", 31035999),
        Download(f"{FOLDER}/data_batch_4", "md5:634d18415352ddfa80567beed471001a", 31035696),
        Download(f"{FOLDER}/data_batch_5", "md5:482c414d41f54cd18b22e5b47cb7c3cb", 31035623),
        Download(f"{FOLDER}/test_batch", "md5:40351d587109b95175f43aff81a1287e", 31035526),
    )

    def load(self, root: Path, size: int) -> Splits:
        if size not in SIZES:
            raise UserError(f"cifar10 comes at {', '.join(map(str, SIZES))} pixels a side, but {size} was asked for")
        there = [(root / file.path).exists() for file in self.batches]
        unpacked = all(there) or (any(there) and not (root / self.archive.path).exists())
        paths = fetch(root, *self.batches) if unpacked else fetch(root, self.archive)
        protocol = {
            "resize": "none" if size == 32 else f"Pillow bicubic, antialiased, from 32 to {size}",
            "split": "official",
        }
        key = {"format": "cifar10", "files": [file.checksum for file in self.batches], "protocol": protocol}

        def contents() -> Iterator[tuple[bytes, str]]:
            if unpacked:
                yield from ((path.read_bytes(), str(path)) for path in paths)
            else:
                members = read_members(paths[0], self.batches)
                yield from ((members[file.path], f"{paths[0]}/{file.path}") for file in self.batches)

        def build(folder: Path) -> None:
            *train, test = (read_batch(content, name) for content, name in contents())
            for split, batches in (("train", train), ("test", [test])):
                pixels, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
                write_split(folder, split, list(pixels.transpose(0, 2, 3, 1)), partial(resized, size=size), labels)

        arrays = prepared(key, build).arrays
        train, test = (ImageSet(arrays[split], arrays[f"{split}_labels"]) for split in ("train", "test"))
        return Splits(train, test, digest(key), protocol)


def resized(image: np.ndarray, size: int) -> np.ndarray:
    """Resample one image to `size` pixels a side; at its own size it stays as it is."""
    return image if size == 32 else read_image(image, 3, size)


@hookimpl
def ganbench_datasets() -> list[Dataset]:
    return [CIFAR10()]
