"""The Inception network of December 2015 that FID is defined by: its features at four depths."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ganbench import Download, Embedding, Extractor, Splits, UserError, fetch, hookimpl

BATCH, BATCH_ON_CPU = 32, 8
"""Images go through the network so many at a time, always, because rounding may depend on it.

On a processor so few that its cache holds what the first layers hand on.
"""
SIDE = 299
ENDS = {"MaxPool_1": 64, "MaxPool_2": 192, "Mixed_6e": 768, "Mixed_7c": 2048}
"""The last block of each layer, by its name in the published graph."""

_CHECKSUM, _SIZE = "sha256:6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2", 95_628_359


class Weights(NamedTuple):
    """The files that hold the network: all of it, or up to Mixed_7a with batch norm folded into the convolutions."""

    full: Download
    folded: Download


GENUINE = Weights(
    full=Download(
        "weights-inception-2015-12-05-6726825d.pth",
        _CHECKSUM,
        _SIZE,
        urls=(
            "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        ),
        also=(Download("pt_inception-2015-12-05-6726825d.pth", _CHECKSUM, _SIZE),),
    ),
    folded=Download(
        "inception-2015-12-05_folded_to_Mixed_7a.npz",
        "sha256:a66f7460d22365322ce5c9e4183080ef1b6ddf977661fcfdd782331e4fadcadb",
        36_640_415,
    ),
)
"""The converted graph as torch-fidelity and pytorch-fid publish it, one file under two names; and its folded form."""


class Network(nn.Module):
    """The network up to one layer: 64 (first max-pool), 192 (second), 768 (Mixed_6e) or 2048 (pool3 and logits).

    Its blocks and their names are torch-fidelity's `FeatureExtractorInceptionV3`. `folded`: convolutions have a bias in
    the place of batch norm.
    """

    def __init__(self, layer: int, *, folded: bool) -> None:
        super().__init__()
        from torch_fidelity import feature_extractor_inceptionv3 as reference

        conv, pool = reference.BasicConv2d, nn.MaxPool2d(3, stride=2)
        blocks: dict[str, nn.Module] = {
            "Conv2d_1a_3x3": conv(3, 32, kernel_size=3, stride=2),
            "Conv2d_2a_3x3": conv(32, 32, kernel_size=3),
            "Conv2d_2b_3x3": conv(32, 64, kernel_size=3, padding=1),
            "MaxPool_1": pool,
        }
        if layer > 64:
            blocks |= {"Conv2d_3b_1x1": conv(64, 80, kernel_size=1), "Conv2d_4a_3x3": conv(80, 192, kernel_size=3)}
            blocks["MaxPool_2"] = pool
        if layer > 192:
            for name, channels, pooled in (("5b", 192, 32), ("5c", 256, 64), ("5d", 288, 64)):
                blocks[f"Mixed_{name}"] = reference.InceptionA(channels, pooled)
            blocks["Mixed_6a"] = reference.InceptionB(288)
            for name, width in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
                blocks[f"Mixed_{name}"] = reference.InceptionC(768, width)
        if layer > 768:
            blocks["Mixed_7a"] = reference.InceptionD(768)
            blocks["Mixed_7b"], blocks["Mixed_7c"] = reference.InceptionE_1(1280), reference.InceptionE_2(2048)
        for name, block in blocks.items():
            self.add_module(name, block)
        self.layer, self.blocks = layer, list(blocks)
        self.fc = nn.Linear(2048, 1008) if layer > 768 else None
        if folded:
            for block in self._convolutions():
                block.conv.bias, block.bn = nn.Parameter(torch.empty(block.conv.out_channels)), nn.Identity()

    def fold(self) -> Network:
        """Put the batch norm of every block into its convolution, in float64, and return the network."""
        for block in self._convolutions():
            conv, norm = block.conv, block.bn
            factor = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
            bias = norm.bias.double() - norm.running_mean.double() * factor
            conv.weight.copy_(conv.weight.double() * factor[:, None, None, None])
            conv.bias, block.bn = nn.Parameter(bias.float(), requires_grad=False), nn.Identity()
        return self

    def _convolutions(self) -> Iterator[Any]:
        return (block for block in list(self.modules()) if isinstance(getattr(block, "conv", None), nn.Conv2d))

    def forward(self, images: Tensor, layers: Collection[int]) -> dict[int, tuple[Tensor, Tensor | None]]:
        """Map uint8 `[B, 1 | 3, H, W]` to the means of layers over the image, the last also to 1008 probabilities.

        The logits lack the bias of the last layer, as in the graph of 2015 that the Inception score was defined by.
        """
        x = resized(images).sub_(128).div_(128).expand(-1, 3, -1, -1)
        last = x.device.type == "cpu"  # where the channels of a pixel side by side are a third faster
        x = x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
        found: dict[int, tuple[Tensor, Tensor | None]] = {}
        for name in self.blocks:
            x = self.get_submodule(name)(x)
            if ENDS.get(name) in layers:
                found[ENDS[name]] = x.mean((2, 3)), None
        if self.fc is not None and self.layer in layers:
            features = found[self.layer][0]
            found[self.layer] = features, (features @ self.fc.weight.T).softmax(1)
        return found


def resized(images: Tensor) -> Tensor:
    """Resize uint8 `[B, C, H, W]` to float32 `[B, C, 299, 299]`, bilinear as in TensorFlow 1.

    The numbers are torch-fidelity's to the last bit, which interpolates along each row, then between two rows; here
    every row of the image is done once, not once for each row of the result that needs it.
    """
    x = images.permute(0, 2, 3, 1).float()
    low, high, share = _neighbours(x.shape[2], x.device)
    left = x.index_select(2, low)
    x = x.index_select(2, high).sub_(left).mul_(share[:, None]).add_(left)
    low, high, share = _neighbours(x.shape[1], x.device)
    upper = x.index_select(1, low)
    return x.index_select(1, high).sub_(upper).mul_(share[:, None, None]).add_(upper).permute(0, 3, 1, 2)


def _neighbours(size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return, of each pixel of a line of the result, the two of the image that it lies between, and where."""
    place = torch.arange(SIDE, dtype=torch.float32, device=device) * torch.tensor(size / SIDE, dtype=torch.float32)
    low = place.long()
    return low, (low + 1).clamp_max(size - 1), place - low.float()


class SharedPass:
    """The network of one file, for all the layers that were asked for so far.

    Images that are shown for several layers in turn go through it once: each result is handed out once.
    """

    def __init__(self, path: Path, device: torch.device, *, folded: bool) -> None:
        self.path, self.device, self.folded = path, device, folded
        self.layers: set[int] = set()
        self.network: Network | None = None
        self._images: Tensor | None = None
        self._found: dict[int, tuple[Tensor, Tensor | None]] = {}

    def add(self, layer: int) -> None:
        """Have the network reach a layer. Raises `UserError` where the file is not this network."""
        if self.network is None or layer > self.network.layer:
            network = load(self.path, layer, folded=self.folded).to(self.device)
            on_cpu = self.device.type == "cpu"
            self.network = network.to(memory_format=torch.channels_last) if on_cpu else network
        self.layers.add(layer)

    @torch.no_grad()
    def __call__(self, images: Tensor, layer: int) -> tuple[Tensor, Tensor | None]:
        if images is not self._images or layer not in self._found:
            assert self.network is not None
            parts = images.to(self.device).split(BATCH_ON_CPU if self.device.type == "cpu" else BATCH)
            with _true_float32():
                pieces = [self.network(part, self.layers) for part in parts]
            self._images, self._found = images, {each: _joined([p[each] for p in pieces]) for each in self.layers}
        return self._found.pop(layer)


def _joined(pieces: Sequence[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor | None]:
    probs = [piece[1] for piece in pieces if piece[1] is not None]
    return torch.cat([piece[0] for piece in pieces]), torch.cat(probs) if probs else None


class Ready:
    """One layer, as an extractor of uint8 images of any size."""

    def __init__(self, through: SharedPass, layer: int, protocol: Mapping[str, Any]) -> None:
        self.through, self.layer, self.protocol = through, layer, protocol

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map uint8 `[N, 1 | 3, H, W]` to float32 features `[N, layer]`, and to probabilities `[N, 1008]` or None."""
        return self.through(images, self.layer)


@contextmanager
def _true_float32() -> Iterator[None]:
    """Turn TF32 off, and cuDNN's search for the kernel that is fastest today; restore what was set."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    switches = [(cudnn, "allow_tf32", False), (matmul, "allow_tf32", False)]
    switches += [(cudnn, "benchmark", False), (cudnn, "deterministic", True)]
    before = [getattr(module, name) for module, name, _ in switches]
    try:
        for module, name, value in switches:
            setattr(module, name, value)
        yield
    finally:
        for (module, name, _), value in zip(switches, before, strict=True):
            setattr(module, name, value)


class InceptionExtractor(Extractor):
    """One layer of the network. `weights`: the files to look for. `passes`: by file and device, what layers share."""

    layer: ClassVar[int]

    def __init__(self, weights: Weights = GENUINE, passes: dict[tuple[Path, str], SharedPass] | None = None) -> None:
        self.weights, self.passes = weights, {} if passes is None else passes

    def width(self, data: Splits) -> int | None:
        return self.layer

    def missing(self, dataset: str, data: Splits, weights: Path | None) -> str | None:
        if find_spec("torch_fidelity") is None:
            return "the Inception network needs torch-fidelity: pip install torch-fidelity"
        try:
            _require_channels(dataset, data)
            find(self.weights, weights, whole=self.layer > 768)
        except UserError as reason:
            return str(reason)
        except PermissionError as error:
            return f"the weights of the Inception network cannot be read: {error.filename}: {error.strerror}"
        return None

    def prepare(self, dataset: str, data: Splits, weights: Path | None, device: torch.device) -> Embedding:
        spec = data.spec()
        _require_channels(dataset, data)
        path, file = find(self.weights, weights, whole=self.layer > 768)
        folded = file is self.weights.folded
        through = self.passes.setdefault((path, str(device)), SharedPass(path, device, folded=folded))
        through.add(self.layer)
        protocol = {
            "extractor": "Inception v3 of 2015-12-05",
            "extractor_weights": file.checksum.removeprefix("sha256:")[:12],
            "extractor_form": "batch norm folded" if folded else "batch norm as published",
            "embedding": f"{self.layer}, mean over the image",
            "extractor_resize": f"{SIDE} px, bilinear as in TensorFlow 1",
            "dtype": "float32",
        }
        if spec.shape[0] == 1:
            protocol["grey"] = "repeated to 3 channels"
        return Ready(through, self.layer, protocol)


def _require_channels(dataset: str, data: Splits) -> None:
    spec = data.spec()
    if not spec.is_image or spec.shape[0] not in (1, 3):
        raise UserError(f"the Inception network sees images of 1 or 3 channels, but {dataset} has {spec.shape}")


class Inception64(InceptionExtractor):
    name, layer = "inception-64", 64
    summary = "the Inception network of FID up to its first max-pool: 64 features"


class Inception192(InceptionExtractor):
    name, layer = "inception-192", 192
    summary = "the Inception network of FID up to its second max-pool: 192 features"


class Inception768(InceptionExtractor):
    name, layer = "inception-768", 768
    summary = "the Inception network of FID up to Mixed_6e: 768 features"


class Inception2048(InceptionExtractor):
    name, layer = "inception", 2048
    summary = "the Inception network of FID: 2048 features and 1008 probabilities"


def find(known: Weights, folder: Path | None, *, whole: bool) -> tuple[Path, Download]:
    """Return a path of weights, checked, and which of the two files it is; the folded one unless the `whole` is needed.

    Looked for in `folder`, then where torch-fidelity and pytorch-fid keep theirs, then in the cache; else downloaded.
    """
    usual = Path(torch.hub.get_dir()) / "checkpoints"
    for place in (usual,) if folder is None else (folder, usual):
        for file in (known.full,) if whole else known:
            if any((place / form.path).exists() for form in (file, *file.also)):
                return fetch(place, file)[0], file
    named = "the folder of weights (--weights, GANBENCH_WEIGHTS)"
    return fetch(folder or usual, known.full, place=named)[0], known.full


def load(path: Path, layer: int, *, folded: bool) -> Network:
    """Build the network up to a layer with the weights of a file whose checksum is known to be right, then fold it."""
    try:
        with torch.device("meta"):  # no weights are drawn, so that nothing random moves on
            network = Network(layer, folded=folded)
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f"the Inception network needs torch-fidelity and a torchvision that fits torch: {error}"
        ) from None
    network = network.to_empty(device="cpu").eval().requires_grad_(False)
    try:
        missing = network.load_state_dict(_read(path), strict=False).missing_keys
    except (RuntimeError, ValueError, TypeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not the Inception network of 2015: {str(error).partition(chr(10))[0]}") from None
    if missing := [name for name in missing if not name.endswith("num_batches_tracked")]:
        raise UserError(f"{path} is not the Inception network of 2015: it lacks {missing[0]}")
    return network if folded else network.fold()


def _read(path: Path) -> Mapping[str, Tensor]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(tensors, Mapping):
        raise TypeError(f"it holds a {type(tensors).__name__}")
    return tensors


@hookimpl
def ganbench_extractors() -> list[Extractor]:
    passes: dict[tuple[Path, str], SharedPass] = {}
    return [layer(passes=passes) for layer in (Inception64, Inception192, Inception768, Inception2048)]
