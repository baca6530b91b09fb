"""How images cross the border, and what networks are told of data."""

import torch

from ganbench import DataSpec, ImageSet, Splits, to_float, to_uint8


def test_bytes_survive_the_way_to_floats_and_back():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    floats = to_float(levels)
    assert floats.dtype == torch.float32
    assert (floats.min(), floats.max()) == (-1, 1)
    assert torch.equal(to_uint8(floats), levels)


def test_quantisation_rounds_to_the_nearest_level_and_clips():
    values = torch.tensor([-3.0, -1.0, -0.999, 0.0, 0.0101, 1.0, 7.0]).reshape(1, 1, 1, 7)
    expected = [min(255, max(0, round((float(v) + 1) * 127.5))) for v in values.flatten()]
    assert to_uint8(values).flatten().tolist() == expected


def test_points_are_never_quantised():
    points = torch.tensor([[0.1234567, -9.0]], dtype=torch.float64)
    assert torch.equal(to_uint8(points), points.float())
    assert torch.equal(to_float(points), points.float())


def test_the_spec_follows_from_images_and_labels():
    data = ImageSet(torch.zeros(6, 1, 2, 2, dtype=torch.uint8), torch.arange(6))
    assert Splits(data, data, "0").spec() == DataSpec((1, 2, 2), "generate", 6)
    assert Splits(ImageSet(data.images), data, "0").spec("label") == DataSpec((1, 2, 2), "label", 0)
