"""What the filters of a network's last convolution respond to: responses, receptive fields, guided backpropagation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from ganbench.contract.backbone import Autoencoder
from ganbench.contract.data import to_uint8
from ganbench.errors import UserError, brief, named

PIECE = 256
"""Images go through a network so many at a time."""


class Box(NamedTuple):
    """Pixels of an image: rows `top` to before `bottom`, columns `left` to before `right`."""

    top: int
    bottom: int
    left: int
    right: int


class Filters:
    """The filters of the last convolution that a network comes to with images alone, in evaluation mode.

    That is the last with several filters larger than a pixel where there is such a one: no shortcut past a block and no
    map of scores. Of an autoencoder it is the encoder's. Where a network takes more than images, the part of it is
    looked at that does not, if all its convolutions are there.

    Batch norm uses the statistics of `images`, so that networks before their first step can be compared with
    trained ones. Raises `UserError` where there is nothing to look at.
    """

    def __init__(self, network: nn.Module, images: Tensor) -> None:
        network = network.encoder if isinstance(network, Autoencoder) else network
        body, self.name = _body(copy.deepcopy(network).requires_grad_(False), images[:2])
        self.body, self.shape = _settled(body, images), images.shape[1:]

    @property
    def count(self) -> int:
        """How many filters there are."""
        return self._of(self.body).out_channels

    @property
    def guides(self) -> int:
        """How many activations there are that guided backpropagation knows."""
        return sum(isinstance(each, nn.ReLU | nn.LeakyReLU) for each in self.body.modules())

    @torch.no_grad()
    def peaks(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the largest response of each filter to each image, `[N, K]` on the host, and its place, row by row."""
        found = [self._response(self.body, piece).flatten(2).max(2) for piece in images.split(PIECE)]
        return torch.cat([each.values for each in found]).cpu(), torch.cat([each.indices for each in found]).cpu()

    def field(self, place: int) -> Box:
        """Return which pixels a place of the map depends on, all norms but for their statistics left aside.

        Found by a copy in which every weight is positive, so that nothing cancels: along any path from pixel to place.
        """
        positive = _replaced(self.body, _positive).double()
        image = torch.ones(1, *self.shape, dtype=torch.float64, requires_grad=True, device=_device(self.body))
        self._response(positive, image).sum(1).flatten()[place].backward()
        assert image.grad is not None
        lines = [(image.grad[0].sum(0) > 0).any(axis).nonzero() for axis in (1, 0)]
        top, bottom, left, right = (int(end) for line in lines for end in (line.min(), line.max() + 1))
        return Box(top, bottom, left, right)

    def guided(self, image: Tensor, number: int, place: int) -> Tensor:
        """Return the guided backpropagation of a filter's response at a place, `[C, H, W]` on the host.

        Springenberg et al. 2015: through ReLU nothing passes where its input, or what comes back, is not positive.
        Leaky ones are treated alike; any other activation passes its derivative.
        """
        x = image[None].clone().requires_grad_()
        self._response(_replaced(self.body, _guide), x)[0, number].flatten()[place].backward()
        assert x.grad is not None
        return x.grad[0].cpu()

    def strongest(self, images: Tensor, shown: int, patches: int) -> list[tuple[Tensor, Tensor]]:
        """Return for the first filters the patches with the largest responses, and their guided backpropagation.

        Both uint8 `[patches, C, h, w]`, as large as the largest receptive field among them; what of it lies beyond the
        border of an image is grey. Gradients are grey where they are 0, and their largest one is black or white.
        """
        peaks, places = self.peaks(images)
        rows = peaks[:, :shown].topk(min(patches, len(peaks)), 0).indices
        boxes = {place: self.field(place) for place in places[:, :shown].gather(0, rows).unique().tolist()}
        sides = [max(box[end + 1] - box[end] for box in boxes.values()) for end in (0, 2)]
        found = []
        for number, chosen in enumerate(rows.T.tolist()):
            pair: tuple[list[Tensor], list[Tensor]] = ([], [])
            for row in chosen:
                place = int(places[row, number])
                slopes = self.guided(images[row], number, place)
                for into, pixels in zip(pair, (images[row], slopes / slopes.abs().max().clamp(min=1e-30)), strict=True):
                    into.append(cut(to_uint8(pixels[None])[0].cpu(), boxes[place], *sides))
            found.append((torch.stack(pair[0]), torch.stack(pair[1])))
        return found

    def _of(self, body: nn.Module) -> nn.Conv2d:
        found = body.get_submodule(self.name)
        assert isinstance(found, nn.Conv2d)
        return found

    def _response(self, body: nn.Module, images: Tensor) -> Tensor:
        found = list[Tensor]()
        # what follows may change it in place
        with _heard([self._of(body)], lambda _, output: found.append(output.clone())):
            body(images)
        return found[-1]


def cut(image: Tensor, box: Box, height: int, width: int) -> Tensor:
    """Cut a box out of an image, on grey where it reaches beyond the image's border."""
    patch = torch.full((len(image), height, width), 128, dtype=torch.uint8)
    inside = image[:, box.top : box.bottom, box.left : box.right]
    down = height - inside.shape[1] if box.top == 0 else 0
    right = width - inside.shape[2] if box.left == 0 else 0
    patch[:, down : down + inside.shape[1], right : right + inside.shape[2]] = inside
    return patch


def selectivity(peaks: Tensor, labels: Tensor | None, top: int) -> dict[str, float]:
    """Return how selective responses `[N, K]` are, the means over K filters; NaN where one responds to all alike.

    `peak`: how many standard deviations the `top` largest lie above the mean. With labels, `class share`: of the
    commonest class among these; `explained`: share of the variance that classes explain.
    """
    peaks = peaks.double()
    spread, centred = peaks.std(0, correction=0), peaks - peaks.mean(0)
    best = peaks.topk(min(top, len(peaks)), 0).indices
    found = {"peak": float((centred.gather(0, best).mean(0) / spread).mean())}
    if labels is not None:
        classes = torch.nn.functional.one_hot(labels).double()
        classes = classes[:, classes.sum(0) > 0]
        found["class share"] = float(classes[best].mean(0).max(1).values.mean())
        between = ((classes.T @ centred) ** 2 / classes.sum(0)[:, None]).sum(0)
        found["explained"] = float((between / (centred**2).sum(0)).mean())
    return found


def _body(network: nn.Module, images: Tensor) -> tuple[nn.Module, str]:
    """Return the largest part that takes images alone, in a module of its own, and the name of its last convolution."""
    every = {each for each in network.modules() if isinstance(each, nn.Conv2d)}
    if not every:
        raise UserError("its D has no convolutions")
    reason = ""
    for part in network.modules():
        if every <= set(part.modules()):
            try:
                ran = _ran(part.eval(), every, images)
            except Exception as error:  # a network may fail in any way on what it was not made for
                reason = reason or brief(named(error), 200)
                continue
            broad = [each for each in ran if each.out_channels > 1 and max(each.kernel_size) > 1]
            body, last = nn.Sequential(part), (broad or ran)[-1]
            return body, next(name for name, each in body.named_modules() if each is last)
    raise UserError(f"its D does not look at single images alone ({reason})")


@torch.no_grad()
def _ran(part: nn.Module, layers: Any, images: Tensor) -> list[Any]:
    """Return which layers a network came to, in order."""
    found = list[Any]()
    with _heard(layers, lambda layer, _: found.append(layer)):
        part(images)
    return found


@torch.no_grad()
def _settled(body: nn.Module, images: Tensor) -> nn.Module:
    """Give batch norms the statistics of some images, each of them counting once."""
    norms = [each for each in body.modules() if isinstance(each, _BatchNorm) and each.track_running_stats]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    if norms:
        for piece in images[: len(images) - len(images) % PIECE or None].split(PIECE):
            body(piece)
    return body.eval()


def _replaced(body: nn.Module, swap: Callable[[nn.Module], nn.Module | None]) -> nn.Module:
    """Return a copy with other layers in place of some."""
    clone = copy.deepcopy(body)
    for parent in list(clone.modules()):
        for name, child in list(parent.named_children()):
            if (other := swap(child)) is not None:
                setattr(parent, name, other)
    return clone


def _positive(layer: nn.Module) -> nn.Module | None:
    if isinstance(layer, nn.Conv2d):
        shape: Any = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
        more: Any = (layer.dilation, layer.groups, False, layer.padding_mode)
        other = nn.Conv2d(*shape, *more).to(layer.weight.device)
        nn.init.constant_(other.weight, 1 / other.weight[0].numel())
        return other
    if isinstance(layer, nn.MaxPool2d):  # of equal values it knows the first alone
        return nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode)
    return nn.Identity() if isinstance(layer, _NormBase | nn.GroupNorm | nn.LayerNorm) else None


def _guide(layer: nn.Module) -> nn.Module | None:
    if isinstance(layer, nn.ReLU | nn.LeakyReLU):
        return _Guided(getattr(layer, "negative_slope", 0.0))
    return None


class _Guided(nn.Module):
    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = _GuidedStep.apply(x, self.slope)
        return found


class _GuidedStep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        return torch.where(x > 0, x, slope * x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,), (grad,) = ctx.saved_tensors, grads
        return grad * ((x > 0) & (grad > 0)), None


@contextmanager
def _heard(layers: Any, hear: Callable[[Any, Tensor], None]) -> Iterator[None]:
    """Tell of what layers return inside the block."""
    hooks = [each.register_forward_hook(lambda layer, _, output: hear(layer, output)) for each in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _device(body: nn.Module) -> torch.device:
    return next(body.parameters()).device
