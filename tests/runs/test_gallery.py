"""The pictures of a run: what is kept, that no number depends on it, and that one that fails takes nothing with it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import cdist

from ganbench.contract.data import Domain, ImageSet, Splits
from ganbench.results.finding import LEFT_OUT, files_of
from ganbench.results.store import ResultStore
from ganbench.runs import gallery, run as module
from ganbench.runs.execute import execute
from ganbench.runs.gallery import NEAREST, NEAREST_OF, POINTS, draw_last, draw_mark, shown_of
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover, load_file
from ganbench.scoring.samples import generate
from ganbench.training.bench import Bench

PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"
tiny = load_file(PLUGIN)

pytestmark = pytest.mark.usefixtures("switches")


@pytest.fixture(scope="module")
def registry():
    return discover([PLUGIN])


def job_of(registry, variant="plain", dataset="tiny", **changes):
    request = {
        "budget": "384-images",
        "seeds": 1,
        "marks": 2,
        "samples": 32,
        "settings": ("mlp.width=16",),
        "metrics": ("tiny-mean", "grad-norm-g") if dataset == "tiny" else (),
        "backbone": "mlp",
    }
    (job,) = plan(Request([variant], [dataset], **(request | changes)), registry).jobs
    return job


def pixels(path):
    with Image.open(path) as image:
        return np.array(image)


def numbers(images):
    return torch.tensor(images, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 32, 32).contiguous()


def left_out(folder):
    return dict(line.split(".png: ") for line in (folder / LEFT_OUT).read_text().splitlines())


def variant_of(cls=tiny.Plain, registry=None):
    dataset = tiny.Tiny()
    bench = Bench(dataset, dataset.load(Path(), 8), (registry or discover()).get("backbone", "mlp").item)
    return bench.build(cls, None, 0).requires_grad_(False).eval(), bench.data


def last(folder, variant, data, *, served=None, classify=lambda images: None):
    drawn = generate(variant, shown_of(data), data, seed=0, purpose="picture").images
    draw_last(folder, variant, drawn, data, served=served, classify=classify, seed=0)
    return drawn


# A mark


def test_each_translation_stands_behind_its_source(tmp_path):
    source, made = numbers(range(40)), numbers(range(100, 140))
    data = Splits(ImageSet(made), ImageSet(made), "", domain=Domain(source, source, ("a", "b"), True))
    draw_mark(tmp_path, 0.2, made, data)
    shown = pixels(tmp_path / "020.png")[16::33, 16::33]
    assert shown.shape == (8, 8)
    assert shown.flatten()[::2].tolist() == list(range(32))
    assert shown.flatten()[1::2].tolist() == list(range(100, 132))


def test_points_stand_before_real_ones_and_are_many(tmp_path):
    real = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0))
    data = Splits(ImageSet(real), ImageSet(real), "")
    assert shown_of(data) == POINTS
    assert shown_of(Splits(ImageSet(real[:400]), ImageSet(real), "")) == 100
    draw_mark(tmp_path, 1, torch.zeros(POINTS, 2), data)
    shown = pixels(tmp_path / "100.png")
    assert (shown == 0).sum() == 9 and (shown == 200).sum() > 3000


# The last mark


def test_nearest_images_are_those_of_what_was_served(tmp_path):
    variant, data = variant_of()
    served = torch.arange(0, 256, 3)
    drawn = last(tmp_path, variant, data, served=served)[:NEAREST_OF]
    apart = cdist(drawn.flatten(1).double(), data.train.images[served].flatten(1).double())
    shown = pixels(tmp_path / "nearest.png")
    assert shown.shape == (NEAREST_OF * 36, (1 + NEAREST) * 36 + 18)  # 8 pixels are enlarged by 4
    for row in range(NEAREST_OF):
        images = [drawn[row], *data.train.images[served[np.argsort(apart[row])[:NEAREST]]]]
        for column, image in enumerate(images):
            left = column * 36 + (18 if column else 0)
            assert (shown[row * 36 : row * 36 + 32 : 4, left : left + 32 : 4] == image[0].numpy()).all()


def test_what_there_cannot_be_is_told_and_nothing_warns(tmp_path, recwarn):
    variant, data = variant_of(tiny.Labelled)
    last(tmp_path, variant, data)
    assert left_out(tmp_path) == {
        "nearest": "training images are made fresh, and none of them is kept",
        "arithmetic": "labelled makes images by class, so that its latents do not tell one",
    }
    assert (tmp_path / "interpolation.png").exists() and not recwarn.list


def test_a_picture_that_fails_is_told_and_the_others_are_drawn(tmp_path):
    class Fragile(tiny.Plain):
        name = "fragile"

        def sample(self, n, cond=None):
            if n == 8:
                raise RuntimeError("eight are too few\nfor me")
            return super().sample(n)

    variant, data = variant_of(Fragile)
    with pytest.warns(UserWarning, match="fragile has no interpolation.png: RuntimeError: eight are too few for me"):
        last(tmp_path, variant, data, served=torch.arange(20), classify=lambda images: torch.arange(len(images)) % 2)
    assert set(left_out(tmp_path)) == {"interpolation"}
    assert {path.name for path in tmp_path.glob("*.png")} == {"nearest.png", "arithmetic.png"}


def test_points_have_the_one_picture(tmp_path, registry, data_root):
    job = job_of(registry, "gan", "ring", budget="20-updates", data_root=data_root)
    store = ResultStore(tmp_path)
    record = execute(job, store, registry, threads=1)
    files = files_of(store, store.path(job.spec), record)
    assert (record.status, list(files.pictures)) == ("done", ["050", "100"])
    assert set(files.left_out) == {"nearest", "interpolation", "arithmetic"}


# Runs


def test_translations_have_nearest_images_of_the_domain_they_go_to(tmp_path, registry, data_root):
    job = job_of(
        registry,
        "discogan",
        "digits-pair",
        budget="32-images",
        batch=32,
        marks=1,
        samples=16,
        metrics=("grad-norm-g",),
        backbone=None,
        settings=(),
        data_root=data_root,
    )
    store = ResultStore(tmp_path)
    record = execute(job, store, registry, threads=1)
    files = files_of(store, store.path(job.spec), record)
    assert (record.status, list(files.pictures)) == ("done", ["100", "nearest"])
    assert set(files.left_out) == {"interpolation", "arithmetic"}


def test_a_control_shows_its_images_and_their_nearest_are_themselves(tmp_path, registry):
    job, store = job_of(registry, "memorizer", samples=16), ResultStore(tmp_path)
    record = execute(job, store, registry, threads=1)
    files = files_of(store, store.path(job.spec), record)
    assert record.status == "done" and {"nearest", "100"} <= set(files.pictures)
    assert set(files.left_out) == {"interpolation", "arithmetic"}
    shown = pixels(files.pictures["nearest"])
    assert (shown[:, :36] == shown[:, 54:90]).all()


def outcome(record):
    curve = [replace(mark, meters=replace(mark.meters, seconds=0.0, peak_bytes=0)) for mark in record.curve]
    return replace(record, meters=replace(record.meters, seconds=0.0, peak_bytes=0), curve=curve, made="")


def test_no_number_depends_on_pictures(tmp_path, registry, monkeypatch):
    job = job_of(registry)
    one, other = ResultStore(tmp_path / "a"), ResultStore(tmp_path / "b")
    record = execute(job, one, registry, threads=1)
    monkeypatch.setattr(module, "draw_mark", lambda *_: None)
    monkeypatch.setattr(module, "draw_last", lambda *_, **__: None)
    without = execute(job, other, registry, threads=1)
    assert outcome(without) == outcome(record)  # with the checksums of traces and weights
    assert not list(other.samples(job.spec).glob("*.png"))


def test_a_resumed_run_has_the_pictures_of_an_uninterrupted_one(tmp_path, registry, monkeypatch):
    monkeypatch.setattr("ganbench.training.trainer.TICK_SECONDS", 0.0)
    job = job_of(registry)
    one, other = ResultStore(tmp_path / "a"), ResultStore(tmp_path / "b")
    execute(job, one, registry, threads=1)
    heard = []

    def listen(share, tick, mark):
        heard.append(share)

    for ticks in (2, 5):
        execute(job, other, registry, threads=1, listen=listen, stopping=lambda: len(heard) == ticks)  # noqa: B023
    assert execute(job, other, registry, threads=1).status == "done"
    pictures = [{path.name: path.read_bytes() for path in each.samples(job.spec).iterdir()} for each in (one, other)]
    assert pictures[0] == pictures[1]
    assert {"050.png", "100.png", "nearest.png", "interpolation.png"} <= set(pictures[0])


def test_a_run_goes_on_with_what_an_earlier_ganbench_kept_in_hiding(tmp_path, registry, monkeypatch):
    job, store = job_of(registry), ResultStore(tmp_path)
    hidden = store.work(job.spec) / "samples"
    hidden.mkdir()
    (hidden / "010.png").write_bytes(b"of before")
    execute(job, store, registry, threads=1)
    assert not hidden.exists() and (store.samples(job.spec) / "010.png").read_bytes() == b"of before"


def test_the_arithmetic_of_a_run_is_told_apart_by_what_scores_it(tmp_path, registry, data_root, monkeypatch):
    seen = []

    def noted(latents, classify):
        seen.append(classify)
        return torch.zeros(1, 8, 1, 8, 8, dtype=torch.uint8)

    monkeypatch.setattr(gallery, "arithmetic", noted)
    metrics = ("fd-classifier", "grad-norm-g")
    job = job_of(registry, "gan", "digits", budget="128-images", metrics=metrics, data_root=data_root)
    assert execute(job, ResultStore(tmp_path), registry, threads=1).status == "done"
    digits = registry.get("dataset", "digits").item.load(data_root, 8).test
    right = (seen[0](digits.images) == digits.cond).double().mean()
    assert right > 0.95
    job = job_of(registry, "gan", "digits", budget="128-images", metrics=metrics[1:], data_root=data_root, seeds=(1,))
    execute(job, ResultStore(tmp_path), registry, threads=1)
    assert seen[1](digits.images) is None
