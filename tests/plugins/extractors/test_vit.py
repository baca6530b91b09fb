"""The vision transformers against torchvision's and torch-fidelity's, with weights drawn at random."""

import copy
import hashlib
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from ganbench_plugins.extractors import vit
from ganbench_plugins.extractors.vit import CLIP, DINOV2, Clip, Dinov2, Kind, VisionTransformer, load, prepared
from PIL import Image
from torch import Tensor, nn
from torch_fidelity.feature_extractor_clip import MODEL_METADATA, VisionTransformer as FidelityClip
from torchvision.models.vision_transformer import VisionTransformer as TorchvisionTransformer
from torchvision.transforms import Compose, InterpolationMode, Normalize, Resize, ToTensor

from ganbench import Download, ImageSet, Splits, UserError

SMALL = {"width": 48, "depth": 3, "heads": 4}
SMALL_DINOV2 = DINOV2._replace(side=56, grid=7, **SMALL)
SMALL_CLIP = CLIP._replace(side=56, grid=4, projected=20, **SMALL)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def published(kind: Kind, seed: int = 0) -> dict[str, Tensor]:
    """Random weights under the names and with the shapes of the published file."""
    width, tokens, hidden = kind.width, kind.grid**2 + 1, 4 * kind.width
    patches = (width, 3, kind.patch, kind.patch)
    if kind.is_clip:
        shapes: dict[str, tuple[int, ...]] = {"visual.class_embedding": (width,), "visual.conv1.weight": patches}
        shapes |= {"visual.positional_embedding": (tokens, width), "visual.proj": (width, kind.projected)}
        linears = {"attn.in_proj_": (3 * width, width), "attn.out_proj.": (width, width)}
        linears |= {"mlp.c_fc.": (hidden, width), "mlp.c_proj.": (width, hidden)}
        blocks = [f"visual.transformer.resblocks.{number}." for number in range(kind.depth)]
        norms = ["visual.ln_pre.", "visual.ln_post.", *(f"{block}ln_{one}." for block in blocks for one in (1, 2))]
        shapes |= {"text_projection": (width, 7), "ln_final.weight": (width,)}  # the text encoder's
    else:
        shapes = {"cls_token": (1, 1, width), "pos_embed": (1, tokens, width), "mask_token": (1, width)}
        shapes |= {"patch_embed.proj.weight": patches, "patch_embed.proj.bias": (width,)}
        linears = {"attn.qkv.": (3 * width, width), "attn.proj.": (width, width)}
        linears |= {"mlp.fc1.": (hidden, width), "mlp.fc2.": (width, hidden)}
        blocks = [f"blocks.{number}." for number in range(kind.depth)]
        norms = ["norm.", *(f"{block}norm{one}." for block in blocks for one in (1, 2))]
        shapes |= {f"{block}ls{one}.gamma": (width,) for block in blocks for one in (1, 2)}
    for block in blocks:
        shapes |= {f"{block}{name}weight": shape for name, shape in linears.items()}
        shapes |= {f"{block}{name}bias": shape[:1] for name, shape in linears.items()}
    shapes |= {f"{norm}{part}": (width,) for norm in norms for part in ("weight", "bias")}
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) * 0.2 for name, shape in shapes.items()}


def write(path: Path, tensors: dict[str, Tensor]) -> Path:
    torch.save(tensors, path)
    return path


def script(path: Path, tensors: dict[str, Tensor]) -> Path:
    """Write weights in half precision as an archive of TorchScript, as CLIP's file is."""
    root = nn.Module()
    for name, tensor in tensors.items():
        *parents, last = name.split(".")
        module = root
        for parent in parents:
            if not hasattr(module, parent):
                module.add_module(parent, nn.Module())
            module = getattr(module, parent)
        module.register_parameter(last, nn.Parameter(tensor.half()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(root), path)
    return path


def torchvisions(tensors: dict[str, Tensor], kind: Kind) -> TorchvisionTransformer:
    """Build torchvision's transformer with DINOv2's weights: scales of branches go into their last layers."""
    width, depth = kind.width, kind.depth
    network = TorchvisionTransformer(kind.side, kind.patch, depth, kind.heads, width, 4 * width)
    network.heads = nn.Identity()
    found = {"conv_proj.weight": tensors["patch_embed.proj.weight"], "conv_proj.bias": tensors["patch_embed.proj.bias"]}
    found["class_token"] = tensors["cls_token"]
    found["encoder.pos_embedding"] = resized_positions(tensors["pos_embed"], kind)
    for part in ("weight", "bias"):
        found[f"encoder.ln.{part}"] = tensors[f"norm.{part}"]
        for number in range(depth):
            own, theirs = f"blocks.{number}", f"encoder.layers.encoder_layer_{number}"
            first, second = (tensors[f"{own}.ls{one}.gamma"] for one in (1, 2))
            if part == "weight":
                first, second = first[:, None], second[:, None]
            found[f"{theirs}.self_attention.in_proj_{part}"] = tensors[f"{own}.attn.qkv.{part}"]
            found[f"{theirs}.self_attention.out_proj.{part}"] = first * tensors[f"{own}.attn.proj.{part}"]
            found[f"{theirs}.mlp.0.{part}"] = tensors[f"{own}.mlp.fc1.{part}"]
            found[f"{theirs}.mlp.3.{part}"] = second * tensors[f"{own}.mlp.fc2.{part}"]
            for one in (1, 2):
                found[f"{theirs}.ln_{one}.{part}"] = tensors[f"{own}.norm{one}.{part}"]
    network.load_state_dict(found)
    return network.eval()


def cubic(x: float) -> float:
    """The kernel of bicubic interpolation with a = -0.75."""
    x, a = abs(x), -0.75
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def resized_positions(positions: Tensor, kind: Kind) -> Tensor:
    """Resize positions `[1, grid² + 1, d]` by a matrix, with the scale of facebookresearch/dinov2."""
    side, grid = kind.side // kind.patch, kind.grid
    matrix = np.zeros((side, grid))
    for row in range(side):
        place = (row + 0.5) * grid / (side + 0.1) - 0.5 if side != grid else row
        for tap in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            matrix[row, min(max(tap, 0), grid - 1)] += cubic(place - tap)
    weights = torch.from_numpy(matrix)
    square = positions[0, 1:].double().view(grid, grid, -1)
    resized = torch.einsum("ai,bj,ijd->abd", weights, weights, square).flatten(0, 1).float()
    return torch.cat([positions[:, :1], resized[None]], 1)


@pytest.mark.parametrize("grid", [4, 7, 37])
def test_dinov2_is_torchvisions_transformer(grid: int, tmp_path: Path) -> None:
    kind = SMALL_DINOV2._replace(grid=grid)
    tensors, images = published(kind), noise(5, 3, 56, 56)
    network = load(write(tmp_path / "weights.pth", tensors), kind)
    with torch.no_grad():
        theirs = torchvisions(tensors, kind)(prepared(images, kind))
        torch.testing.assert_close(network(images), theirs, rtol=1e-4, atol=1e-4)
    assert network(images).shape == (5, 48)


@pytest.mark.parametrize("form", [write, script])
def test_clip_is_torch_fidelitys(form: object, tmp_path: Path) -> None:
    tensors, images = published(SMALL_CLIP), noise(5, 3, 56, 56)
    network = load(form(tmp_path / "weights.pt", tensors), SMALL_CLIP)  # type: ignore[operator]
    theirs = FidelityClip(56, SMALL_CLIP.patch, 48, 3, 4, SMALL_CLIP.projected)
    own = {name: tensor.half().float() if form is script else tensor for name, tensor in tensors.items()}
    theirs.load_state_dict({name[7:]: tensor for name, tensor in own.items() if name.startswith("visual.")})
    with torch.no_grad():
        expected = theirs.eval()(prepared(images, SMALL_CLIP))
    expected = expected / expected.norm(dim=1, keepdim=True)
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-5)
    assert network(images).shape == (5, 20) and network(images).dtype == torch.float32


def count(network: nn.Module) -> int:
    return sum(tensor.numel() for name, tensor in network.state_dict().items() if ".scale" not in name)


@pytest.mark.parametrize("kind", [DINOV2, CLIP], ids=["dinov2", "clip"])
def test_the_whole_networks_have_as_many_weights_as_the_public_ones(kind: Kind) -> None:
    """No number is computed: on the meta device 300 million weights cost nothing."""
    with torch.device("meta"):
        network = vit.Network(kind)
        if kind.is_clip:
            theirs: nn.Module = FidelityClip(336, 14, 1024, 24, 16, 768)
        else:
            theirs = TorchvisionTransformer(37 * 14, 14, 24, 16, 1024, 4096)
            theirs.heads = nn.Identity()
    assert count(network) == count(theirs) > 300_000_000


@pytest.mark.parametrize("kind", [DINOV2, CLIP], ids=["dinov2", "clip"])
@pytest.mark.parametrize("side", [8, 32, 100, 224, 336, 500])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_prepared_as_by_pillow(kind: Kind, side: int, channels: int) -> None:
    """Resize, ToTensor and Normalize of torchvision on Pillow's images; but for ties within one of 255 levels."""
    image = noise(1, channels, side, side)
    array = image[0].permute(1, 2, 0).numpy()
    pillow = Image.fromarray(array[..., 0] if channels == 1 else array).convert("RGB")
    steps = [Resize((kind.side, kind.side), InterpolationMode.BICUBIC), ToTensor(), Normalize(kind.mean, kind.std)]
    apart = (prepared(image, kind)[0] - Compose(steps)(pillow)).abs() * torch.tensor(kind.std).view(3, 1, 1) * 255
    assert apart.max() < 2.01 and (apart > 1.01).double().mean() < 1e-4 and apart.mean() < 0.03


def test_what_is_not_square_is_squeezed_for_dinov2_and_cut_for_clip() -> None:
    image = noise(1, 3, 40, 60)
    steps = Compose([Resize((56, 56), InterpolationMode.BICUBIC), ToTensor()])
    for kind, shown in ((SMALL_DINOV2, image), (SMALL_CLIP, image[..., 10:50])):
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in (kind.mean, kind.std))
        expected = steps(Image.fromarray(shown[0].permute(1, 2, 0).numpy()))
        assert ((prepared(image, kind)[0] * std + mean) - expected).abs().max() < 1.01 / 255


def data(channels: int = 3) -> Splits:
    images = ImageSet(noise(4, channels, 16, 16))
    return Splits(images, images, "0" * 64)


def extractor(cls: type[VisionTransformer], kind: Kind, path: Path) -> VisionTransformer:
    """The extractor of a small network, whose file is known by its checksum."""
    made = copy.copy(cls())
    content = path.read_bytes()
    file = Download(path.name, f"sha256:{hashlib.sha256(content).hexdigest()}", len(content))
    made.kind = kind._replace(file=file)  # type: ignore[misc]
    return made


CASES = [(Dinov2, SMALL_DINOV2, 48), (Clip, SMALL_CLIP, 20)]


@pytest.fixture(autouse=True)
def nothing_lies_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(("cls", "kind", "width"), CASES, ids=["dinov2", "clip"])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_extractor_says_what_it_is_and_batches_do_not_matter(
    cls: type[VisionTransformer], kind: Kind, width: int, channels: int, tmp_path: Path
) -> None:
    made = extractor(cls, kind, write(tmp_path / "weights.pth", published(kind)))
    assert made.missing("mine", data(channels), tmp_path) is None and made.width(data()) == width
    ready = made.prepare("mine", data(channels), tmp_path, torch.device("cpu"))
    images = noise(vit.BATCH + 3, channels, 16, 16)
    features, probs = ready(images)
    assert features.shape == (vit.BATCH + 3, width) and probs is None and not features.requires_grad
    torch.testing.assert_close(features[-2:], ready(images[-2:])[0], rtol=1e-4, atol=1e-5)
    assert ready.protocol["extractor_weights"] == made.kind.file.checksum[7:19]
    assert ready.protocol["extractor_resize"] == "56 px, bicubic as in Pillow"
    assert ("grey" in ready.protocol) is (channels == 1)


@pytest.mark.parametrize("place", ["torch/hub/checkpoints", "home/.cache/clip"])
def test_weights_are_found_where_other_programs_keep_them(place: str, tmp_path: Path) -> None:
    folder = tmp_path / place
    folder.mkdir(parents=True)
    made = extractor(Clip, SMALL_CLIP, write(folder / "weights.pt", published(SMALL_CLIP)))
    assert made.missing("mine", data(), None) is None
    assert made.prepare("mine", data(), None, torch.device("cpu"))(noise(1, 3, 16, 16))[0].shape == (1, 20)


@pytest.mark.parametrize(("cls", "kind", "width"), CASES, ids=["dinov2", "clip"])
def test_weights_that_are_not_there_are_named(
    cls: type[VisionTransformer], kind: Kind, width: int, tmp_path: Path
) -> None:
    made = extractor(cls, kind, write(tmp_path / "weights.pth", published(kind)))
    (tmp_path / "weights.pth").unlink()
    reason = made.missing("mine", data(), tmp_path)
    assert reason is not None and reason.startswith("put weights.pth into the folder of weights (--weights,")
    with pytest.raises(UserError, match=r"put weights.pth into the folder of weights"):
        made.prepare("mine", data(), tmp_path, torch.device("cpu"))


def test_a_file_of_another_content_is_refused(tmp_path: Path) -> None:
    made = extractor(Dinov2, SMALL_DINOV2, write(tmp_path / "weights.pth", published(SMALL_DINOV2)))
    (tmp_path / "weights.pth").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"weights.pth is not the right file: it has 14 bytes instead of"):
        made.prepare("mine", data(), tmp_path, torch.device("cpu"))


def damaged(name: str, tensors: dict[str, Tensor], path: Path) -> Path:
    if name == "lacks one":
        del tensors["blocks.2.mlp.fc2.bias"]
    elif name == "another shape":
        tensors["norm.bias"] = torch.zeros(49)
    elif name == "another depth":
        tensors["cls_token"] = torch.zeros(1, 1, 47)
    elif name == "a list":
        torch.save([1, 2], path)
        return path
    elif name == "no archive":
        path.write_bytes(b"\x80\x02nonsense")
        return path
    return write(path, tensors)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lacks one", "it lacks blocks.2.fc2.bias"),
        ("another shape", r"norm.bias has the shape \(49,\), not \(48,\)"),
        ("another depth", "is not DINOv2 ViT-L/14: shape"),
        ("a list", "it holds a list"),
        ("no archive", "is not DINOv2 ViT-L/14: "),
    ],
)
def test_what_is_not_the_network_is_refused_in_one_sentence(name: str, said: str, tmp_path: Path) -> None:
    path = damaged(name, published(SMALL_DINOV2), tmp_path / "weights.pth")
    with pytest.raises(UserError, match=said) as caught:
        load(path, SMALL_DINOV2)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize("cls", [Dinov2, Clip])
def test_other_channels_are_refused(cls: type[VisionTransformer]) -> None:
    reason = cls().missing("mine", data(4), None)
    assert reason is not None and "sees images of 1 or 3 channels, but mine has (4, 16, 16)" in reason


def test_the_file_of_clip_is_the_one_that_torch_fidelity_knows() -> None:
    known = MODEL_METADATA["clip-vit-l-14-336px"]
    assert (CLIP.file.path, CLIP.file.checksum) == (f"{known['filename']}.pt", f"sha256:{known['hash']}")


@pytest.mark.gpu
@pytest.mark.parametrize(("cls", "kind", "width"), CASES, ids=["dinov2", "clip"])
def test_features_on_cuda_are_those_of_the_host(
    cls: type[VisionTransformer], kind: Kind, width: int, tmp_path: Path
) -> None:
    made = extractor(cls, kind, write(tmp_path / "weights.pth", published(kind)))
    images = noise(20, 3, 48, 48)
    host, device = (made.prepare("mine", data(), tmp_path, torch.device(name)) for name in ("cpu", "cuda"))
    assert (prepared(images.cuda(), kind).cpu() - prepared(images, kind)).abs().mean() < 1e-3
    torch.testing.assert_close(device(images)[0].cpu(), host(images)[0], rtol=1e-2, atol=1e-2)
