"""Augmentation: each transformation against a construction of its own, its chances, and its gradients."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from ganbench import Augmentation, UserError
from ganbench.toolbox.augment import CHANCES, SYM6, cut_out, halving, recolour, rotation, scaling, translation

SIDE = 32
ONE = torch.ones(1)


def pipe(*names: str, shape=(3, 16, 16)) -> Augmentation:
    return Augmentation(shape, {name: CHANCES[name] for name in names})


def noise(n: int = 4, shape=(3, 16, 16)) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(0))


def blob(x: float, y: float, wide: float, high: float, angle: float = 0.0) -> Tensor:
    """Draw a Gaussian hill, its centre in pixels from that of the image."""
    places = np.arange(SIDE) + 0.5 - SIDE / 2
    across, down = np.meshgrid(places - x, places - y)
    long, short = (
        across * np.cos(angle) + down * np.sin(angle),
        -across * np.sin(angle) + down * np.cos(angle),
    )
    return torch.tensor(np.exp(-(long**2) / (2 * wide**2) - short**2 / (2 * high**2)), dtype=torch.float32)[None, None]


def test_the_filter_is_orthonormal_with_six_vanishing_moments():
    """So are only the wavelets of Daubechies with 12 taps, one of which is sym6."""
    h, taps = np.array(SYM6), np.arange(12)
    assert h.sum() == pytest.approx(math.sqrt(2))
    assert [float(h[2 * k :] @ h[: 12 - 2 * k]) for k in range(6)] == pytest.approx([1, 0, 0, 0, 0, 0], abs=1e-9)
    assert [float((-1.0) ** taps @ (h * taps**k)) for k in range(6)] == pytest.approx([0] * 6, abs=1e-7)


def test_without_a_chance_nothing_changes_to_the_bit():
    x = noise(64)
    torch.manual_seed(0)
    assert torch.equal(Augmentation((3, 16, 16))(x, torch.tensor(0.0)), x)
    assert torch.equal(pipe()(x, torch.tensor(1.0)), x)


def test_flips_turns_and_shifts_take_pixels_as_they_are():
    x, n, known = noise(512), 512, {}
    pads = [(0, 0), (0, 0), (2, 2), (2, 2)]  # two pixels are an eighth of sixteen
    padded = torch.tensor(np.pad(x.numpy(), pads, mode="reflect"))
    known["xflip"] = [x, x.flip(3)]
    known["rotate90"] = [x.rot90(k, (2, 3)) for k in range(4)]
    known["xint"] = [padded[:, :, i : i + 16, j : j + 16] for i in range(5) for j in range(5)]
    for name, images in known.items():
        torch.manual_seed(1)
        made = pipe(name)(x, torch.tensor(1.0))
        same = torch.stack([(made == image).flatten(1).all(1) for image in images])
        assert same.any(0).all(), name
        assert (same.sum(1) > 0.2 * n / len(images)).all(), name  # each of them, also the corners of the shifts


@pytest.mark.parametrize("angle", [0.4, 1.2, math.pi, -2.0])
def test_rotations_are_those_of_the_plane(angle):
    moved = Augmentation((1, SIDE, SIDE)).move(blob(3, -2, 3, 2, 0.3), rotation(angle * ONE))
    x, y = 3 * math.cos(angle) - 2 * math.sin(angle), -3 * math.sin(angle) - 2 * math.cos(angle)
    torch.testing.assert_close(moved, blob(x, y, 3, 2, 0.3 - angle), atol=0.03, rtol=0)


@pytest.mark.parametrize(("factor", "steps"), [((1.25, 1.25), (0, 0)), ((0.8, 1.25), (0, 0)), ((1, 1), (1.3, -0.6))])
def test_scalings_and_shifts_are_those_of_the_plane(factor, steps):
    motion = scaling(factor[0] * ONE, factor[1] * ONE) @ translation(steps[0] * ONE, steps[1] * ONE)
    moved = Augmentation((1, SIDE, SIDE)).move(blob(2, -1, 2.5, 2), motion)
    expected = blob(2 / factor[0] - steps[0], -1 / factor[1] - steps[1], 2.5 / factor[0], 2 / factor[1])
    torch.testing.assert_close(moved, expected, atol=0.03, rtol=0)


def test_motions_leave_an_image_that_does_not_move_and_mirror_what_enters():
    x = noise(2, (3, 12, 20))
    move = Augmentation((3, 12, 20)).move
    two = torch.ones(2)
    torch.testing.assert_close(move(x, translation(0 * two, 0 * two)), x, atol=1e-5, rtol=0)
    padded = torch.tensor(np.pad(x.numpy(), [(0, 0), (0, 0), (5, 5), (25, 25)], mode="reflect"))
    moved = move(x, translation(-23 * two, 4 * two))  # farther than the image is wide
    torch.testing.assert_close(moved, padded[:, :, 9:21, 2:22], atol=1e-5, rtol=0)


def test_fine_detail_survives_a_motion():
    """Between the filters a wave of 5 pixels, moved by half a pixel, loses less than bilinear sampling alone takes."""
    columns = torch.arange(SIDE) + 0.5
    wave, expected = (torch.cos(2 * math.pi * (columns + shift) / 5).expand(1, 1, SIDE, -1) for shift in (0, 0.5))
    moved = Augmentation((1, SIDE, SIDE)).move(wave, translation(0.5 * ONE, 0 * ONE))
    plain = (wave + wave.roll(-1, 3)) / 2
    loss, of_plain = ((image - expected)[..., 8:-8].abs().max() for image in (moved, plain))
    assert loss < 0.7 * of_plain


def test_halving_is_the_wavelet_s_own():
    row = halving(8).double().numpy() @ np.eye(26)
    assert row.shape == (8, 26) and np.allclose(row.sum(1), 1)
    assert np.allclose(row @ row.T, np.eye(8) / 2, atol=1e-6)


def matrix_of(brightness: float, contrast: float, flip: float, hue: float, saturation: float) -> np.ndarray:
    """Multiply the five homogeneous matrices of colours of Karras et al. 2020, appendix B."""
    v = np.array([1, 1, 1]) / math.sqrt(3)
    axis, one = np.outer(v, v), np.eye(3)
    cross = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    turn = math.cos(hue) * one + math.sin(hue) * cross + (1 - math.cos(hue)) * axis  # Rodrigues' formula

    def homogeneous(linear: np.ndarray, offset: float = 0.0) -> np.ndarray:
        return np.block([[linear, np.full((3, 1), offset)], [np.zeros((1, 3)), np.ones((1, 1))]])

    reflected = one - 2 * axis if flip < 0 else one
    steps = [homogeneous(one, brightness), homogeneous(contrast * one), homogeneous(reflected), homogeneous(turn)]
    product = np.eye(4)
    for step in [*steps, homogeneous(axis + saturation * (one - axis))]:
        product = step @ product
    return product


@pytest.mark.parametrize(
    "numbers",
    [
        (0.3, 1, 1, 0, 1),
        (0, 1.7, 1, 0, 1),
        (0, 1, -1, 0, 1),
        (0, 1, 1, 2.1, 1),
        (0, 1, 1, 0, 2.5),
        (0.2, 0.6, -1, -1, 0.4),
    ],
)
def test_colours_are_the_product_of_the_matrices(numbers):
    x, matrix = noise(2), matrix_of(*numbers)
    changed = recolour(x, *(torch.full((2,), float(number)) for number in numbers)).numpy()
    expected = np.einsum("ij,njhw->nihw", matrix[:3, :3], x.numpy()) + matrix[:3, 3][:, None, None]
    np.testing.assert_allclose(changed, expected, atol=1e-5)


def test_grey_images_keep_the_part_of_colours_that_is_grey():
    x = noise(2, (1, 8, 8))
    numbers = [torch.full((2,), value) for value in (0.2, 1.5, -1.0, 2.0, 3.0)]
    torch.testing.assert_close(recolour(x, *numbers), -1.5 * (x + 0.2))
    assert Augmentation((1, 8, 8))(x, torch.tensor(0.9)).shape == x.shape


def test_holes_are_boxes_of_half_the_size_that_edges_cut():
    x = torch.ones(2, 3, 8, 12)
    holed = cut_out(x, torch.tensor([0.5, 0.0]), torch.tensor([0.5, 1.0]))
    expected = torch.ones(2, 3, 8, 12)
    expected[0, :, 2:6, 3:9] = 0
    expected[1, :, 6:, :3] = 0
    assert torch.equal(holed, expected)


@pytest.mark.parametrize(("name", "often"), [(name, 1.0) for name in CHANCES] + [("xflip", 0.5), ("rotate90", 0.75)])
def test_each_is_made_as_often_as_is_said(name, often):
    """Of 800 images; half of the flips, and some turns and shifts, leave an image as it is."""
    n, p = 800, 0.6
    x = noise(1, (3, 8, 8)).expand(n, -1, -1, -1)
    torch.manual_seed(2)
    made = Augmentation((3, 8, 8), {name: often * CHANCES[name]})(x, torch.tensor(p))
    changed = ((made - x).abs() > 1e-4).flatten(1).any(1)
    still = {"xflip": 0.5, "rotate90": 0.25, "lumaflip": 0.5, "xint": 0.25}.get(name, 0.0)  # half of the steps are 0
    expected = p * often * CHANCES[name] * (1 - still)
    assert float(changed.float().mean()) == pytest.approx(expected, abs=4 * math.sqrt(0.25 / n))


def test_gradients_flow_twice_and_samples_do_not_mix():
    torch.manual_seed(0)
    layer, x = nn.Conv2d(3, 2, 3), noise(3).requires_grad_()
    augmentation = Augmentation((3, 16, 16))

    def slope(weight: Tensor) -> Tensor:
        torch.manual_seed(3)
        output = nn.functional.conv2d(augmentation(x, torch.tensor(0.9)), weight).square().sum((1, 2, 3))
        (gradient,) = torch.autograd.grad(output.sum(), x, create_graph=True)
        (own,) = torch.autograd.grad(output[0], x, retain_graph=True)
        assert not own[1:].any() and torch.equal(own[0], gradient[0])
        return gradient.square().sum()

    weight = layer.weight.detach().requires_grad_()
    (found,) = torch.autograd.grad(slope(weight), weight)
    length = float(found.norm())
    ahead, behind = (slope(weight.detach() + step * found / length).detach() for step in (1e-2, -1e-2))
    assert length == pytest.approx(float(ahead - behind) / 2e-2, rel=1e-2)


def test_a_wrong_use_is_one_sentence():
    with pytest.raises(UserError, match=r"not data of shape \(2,\)"):
        Augmentation((2,))
    with pytest.raises(UserError, match="no augmentation 'blur'"):
        Augmentation((3, 8, 8), {"blur": 1.0})
    assert not Augmentation((3, 8, 8)).state_dict()


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28)])
def test_no_value_is_read_on_the_host(shape):
    """Tensors that hold nothing pass, and so do their gradients of both orders."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        x = torch.randn(4, *shape, requires_grad=True)
        y = Augmentation(shape)(x, torch.tensor(0.5))
        (slope,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(slope.square().sum(), x)
        assert y.shape == second.shape == x.shape
        with pytest.raises(DataDependentOutputException):
            float(y.sum())
