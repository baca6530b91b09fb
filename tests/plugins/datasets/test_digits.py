"""scikit-learn's digits as uint8 images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ganbench_plugins.datasets.digits import Digits
from sklearn.datasets import load_digits

from ganbench import UserError

NOWHERE = Path("nowhere")


def test_every_fifth_image_of_a_class_is_test_and_all_are_there():
    data, source = Digits().load(NOWHERE, 8), load_digits()
    assert (len(data.train.images), len(data.test.images)) == (1438, 359)
    test = sorted(sorted(range(1797), key=lambda k: (source.target[k], k))[4::5])
    train = sorted(set(range(1797)) - set(test))
    for split, rows in ((data.train, train), (data.test, test)):
        expected = [[round(v * 255 / 16) for v in image.flatten()] for image in source.images[rows]]
        assert split.images.shape == (len(rows), 1, 8, 8)
        assert split.images.dtype == torch.uint8
        assert split.images.flatten(1).tolist() == expected
        assert split.cond.tolist() == source.target[rows].tolist()
    assert data.spec().classes == 10


def test_classes_are_equally_frequent_in_both_splits():
    """Or a distance between the splits would tell of digits that one has more of."""
    data = Digits().load(NOWHERE, 8)
    test, train = (split.cond.bincount().double() for split in (data.test, data.train))
    assert (test - train / 4).abs().max() < 1


def test_larger_sizes_are_the_same_images_enlarged():
    small, large = Digits().load(NOWHERE, 8), Digits().load(NOWHERE, 16)
    assert large.train.images.shape == (1438, 1, 16, 16)
    mean = large.train.images.float().unflatten(2, (8, 2)).unflatten(4, (8, 2)).mean(dim=(3, 5))
    pairs = torch.stack([mean.flatten(), small.train.images.float().flatten()])
    assert torch.corrcoef(pairs)[0, 1] > 0.95
    assert "bilinear" in large.protocol["resize"]
    assert large.fingerprint != small.fingerprint == Digits().load(NOWHERE, 8).fingerprint


@pytest.mark.parametrize("size", [0, 7, 64])
def test_other_sizes_are_refused(size: int):
    with pytest.raises(UserError, match=f"digits comes at 8, 16, 32 pixels a side, but {size}"):
        Digits().load(NOWHERE, size)


def test_the_arrays_are_writable_and_contiguous():
    images = Digits().load(NOWHERE, 8).train.images
    assert images.is_contiguous()
    assert np.asarray(images).flags.writeable
