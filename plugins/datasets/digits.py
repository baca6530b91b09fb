"""scikit-learn's handwritten digits: 1,797 real images of 8×8 pixels in the package; and pairs of them."""

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ganbench import Dataset, ImageSet, Splits, UserError, digest, hookimpl, prepared, translation

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
        held_out = fifth_of_each(labels)
        protocol = {
            "resize": "none" if size == 8 else f"Pillow bilinear from 8 to {size}",
            "split": "every fifth image of a class is test",
        }
        content = hashlib.sha256(images.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
        train, test = (ImageSet(images[rows], labels[rows]) for rows in (~held_out, held_out))
        return Splits(train, test, digest([content, protocol]), protocol)


@dataclass(frozen=True)
class PairConfig:
    """Options.

    change: what the target is; digits turned by a quarter to the left, or with black for white.
    """

    change: Literal["turn", "invert"] = "turn"


class DigitsPair(Dataset):
    """Digits and the same digits turned or inverted.

    No training image stands on both sides: the source has every other one, the target the changed rest. Test images
    correspond, so that the error of a translation is known.
    """

    name, summary = "digits-pair", "digits into turned or inverted digits and back: embedded, pairs known; no download"
    task = "translate"
    size = 8
    budget = "40k-images"
    metrics = ("fd-pixels", "pixel-error", "grad-norm-g", "grad-norm-d")
    config: PairConfig = PairConfig()

    def load(self, root: Path, size: int) -> Splits:
        digits, change = Digits().load(root, size), self.config.change

        def changed(images: Tensor) -> Tensor:
            return torch.rot90(images, 1, (2, 3)) if change == "turn" else 255 - images

        train, test = digits.train.images, digits.test.images
        halves = train[::2], changed(train[1::2]).contiguous()
        sides = [
            Splits(ImageSet(half), ImageSet(images), digest([digits.fingerprint, side]), digits.protocol)
            for side, half, images in zip(("source", change), halves, (test, changed(test).contiguous()), strict=True)
        ]
        names = ("digits", "turned digits" if change == "turn" else "inverted digits")
        return translation(*sides, names=names, paired=True)


def fifth_of_each(labels: Tensor) -> Tensor:
    """Mark every fifth image of each class, bool `[N]`, so that both splits have the classes in equal shares.

    Many writers wrote 0 to 9 in order: every fifth image of all would hold the digits 4 and 9 too often.
    """
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    held_out[labels.argsort(stable=True)[4::5]] = True
    return held_out


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
    return [Digits(), DigitsPair()]
