"""Augmentation for discriminators: random flips, motions, colours and holes that G does not learn to imitate."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ganbench.errors import UserError

KINDS = {
    "pixels": ("xflip", "rotate90", "xint"),
    "motions": ("scale", "rotate", "aniso", "rotate_after", "xfrac"),
    "colours": ("brightness", "contrast", "lumaflip", "hue", "saturation"),
    "holes": ("cutout",),
}
CHANCES: Mapping[str, float] = {
    **dict.fromkeys(("xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac"), 1.0),
    **dict.fromkeys(KINDS["colours"], 0.5),
    "cutout": 1.0,
}
"""The transformations and their chances, which `p` multiplies, as R3GAN's `train.py` sets them."""

# Daubechies' least asymmetric wavelet of 12 taps (sym6), its low-pass filter: orthogonal to its own even shifts.
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
CENTRE = sum(tap * weight for tap, weight in enumerate(SYM6)) / sum(SYM6)
"""Where the filter has its centre, in taps: it is not symmetric."""
MARGIN = 5
"""Half pixels that the filter needs beyond each edge."""


class Augmentation(nn.Module):
    """The pipe of Karras et al. 2020 (appendix B) with the transformations that R3GAN uses, drawn for each image.

    `shape`: that of an image, 1 or 3 channels. `chances`: of each transformation, by its name in `CHANCES`; those left
    out are never made. Nothing waits for the device, and gradients of any order flow to the images. Unlike in the
    authors' pipe, which filters every image, flips, quarter turns and shifts by whole pixels are exact, and an image is
    mirrored at its edges without end.
    """

    up_x: Tensor
    up_y: Tensor
    down_x: Tensor
    down_y: Tensor
    pixels: Tensor
    halves: Tensor
    size: Tensor
    chances: Tensor
    powers: Tensor

    def __init__(self, shape: tuple[int, ...], chances: Mapping[str, float] = CHANCES) -> None:
        super().__init__()
        if len(shape) != 3 or shape[0] not in (1, 3) or min(shape[1:]) < 4:
            raise UserError(f"images of 1 or 3 channels and 4 px or more can be augmented, not data of shape {shape}")
        if strange := sorted(chances.keys() - CHANCES.keys()):
            raise UserError(f"there is no augmentation {strange[0]!r}, only {', '.join(CHANCES)}")
        _, height, width = shape
        each = {**chances, "rotate_after": chances.get("rotate", 0.0)}
        self.has = {kind: any(each.get(name) for name in names) for kind, names in KINDS.items()}
        names = [name for names in KINDS.values() for name in names]
        constants = {
            "up_x": doubling(width),
            "up_y": doubling(height),
            "down_x": halving(width),
            "down_y": halving(height),
            "pixels": grid(torch.arange(width) + 0.5 - width / 2, torch.arange(height) + 0.5 - height / 2),
            "halves": grid(half_pixels(width) - width / 2, half_pixels(height) - height / 2),
            "size": torch.tensor([width, height]),
            "chances": torch.tensor([each.get(name, 0.0) for name in names]),
            # An image is rotated before and after it is stretched, and the chance is that of either.
            "powers": torch.tensor([0.5 if name in ("rotate", "rotate_after") else 1.0 for name in names]),
        }
        for name, constant in constants.items():
            self.register_buffer(name, constant, persistent=False)

    def forward(self, x: Tensor, p: Tensor) -> Tensor:
        """Transform images `[B, *shape]`, in float32. `p`: 0-d, from 0, where they stay what they are, to 1."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            on = torch.rand(len(x), len(self.chances), device=x.device) < 1 - (1 - self.chances * p) ** self.powers
            pixels, motions, colours, holes = on.split([len(names) for names in KINDS.values()], 1)
            if self.has["pixels"]:
                x = self.rearrange(x, draw_rearrangement(pixels, self.size))
            if self.has["motions"]:
                x = torch.where(per_image(motions.any(1)), self.move(x, draw_motion(motions, self.size)), x)
            if self.has["colours"]:
                x = torch.where(per_image(colours.any(1)), recolour(x, *draw_colours(colours)), x)
            if self.has["holes"]:
                x = torch.where(per_image(holes[:, 0]), cut_out(x, *torch.rand(2, len(x), device=x.device)), x)
        return x

    def rearrange(self, x: Tensor, motion: Tensor) -> Tensor:
        """Take each pixel from where `motion`, `[B, 3, 3]`, leads to, in pixels from the centre: one of the image's."""
        place = (motion[:, :2] @ self.pixels + (self.size[:, None] - 1) / 2).round().long()
        period = 2 * (self.size[:, None] - 1)
        column, row = torch.minimum(place % period, -place % period).unbind(1)
        index = (row * x.shape[3] + column)[:, None].expand(-1, x.shape[1], -1)
        return x.flatten(2).gather(2, index).view_as(x)

    def move(self, x: Tensor, motion: Tensor) -> Tensor:
        """Resample images where `motion` leads to, between pixels.

        At twice the resolution, between two passes of an orthogonal filter, so that fine detail is not lost.
        """
        fine = self.up_y @ x @ self.up_x.T
        columns, period = fine.shape[3], 4 * (self.size[:, None] - 1)
        place = 2 * (motion[:, :2] @ self.halves + self.size[:, None] / 2) - 1 + CENTRE - MARGIN
        before = place.floor()
        (right, down), (column, row) = (place - before).unbind(1), (before.long() % period).unbind(1)
        first, fine = row * columns + column, fine.flatten(2)
        parts = (
            (first, (1 - down) * (1 - right)),
            (first + 1, (1 - down) * right),
            (first + columns, down * (1 - right)),
            (first + columns + 1, down * right),
        )
        found = [weight[:, None] * fine.gather(2, at[:, None].expand(-1, x.shape[1], -1)) for at, weight in parts]
        return self.down_y @ torch.stack(found).sum(0).unflatten(2, (self.down_y.shape[1], -1)) @ self.down_x.T


def draw_rearrangement(on: Tensor, size: Tensor) -> Tensor:
    """Draw flips, quarter turns, and shifts by whole pixels of up to an eighth of the size, for `rearrange`."""
    uniform = torch.rand(4, len(on), device=on.device)
    flip, turn, shift = on.T.float()
    flip, turn = flip * (uniform[0] < 0.5), turn * (4 * uniform[1]).floor()
    steps = (shift * (2 * uniform[2:] - 1) * size[:, None] / 8).round()
    return scaling(1 - 2 * flip, torch.ones_like(flip)) @ rotation(math.pi / 2 * turn) @ translation(*steps)


def draw_motion(on: Tensor, size: Tensor) -> Tensor:
    """Draw scalings, rotations and shifts, for `move`: of all chosen ones, from the last back to the first."""
    uniform, normal = torch.rand(2, len(on), device=on.device), torch.randn(4, len(on), device=on.device)
    scale, rotate, aniso, rotate_after, shift = on.T.float()
    zoom, stretch = (0.2 * scale * normal[0]).exp2(), (0.2 * aniso * normal[1]).exp2()
    before, after = (math.pi * on * (2 * u - 1) for on, u in zip((rotate, rotate_after), uniform, strict=True))
    slide = translation(*(shift * normal[2:] * size[:, None] / 8))
    return scaling(zoom, zoom) @ rotation(before) @ scaling(stretch, 1 / stretch) @ rotation(after) @ slide


def draw_colours(on: Tensor) -> tuple[Tensor, ...]:
    """Draw the arguments of `recolour`."""
    uniform, normal = torch.rand(2, len(on), device=on.device), torch.randn(3, len(on), device=on.device)
    brightness, contrast, lumaflip, hue, saturation = on.T.float()
    return (
        0.2 * brightness * normal[0],
        (0.5 * contrast * normal[1]).exp2(),
        1 - 2 * lumaflip * (uniform[0] < 0.5),
        math.pi * hue * (2 * uniform[1] - 1),
        (saturation * normal[2]).exp2(),
    )


def recolour(x: Tensor, brightness: Tensor, contrast: Tensor, flip: Tensor, hue: Tensor, saturation: Tensor) -> Tensor:
    """Change colours, by one number of each kind an image: `flip` is 1 or -1, `hue` an angle.

    The authors multiply five matrices. Each acts on the grey axis, or on the plane across it where colours lie, as a
    number or a rotation, so their order does not matter and their product is this sum.
    """
    brightness, contrast, flip, hue, saturation = map(per_image, (brightness, contrast, flip, hue, saturation))
    grey = x.mean(1, keepdim=True)
    colour = x - grey
    across = (colour.roll(1, 1) - colour.roll(-1, 1)) / math.sqrt(3)  # a quarter turn about the axis
    return contrast * (flip * (grey + brightness) + saturation * (hue.cos() * colour + hue.sin() * across))


def cut_out(x: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Fill a box of half the width and half the height with grey, its centre given in shares of both."""
    height, width = x.shape[2:]
    columns, rows = ((torch.arange(side, device=x.device) + 0.5) / side for side in (width, height))
    inside = ((rows - down[:, None]).abs() < 0.25)[:, :, None] & ((columns - across[:, None]).abs() < 0.25)[:, None]
    return x * ~inside[:, None]


def doubling(side: int) -> Tensor:
    """Return the matrix that doubles the resolution of a row, mirrored at both ends: a period and one more."""
    period = 2 * (side - 1)
    matrix = torch.zeros(2 * period + 1, side, dtype=torch.float64)
    for half in range(2 * period + 1):
        for tap, weight in enumerate(SYM6):
            pixel, between = divmod(half + MARGIN - tap, 2)
            if not between:
                matrix[half, min(pixel % period, -pixel % period)] += math.sqrt(2) * weight
    return matrix.float()


def halving(side: int) -> Tensor:
    """Return the matrix that halves the resolution again, of a row with `MARGIN` more numbers at each end."""
    matrix = torch.zeros(side, 2 * (side + MARGIN), dtype=torch.float64)
    for pixel in range(side):
        matrix[pixel, 2 * pixel : 2 * pixel + len(SYM6)] = torch.tensor(SYM6, dtype=torch.float64) / math.sqrt(2)
    return matrix.float()


def half_pixels(side: int) -> Tensor:
    """Return where the numbers lie that `halving` takes, in pixels from the edge."""
    return (torch.arange(-MARGIN, 2 * side + MARGIN) + 1 - CENTRE + MARGIN) / 2


def grid(x: Tensor, y: Tensor) -> Tensor:
    """Return the points of a grid, row by row, `[3, N]`: x, y, and 1."""
    flat = torch.stack(torch.meshgrid(x, y, indexing="xy")).flatten(1)
    return torch.cat([flat, torch.ones(1, flat.shape[1])])


def rotation(angle: Tensor) -> Tensor:
    """Return the rotation by each angle, `[B, 3, 3]`."""
    zero = torch.zeros_like(angle)
    return plane_map(angle.cos(), -angle.sin(), zero, angle.sin(), angle.cos(), zero)


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """Return the scaling by x and y, `[B, 3, 3]`."""
    zero = torch.zeros_like(x)
    return plane_map(x, zero, zero, zero, y, zero)


def translation(x: Tensor, y: Tensor) -> Tensor:
    """Return the translation by x and y, `[B, 3, 3]`."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return plane_map(one, zero, x, zero, one, y)


def plane_map(*rows: Tensor) -> Tensor:
    """Return the affine maps of the plane whose first two rows these are, `[B, 3, 3]`."""
    zero, one = torch.zeros_like(rows[0]), torch.ones_like(rows[0])
    return torch.stack([*rows, zero, zero, one], 1).unflatten(1, (3, 3))


def per_image(values: Tensor) -> Tensor:
    """Give one number an image three more axes."""
    return values[:, None, None, None]
