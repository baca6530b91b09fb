"""Stacked-MNIST: which triples, served how, counted how, and the floors under the table."""

import gzip
import hashlib
import io
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN, Config as Convolutions
from ganbench_plugins.datasets import stacked_mnist as data_stacked_mnist
from ganbench_plugins.datasets.mnist import MNIST
from ganbench_plugins.datasets.stacked_mnist import (
    CONFUSION,
    TAKEN,
    Config,
    OnTheFly,
    StackedMNIST,
    Triples,
    drawn_triples,
    fixed_triples,
    single_triples,
    stack,
    uniform_triples,
    upper_half,
)
from ganbench_plugins.extractors.classifier import ChannelExtractor, Channels, Ready
from ganbench_plugins.metrics.modes import mode_kl, modes
from ganbench_plugins.variants.gan import GAN
from torch import Tensor

from ganbench import DataSpec, Features, ImageSet, Scene, Splits, UserError, idx_downloads, to_float
from ganbench.runs.options import resolve
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover
from ganbench.training.budget import Budget
from ganbench.training.networks import build_variant
from ganbench.training.stream import Stream
from ganbench.training.trainer import Trainer

CPU = torch.device("cpu")
PRESETS = ("veegan-26k", "unrolled-25.6k")
NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
Digits = dict[bytes, tuple[int, str]]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with forty digits to train on and twenty to test, of noise, and presets of few triples."""
    rng, known, folder = np.random.default_rng(0), {}, tmp_path / "TINY/raw"
    folder.mkdir(parents=True)
    for name, n in zip(NAMES, (40, 40, 20, 20), strict=True):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        array = images if "images" in name else rng.permutation(n).astype(np.uint8) % 10
        plain = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
        packed = gzip.compress(plain, mtime=0)
        (folder / f"{name}.gz").write_bytes(packed)
        known[name] = (len(packed), hashlib.sha256(packed).hexdigest(), len(plain), hashlib.sha256(plain).hexdigest())
    monkeypatch.setattr(StackedMNIST, "files", idx_downloads("TINY", (), known))
    for name, n in (("veegan-26k", 600), ("unrolled-25.6k", 200), ("test", 100)):
        monkeypatch.setitem(data_stacked_mnist.KEPT, name, n)
    return tmp_path


def load(root: Path, preset: str = "veegan-26k", size: int = 28, *, positive: bool = False) -> Splits:
    dataset = StackedMNIST()
    dataset.config = Config(preset, positive)  # type: ignore[arg-type]
    return dataset.load(root, size)


def digits_of(root: Path) -> Digits:
    """The label and the split of each of the sixty digits, by its pixels."""
    dataset = MNIST()
    dataset.files = StackedMNIST.files
    data = dataset.load(root, 28)
    return {
        image.numpy().tobytes(): (int(label), split)
        for split, part in (("train", data.train), ("test", data.test))
        for image, label in zip(part.images, part.cond, strict=True)
    }


def inspected(images: Tensor, labels: Tensor, digits: Digits) -> set[str]:
    """Compare every label with the digits in the channels; return the splits that these are from."""
    splits = set()
    for image, label in zip(images, labels, strict=True):
        channels = [digits[channel.numpy().tobytes()] for channel in image]
        assert int(label) == int("".join(str(digit) for digit, _ in channels))
        splits |= {split for _, split in channels}
    return splits


@pytest.mark.parametrize("preset", PRESETS)
def test_a_label_spells_the_digits_in_the_channels(root: Path, preset: str) -> None:
    data, digits = load(root, preset), digits_of(root)
    fixed = preset == "veegan-26k"
    assert data.train.images.shape == (600 if fixed else 200, 3, 28, 28)
    assert data.test.images.shape == (100, 3, 28, 28)
    assert (data.train.images.dtype, data.train.cond.dtype) == (torch.uint8, torch.int64)
    assert inspected(*data.train[:2], digits) == ({"train", "test"} if fixed else {"train"})
    assert inspected(*data.test[:2], digits) == ({"train", "test"} if fixed else {"test"})


@pytest.mark.parametrize("preset", PRESETS)
def test_32_pixels_are_28_in_a_black_frame(root: Path, preset: str) -> None:
    small, large = load(root, preset), load(root, preset, 32)
    assert torch.equal(large.train.images[..., 2:-2, 2:-2], small.train.images)
    assert large.train.images.sum() == small.train.images.sum()
    assert torch.equal(large.train.cond, small.train.cond)


def test_each_preset_and_size_has_a_fingerprint_and_says_what_it_is(root: Path) -> None:
    every = [load(root, preset, size) for preset in PRESETS for size in (28, 32)]
    assert len({data.fingerprint for data in every}) == 4
    said = every[0].protocol | {"also": every[2].protocol}
    assert said["preset"] == "veegan-26k" and said["train"] == "600 fixed triples of 60 digits"
    assert said["also"]["train"] == "triples of 40 digits, drawn on the fly"


@pytest.mark.parametrize("preset", PRESETS)
def test_pixels_are_served_from_0_to_1_if_asked(root: Path, preset: str) -> None:
    """Each is what it is without the option, but for rounding to a half of the levels and black to the lowest."""
    plain, positive = load(root, preset), load(root, preset, positive=True)
    for name in ("train", "test"):
        served = [to_float(getattr(data, name).images) for data in (plain, positive)]
        assert served[1].min() == pytest.approx(1 / 255, abs=1e-6) and served[1].max() == 1
        assert ((served[0] + 1) / 2 - served[1]).abs().max() <= 1 / 255 + 1e-6
    assert positive.protocol["range"] == "0 to 1" and "range" not in plain.protocol
    assert positive.fingerprint != plain.fingerprint
    real = Stream(positive.train, 64, 0, CPU)[3].real
    assert real.min() > 0 and real.max() <= 1


def test_the_fixed_triples_are_the_same_on_every_machine() -> None:
    """To record anew: the SHA-256 of the table's bytes; another table is another data set, so raise `RECIPE`."""
    sums = {
        ("train", 128_000, 70_000): "b0e50cf47e9cb1b0",
        ("test", 10_000, 70_000): "861450f5db20c73a",
        ("train", 25_600, 60_000): "c39620b61c6ce5bd",
        ("test", 10_000, 10_000): "e780cd4ff507f94a",
    }
    for of, expected in sums.items():
        table = fixed_triples(*of)
        assert hashlib.sha256(table.numpy().astype("<i8").tobytes()).hexdigest()[:16] == expected
        assert table.dtype == torch.int64 and table.min() >= 0 and table.max() < of[2]


def test_fixed_triples_do_not_depend_on_the_random_state_or_the_cache(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(root)
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path / "other"))
    torch.manual_seed(5)
    second = load(root)
    assert torch.equal(first.train.images, second.train.images) and torch.equal(first.train.cond, second.train.cond)
    assert first.fingerprint == second.fingerprint


def test_every_triple_has_one_number_on_the_fly() -> None:
    pool = ImageSet(torch.arange(4, dtype=torch.uint8)[:, None, None, None].expand(4, 1, 2, 2), torch.arange(4))
    source = OnTheFly(pool)
    images, labels, _ = source[torch.arange(len(source))]
    assert sorted(images[:, :, 0, 0].tolist()) == [[r, g, b] for r in range(4) for g in range(4) for b in range(4)]
    assert torch.equal(labels, images[:, :, 0, 0].long() @ torch.tensor([100, 10, 1]))


def test_numbers_of_all_triples_of_mnist_are_exact() -> None:
    """60,000³ is beyond what a float holds."""
    pool = ImageSet(torch.empty(60_000, 1, 1, 1, dtype=torch.uint8), torch.arange(60_000))
    source = OnTheFly(pool)
    assert len(source) == 216_000_000_000_000
    labels = source[torch.tensor([len(source) - 1, len(source) - 2, 60_000**2 + 7])].cond
    assert labels.tolist() == [111 * 59_999, 111 * 59_999 - 1, 107]


def test_steps_are_served_from_the_whole_pool_with_their_labels(root: Path) -> None:
    data, digits = load(root, "unrolled-25.6k"), digits_of(root)
    kept = {image.numpy().tobytes() for image in data.train.images}
    real, labels = Stream(data.train, 64, 0, CPU)[3]
    images = real.add(1).mul(127.5).round().to(torch.uint8)
    assert inspected(images, labels, digits) == {"train"}
    assert sum(image.numpy().tobytes() not in kept for image in images) > 55  # 200 of the 64,000 triples are kept


def test_on_the_fly_every_digit_comes_up_as_often_in_every_channel(root: Path) -> None:
    stream = Stream(load(root, "unrolled-25.6k").train, 100, 0, CPU)
    drawn = torch.cat([stream[t].real[:, :, 14, 14] for t in range(80)])
    for channel in drawn.T:
        _, counts = channel.unique(return_counts=True)  # 200 of each of 40 digits, a few of which share this pixel
        assert counts.sum() == 8000 and counts.min() > 140
    assert len(drawn.unique(dim=0)) > 6500


def run(data: Splits) -> Trainer:
    backbone = DCGAN()
    backbone.config = Convolutions(width=4, z_dim=4)
    variant = build_variant(GAN, backbone, data.spec(), seed=1, config=resolve(GAN, "gan", {}))
    return Trainer(variant, data.train, Budget.parse("64-images"), seed=1, batch=8, device=CPU)


@pytest.mark.parametrize("preset", PRESETS)
def test_resume_is_exact(root: Path, preset: str) -> None:
    data = load(root, preset)
    whole, first, second = run(data), run(data), run(load(root, preset))
    for _ in range(8):
        whole.step()
    for _ in range(3):
        first.step()
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    for _ in range(5):
        second.step()
    states = whole.variant.state_dict(), second.variant.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    losses = whole.traces()["loss/D"]
    assert np.array_equal(losses, second.traces()["loss/D"]) and len(set(losses.tolist())) == 8


@pytest.mark.parametrize(("preset", "samples"), [("veegan-26k", 26_000), ("unrolled-25.6k", 25_600)])
def test_the_preset_decides_how_many_samples_are_scored(root: Path, preset: str, samples: int) -> None:
    def planned(**more: Any) -> int:
        settings = (f"stacked-mnist.preset={preset}",)
        request = Request(("gan",), ("stacked-mnist",), backbone="dcgan", settings=settings, data_root=root, **more)
        return plan(request, discover()).jobs[0].samples

    assert planned() == samples
    assert planned(samples=50) == 50


def test_metrics_of_quality_do_not_fit(root: Path) -> None:
    request = Request(("gan",), ("stacked-mnist",), backbone="dcgan", metrics=("high-quality",), data_root=root)
    with pytest.raises(UserError, match="'high-quality' does not fit data set 'stacked-mnist': it needs points"):
        plan(request, discover())


def test_an_unknown_preset_is_refused_with_those_there_are(root: Path) -> None:
    request = Request(("gan",), ("stacked-mnist",), settings=("stacked-mnist.preset=veegan",), data_root=root)
    with pytest.raises(UserError, match=r"stacked-mnist.preset.*'veegan-26k' or 'unrolled-25.6k'.*'veegan'"):
        plan(request, discover())


def test_other_sizes_and_missing_files_are_refused_as_mnist_does(root: Path) -> None:
    with pytest.raises(UserError, match="stacked-mnist comes at 28 pixels a side, or 32 by padding, but 64"):
        load(root, size=64)
    (root / f"TINY/raw/{NAMES[2]}.gz").unlink()
    with pytest.raises(UserError, match=f"put TINY/raw/{NAMES[2]}.gz into the data root {root}"):
        load(root)


# Modes


def test_the_mode_is_the_triple_of_the_likeliest_digits() -> None:
    digits = torch.tensor([[0, 0, 0], [1, 2, 3], [9, 0, 5], [9, 9, 9]])
    probs = torch.full((4, 3, 10), 0.01).scatter(2, digits[:, :, None], 0.5)
    index, good = Triples().assign(probs.flatten(1))
    assert index.tolist() == [0, 123, 905, 999] and good.all()


@pytest.fixture(scope="module")
def reader() -> Channels:
    blank = ImageSet(torch.zeros(2, 3, 28, 28, dtype=torch.uint8))
    ready = ChannelExtractor().prepare("stacked-mnist", Splits(blank, blank, "0" * 64), None, CPU)
    assert isinstance(ready, Channels)
    return ready


def test_each_channel_is_classified_alone(reader: Channels) -> None:
    images = torch.randint(0, 256, (5, 3, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    features, probs = reader(images)
    assert (features.shape, probs.shape) == ((5, 192), (5, 30))
    assert isinstance(reader.digits, Ready)
    for channel in range(3):
        alone = reader.digits(images[:, channel : channel + 1])
        assert torch.allclose(features[:, 64 * channel : 64 * channel + 64], alone[0], atol=1e-5)
        assert torch.allclose(probs[:, 10 * channel : 10 * channel + 10], alone[1], atol=1e-6)


def test_pixels_from_0_to_1_are_seen_as_what_they_show() -> None:
    """As PacGAN's program feeds them: 0 is black and 1 white, and what is below 0 is darker than black, not black."""
    blank = ImageSet(torch.zeros(2, 3, 28, 28, dtype=torch.uint8))
    ready = [
        ChannelExtractor().prepare("stacked-mnist", Splits(blank, blank, "0" * 64, protocol), None, CPU)
        for protocol in ({}, {"range": "0 to 1"})
    ]
    levels = torch.randint(0, 128, (5, 3, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    shown, served = 2 * levels + 1, levels + 128  # 1, 3, ..., 255 of 255, and the same between 0 and 1
    assert torch.allclose(ready[0](shown)[0], ready[1](served)[0], atol=1e-4)
    assert not torch.allclose(ready[0](served)[0], ready[1](served)[0], atol=0.1)
    darker, black = (torch.full((1, 3, 28, 28), level, dtype=torch.uint8) for level in (0, 127))
    assert not torch.allclose(ready[1](darker)[0], ready[1](black)[0], atol=0.1)
    assert ready[1].protocol["range"] == "0 to 1" and "range" not in ready[0].protocol


def test_of_32_pixels_the_central_28_are_seen(reader: Channels) -> None:
    generator = torch.Generator().manual_seed(0)
    framed = torch.randint(0, 256, (4, 3, 32, 32), generator=generator, dtype=torch.uint8)
    assert torch.equal(reader(framed)[1], reader(framed[..., 2:-2, 2:-2])[1])
    small = ImageSet(torch.zeros(2, 3, 16, 16, dtype=torch.uint8))
    with pytest.raises(UserError, match=r"mnist-channels needs images of at least 28×28 pixels, but tiny has \(3, 16"):
        ChannelExtractor().prepare("tiny", Splits(small, small, "0" * 64), None, CPU)


# Floors


def scored(index: Tensor) -> dict[str, float]:
    """What the metrics say of samples that are seen as these modes."""
    probs = torch.nn.functional.one_hot(torch.stack([index // 100, index // 10 % 10, index % 10], 1), 10).flatten(1)
    features = Features(torch.zeros(len(index), 3, 1, 1, dtype=torch.uint8), probs=probs)
    scene = Scene(DataSpec((3, 1, 1)), features, features, {}, modes=Triples())
    return {name: value.value for name, value in {**modes(scene), **mode_kl(scene)}.items()}


@pytest.mark.parametrize("n", [1_000, 5_000, 26_000])
def test_the_floor_of_uniform_triples_is_that_of_a_simulation(n: int) -> None:
    generator = torch.Generator().manual_seed(n)
    found = [scored(torch.randint(1000, (n,), generator=generator)) for _ in range(40)]
    for name, expected in uniform_triples(n).items():
        values = torch.tensor([each[name] for each in found], dtype=torch.float64)
        assert float(values.mean()) == pytest.approx(expected, abs=4 * float(values.std()) / math.sqrt(40) + 1e-3)


def test_the_floor_of_uniform_triples_is_that_of_theory() -> None:
    for n in (1_000, 2_500, 5_000, 10_000):
        assert uniform_triples(n)["modes"] == pytest.approx(1000 * (1 - 0.999**n), abs=1e-6)
    for n in (25_600, 26_000, 200_000):
        assert uniform_triples(n)["mode-kl"] == pytest.approx(999 / (2 * n), rel=0.01)
    assert uniform_triples(26_000)["mode-kl"] == pytest.approx(0.0193, abs=5e-5)


@pytest.mark.parametrize("n", [300, 5_000])
def test_what_real_triples_are_expected_to_score_is_what_simulated_ones_do(n: int) -> None:
    digits = (2000, 5000, 100, 700, 900, 900, 900, 900, 900, 400)
    rng, found = np.random.default_rng(n), []
    for _ in range(60):
        drawn = rng.choice(10, (n, 3), p=np.array(digits) / sum(digits))
        found.append(scored(torch.from_numpy(drawn @ np.array([100, 10, 1]))))
    assert Triples(digits).exact(n).keys() == found[0].keys()
    for name, expected in Triples(digits).exact(n).items():
        values = torch.tensor([each[name] for each in found], dtype=torch.float64)
        assert float(values.mean()) == pytest.approx(expected, abs=4 * float(values.std()) / math.sqrt(60)), name


def test_what_real_triples_score_is_known_of_the_digits_that_were_looked_at(root: Path) -> None:
    assert load(root).modes.exact(100) == {}  # of a pool of noise nobody has
    for (many, _), taken in TAKEN.items():
        assert sum(taken) == many
        expected = drawn_triples(26_000, taken)
        assert expected["modes"] == pytest.approx(1000, abs=0.01)
        assert expected["mode-kl"] == pytest.approx(0.0237, abs=5e-4)  # what unevenness of the digits adds to 0.0192


@pytest.mark.parametrize("triple", [111, 123, 666, 789])
def test_the_floor_of_one_triple_is_that_of_a_simulation(triple: int) -> None:
    rng, n = np.random.default_rng(triple), 26_000
    rates = np.array(CONFUSION) / np.sum(CONFUSION, 1, keepdims=True)
    found = []
    for _ in range(20):
        seen = [rng.choice(10, n, p=rates[int(digit)]) for digit in str(triple)]
        found.append(scored(torch.from_numpy(100 * seen[0] + 10 * seen[1] + seen[2])))
    for name, floors in single_triples(n).items():
        values = torch.tensor([each[name] for each in found], dtype=torch.float64)
        slack = 4 * float(values.std()) / math.sqrt(20) + (0.001 if name == "mode-kl" else 0.01)
        assert float(values.mean()) == pytest.approx(float(floors[triple]), abs=slack)


def test_errors_spread_evenly_credit_thirty_modes_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The round number of the literature: half an error in a hundred digits, each wrong digit as likely."""
    even = np.full((10, 10), 5)
    np.fill_diagonal(even, 8955)
    monkeypatch.setattr(data_stacked_mnist, "CONFUSION", even.tolist())
    single_triples.cache_clear()
    assert float(single_triples(26_000)["modes"].mean()) == pytest.approx(30, abs=1)
    single_triples.cache_clear()


def test_the_floors_stand_in_the_protocol_of_the_values() -> None:
    floors = Triples().floors(26_000)
    assert floors["modes"] == {"uniform_triples": 1000.0, "one_triple": 10.3, "one_triple_at_best": 23.8}
    assert floors["mode-kl"]["uniform_triples"] == 0.0193
    assert set(floors) == {"modes", "modes-5", "mode-kl"}


# The real digits


@pytest.fixture(scope="module")
def digits(data_root: Path) -> Splits:
    if not (data_root / "MNIST").is_dir():
        pytest.skip("no MNIST here")
    return MNIST().load(data_root, 28)


def seen(reader: Channels, images: Tensor) -> Tensor:
    return torch.cat([Triples().assign(reader(chunk)[1])[0] for chunk in images.split(256)])


def test_real_triples_are_told_98_times_in_100(digits: Splits, reader: Channels) -> None:
    images, labels = stack(digits.test, fixed_triples("test", 1500, 10_000))
    assert float((seen(reader, images) == labels).double().mean()) > 0.98


def test_classes_are_a_thousand(data_root: Path, digits: Splits) -> None:
    data = load(data_root, "unrolled-25.6k")
    assert data.spec().classes == 1000 and data.spec().shape == (3, 28, 28)
    assert data.train.cond[:5].tolist() == [913, 905, 799, 547, 102]


@pytest.mark.slow
def test_the_confusion_is_that_of_the_shipped_classifier(digits: Splits, reader: Channels) -> None:
    taken = torch.cat([reader(chunk)[1].argmax(1) for chunk in digits.test.images.split(256)])
    found = (10 * digits.test.cond + taken).bincount(minlength=100).reshape(10, 10)
    assert found.tolist() == [list(row) for row in CONFUSION]


@pytest.mark.slow
@pytest.mark.parametrize("positive", [False, True])
def test_digits_are_taken_for_what_is_said(digits: Splits, positive: bool) -> None:
    blank = ImageSet(torch.zeros(2, 1, 28, 28, dtype=torch.uint8))
    protocol = {"range": "0 to 1"} if positive else {}
    reader = ChannelExtractor().prepare("stacked-mnist", Splits(blank, blank, "0" * 64, protocol), None, CPU)
    counts = torch.zeros(10, dtype=torch.int64)
    for split, many in ((digits.train, 60_000), (digits.test, 70_000)):
        for chunk in split.images.split(256):
            probs = reader(upper_half(chunk) if positive else chunk)[1]
            counts += probs.argmax(1).bincount(minlength=10)
        assert counts.tolist() == list(TAKEN[many, positive])


@pytest.mark.slow
def test_real_triples_reproduce_the_published_floor(digits: Splits, reader: Channels) -> None:
    images, labels = stack(digits.train, fixed_triples("train", 26_000, 60_000))
    true, told = scored(labels), scored(seen(reader, images))
    for found in (true, told):
        assert found["modes"] == found["modes-5"] == 1000
        assert found["mode-kl"] == pytest.approx(0.0237, abs=0.003)


@pytest.mark.slow
def test_one_triple_is_credited_with_what_the_floor_says(digits: Splits, reader: Channels) -> None:
    pool = torch.nonzero(digits.test.cond == 6).flatten()
    rows = torch.randint(len(pool), (26_000, 3), generator=torch.Generator().manual_seed(0))
    found = scored(seen(reader, stack(digits.test, pool[rows])[0]))
    floors = {name: float(values[666]) for name, values in single_triples(26_000).items()}
    assert found["modes"] == pytest.approx(floors["modes"], abs=6)
    assert found["mode-kl"] == pytest.approx(floors["mode-kl"], abs=0.02)
