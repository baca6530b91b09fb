"""Pictures: every sample where it belongs, pixel by pixel."""

import numpy as np
import pytest
import torch
from PIL import Image

from ganbench.scoring.pictures import FAINT, write_picture, write_rows


def picture(samples, tmp_path):
    path = tmp_path / "samples" / "100.png"
    write_picture(samples, path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.array(image)


def images(count, channels=1, side=32):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, side, side), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (4, 2, 2), (5, 3, 2), (64, 8, 8), (7, 3, 3)])
def test_images_stand_in_a_square_grid_row_by_row(count, columns, rows, tmp_path):
    samples = images(count)
    pixels = picture(samples, tmp_path)
    assert pixels.shape == (rows * 33, columns * 33)
    for number, sample in enumerate(samples):
        row, column = divmod(number, columns)
        assert (pixels[row * 33 : row * 33 + 32, column * 33 : column * 33 + 32] == sample[0].numpy()).all()
        assert (pixels[row * 33 + 32] == 255).all() and (pixels[:, column * 33 + 32] == 255).all()


def test_a_grid_that_is_not_full_ends_in_white(tmp_path):
    pixels = picture(images(5), tmp_path)
    assert (pixels[33:, 66:] == 255).all()


def test_colour_stays_colour(tmp_path):
    samples = images(2, channels=3)
    pixels = picture(samples, tmp_path)
    assert pixels.shape == (33, 66, 3)
    assert (pixels[:32, 33:65] == samples[1].permute(1, 2, 0).numpy()).all()


def test_small_images_are_enlarged_without_smoothing(tmp_path):
    sample = images(1, side=8)
    pixels = picture(sample, tmp_path)
    assert pixels.shape == (36, 36)
    assert (pixels[:32, :32] == np.kron(sample[0, 0].numpy(), np.ones((4, 4), np.uint8))).all()


def test_points_stand_with_x_to_the_right_and_y_upwards(tmp_path):
    # The 99th percentile of the coordinates, here 1, lies 1 / 1.25 of the way from the centre to the edge.
    pixels = picture(torch.tensor([[1.0, 0.5]]).repeat(100, 1), tmp_path)
    assert pixels.shape == (512, 512)
    ys, xs = np.nonzero(pixels == 0)
    assert abs(xs.mean() - 0.9 * 511) < 1 and abs(ys.mean() - (1 - 0.7) * 511) < 1
    assert len(ys) == 9  # three by three pixels, so that a point can be seen


@pytest.mark.parametrize(
    "points", [torch.zeros(10, 2), torch.full((10, 2), 1e30), torch.tensor([[0.0, 0.0]] * 300 + [[1e9, -1e9]])]
)
def test_no_cloud_of_points_is_too_small_or_too_wide(points, tmp_path):
    assert (picture(points, tmp_path) == 0).any()


def test_points_stand_before_real_ones_which_choose_the_axes(tmp_path):
    path = tmp_path / "100.png"
    real = torch.tensor([[2.0, -2.0]]).repeat(100, 1)
    write_picture(torch.tensor([[1.0, 1.0], [2.0, -2.0]]), path, real)
    with Image.open(path) as image:
        pixels = np.array(image)
    assert set(np.unique(pixels)) == {0, 255}  # a sample hides the real points where it lies
    write_picture(torch.tensor([[1.0, 1.0]]), path, real)
    with Image.open(path) as image:
        pixels = np.array(image)
    places = {grey: np.argwhere(pixels == grey).mean(0) for grey in (0, FAINT)}
    # The reach is 1.25 * 2: real points lie at 0.8 of it, the sample at 0.4, as far to the right as upwards.
    assert places[FAINT] == pytest.approx([0.9 * 511, 0.9 * 511], abs=1)
    assert places[0] == pytest.approx([0.3 * 511, 0.7 * 511], abs=1)


def test_points_beyond_the_axes_lie_on_the_border(tmp_path):
    pixels = picture(torch.cat([torch.zeros(200, 2), torch.tensor([[0.0, 1e9]])]), tmp_path)
    assert (pixels[:3, 254:258] == 0).any()


def test_rows_are_in_parts_with_half_an_image_between_them(tmp_path):
    rows = images(2 * 5).unflatten(0, (2, 5))
    write_rows(rows, tmp_path / "nearest.png", (1, 4))
    with Image.open(tmp_path / "nearest.png") as image:
        pixels = np.array(image)
    assert pixels.shape == (2 * 33, 5 * 33 + 16)
    for row in range(2):
        for column in range(5):
            left = column * 33 + (16 if column else 0)
            assert (pixels[row * 33 : row * 33 + 32, left : left + 32] == rows[row, column, 0].numpy()).all()
    assert (pixels[:, 33:49] == 255).all()


def test_rows_of_colour_without_parts_are_a_grid(tmp_path):
    rows = images(6, channels=3).unflatten(0, (2, 3))
    write_rows(rows, tmp_path / "a.png")
    write_picture(images(6, channels=3), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()  # six images are two rows of three
