from pathlib import Path

import pytest
import torch
from ganbench_example import Stripes, brightness

from ganbench import DataSpec, Features, Scene, UserError
from ganbench.testing.kit import parametrize


@parametrize("example-hinge")
def test_the_variant_keeps_every_rule(check, subject):
    check(subject)


def test_stripes_are_the_same_every_time_and_balanced(tmp_path: Path):
    first, second = Stripes().load(tmp_path, 16), Stripes().load(tmp_path, 16)
    assert first.spec() == DataSpec((1, 16, 16), classes=4)
    assert torch.equal(first.train.images, second.train.images)
    assert first.fingerprint == second.fingerprint != Stripes().load(tmp_path, 32).fingerprint
    assert torch.bincount(first.test.cond).tolist() == [256] * 4


def test_stripes_run_along_their_direction(tmp_path: Path):
    train = Stripes().load(tmp_path, 16).train
    upright, level = (train.images[train.cond == label].float() for label in (0, 2))
    assert upright.std(2).mean() < upright.std(3).mean() / 4  # little changes from row to row
    assert level.std(3).mean() < level.std(2).mean() / 4


def test_stripes_of_no_size_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="8 to 128 pixels"):
        Stripes().load(tmp_path, 4)


def test_brightness_is_the_difference_of_the_means():
    fake, real = (Features(torch.full((3, 1, 4, 4), level, dtype=torch.uint8)) for level in (10, 250))
    scene = Scene(DataSpec((1, 4, 4)), fake, real, {})
    assert brightness(scene)["example-brightness"].value == 240
