"""The vision transformers that FD-DINOv2 and CMMD are defined by: DINOv2 ViT-L/14, and CLIP ViT-L/14 at 336 px."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganbench import Download, Embedding, Extractor, Splits, UserError, fetch, hookimpl

BATCH = 16
"""Images go through a network so many at a time, always, because rounding may depend on it."""


class Kind(NamedTuple):
    """One of the two networks: its sizes, what images it sees, and where its weights are.

    `side`: pixels a side of an image; `grid`: patches a side that the file's positions are of. `projected`: features
    that CLIP projects to, and makes unit vectors; 0 for DINOv2. CLIP has a norm before its first block, no bias of
    patches and another GELU; DINOv2 multiplies each branch by weights before it is added.
    """

    title: str
    file: Download
    side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    grid: int
    eps: float
    projected: int
    width: int = 1024
    depth: int = 24
    heads: int = 16
    patch: int = 14

    @property
    def is_clip(self) -> bool:
        """Whether it is CLIP's rather than DINOv2's."""
        return self.projected > 0


DINOV2 = Kind(
    title="DINOv2 ViT-L/14",
    file=Download(
        "dinov2_vitl14_pretrain.pth",
        "sha256:d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
        1_217_586_395,
        urls=("https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",),
    ),
    side=224,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    grid=37,
    eps=1e-6,
    projected=0,
)
"""As facebookresearch/dinov2 builds it and dgm-eval (Stein et al. 2023) feeds it."""
CLIP = Kind(
    title="CLIP ViT-L/14@336px",
    file=Download(
        "ViT-L-14-336px.pt",
        "sha256:3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
        934_088_680,
        urls=(
            "https://openaipublic.azureedge.net/clip/models/"
            "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02/ViT-L-14-336px.pt",
        ),
    ),
    side=336,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    grid=24,
    eps=1e-5,
    projected=768,
)
"""As openai/CLIP publishes it and google-research/cmmd (Jayasumana et al. 2024) uses it."""


class Block(nn.Module):
    """Attention and two linear layers, each on normalised features and added to them."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        width, self.heads = kind.width, kind.heads
        self.norm1, self.norm2 = (nn.LayerNorm(width, kind.eps) for _ in range(2))
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale1, self.scale2 = (nn.Parameter(torch.ones(width)) for _ in range(2))
        self.is_clip = kind.is_clip

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, tokens, width]` to as much."""
        batch, tokens, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.proj(attended) * self.scale1
        hidden = self.fc1(self.norm2(x))
        hidden = hidden * torch.sigmoid(1.702 * hidden) if self.is_clip else F.gelu(hidden)
        return x + self.fc2(hidden) * self.scale2


class Network(nn.Module):
    """The network up to the features of its class token."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind, width = kind, kind.width
        self.patches = nn.Conv2d(3, width, kind.patch, stride=kind.patch, bias=not kind.is_clip)
        self.token, self.positions = (
            nn.Parameter(torch.empty(width)),
            nn.Parameter(torch.empty(kind.grid**2 + 1, width)),
        )
        self.before = nn.LayerNorm(width, kind.eps) if kind.is_clip else nn.Identity()
        self.blocks = nn.Sequential(*(Block(kind) for _ in range(kind.depth)))
        self.norm = nn.LayerNorm(width, kind.eps)
        self.projection = nn.Parameter(torch.empty(width, kind.projected)) if kind.is_clip else None

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 `[B, 1 | 3, H, W]` to features `[B, d]`."""
        patches = self.patches(prepared(images, self.kind)).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(images), 1, -1), patches], 1) + self._positions()
        x = self.norm(self.blocks(self.before(x))[:, 0])
        return x if self.projection is None else F.normalize(x @ self.projection, dim=1)

    def _positions(self) -> Tensor:
        """Return the positions of the patches of an image, bicubic from those of the file.

        The scale is that of 0.1 patches more than there are, as in facebookresearch/dinov2, for which it was to keep
        rounding from losing a patch; the numbers hang on it.
        """
        grid, side = self.kind.grid, self.kind.side // self.kind.patch
        if grid == side:
            return self.positions
        square = self.positions[1:].T.reshape(1, -1, grid, grid)
        resized = F.interpolate(square, scale_factor=(side + 0.1) / grid, mode="bicubic")
        return torch.cat([self.positions[:1], resized.flatten(2)[0].T])


def prepared(images: Tensor, kind: Kind) -> Tensor:
    """Turn uint8 `[B, 1 | 3, H, W]` into what a network sees: resized as by Pillow, then normalised.

    Where an image is not square, all of it is resized for DINOv2, as in dgm-eval, and its central square for CLIP.
    """
    height, width = images.shape[-2:]
    if kind.is_clip and height != width:
        least = min(height, width)
        top, left = (height - least) // 2, (width - least) // 2
        images = images[..., top : top + least, left : left + least]
    levels = images.float()
    for size in ((levels.shape[2], kind.side), (kind.side, kind.side)):  # rows first, as Pillow does, to whole levels
        levels = F.interpolate(levels, size, mode="bicubic", antialias=True).round().clamp(0, 255)
    mean, std = (torch.tensor(each, device=images.device).view(3, 1, 1) for each in (kind.mean, kind.std))
    return (levels.expand(-1, 3, -1, -1) / 255 - mean) / std


def load(path: Path, kind: Kind) -> Network:
    """Build the network with the weights of a file whose checksum is known to be right, in float32."""
    with torch.device("meta"):  # no weights are drawn, so that nothing random moves on
        network = Network(kind)
    wrong = f"{path} is not {kind.title}"
    try:
        tensors = renamed(_read(path), kind)
    except (RuntimeError, ValueError, TypeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise UserError(f"{wrong}: {str(error).partition(chr(10))[0]}") from None
    own = network.state_dict()
    for name, tensor in own.items():
        if name not in tensors:
            raise UserError(f"{wrong}: it lacks {name}")
        if tensors[name].shape != tensor.shape:
            raise UserError(f"{wrong}: {name} has the shape {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}")
    network.load_state_dict({name: tensors[name].float() for name in own}, assign=True)
    return network.eval().requires_grad_(False)


def _read(path: Path) -> Mapping[str, Tensor]:
    """Read weights by name: plain ones, or those of an archive of TorchScript, as CLIP is published."""
    if not _is_script(path):
        tensors = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(tensors, Mapping):
            raise TypeError(f"it holds a {type(tensors).__name__}")
        return tensors
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.jit.load(path, map_location="cpu").state_dict()


def _is_script(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


NAMES = {
    "patch_embed.proj": "patches",
    "visual.conv1": "patches",
    "cls_token": "token",
    "visual.class_embedding": "token",
    "pos_embed": "positions",
    "visual.positional_embedding": "positions",
    "visual.proj": "projection",
    "visual.ln_pre": "before",
    "visual.ln_post": "norm",
}
PARTS = {
    "attn.qkv": "qkv",
    "attn.in_proj": "qkv",
    "attn.proj": "proj",
    "attn.out_proj": "proj",
    "mlp.fc1": "fc1",
    "mlp.c_fc": "fc1",
    "mlp.fc2": "fc2",
    "mlp.c_proj": "fc2",
    "ls1.gamma": "scale1",
    "ls2.gamma": "scale2",
    "ln_1": "norm1",
    "ln_2": "norm2",
}


def renamed(tensors: Mapping[str, Tensor], kind: Kind) -> dict[str, Tensor]:
    """Return published weights by the names that they have here; what is of other parts keeps its name."""
    found = {}
    for name, tensor in tensors.items():
        own = name.removeprefix("visual.transformer.res").replace("in_proj_", "in_proj.")
        stem, dot, last = own.rpartition(".")
        if own.startswith("blocks."):
            _, number, part = own.split(".", 2)
            stem, dot, last = part.rpartition(".")
            own = f"blocks.{number}.{PARTS.get(part) or PARTS.get(stem, stem) + dot + last}"
        else:
            own = NAMES.get(own) or NAMES.get(stem, stem) + dot + last
        found[own] = tensor.reshape(-1, kind.width)[0] if own == "token" else tensor
    if "positions" in found:
        found["positions"] = found["positions"].reshape(-1, kind.width)
    if kind.is_clip:
        scales = [f"blocks.{number}.scale{branch}" for number in range(kind.depth) for branch in (1, 2)]
        found |= {name: torch.ones(kind.width) for name in scales}
    return found


class Ready:
    """A network as an extractor of uint8 images of any size."""

    def __init__(self, network: Network, device: torch.device, protocol: Mapping[str, Any]) -> None:
        self.network, self.device, self.protocol = network.to(device), device, protocol

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map uint8 `[N, 1 | 3, H, W]` to float32 features `[N, d]`."""
        with _true_float32():
            return torch.cat([self.network(part) for part in images.to(self.device).split(BATCH)]), None


@contextmanager
def _true_float32() -> Iterator[None]:
    """Turn TF32 off, and restore what was set."""
    matmul, before = torch.backends.cuda.matmul, torch.backends.cuda.matmul.allow_tf32
    matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        matmul.allow_tf32 = before


class VisionTransformer(Extractor):
    """One of the two networks."""

    kind: ClassVar[Kind]
    elsewhere: ClassVar[tuple[str, ...]] = ()
    """Folders under the home folder where other programs keep the file."""

    def width(self, data: Splits) -> int | None:
        return self.kind.projected or self.kind.width

    def missing(self, dataset: str, data: Splits, weights: Path | None) -> str | None:
        try:
            _require_channels(self.kind, dataset, data)
            self._find(weights)
        except UserError as reason:
            return str(reason)
        except PermissionError as error:
            return f"the weights of {self.kind.title} cannot be read: {error.filename}: {error.strerror}"
        return None

    def prepare(self, dataset: str, data: Splits, weights: Path | None, device: torch.device) -> Embedding:
        _require_channels(self.kind, dataset, data)
        kind = self.kind
        protocol = {
            "extractor": kind.title,
            "extractor_weights": kind.file.checksum.removeprefix("sha256:")[:12],
            "embedding": f"{kind.projected}, unit length" if kind.is_clip else f"class token, {kind.width}",
            "extractor_resize": f"{kind.side} px, bicubic as in Pillow",
            "dtype": "float32",
        }
        if data.spec().shape[0] == 1:
            protocol["grey"] = "repeated to 3 channels"
        return Ready(load(self._find(weights), kind), device, protocol)

    def _find(self, folder: Path | None) -> Path:
        """Look in the folder of weights, then where other programs keep the file, then in the cache; else download."""
        usual = [Path(torch.hub.get_dir()) / "checkpoints", *(Path.home() / name for name in self.elsewhere)]
        for place in usual if folder is None else [folder, *usual]:
            if (place / self.kind.file.path).exists():
                return fetch(place, self.kind.file)[0]
        named = "the folder of weights (--weights, GANBENCH_WEIGHTS)"
        return fetch(folder or usual[0], self.kind.file, place=named)[0]


def _require_channels(kind: Kind, dataset: str, data: Splits) -> None:
    spec = data.spec()
    if not spec.is_image or spec.shape[0] not in (1, 3):
        raise UserError(f"{kind.title} sees images of 1 or 3 channels, but {dataset} has {spec.shape}")


class Dinov2(VisionTransformer):
    name, kind = "dinov2", DINOV2
    summary = "DINOv2 ViT-L/14: 1024 features of the class token, for fd-dinov2"


class Clip(VisionTransformer):
    name, kind, elsewhere = "clip", CLIP, (".cache/clip",)
    summary = "CLIP ViT-L/14 at 336 px: 768 features of unit length, for cmmd"


@hookimpl
def ganbench_extractors() -> list[Extractor]:
    return [Dinov2(), Clip()]
