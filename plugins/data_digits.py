"""scikit-learn's handwritten digits: 1,797 real images of 8×8 pixels that travel with the package."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ganbench import Dataset, ImageSet, Splits, UserError, digest, hookimpl

SIZES = (8, 16, 32)


class Digits(Dataset):
    name, summary = "digits", "handwritten digits of scikit-learn: 1,797 grey images, 8×8, 10 classes, no download"
    size = 8
    budget = "50k-images"

    def load(self, root: Path, size: int) -> Splits:
        if size not in SIZES:
            raise UserError(f"digits comes at {', '.join(map(str, SIZES))} pixels a side, but {size} was asked for")
        from sklearn.datasets import load_digits  # takes a second, so only when wanted

        loaded = load_digits()
        pixels = np.round(loaded.images * (255 / 16)).astype(np.uint8)  # scikit-learn's values go from 0 to 16
        if size != 8:
            pixels = np.stack(
                [np.asarray(Image.fromarray(p).resize((size, size), Image.Resampling.BILINEAR)) for p in pixels]
            )
        images, labels = torch.from_numpy(pixels[:, None]), torch.from_numpy(loaded.target.astype(np.int64))
        held_out = torch.arange(len(images)) % 5 == 4
        protocol = {
            "resize": "none" if size == 8 else f"Pillow bilinear from 8 to {size}",
            "split": "every fifth image is test",
        }
        content = hashlib.sha256(pixels.tobytes() + labels.numpy().tobytes()).hexdigest()
        train, test = (ImageSet(images[rows], labels[rows]) for rows in (~held_out, held_out))
        return Splits(train, test, digest([content, protocol]), protocol)


@hookimpl
def ganbench_datasets() -> list[Dataset]:
    return [Digits()]
