"""A small classifier of the data set: its features serve fd-classifier, its probabilities count modes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from ganbench import (
    DataSpec,
    Embedding,
    Extractor,
    ImageSet,
    Splits,
    UserError,
    cache_folder,
    derive,
    hookimpl,
    seeded,
    sha256_of,
    to_float,
    write_atomically,
)

RECIPE = 1
"""Version of architecture and training; raise it when either changes."""
PRESENTATIONS = 100_000
"""Images seen by a classifier that is trained when it is needed: about a minute on one core."""
SHIPPED_PRESENTATIONS = 300_000
SHIPPED = {
    "digits": (DataSpec((1, 8, 8), classes=10), "41bf1a79d5ed268aeaf673e93a5977a616ec4de777df5240830d86b4c9d0728d"),
    "mnist": (DataSpec((1, 28, 28), classes=10), "91464f2468641c977ae8380ad468ad1115ddcecab1d7e0602900b5302944e1e4"),
}
"""What the shipped files are for, and their SHA-256; `python -m ganbench_plugins.extractors.classifier` makes them."""
FOLDER = Path(__file__).parent / "classifiers"
WIDTH = 64
PIECE = 64
"""Images that a processor classifies at a time: its cache holds what they become on the way, for any size of image."""

Facts = Mapping[str, Any]
Tensors = Mapping[str, Tensor]


class Classifier(nn.Module):
    """Three convolutions and a layer of 64 features, for images `[B, C, H, W]` in [-1, 1] of any size from 8 px."""

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        channels, *sides = data.shape
        stride = max(1, round(max(sides) / 32))  # of the first convolution: large images cost little more than small
        layers: list[nn.Module] = []
        for width in (24, 48, 64):
            convolution = nn.Conv2d(channels, width, 2 * stride + 1, stride=stride, padding=stride, bias=False)
            layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels, sides = width, [math.ceil(side / stride) for side in sides]
            stride = 1
            if max(sides) > 4:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
                sides = [math.ceil(side / 2) for side in sides]
        inputs = channels * math.prod(sides)
        layers += [nn.Flatten(), nn.Linear(inputs, WIDTH, bias=False), nn.BatchNorm1d(WIDTH), nn.ReLU(inplace=True)]
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(WIDTH, data.classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features `[B, 64]` and the logits `[B, classes]`."""
        features = self.trunk(x)
        return features, self.head(features)


def train(data: ImageSet, spec: DataSpec, presentations: int) -> Classifier:
    """Train a classifier that sees `presentations` images, each shifted by up to a fourteenth of its side.

    On the host, one thread, fixed seed and order: the same weights on one machine, however busy it is.
    """
    assert data.cond is not None
    count = len(data.images)
    batch = min(count, 128, max(16, count // 32))
    steps = presentations // batch
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with seeded(derive(RECIPE, "classifier")), torch.enable_grad():
            network = Classifier(spec)
            optimizer = torch.optim.AdamW(network.parameters())
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
            for rows in _order(count, batch, steps):
                _, logits = network(_shifted(to_float(data.images[rows])))
                optimizer.zero_grad()
                F.cross_entropy(logits, data.cond[rows]).backward()
                optimizer.step()
                schedule.step()
    finally:
        torch.set_num_threads(threads)
    return network.eval()


def _order(count: int, batch: int, steps: int) -> Iterator[Tensor]:
    """Rows of each batch: a permutation an epoch, without the remainder that fills no batch."""
    while steps > 0:
        whole = torch.randperm(count)[: count - count % batch].split(batch)[:steps]
        steps -= len(whole)
        yield from whole


def _shifted(x: Tensor) -> Tensor:
    """Shift each image by its own random number of pixels, its outermost lines repeated."""
    count, channels, height, width = x.shape
    reach = max(1, max(height, width) // 14)
    top, left = torch.randint(2 * reach + 1, (2, count, 1, 1, 1))
    rows, columns = torch.arange(height).view(-1, 1) + top, torch.arange(width) + left
    padded = F.pad(x, (reach,) * 4, mode="replicate")
    return padded[torch.arange(count).view(-1, 1, 1, 1), torch.arange(channels).view(-1, 1, 1), rows, columns]


class Ready:
    """A trained classifier as an extractor: the features before its last layer, and its probabilities."""

    def __init__(self, network: Classifier, shape: tuple[int, ...], protocol: Facts) -> None:
        self.device = network.head.weight.device
        on_cpu = self.device.type == "cpu"  # where the channels of a pixel side by side take half the time
        self.layout = torch.channels_last if on_cpu else torch.contiguous_format
        self.piece = PIECE if on_cpu else None
        self.network = network.to(memory_format=self.layout)
        self.shape, self.protocol = shape, protocol

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map uint8 images to float32 features `[N, 64]` and probabilities `[N, classes]`."""
        if tuple(images.shape[1:]) != self.shape:
            raise UserError(f"the classifier knows images of shape {self.shape}, not {tuple(images.shape[1:])}")
        parts = images.to(self.device).split(self.piece or max(1, len(images)))
        found = [self.network(to_float(part).contiguous(memory_format=self.layout)) for part in parts]
        features, logits = (torch.cat(pieces) for pieces in zip(*found, strict=True))
        return features, logits.softmax(1)


class ClassifierExtractor(Extractor):
    name = "classifier"
    summary = "a small classifier of the data set: shipped for digits and mnist, else trained once and cached"

    def width(self, data: Splits) -> int | None:
        return WIDTH

    def prepare(self, dataset: str, data: Splits, weights: Path | None, device: torch.device) -> Embedding:
        spec = data.spec()
        if not spec.is_image or spec.classes < 2 or data.test.cond is None:
            raise UserError(f"a classifier needs images with labels of at least two classes, which {dataset} has not")
        if min(spec.shape[1:]) < 8:
            raise UserError(f"a classifier needs images of at least 8×8 pixels, but {dataset} has {spec.shape[1:]}")
        path, (tensors, facts) = _find(dataset, data, spec, weights)
        network = Classifier(spec)
        try:
            network.load_state_dict(dict(tensors))
        except RuntimeError:
            raise UserError(f"{path} is of another classifier: images {spec.shape}, {spec.classes} classes") from None
        return Ready(network.eval().to(device), spec.shape, _protocol(self.name, tensors, facts))


def _protocol(name: str, tensors: Tensors, facts: Facts) -> dict[str, Any]:
    return {
        "extractor": name,
        "extractor_weights": digest_of(tensors)[:12],
        "accuracy": round(facts["accuracy"], 4),
        "embedding": f"penultimate, {WIDTH}",
        "dtype": "float32",
    }


class Channels:
    """The classifier of MNIST on each channel alone: features `[N, 64·C]` and probabilities `[N, 10·C]` in turn.

    `positive`: the networks were to make pixels from 0 to 1 in [-1, 1]; what is below is darker than black.
    """

    def __init__(self, digits: Ready, protocol: Facts, *, positive: bool = False) -> None:
        self.digits, self.protocol, self.positive = digits, protocol, positive

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map uint8 images of at least 28×28 pixels, of which the central ones are looked at."""
        count, channels, height, width = images.shape
        top, left = (height - 28) // 2, (width - 28) // 2
        central = images[..., top : top + 28, left : left + 28]
        channel = central.reshape(count * channels, 1, 28, 28)
        if self.positive:
            channel = to_float(channel).mul_(2).sub_(1)
        features, probs = self.digits(channel)
        return features.reshape(count, -1), probs.reshape(count, -1)


class ChannelExtractor(Extractor):
    name = "mnist-channels"
    summary = "the shipped classifier of MNIST on each channel: tells the modes of stacked-mnist"

    def width(self, data: Splits) -> int | None:
        return WIDTH * int(data.test.images.shape[1])

    def prepare(self, dataset: str, data: Splits, weights: Path | None, device: torch.device) -> Embedding:
        spec, (made_for, _) = data.spec(), SHIPPED["mnist"]
        if not spec.is_image or min(spec.shape[1:]) < 28:
            raise UserError(f"{self.name} needs images of at least 28×28 pixels, but {dataset} has {spec.shape}")
        tensors, facts = _shipped("mnist")
        network = Classifier(made_for)
        network.load_state_dict(dict(tensors))
        protocol = _protocol(self.name, tensors, facts) | {"seen": "each channel alone, its central 28×28 pixels"}
        positive = data.protocol.get("range") == "0 to 1"  # as `stacked-mnist` says where it is not -1 to 1
        if positive:
            protocol["range"] = "0 to 1"
        return Channels(Ready(network.eval().to(device), made_for.shape, protocol), protocol, positive=positive)


def _shipped(name: str) -> tuple[Tensors, Facts]:
    path = FOLDER / f"{name}.safetensors"
    if not path.is_file() or sha256_of(path) != SHIPPED[name][1]:
        raise UserError(f"{path} is not the classifier that came with ganbench: install ganbench again")
    return read(path)


def _find(dataset: str, data: Splits, spec: DataSpec, weights: Path | None) -> tuple[Path, tuple[Tensors, Facts]]:
    """Take the shipped one, one under `weights`, one of the cache, or train one, in this order."""
    if dataset in SHIPPED and spec == SHIPPED[dataset][0]:
        return FOLDER / f"{dataset}.safetensors", _shipped(dataset)
    slug = re.sub(r"[^a-z0-9]+", "-", dataset.lower()).strip("-")[-60:]
    name = f"classifier-{slug}-{data.fingerprint[:12]}.safetensors"
    if weights is not None and (weights / name).is_file():
        return weights / name, read(weights / name)
    path = cache_folder() / "classifiers" / f"recipe-{RECIPE}" / name
    if path.is_file():
        with contextlib.suppress(UserError):  # nobody need mend the cache by hand: a damaged one is trained again
            kept = read(path)
            if kept[1].get("data") == data.fingerprint:
                return path, kept
    tensors, facts = make(dataset, data, spec, PRESENTATIONS)
    with contextlib.suppress(UserError):  # a cache that cannot be written costs time, not the result
        write(path, tensors, {**facts, "tensors": digest_of(tensors)})
    return path, (tensors, facts)


def make(dataset: str, data: Splits, spec: DataSpec, presentations: int) -> tuple[Tensors, Facts]:
    """Train a classifier and measure it on the test split."""
    network = train(data.train, spec, presentations)
    ready = Ready(network, spec.shape, {})
    assert data.test.cond is not None
    batches = zip(data.test.images.split(256), data.test.cond.split(256), strict=True)
    right = sum(int((ready(images)[1].argmax(1) == labels).sum()) for images, labels in batches)
    facts = {
        "dataset": dataset,
        "data": data.fingerprint,
        "shape": spec.shape,
        "classes": spec.classes,
        "recipe": RECIPE,
        "presentations": presentations,
        "accuracy": right / len(data.test.images),
    }
    return {name: tensor.contiguous() for name, tensor in network.state_dict().items()}, facts


def write(path: Path, tensors: Tensors, facts: Facts) -> None:
    """Write one file, whole or not at all. The facts are one entry of its header: several would change their order."""
    content = save(dict(tensors), {"classifier": json.dumps(facts, sort_keys=True)})
    write_atomically(path, lambda file: file.write(content))


def read(path: Path) -> tuple[Tensors, Facts]:
    """Read what `write` has written; anything else raises `UserError` with its name."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts = json.loads((file.metadata() or {})["classifier"])
        recipe, facts["accuracy"] = facts["recipe"], float(facts["accuracy"])
        if facts.get("tensors", found := digest_of(tensors)) != found:
            raise ValueError("its weights are not those that were written")
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged or not a classifier of ganbench ({error}): remove it") from None
    if recipe != RECIPE:
        raise UserError(f"{path} was made by recipe {recipe}, but this ganbench has recipe {RECIPE}: remove it")
    return tensors, facts


def digest_of(tensors: Tensors) -> str:
    """SHA-256 of names, shapes and values; what else a file's header says does not matter."""
    content = hashlib.sha256()
    for name in sorted(tensors):
        content.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        content.update(tensors[name].numpy().tobytes())
    return content.hexdigest()


@hookimpl
def ganbench_extractors() -> list[Extractor]:
    return [ClassifierExtractor(), ChannelExtractor()]


@click.command()
@click.argument("dataset", type=click.Choice(sorted(SHIPPED)))
@click.option("--data", "root", type=click.Path(path_type=Path), default=Path("data"), help="the data root")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="the file to write")
def main(dataset: str, root: Path, output: Path) -> None:
    """Train the classifier that ganbench ships for DATASET and print its accuracy and SHA-256."""
    (point,) = entry_points(group="ganbench", name=f"data-{dataset}")
    (found,) = (item for item in point.load().ganbench_datasets() if item.name == dataset)
    data = found.load(root, found.size)
    tensors, facts = make(dataset, data, data.spec(), SHIPPED_PRESENTATIONS)
    write(output, tensors, facts)
    click.echo(f"accuracy {facts['accuracy']:.4f}, {output.stat().st_size} bytes, SHA-256 {sha256_of(output)}")


if __name__ == "__main__":
    main()
