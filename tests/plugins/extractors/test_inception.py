"""The Inception network against torch-fidelity's, with seeded weights, and against the genuine ones where at hand."""

import hashlib
import pickle
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from ganbench_plugins.extractors.inception import (
    GENUINE,
    Inception64,
    Inception192,
    Inception768,
    Inception2048,
    InceptionExtractor,
    Network,
    SharedPass,
    Weights,
    ganbench_extractors,
    resized,
)
from torch import Tensor, nn
from torch.nn import functional as F
from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d, FeatureExtractorInceptionV3
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x as interpolate

from ganbench import Download, Embedding, ImageSet, Splits, UserError, seeded

LAYERS = {"64": Inception64, "192": Inception192, "768": Inception768, "2048": Inception2048}
CPU = torch.device("cpu")


def images_of(n: int, channels: int = 3, size: int = 32, seed: int = 0) -> Tensor:
    """Noise of several grains, so that images differ at every depth of the network."""
    generator = torch.Generator().manual_seed(seed)
    grains = [torch.rand(n, channels, side, side, generator=generator) for side in (2, 5, 16)]
    mixed = sum(F.interpolate(grain, (size, size), mode="bilinear") for grain in grains)
    return (mixed / 3 * 255).to(torch.uint8)


def splits_of(images: Tensor) -> Splits:
    return Splits(ImageSet(images), ImageSet(images), "0" * 64)


def download_of(path: Path) -> Download:
    content = path.read_bytes()
    return Download(path.name, f"sha256:{hashlib.sha256(content).hexdigest()}", len(content))


def seeded_network() -> Network:
    """A network whose signals keep their size from layer to layer, so that all features vary with the image."""
    with seeded(0):
        network = Network(2048, folded=False)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1, 0.2)
                nn.init.normal_(module.bias, 0, 0.2)
        assert network.fc is not None
        nn.init.normal_(network.fc.weight, 0, 0.5)
    return network.eval()


def folded_arrays(network: Network) -> dict[str, np.ndarray]:
    arrays = {}
    for name, module in network.named_modules():
        if isinstance(module, BasicConv2d) and not name.startswith(("Mixed_7b", "Mixed_7c")):
            norm = module.bn
            factor = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
            arrays[f"{name}.conv.weight"] = module.conv.weight.double() * factor[:, None, None, None]
            arrays[f"{name}.conv.bias"] = norm.bias.double() - norm.running_mean.double() * factor
    return {name: array.detach().float().numpy() for name, array in arrays.items()}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds both files of weights, of one seeded network."""
    folder = tmp_path_factory.mktemp("weights")
    network = seeded_network()
    torch.save(network.state_dict(), folder / "whole.pth")
    np.savez(folder / "folded.npz", **folded_arrays(network))
    return folder


@pytest.fixture(scope="session")
def known(folder: Path) -> Weights:
    return Weights(download_of(folder / "whole.pth"), download_of(folder / "folded.npz"))


@pytest.fixture(scope="session")
def theirs(folder: Path) -> dict[str, Tensor]:
    """Torch-fidelity's features of 10 images."""
    names = ["64", "192", "768", "2048", "logits_unbiased"]
    network = FeatureExtractorInceptionV3("reference", names, feature_extractor_weights_path=folder / "whole.pth")
    return dict(zip(names, network(images_of(10)), strict=True))


@pytest.fixture(autouse=True)
def nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights but those of a test, wherever this machine may have some."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path / "cache"))


def prepare(extractor: InceptionExtractor, weights: Path | None, images: Tensor | None = None) -> Embedding:
    return extractor.prepare("tiny", splits_of(images_of(2) if images is None else images), weights, CPU)


def test_the_seeded_network_tells_images_apart(theirs: dict[str, Tensor]) -> None:
    for name, features in theirs.items():
        assert (features.std(0).mean() / features.abs().mean()) > 0.01, name


@pytest.mark.parametrize("layer", LAYERS)
def test_features_are_torch_fidelitys(folder: Path, known: Weights, theirs: dict[str, Tensor], layer: str) -> None:
    features, probs = prepare(LAYERS[layer](known), folder)(images_of(10))
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, theirs[layer], rtol=1e-4, atol=1e-5)
    if layer == "2048":
        assert probs is not None
        torch.testing.assert_close(probs, theirs["logits_unbiased"].softmax(1), rtol=1e-4, atol=1e-7)
    else:
        assert probs is None


def test_folded_weights_give_the_same_features(
    folder: Path, known: Weights, theirs: dict[str, Tensor], tmp_path: Path
) -> None:
    (tmp_path / "folded.npz").symlink_to(folder / "folded.npz")
    embedding = prepare(Inception768(known), tmp_path)
    torch.testing.assert_close(embedding(images_of(10)[:4])[0], theirs["768"][:4], rtol=1e-4, atol=1e-5)
    assert embedding.protocol["extractor_form"] == "batch norm folded"
    assert embedding.protocol["extractor_weights"] == known.folded.checksum[7:19]


def test_batch_norm_is_folded_when_the_whole_file_is_loaded(folder: Path, known: Weights) -> None:
    """In float64, then rounded once: the very numbers of a file that holds them folded."""
    network = prepare(Inception2048(known), folder).through.network
    assert not [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    found = network.state_dict()
    for name, array in folded_arrays(seeded_network()).items():
        assert torch.equal(found[name], torch.from_numpy(array)), name
    assert len(found) == 2 * 94 + 2  # of each convolution weight and bias, and those of the last layer


@pytest.mark.parametrize(
    ("height", "width"),
    [(1, 1), (2, 5), (7, 13), (8, 8), (28, 28), (32, 32), (64, 48), (109, 89), (298, 300), (299, 299), (599, 301)],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_resize_is_torch_fidelitys_to_the_last_bit(height: int, width: int, channels: int) -> None:
    generator = torch.Generator().manual_seed(height)
    images = torch.randint(0, 256, (2, channels, height, width), generator=generator, dtype=torch.uint8)
    images[0] = (torch.arange(height)[:, None] + torch.arange(width)) % 2 * 255  # a checkerboard, the hardest of all
    found = resized(images)
    assert torch.equal(found, interpolate(images.float(), size=(299, 299), align_corners=False))
    assert found.dtype == torch.float32
    assert torch.equal(resized(images[:1].expand(-1, channels, -1, -1)), found[:1])


def test_only_the_layers_that_are_needed_are_built(folder: Path, known: Weights) -> None:
    sizes = [
        sum(p.numel() for p in prepare(cls(known), folder).through.network.parameters()) for cls in LAYERS.values()
    ]
    assert sizes == sorted(set(sizes)) and sizes[0] < 30_000


def test_layers_of_one_file_share_a_pass(folder: Path, known: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []
    forward = Network.forward

    def watched(self: Network, images: Tensor, layers: Collection[int]) -> dict[int, tuple[Tensor, Tensor | None]]:
        shown.append(len(images))
        return forward(self, images, layers)

    alone = {name: prepare(cls(known), folder)(images_of(5)) for name, cls in LAYERS.items()}
    monkeypatch.setattr(Network, "forward", watched)
    passes: dict[tuple[Path, str], SharedPass] = {}
    shared = {name: prepare(cls(known, passes), folder) for name, cls in LAYERS.items()}
    for _ in range(2):
        images = images_of(5)
        for name in reversed(LAYERS):
            features, probs = shared[name](images)
            assert torch.equal(features, alone[name][0])
            assert (probs is None) == (name != "2048") and (probs is None or torch.equal(probs, alone[name][1]))
    assert shown == [5, 5]


def test_images_changed_in_place_are_seen_anew(folder: Path, known: Weights) -> None:
    embedding, images = prepare(Inception64(known), folder), images_of(2)
    first = embedding(images)[0]
    images.zero_()
    assert not torch.equal(embedding(images)[0], first)


def test_a_layer_asked_for_later_is_reached_too(folder: Path, known: Weights) -> None:
    passes: dict[tuple[Path, str], SharedPass] = {}
    shallow = prepare(Inception64(known, passes), folder)
    first = shallow(images_of(3))[0]
    deep = prepare(Inception192(known, passes), folder)
    assert deep(images_of(3))[0].shape == (3, 192) and torch.equal(shallow(images_of(3))[0], first)


def test_the_registered_layers_share_a_pass() -> None:
    assert len({id(found.passes) for found in ganbench_extractors()}) == 1


def test_batches_do_not_matter(folder: Path, known: Weights) -> None:
    embedding, images = prepare(Inception64(known), folder), images_of(35)
    whole = embedding(images)[0]
    assert torch.equal(whole, embedding(images)[0])
    torch.testing.assert_close(whole[30:], embedding(images[30:])[0], rtol=1e-5, atol=1e-6)


def test_grey_images_are_repeated(folder: Path, known: Weights) -> None:
    grey = images_of(3, channels=1)
    embedding = prepare(Inception64(known), folder, grey)
    colour = prepare(Inception64(known), folder)
    assert torch.equal(embedding(grey)[0], colour(grey.repeat(1, 3, 1, 1))[0])
    assert embedding.protocol == {**colour.protocol, "grey": "repeated to 3 channels"}


def test_other_channels_are_refused(folder: Path, known: Weights) -> None:
    with pytest.raises(UserError, match=r"1 or 3 channels, but tiny has \(4, 32, 32\)"):
        prepare(Inception64(known), folder, images_of(2, channels=4))


def test_the_whole_file_goes_before_the_folded_one(folder: Path, known: Weights) -> None:
    protocol = prepare(Inception64(known), folder).protocol
    assert protocol["extractor_form"] == "batch norm as published"
    assert protocol["extractor_weights"] == known.full.checksum[7:19]


def test_weights_of_torch_hub_are_found(folder: Path, known: Weights, tmp_path: Path) -> None:
    usual = tmp_path / "torch" / "hub" / "checkpoints"
    usual.mkdir(parents=True)
    (usual / "whole.pth").symlink_to(folder / "whole.pth")
    for weights in (None, tmp_path):
        assert prepare(Inception64(known), weights)(images_of(1))[0].shape == (1, 64)


def test_weights_are_downloaded_once(folder: Path, known: Weights, tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    hosted = tmp_path / "host" / "elsewhere.pth"
    hosted.write_bytes((folder / "whole.pth").read_bytes())
    full = Download("whole.pth", known.full.checksum, known.full.size, urls=(hosted.as_uri(),))
    for _ in range(2):
        assert prepare(Inception64(Weights(full, known.folded)), None)(images_of(1))[0].shape == (1, 64)
        hosted.unlink(missing_ok=True)


@pytest.mark.parametrize("cls", [Inception64, Inception2048])
def test_absent_weights_are_one_sentence(cls: Callable[[Weights], InceptionExtractor], tmp_path: Path) -> None:
    unreachable = Download("whole.pth", "sha256:0", 1, urls=((tmp_path / "nowhere").as_uri(),))
    with pytest.raises(UserError, match=r"put whole\.pth into the folder of weights .*--weights") as caught:
        prepare(cls(Weights(unreachable, Download("folded.npz", "sha256:0", 1))), tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_folded_weights_do_not_serve_the_last_layer(folder: Path, known: Weights, tmp_path: Path) -> None:
    (tmp_path / "folded.npz").symlink_to(folder / "folded.npz")
    with pytest.raises(UserError, match=r"put whole\.pth"):
        prepare(Inception2048(known), tmp_path)


@pytest.mark.parametrize("name", ["whole.pth", "folded.npz"])
def test_weights_of_a_wrong_checksum_are_refused(known: Weights, tmp_path: Path, name: str) -> None:
    size = (known.full if name == "whole.pth" else known.folded).size
    (tmp_path / name).write_bytes(bytes(size))
    with pytest.raises(UserError, match=rf"{name} is not the right file: it has the sha256 [0-9a-f]{{64}} instead"):
        prepare(Inception64(known), tmp_path)


class Evil:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (Path("evil"),)


def test_another_network_is_refused_and_no_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "other.pth")
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    torch.save({"Conv2d_1a_3x3.conv.weight": torch.zeros(2, 2)}, tmp_path / "shape.pth")
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil(), protocol=2))
    (tmp_path / "empty.pth").write_bytes(b"")
    np.savez(tmp_path / "other.npz", weight=np.zeros(3))
    absent = Download("absent", "sha256:0", 1)
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    for path in [*tmp_path.glob("*.pth"), *tmp_path.glob("*.npz")]:
        file = download_of(path)
        known = Weights(absent, file) if path.suffix == ".npz" else Weights(file, absent)
        with pytest.raises(UserError, match=f"{path.name} is not the Inception network of 2015: ") as caught:
            prepare(Inception64(known), tmp_path)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "evil").exists()


@pytest.fixture
def tf32() -> Iterator[None]:
    """TF32 switched on, as a caller may have it."""
    modules = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [module.allow_tf32 for module in modules]
    for module in modules:
        module.allow_tf32 = True
    yield
    for module, value in zip(modules, before, strict=True):
        module.allow_tf32 = value


@pytest.mark.usefixtures("tf32")
def test_global_state_is_left_alone(folder: Path, known: Weights) -> None:
    before = torch.get_rng_state()
    prepare(Inception64(known), folder)(images_of(1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.backends.cudnn.allow_tf32 and torch.backends.cuda.matmul.allow_tf32


def test_every_layer_is_registered() -> None:
    assert [found.name for found in ganbench_extractors()] == [
        "inception-64",
        "inception-192",
        "inception-768",
        "inception",
    ]


def first_layers(images: Tensor, arrays: dict[str, np.ndarray]) -> Tensor:
    """The features of layer 64 in float64, written out; pixel i of the resized image is at i·size/299 of the image."""
    size = images.shape[-1]
    place = torch.arange(299, dtype=torch.float64) * size / 299
    low = place.floor().long()
    weight = torch.zeros(299, size, dtype=torch.float64)
    weight[torch.arange(299), low] += 1 - (place - low)
    weight[torch.arange(299), (low + 1).clamp(max=size - 1)] += place - low
    x = (weight @ images.double() @ weight.T - 128) / 128
    for name, stride, padding in (("1a", 2, 0), ("2a", 1, 0), ("2b", 1, 1)):
        kernel, bias = (torch.from_numpy(arrays[f"Conv2d_{name}_3x3.conv.{part}"]) for part in ("weight", "bias"))
        x = F.conv2d(x, kernel.double(), bias.double(), stride, padding).relu()
    return F.max_pool2d(x, 3, 2).mean((2, 3))


def test_the_genuine_folded_weights(data_root: Path) -> None:
    path = data_root / "weights" / GENUINE.folded.path
    if not path.is_file():
        pytest.skip("no genuine weights here")
    images = images_of(3)
    with np.load(path, allow_pickle=False) as arrays:
        expected = first_layers(images, dict(arrays))
    embedding = prepare(Inception64(), path.parent)
    torch.testing.assert_close(embedding(images)[0].double(), expected, rtol=1e-4, atol=1e-5)
    assert embedding.protocol["extractor_weights"] == "a66f7460d223"


@pytest.mark.gpu
@pytest.mark.usefixtures("tf32")
def test_a_gpu_gives_the_same_features_without_tf32(folder: Path, known: Weights, theirs: dict[str, Tensor]) -> None:
    images = images_of(10)
    embedding = Inception2048(known).prepare("tiny", splits_of(images), folder, torch.device("cuda"))
    features, probs = embedding(images)
    torch.testing.assert_close(features.cpu(), theirs["2048"], rtol=1e-4, atol=1e-5)
    assert torch.equal(features, embedding(images.cuda())[0]) and probs is not None


class Listed(torch.utils.data.Dataset[Tensor]):
    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


@pytest.mark.slow
@pytest.mark.parametrize(("n", "m"), [(24, 40)])
def test_the_whole_way_is_torch_fidelitys(folder: Path, known: Weights, n: int, m: int) -> None:
    import torch_fidelity
    from ganbench_plugins.metrics.inception import ganbench_metrics

    from ganbench import Features, Scene

    fake, real = images_of(n, seed=1), images_of(m, seed=2)
    theirs = torch_fidelity.calculate_metrics(
        input1=Listed(fake),
        input2=Listed(real),
        cuda=False,
        fid=True,
        isc=True,
        samples_shuffle=False,
        feature_extractor_weights_path=folder / "whole.pth",
        save_cpu_ram=True,
        verbose=False,
        cache=False,
    )
    embedding, spec = prepare(Inception2048(known), folder), splits_of(fake).spec()
    scene = Scene(spec, Features(fake, *embedding(fake)), Features(real, *embedding(real)), {})
    values = {name: v.value for metric in ganbench_metrics() for name, v in metric.compute(scene).items()}
    assert values["fid"] == pytest.approx(theirs["frechet_inception_distance"], abs=1e-3)
    assert values["is"] == pytest.approx(theirs["inception_score_mean"], rel=1e-5)
    assert theirs["frechet_inception_distance"] > 0.1 and theirs["inception_score_mean"] > 1.02
