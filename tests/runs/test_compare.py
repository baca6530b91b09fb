"""Two sides of any kind are scored, each metric as an independent computation has it; what does not fit is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ganbench_plugins.metrics.pixels import Pixels
from PIL import Image
from scipy.linalg import sqrtm

from ganbench import Embedding, Extractor, Metric, NonNegative, Scene, UserError, Value
from ganbench.results.store import ResultStore
from ganbench.runs.compare import choose, compare
from ganbench.runs.execute import execute
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import Entry, Origin, Registry, discover
from ganbench.runs.sides import Places, open_side
from ganbench.runs.steps import Step

CPU = torch.device("cpu")
RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
pytestmark = pytest.mark.usefixtures("switches")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


@pytest.fixture
def sides(registry, tmp_path):
    def opened(*texts, begin=lambda step: "", **places):
        return [open_side(str(t), registry, Places(tmp_path, tmp_path / "results", **places), begin) for t in texts]

    return opened


def scores(fake, real, names, registry, settings=(), begin=lambda step: "", weights=None):
    chosen = choose(names, registry, settings)
    return compare(fake, real, chosen, registry, device=CPU, weights=weights, begin=begin)


def frechet(x, y):
    """The distance by scipy's matrix root."""
    root = sqrtm(np.cov(x, rowvar=False) @ np.cov(y, rowvar=False)).real
    means = ((x.mean(0) - y.mean(0)) ** 2).sum()
    return means + np.trace(np.cov(x, rowvar=False) + np.cov(y, rowvar=False) - 2 * root)


def rows(images):
    return images.reshape(len(images), -1).astype(np.float64) / 255


def pictures(folder: Path, images, names=None) -> Path:
    for number, image in enumerate(images):
        path = folder / (names[number] if names else f"{number:03}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(path)
    return folder


def test_a_folder_and_an_archive_against_a_direct_formula(sides, registry, tmp_path):
    many = [RANDOM.integers(0, 256, (n, 4, 4, 1), dtype=np.uint8) for n in (60, 50)]
    np.savez(tmp_path / "a.npz", many[0])
    a, b = sides(tmp_path / "a.npz", pictures(tmp_path / "b", many[1]))
    (value,) = scores(a, b, ["fd-pixels"], registry).values()
    assert value.value == pytest.approx(frechet(*map(rows, many)), rel=1e-6)  # pixels are float32
    assert (value.protocol["n_fake"], value.protocol["n_real"]) == (60, 50)
    assert value.protocol["reference"] == "all of B" and value.higher_is_better is False


def test_fid_is_torch_fidelity_s_distance_of_the_same_features(sides, registry, tmp_path, data_root):
    from ganbench_plugins.extractors.inception import Inception64
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    weights = data_root / "weights"
    small, large = (RANDOM.integers(0, 256, (20, size, size, 3), dtype=np.uint8) for size in (8, 16))
    np.save(tmp_path / "a.npy", small)
    a, b = sides(tmp_path / "a.npy", pictures(tmp_path / "b", large))
    found = scores(a, b, ["fid-64"], registry, weights=weights)["fid-64"].value  # of two sizes: the network resizes
    ready = Inception64().prepare("x", replace_data(b), weights, CPU)
    statistics = [
        fid_features_to_statistics(ready(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))[0])
        for images in (small, large)
    ]
    right = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert found == pytest.approx(right, rel=1e-4)


def replace_data(side):
    from ganbench.runs.compare import _splits

    return _splits(side)


def test_a_run_has_the_value_and_the_protocol_of_its_record(registry, tmp_path, sides):
    request = Request(
        ["gan"], ["digits"], budget="128-images", seeds=(3,), marks=1, samples=40, metrics=("fd-classifier", "ms-ssim")
    )
    (job,) = plan(request, registry).jobs
    record = execute(job, ResultStore(tmp_path / "results"), registry, threads=1)
    values = scores(*sides("run:gan", "digits", n=40), ["fd-classifier", "ms-ssim"], registry)
    for name, value in values.items():
        (kept,) = record.values[name]
        assert value.value == pytest.approx(kept.value, rel=1e-6) and value.protocol == kept.protocol, name


def test_training_images_are_copies_and_test_images_are_not(sides, registry):
    copies, unseen = (
        scores(*sides(side, "digits"), ["copies"], registry)["copies"].value for side in ("digits@train", "digits@test")
    )
    assert copies > 0.9 and unseen < 0.1


def test_points_are_counted_over_the_modes_of_their_data_set(sides, registry, tmp_path):
    centres = np.array([(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)])  # three of the eight, and one point far from all
    np.save(tmp_path / "p.npy", np.concatenate([centres.repeat(10, 0), [[5.0, 5.0]]]))
    values = scores(*sides(tmp_path / "p.npy", "ring"), ["modes", "high-quality", "mode-kl"], registry)
    assert values["modes"].value == 3
    assert values["high-quality"].value == pytest.approx(30 / 31)
    assert values["mode-kl"].value == pytest.approx(np.log(8 / 3))


def test_folders_that_are_numbers_are_labels(sides, tmp_path):
    (side,) = sides(pictures(tmp_path / "a", GREY[:4], ["0/a.png", "10/b.png", "2/c.png", "2/d.png"]))
    assert sorted(side.samples.cond.tolist()) == [0, 2, 2, 10]
    (other,) = sides(pictures(tmp_path / "b", GREY[:2], ["cats/a.png", "dogs/b.png"]))
    assert other.samples.cond is None


def test_size_resizes_folders(sides, tmp_path):
    folder = pictures(tmp_path / "a", [GREY[0].repeat(2, 0).repeat(2, 1), GREY[1]])
    with pytest.raises(UserError, match=r"images of several sizes \(8×8 to 16×16\): give --size"):
        sides(folder)
    (side,) = sides(folder, size=8)
    assert side.shape == (1, 8, 8)
    expected = np.asarray(Image.fromarray(GREY[0, ..., 0].repeat(2, 0).repeat(2, 1)).resize((8, 8), Image.BICUBIC))
    assert np.array_equal(side.samples.images[0, 0].numpy(), expected)


@pytest.mark.parametrize(
    ("a", "b", "metrics", "sentence"),
    [
        ("grey.npy", "digits", ["grad-norm-g"], "grad-norm-g cannot compare .*: it looks at how a run was trained"),
        ("grey.npy", "grey.npy", ["fd-classifier"], "it needs labels, which the reference does not have"),
        ("grey.npy", "grey.npy", ["copies"], "copies cannot compare .*: copies compares with the training images"),
        ("grey.npy", "digits", ["modes"], "it needs modes, which the reference does not have"),
        ("grey.npy", "digits", ["pixel-error"], "it needs translations and their counterparts"),
        ("grey.npy", "ring", ["modes"], "grey.npy holds images and ring holds points"),
        ("colour.npy", "digits", ["ms-ssim", "copies"], "ms-ssim, copies need samples of one shape, but .*3×8×8"),
        (
            "wide.npy",
            "digits",
            ["ms-ssim"],
            "ms-ssim needs samples of one shape, but .*wide.npy has 1×16×16",
        ),
        ("colour.npy", "digits", ["fd-pixels"], "fd-pixels has 192 features of one side and 64 of the other"),
        ("grey.npy", "digits", ["fid@10k-test"], "is said by A and B"),
        ("grey.npy", "digits", ["nope"], "unknown metric 'nope'"),
        ("nothing.png", "digits", ["fd-pixels"], "'.*nothing.png' is neither a file nor a folder nor a data set"),
        ("text.txt", "digits", ["fd-pixels"], "is no file of samples"),
        ("run:gan", "digits", ["fd-pixels"], "no results in"),
    ],
)
def test_what_does_not_fit_is_told_in_one_sentence(a, b, metrics, sentence, sides, registry, tmp_path):
    np.save(tmp_path / "grey.npy", GREY)
    np.save(tmp_path / "colour.npy", GREY.repeat(3, 3))
    np.save(tmp_path / "wide.npy", GREY.repeat(2, 1).repeat(2, 2))
    (tmp_path / "text.txt").write_text("no picture")
    texts = [tmp_path / text if "." in text else text for text in (a, b)]
    with pytest.raises(UserError, match=sentence) as told:
        scores(*sides(*texts), metrics, registry)
    assert "\n" not in str(told.value)


def test_a_data_set_is_told_apart_from_a_folder_of_its_name(sides, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "digits", GREY[:3])
    named, folder = sides("digits", "./digits")
    assert len(named) == 359 and len(folder) == 3


class Counting(Extractor):
    name = "counting"

    def prepare(self, dataset, data, weights, device) -> Embedding:
        return Pixels()


def offered(registry, metric):
    """Return a registry with one metric and one extractor more."""
    more, origin = Registry(), Origin("test", "test", "", "")
    more.entries = {kind: dict(names) for kind, names in registry.entries.items()}
    more.entries["metric"][metric.name] = [Entry(metric, origin)]
    more.entries["extractor"]["counting"] = [Entry(Counting(), origin)]
    return more


def test_options_extractors_and_companions_have_their_names(sides, registry, tmp_path):
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Config:
        factor: NonNegative = 1.0

    def compute(scene: Scene):
        width = float(scene.fake.embedding.shape[1]) * scene.options.factor
        scene.memo["times"] = scene.memo.get("times", 0) + 1
        return {"odd": Value(width, spread=0.5), "odd-times": Value(scene.memo["times"])}

    metric = Metric("odd", compute, extractor="pixels", any_extractor=True, config=Config(), covariance=True)
    more = offered(registry, metric)
    np.save(tmp_path / "a.npy", GREY)
    pair = sides(tmp_path / "a.npy", tmp_path / "a.npy")
    values = scores(*pair, ["odd", "odd@counting"], more, ["odd.factor=0.5"])
    assert {name: value.value for name, value in values.items()} == {
        "odd": 32, "odd-times": 1, "odd@counting": 32, "odd-times@counting": 1,
    }  # fmt: skip
    assert values["odd"].spread == 0.5 and values["odd"].protocol["features"] == 64
    assert values["odd"].protocol["options"] == {"factor": 0.5}
    with pytest.raises(UserError, match=r"--set fid\.nope: none of the metrics odd has this option"):
        choose(["odd"], more, ["fid.nope=1"])
    with pytest.raises(UserError, match="fd-pixels is measured by the extractor 'pixels' alone"):
        choose(["fd-pixels@counting"], more)
    bad = replace(metric, compute=lambda scene: {"odd": Value(float("nan"))})
    with pytest.raises(UserError, match="odd came out as nan"):
        scores(*pair, ["odd"], offered(registry, bad))
    worse = replace(metric, compute=lambda scene: 1 / 0)
    with pytest.raises(UserError, match="the metric 'odd' failed with ZeroDivisionError"):
        scores(*pair, ["odd"], offered(registry, worse))


def test_how_far_it_is_is_told(sides, registry, tmp_path):
    np.save(tmp_path / "a.npy", GREY.repeat(20, 0))
    told: list[Step] = []
    fake, real = sides(tmp_path / "a.npy", "digits")
    scores(fake, real, ["fd-pixels"], registry, begin=lambda step: told.append(step) or "")
    shares = [step.share for step in told if step.what == f"features of {fake.name}"]
    assert shares == [0, 256 / 800, 512 / 800, 768 / 800]
    assert {step.what for step in told} >= {
        f"features of {fake.name}",
        "computing fd-pixels",
    }
