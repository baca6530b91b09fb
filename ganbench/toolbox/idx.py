"""MNIST and its like: idx files of bytes in the layout of torchvision, read by several data sets."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ganbench.contract.data import ImageSet, Splits
from ganbench.contract.types import digest
from ganbench.errors import UserError
from ganbench.toolbox.prepared import prepared
from ganbench.toolbox.sources import Download, fetch


def read_idx(path: Path, axes: int) -> np.ndarray:
    """Read a whole idx file of bytes, packed or not: magic 0, 0, 8, axes; the shape, big-endian; the bytes."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be unpacked: {error}") from None
    start = 4 + 4 * axes
    if len(content) < start or content[:4] != bytes((0, 0, 8, axes)):
        raise UserError(
            f"{path} is not an idx file of bytes in {axes} axes: it begins with {content[:4].hex() or 'nothing'}"
        )
    shape = tuple(np.frombuffer(content, ">u4", axes, offset=4).tolist())
    if len(content) - start != np.prod(shape):
        raise UserError(f"{path} holds {len(content) - start} bytes, but its header says {' × '.join(map(str, shape))}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def idx_downloads(
    folder: str, mirrors: tuple[str, ...], known: Mapping[str, tuple[int, str, int, str]]
) -> tuple[Download, ...]:
    """Describe the official files of a set in idx; `known`: bytes and SHA-256 of each file packed, then unpacked."""
    files = []
    for name, (size, checksum, unpacked_size, unpacked_checksum) in known.items():
        path = f"{folder}/raw/{name}"
        unpacked = Download(path, f"sha256:{unpacked_checksum}", unpacked_size)
        urls = tuple(f"{mirror}{name}.gz" for mirror in mirrors)
        files.append(Download(f"{path}.gz", f"sha256:{checksum}", size, urls, (unpacked,)))
    return tuple(files)


def load_idx(name: str, root: Path, size: int, files: tuple[Download, ...]) -> Splits:
    """Load images and labels of both splits, `files` in this order: train, then test, images before their labels.

    At 28 pixels, or 32 by padding; the same content gives the same fingerprint, packed or not.
    """
    if size not in (28, 32):
        raise UserError(f"{name} comes at 28 pixels a side, or 32 by padding, but {size} was asked for")
    paths = fetch(root, *files)
    protocol = {
        "resize": "none" if size == 28 else "28 padded to 32 with 2 zero pixels on every side",
        "split": "official",
    }
    key = {"format": "idx", "files": [file.checksum for file in files], "protocol": protocol}

    def build(folder: Path) -> None:
        margin = (size - 28) // 2
        for split, images, labels in (("train", paths[0], paths[1]), ("test", paths[2], paths[3])):
            pixels, classes = read_idx(images, 3), read_idx(labels, 1)
            if len(pixels) != len(classes):
                raise UserError(f"{images} has {len(pixels)} images, but {labels} has {len(classes)} labels")
            padded = np.pad(pixels, ((0, 0), (margin, margin), (margin, margin)))
            np.save(folder / f"{split}.npy", padded[:, None])
            np.save(folder / f"{split}_labels.npy", classes.astype(np.int64))

    arrays = prepared(key, build).arrays
    train, test = (ImageSet(arrays[split], arrays[f"{split}_labels"]) for split in ("train", "test"))
    return Splits(train, test, digest(key), protocol)


MNIST_FILES = idx_downloads(
    "MNIST",
    ("https://ossci-datasets.s3.amazonaws.com/mnist/",),
    {
        "train-images-idx3-ubyte": (
            9912422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            47040016,
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        "train-labels-idx1-ubyte": (
            28881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            60008,
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        "t10k-images-idx3-ubyte": (
            1648877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            7840016,
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        "t10k-labels-idx1-ubyte": (
            4542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            10008,
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    },
)
