"""Two domains: what is served and scored in each direction, folders in pairs, digits in pairs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from ganbench_plugins.datasets.digits import Digits, DigitsPair, PairConfig
from ganbench_plugins.metrics.pixels import Pixels, pixel_error
from PIL import Image

from ganbench import DataSpec, Features, ImageSet, Parts, Scene, Splits, UserError
from ganbench.cli import main
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover, load_file
from ganbench.scoring.samples import generate
from ganbench.toolbox.pairs import Pairs, reverse, translation
from ganbench.training.stream import Stream

CPU = torch.device("cpu")
TARGETS = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 1, 8, 8) + 100
SOURCES = torch.arange(3, dtype=torch.uint8)[:, None, None, None].expand(3, 1, 8, 8)


def splits_of(images: torch.Tensor, tests: int = 2) -> Splits:
    return Splits(ImageSet(images), ImageSet(images[:tests]), "1" * 64, {"resize": "none"})


def joined(*, paired: bool = True) -> Splits:
    return translation(splits_of(SOURCES), splits_of(TARGETS), names=("low", "high"), paired=paired)


PLUGIN = Path(__file__).parents[1] / "inverting_plugin.py"
Inverts = load_file(PLUGIN).Inverts


def test_pairs_are_all_pairs():
    pairs = Pairs(TARGETS, SOURCES)
    assert len(pairs) == 15
    found = pairs[torch.arange(15)]
    seen = set(zip(found.images[:, 0, 0, 0].tolist(), found.cond[:, 0, 0, 0].tolist(), strict=True))
    assert seen == {(100 + target, source) for target in range(5) for source in range(3)}


def test_steps_are_served_unrelated_images_of_both_domains():
    stream = Stream(joined().train, 4, 0, CPU)
    batches = [stream[step] for step in range(2000)]
    assert all(batch.real.dtype == batch.cond.dtype == torch.float32 for batch in batches)
    assert all(batch.cond.min() >= -1 and batch.real.max() <= 1 for batch in batches)
    y = torch.cat([batch.real[:, 0, 0, 0] for batch in batches])
    x = torch.cat([batch.cond[:, 0, 0, 0] for batch in batches])
    assert len(y.unique()) == 5 and len(x.unique()) == 3
    assert abs(float(np.corrcoef(x, y)[0, 1])) < 0.1
    assert torch.equal(Stream(joined().train, 4, 0, CPU)[17].cond, batches[17].cond)
    assert not torch.equal(Stream(joined().train, 4, 1, CPU)[17].cond, batches[17].cond)


def test_the_other_direction_exchanges_the_domains():
    data = joined()
    back = reverse(data)
    assert data.spec("translate") == DataSpec((1, 8, 8), "translate")
    assert torch.equal(back.train.images, SOURCES) and torch.equal(back.domain.train, TARGETS)
    assert torch.equal(back.test.images, SOURCES[:2]) and torch.equal(back.domain.test, TARGETS[:2])
    assert back.fingerprint != data.fingerprint
    assert (data.protocol["direction"], back.protocol["direction"]) == ("low to high", "high to low")


def test_what_is_translated_are_the_test_images_in_order():
    variant, data = Inverts(Parts(DataSpec((1, 8, 8), "translate"), 4)), joined()
    assert torch.equal(generate(variant, 2, data, seed=0).images, 255 - SOURCES[:2])
    back = generate(variant, 1, reverse(data), seed=0, back=True).images
    assert torch.equal(back, torch.full((1, 1, 8, 8), round(127.5 - 0.5 * (100 - 127.5)), dtype=torch.uint8))
    assert len(generate(variant, 50, data, seed=0).images) == 2, "no more than there are"


@pytest.mark.parametrize(
    ("source", "target", "paired", "told"),
    [
        (splits_of(SOURCES), splits_of(TARGETS.expand(5, 3, 8, 8)), False, r"of low are \(1, 8, 8\) and those of high"),
        (splits_of(SOURCES), splits_of(TARGETS, 3), True, "no pairs: they have 2 and 3 test images"),
    ],
)
def test_domains_that_do_not_fit_are_refused(source, target, paired, told):
    with pytest.raises(UserError, match=told):
        translation(source, target, names=("low", "high"), paired=paired)


@pytest.mark.parametrize("change", ["turn", "invert"])
def test_digits_come_in_pairs(change):
    dataset, digits = DigitsPair(), Digits().load(Path(), 8)
    dataset.config = PairConfig(change=change)
    data = dataset.load(Path(), 8)
    x, y = data.domain.test.numpy(), data.test.images.numpy()
    assert np.array_equal(x, digits.test.images.numpy())
    assert np.array_equal(y, np.rot90(x, 1, (2, 3)) if change == "turn" else 255 - x)
    undone = np.rot90(data.train.images.numpy(), -1, (2, 3)) if change == "turn" else 255 - data.train.images.numpy()
    together = np.concatenate([data.domain.train.numpy(), undone])
    assert len(together) == len(digits.train.images)
    assert sorted(map(bytes, together)) == sorted(map(bytes, digits.train.images.numpy())), "none stands on both sides"


def write_folder(folder: Path, brightness: int, n: int = 40, size: tuple[int, int] = (8, 8)) -> None:
    folder.mkdir(parents=True)
    for number in range(n):
        pixels = np.full((*size, 3), brightness + number, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")


def run(tmp_path, dataset, *arguments):
    base = ["run", "--variants", "inverts,gan", "--dataset", dataset, "--plugin", str(PLUGIN), "--seeds", "1"]
    base += ["--budget", "16-images", "--batch", "4", "--marks", "1", "--results", str(tmp_path / "results")]
    return CliRunner().invoke(main, [*base, "--device", "cpu", *arguments])


def test_a_run_scores_both_directions(tmp_path):
    result = run(tmp_path, "digits-pair", "--set", "digits-pair.change=invert")
    assert result.exit_code == 0, result.output
    assert "Skipped: gan on digits-pair: the data are a pair of domains" in result.stderr
    header, _, row = [line for line in result.stdout.splitlines() if line.startswith("| ")][:3]
    cells = dict(zip(map(str.strip, header.split("|")), map(str.strip, row.split("|")), strict=True))
    assert cells["pixel-error↓"] == "0" and float(cells["pixel-error-back↓"]) > 0.1
    assert float(cells["fd-pixels↓"]) < 1e-6 < float(cells["fd-pixels-back↓"])
    told = " ".join(result.stdout.split())  # lines are folded
    assert "from digits to inverted digits" in told and "from inverted digits to digits" in told
    picture = next((tmp_path / "results").rglob("100.png"))
    tiles = np.asarray(Image.open(picture).convert("L")).astype(int)
    side = tiles.shape[0] // 8
    zoom = side // 9 or 1
    first, second = tiles[: 8 * zoom, : 8 * zoom], tiles[: 8 * zoom, side : side + 8 * zoom]
    assert np.array_equal(first, 255 - second), "beside each source its translation"


def test_two_folders_are_a_data_set(tmp_path):
    write_folder(tmp_path / "dark", 0)
    write_folder(tmp_path / "bright", 200)
    text = f"folder-pair:{tmp_path / 'dark'},{tmp_path / 'bright'}"
    result = run(tmp_path, text, "--metrics", "fd-pixels", "--set", "folder-pair.test_share=0.25")
    assert result.exit_code == 0, result.output
    assert "folder-pair:dark,bright" in result.stdout and "dark to bright" in " ".join(result.stdout.split())
    refused = run(tmp_path, text, "--metrics", "pixel-error")
    assert refused.exit_code == 2 and "it needs pairs" in refused.stderr
    paired = run(tmp_path, text, "--metrics", "pixel-error", "--set", "folder-pair.paired=true")
    assert paired.exit_code == 0, paired.output


@pytest.mark.parametrize(
    ("dataset", "told"),
    [
        ("folder-pair:only", "needs two paths, not 'only': write folder-pair:A,B"),
        ("folder-pair", "needs two paths: write folder-pair:A,B"),
        ("folder-pair:a,b", "folder:a is not there"),
    ],
)
def test_wrong_pairs_are_one_sentence(tmp_path, dataset, told):
    result = run(tmp_path, dataset)
    assert result.exit_code == 2 and told in result.stderr and "Traceback" not in result.stderr


def test_folders_of_different_kind_are_refused(tmp_path):
    write_folder(tmp_path / "small", 0)
    write_folder(tmp_path / "large", 0, size=(16, 16))
    text = f"folder-pair:{tmp_path / 'small'},{tmp_path / 'large'}"
    result = run(tmp_path, text)
    assert result.exit_code == 2 and "both domains must have one size" in result.stderr


def test_no_more_samples_than_images_to_translate():
    request = Request(["cyclegan"], ["digits-pair"], samples=5000, seeds=1)
    with pytest.raises(UserError, match="--samples 5000: there are 359 test images to translate"):
        plan(request, discover())


def test_a_comma_parts_arguments_or_data_sets(tmp_path):
    write_folder(tmp_path / "a", 0)
    write_folder(tmp_path / "b", 9)
    texts = ["digits-pair", f"folder-pair:{tmp_path / 'a'}", str(tmp_path / "b"), "digits"]
    made = plan(Request(["cyclegan", "gan"], texts, seeds=1, budget="1-images", batch=8), discover())
    assert [(job.spec.variant, job.spec.dataset) for job in made.jobs] == [
        ("cyclegan", "digits-pair"),
        ("cyclegan", "folder-pair:a,b"),
        ("gan", "digits"),
    ]


def test_pixels_are_averaged_over_areas():
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    embedding, probs = Pixels()(images)
    areas = images.numpy().astype(np.float64).reshape(4, 3, 16, 4, 16, 4).mean((3, 5)) / 255
    np.testing.assert_allclose(embedding.numpy(), areas.reshape(4, -1), atol=1e-6)
    assert probs is None and Pixels()(images[..., :8, :8])[0].shape == (4, 192)


def test_the_pixel_error_is_a_mean_of_differences():
    fake, real = TARGETS[:2], TARGETS[2:]
    found = pixel_error(Scene(DataSpec((1, 8, 8), "translate"), Features(fake), Features(real), {}))
    assert found["pixel-error"].value == pytest.approx(2 / 255)
    with pytest.raises(UserError, match="5 have 2"):
        pixel_error(Scene(DataSpec((1, 8, 8), "translate"), Features(TARGETS), Features(fake), {}))
