"""scikit-learn's handwritten digits: 1,797 real images of 8×8 pixels that travel with the package."""

import hashlib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ganbench import Dataset, ImageSet, Splits, UserError, digest, hookimpl, prepared

SIZES = (8, 16, 32)


class Digits(Dataset):
    name, summary = "digits", "handwritten digits of scikit-learn: 1,797 grey images, 8×8, 10 classes, no download"
    size = 8
    budget = "40k-images"

    def load(self, root: Path, size: int) -> Splits:
        if size not in SIZES:
            raise UserError(f"digits comes at {', '.join(map(str, SIZES))} pixels a side, but {size} was asked for")
        key = {"format": "digits 1", "size": size, "scikit-learn": version("scikit-learn")}
        arrays = prepared(key, lambda folder: build(folder, size)).arrays
        images, labels = arrays["images"], arrays["labels"]
        held_out = torch.arange(len(images)) % 5 == 4
        protocol = {
            "resize": "none" if size == 8 else f"Pillow bilinear from 8 to {size}",
            "split": "every fifth image is test",
        }
        content = hashlib.sha256(images.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
        train, test = (ImageSet(images[rows], labels[rows]) for rows in (~held_out, held_out))
        return Splits(train, test, digest([content, protocol]), protocol)


def build(folder: Path, size: int) -> None:
    """Write scikit-learn's arrays as images and labels."""
    from sklearn.datasets import load_digits  # takes a second, so only when there is nothing prepared

    loaded = load_digits()
    pixels = np.round(loaded.images * (255 / 16)).astype(np.uint8)  # scikit-learn's values go from 0 to 16
    if size != 8:
        pixels = np.stack(
            [np.asarray(Image.fromarray(p).resize((size, size), Image.Resampling.BILINEAR)) for p in pixels]
        )
    np.save(folder / "images.npy", pixels[:, None])
    np.save(folder / "labels.npy", loaded.target.astype(np.int64))


@hookimpl
def ganbench_datasets() -> list[Dataset]:
    return [Digits()]
