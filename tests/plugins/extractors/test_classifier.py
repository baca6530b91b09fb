"""The classifier: shipped ones as promised, trained ones deterministic, cached, and refused when damaged."""

import copy
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from ganbench_plugins.datasets.digits import Digits
from ganbench_plugins.datasets.mnist import MNIST
from ganbench_plugins.extractors import classifier as extractor_classifier
from ganbench_plugins.extractors.classifier import (
    FOLDER,
    SHIPPED,
    ChannelExtractor,
    Classifier,
    ClassifierExtractor,
    Ready,
    digest_of,
    main,
    make,
    read,
    train,
    write,
)
from torch import Tensor

from ganbench import DataSpec, ImageSet, Splits, UserError, frechet_distance, seeded, sha256_of, to_float

CPU = torch.device("cpu")


def stripes(n: int, seed: int, channels: int = 1, side: int = 8) -> ImageSet:
    """Noise over horizontal (class 0) or vertical (class 1) stripes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    across = torch.tensor([0, 120]).repeat(side // 2).expand(side, side)
    pattern = torch.stack([across.T, across])[labels][:, None].repeat(1, channels, 1, 1)
    return ImageSet((pattern + torch.randint(0, 120, pattern.shape, generator=generator)).to(torch.uint8), labels)


def striped(fingerprint: str = "a" * 64) -> Splits:
    return Splits(stripes(96, seed=1), stripes(64, seed=2), fingerprint)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of its own, and training for a second."""
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(extractor_classifier, "PRESENTATIONS", 960)
    return tmp_path / "cache"


def prepare(data: Splits, dataset: str = "folder:my/stripes", weights: Path | None = None) -> Ready:
    ready = ClassifierExtractor().prepare(dataset, data, weights, CPU)
    assert isinstance(ready, Ready)
    return ready


def share_right(ready: Ready, data: ImageSet) -> float:
    assert data.cond is not None
    predicted = torch.cat([ready(images)[1].argmax(1) for images in data.images.split(256)])
    return float((predicted == data.cond).double().mean())


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_shipped_file_is_small_and_has_its_checksum(name: str) -> None:
    path = FOLDER / f"{name}.safetensors"
    assert path.stat().st_size <= 2**20
    assert sha256_of(path) == SHIPPED[name][1]


def test_the_shipped_classifier_of_digits_is_right_98_times_in_100() -> None:
    data = Digits().load(Path(), 8)
    ready = prepare(data, "digits")
    assert share_right(ready, data.test) >= 0.98
    assert ready.protocol["accuracy"] == pytest.approx(share_right(ready, data.test), abs=1e-4)
    assert read(FOLDER / "digits.safetensors")[1]["data"] == data.fingerprint


def test_the_shipped_classifier_of_mnist_is_right_99_times_in_100(data_root: Path) -> None:
    if not (data_root / "MNIST").is_dir():
        pytest.skip("no MNIST here")
    data = MNIST().load(data_root, 28)
    ready = prepare(data, "mnist")
    assert share_right(ready, data.test) >= 0.99
    assert ready.protocol["accuracy"] == pytest.approx(share_right(ready, data.test), abs=1e-4)
    assert read(FOLDER / "mnist.safetensors")[1]["data"] == data.fingerprint


def test_features_and_probabilities() -> None:
    data = Digits().load(Path(), 8)
    ready = prepare(data, "digits")
    features, probs = ready(data.test.images[:10])
    assert features.shape == (10, 64) and features.dtype == torch.float32 and not features.requires_grad
    assert torch.allclose(probs.sum(1), torch.ones(10)) and probs.min() >= 0
    alone = torch.cat([ready(image[None])[0] for image in data.test.images[:10]])
    assert torch.allclose(features, alone, atol=1e-4)


def test_training_images_lie_no_further_from_test_images_than_from_one_another() -> None:
    """Of digits, as many of each: the classifier was trained on the ones, and not on the others."""
    data = Digits().load(Path(), 8)
    ready = prepare(data, "digits")
    train, test = (torch.cat([ready(part)[0] for part in split.images.split(256)]) for split in (data.train, data.test))
    generator, within, across = torch.Generator().manual_seed(0), [], []
    for _ in range(5):
        first, second, third, *_ = train[torch.randperm(len(train), generator=generator)].split(len(test))
        within += [frechet_distance(first, second), frechet_distance(second, third), frechet_distance(third, first)]
        across += [frechet_distance(part, test) for part in (first, second, third)]
    assert sum(across) < 1.2 * sum(within)


def as_a_whole(network: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """What the network says of all images at once, channel after channel."""
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    with torch.no_grad():
        features, logits = plain(to_float(images))
    return features, logits.softmax(1)


def require_the_same(ready: Ready, images: Tensor) -> None:
    (features, probs), (others, theirs) = ready(images), as_a_whole(ready.network, images)
    assert torch.equal(probs.argmax(1), theirs.argmax(1))
    torch.testing.assert_close(features, others, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(probs, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("n", [1, 63, 64, 65, 300])
def test_pieces_give_what_the_whole_gives(n: int) -> None:
    data = Digits().load(Path(), 8)
    require_the_same(prepare(data, "digits"), data.train.images[-n:])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 28, 32, 48])
def test_pieces_of_images_of_any_size_give_what_the_whole_gives(side: int, channels: int) -> None:
    with seeded(side):
        network = Classifier(DataSpec((channels, side, side), classes=5))
        network(torch.rand(50, channels, side, side) * 2 - 1)  # statistics of their own
        images = torch.randint(0, 256, (100, channels, side, side), dtype=torch.uint8)
    require_the_same(Ready(network.eval(), (channels, side, side), {}), images)


def test_real_digits_of_three_channels_have_the_modes_that_the_whole_has(data_root: Path) -> None:
    if not (data_root / "MNIST").is_dir():
        pytest.skip("no MNIST here")
    test = MNIST().load(data_root, 28).test
    images = test.images[:1200].reshape(400, 3, 28, 28)
    data = Splits(ImageSet(images, test.cond[:400]), ImageSet(images, test.cond[:400]), "a" * 64)
    channels = ChannelExtractor().prepare("triples", data, None, CPU)
    _, probs = channels(images)
    _, theirs = as_a_whole(channels.digits.network, test.images[:1200])
    assert torch.equal(probs.reshape(1200, 10).argmax(1), theirs.argmax(1))
    assert float((theirs.argmax(1) == test.cond[:1200]).double().mean()) > 0.98


def test_a_network_that_classifies_has_the_weights_that_it_had() -> None:
    network = Classifier(DataSpec((3, 8, 8), classes=2)).eval()
    before = digest_of({name: tensor.clone() for name, tensor in network.state_dict().items()})
    ready = Ready(network, (3, 8, 8), {})
    ready(torch.zeros(3, 3, 8, 8, dtype=torch.uint8))
    assert digest_of(network.state_dict()) == before


def test_the_protocol_names_the_weights_and_not_the_file() -> None:
    protocol = prepare(Digits().load(Path(), 8), "digits").protocol
    tensors, _ = read(FOLDER / "digits.safetensors")
    assert protocol["extractor"] == "classifier" and protocol["extractor_weights"] == digest_of(tensors)[:12]
    assert protocol["embedding"] == "penultimate, 64" and protocol["dtype"] == "float32"


def test_digest_changes_with_any_weight() -> None:
    tensors, _ = read(FOLDER / "digits.safetensors")
    other = {name: tensor.clone() for name, tensor in tensors.items()}
    other["head.bias"][3] += 1e-6
    assert digest_of(tensors) == digest_of(dict(reversed(tensors.items()))) != digest_of(other)


def test_a_changed_shipped_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    changed = bytearray((FOLDER / "digits.safetensors").read_bytes())
    changed[-1] ^= 1
    (tmp_path / "digits.safetensors").write_bytes(changed)
    monkeypatch.setattr(extractor_classifier, "FOLDER", tmp_path)
    with pytest.raises(UserError, match=r"digits\.safetensors is not the classifier that came with ganbench"):
        prepare(Digits().load(Path(), 8), "digits")


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 32, 32), (3, 33, 47), (3, 64, 64), (1, 9, 80), (4, 128, 128)]
)
def test_any_size_and_any_channels(shape: tuple[int, ...]) -> None:
    network = Classifier(DataSpec(shape, classes=7))
    features, logits = network(torch.zeros(2, *shape))
    assert features.shape == (2, 64) and logits.shape == (2, 7)
    assert sum(4 * tensor.numel() for tensor in network.state_dict().values()) < 2**20


def test_it_learns_and_is_kept(quick: Path) -> None:
    data = striped()
    ready = prepare(data)
    assert share_right(ready, data.test) > 0.9
    assert ready.protocol["accuracy"] == pytest.approx(share_right(ready, data.test), abs=1e-4)
    (path,) = quick.rglob("*.safetensors")
    assert path.name == "classifier-folder-my-stripes-aaaaaaaaaaaa.safetensors"
    assert read(path)[1]["data"] == data.fingerprint


def test_one_that_is_kept_is_not_trained_again(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(striped())
    monkeypatch.setattr(extractor_classifier, "PRESENTATIONS", 96)  # would give other weights
    assert prepare(striped()).protocol == first.protocol
    assert prepare(striped("b" * 64)).protocol != first.protocol


def test_training_is_deterministic_and_leaves_no_trace(quick: Path) -> None:
    data = striped()
    spec = data.spec()
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    network = train(data.train, spec, 320)
    first = network.state_dict()
    assert not network.training
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    torch.set_num_threads(2)
    try:
        with torch.no_grad():
            again = train(data.train, spec, 320).state_dict()
    finally:
        torch.set_num_threads(threads)
    assert digest_of(first) == digest_of(again) != digest_of(train(data.train, spec, 352).state_dict())


def test_each_image_is_shifted_by_its_own_pixels() -> None:
    x = torch.zeros(50, 2, 28, 28)
    x[:, :, 14, 14] = 1
    places = {tuple(image[0].nonzero()[0].tolist()) for image in extractor_classifier._shifted(x)}
    assert len(places) > 10 and all(abs(row - 14) <= 2 and abs(column - 14) <= 2 for row, column in places)
    ramp = torch.arange(8.0).repeat(4, 1, 8, 1)
    assert {row.item() for row in extractor_classifier._shifted(ramp)[:, 0, 0, 7]} <= {6.0, 7.0}


def test_one_found_under_weights_is_used_without_training(quick: Path, tmp_path: Path) -> None:
    data, weights = striped(), tmp_path / "weights"
    tensors, facts = make("elsewhere", data, data.spec(), 320)
    write(weights / "classifier-folder-my-stripes-aaaaaaaaaaaa.safetensors", tensors, facts)
    ready = prepare(data, weights=weights)
    assert ready.protocol["extractor_weights"] == digest_of(tensors)[:12]
    assert not quick.exists()


def test_a_cache_that_cannot_be_written_costs_time_only(quick: Path) -> None:
    quick.write_text("a file where a folder should be")
    assert share_right(prepare(striped()), striped().test) > 0.9


def damaged(path: Path, kind: str) -> None:
    content = path.read_bytes()
    if kind == "other shape":
        spec = DataSpec((3, 8, 8), classes=2)
        three = Splits(stripes(64, seed=1, channels=3), stripes(64, seed=2, channels=3), "c" * 64)
        write(path, *make("three", three, spec, 64))
    elif kind == "other recipe":
        tensors, facts = read(path)
        write(path, tensors, {**facts, "recipe": 99})
    elif kind == "no facts":
        from safetensors.torch import save_file

        save_file({"a": torch.zeros(1)}, path)
    else:
        path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "noise": b"\x80\x04." * 50}[kind])


@pytest.mark.parametrize("kind", ["cut", "empty", "noise", "no facts", "other shape", "other recipe"])
def test_a_damaged_file_is_made_again_or_named(quick: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(striped())
    (path,) = quick.rglob("*.safetensors")
    damaged(path, kind)
    again = prepare(striped())  # of the cache: it is trained again, and nobody is asked to remove it
    assert again.protocol == first.protocol
    damaged(path, kind)
    weights = path.parent
    monkeypatch.setenv("GANBENCH_CACHE", str(quick.parent / "other"))
    with pytest.raises(UserError, match=path.name.replace(".", r"\.")):
        prepare(striped(), weights=weights)  # of the user: it is named


def test_a_kept_one_whose_weights_were_changed_is_not_used(quick: Path) -> None:
    first = prepare(striped())
    (path,) = quick.rglob("*.safetensors")
    tensors, facts = read(path)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    write(path, {**tensors, name: tensors[name] + 1}, facts)
    assert prepare(striped()).protocol == first.protocol


def test_what_it_cannot_classify_is_refused(quick: Path) -> None:
    images = stripes(20, seed=1)
    small = ImageSet(images.images[..., :4, :], images.cond)
    unlabelled = ImageSet(images.images)
    points = ImageSet(torch.zeros(20, 2))
    for data, reason in ((small, "at least 8"), (unlabelled, "labels"), (points, "images with labels")):
        with pytest.raises(UserError, match=reason):
            prepare(Splits(data, data, "a" * 64))


def test_images_of_another_shape_are_refused() -> None:
    ready = prepare(Digits().load(Path(), 8), "digits")
    with pytest.raises(UserError, match=r"\(1, 8, 8\), not \(1, 16, 16\)"):
        ready(torch.zeros(2, 1, 16, 16, dtype=torch.uint8))


def test_digits_of_another_size_are_not_the_shipped_ones(quick: Path) -> None:
    ready = prepare(Digits().load(Path(), 16), "digits")
    assert ready.shape == (1, 16, 16) and list(quick.rglob("classifier-digits-*.safetensors"))


def test_the_script_makes_a_file_that_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(extractor_classifier, "SHIPPED_PRESENTATIONS", 440)
    output = tmp_path / "digits.safetensors"
    result = CliRunner().invoke(main, ["digits", "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert sha256_of(output) in result.output and str(output.stat().st_size) in result.output
    monkeypatch.setattr(extractor_classifier, "FOLDER", tmp_path)
    monkeypatch.setitem(extractor_classifier.SHIPPED, "digits", (SHIPPED["digits"][0], sha256_of(output)))
    data = Digits().load(Path(), 8)
    assert prepare(data, "digits").protocol["extractor_weights"] == digest_of(read(output)[0])[:12]


def logits_by_hand(network: Classifier, images: Tensor) -> Tensor:
    return network(to_float(images))[1]


def test_probabilities_are_the_softmax_of_the_logits() -> None:
    data = Digits().load(Path(), 8)
    ready = prepare(data, "digits")
    logits = logits_by_hand(ready.network, data.test.images[:20]).double()
    expected = logits.exp() / logits.exp().sum(1, keepdim=True)
    assert torch.allclose(ready(data.test.images[:20])[1].double(), expected, atol=1e-6)
