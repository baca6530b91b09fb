"""Scoring: one pass of samples and features, values that know their protocol, and caches that cannot lie."""

import importlib
import json
import math
import re
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.backbones.mlp import MLP, Config
from ganbench_plugins.variants.controls import Memorizer, Real
from torch import nn

from ganbench import NUMBERS, DataSpec, Extractor, Metric, Past, UserError, Value, frechet_distance, to_float, to_uint8
from ganbench.archives import read_archive, write_archive
from ganbench.runs.opening import open_bench
from ganbench.runs.registry import discover, load_file
from ganbench.scoring.evaluate import UNAVAILABLE, Evaluator, Subject, misfit
from ganbench.scoring.samples import NotFinite, generate
from ganbench.seeds import derive
from ganbench.training.bench import Bench, Measure
from ganbench.training.networks import build_variant

CPU = torch.device("cpu")
tiny = load_file(Path(__file__).parents[1] / "tiny_plugin.py")
DATA = tiny.Tiny().load(Path(), 8)
SMALL = MLP()
SMALL.config = Config(width=16, depth=2, z_dim=4)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("GANBENCH_CACHE", str(folder))
    return folder


def build(cls=tiny.Plain, *, seed=0, task="generate"):
    return build_variant(cls, SMALL, DATA.spec(task), seed=seed).requires_grad_(False).eval()


class Pixels(Extractor):
    """The pixels themselves; notes how many images it is shown."""

    name = "pixels"

    def __init__(self):
        self.prepared, self.shown = 0, []

    def prepare(self, dataset, data, weights, device):
        self.prepared += 1
        embedding = partial(self.embed)
        embedding.protocol = {"extractor": "pixels", "resize": "none"}
        return embedding

    def embed(self, images):
        self.shown.append(len(images))
        flat = images.flatten(1).float() / 255
        return flat[:, :6], flat[:, :3].softmax(1)


class Missing(Extractor):
    name = "missing"

    def prepare(self, dataset, data, weights, device):
        raise UserError("put weights.pt into the weights folder")


def brightness(scene):
    return {"brightness": Value(scene.fake.images.double().mean().item(), {"of": "grey levels"})}


def distance(scene, name="distance"):
    return {name: Value(frechet_distance(scene.fake.embedding, scene.real.embedding))}


def constant(number, name="constant"):
    return Metric(name, lambda scene: {name: Value(number)})


BRIGHTNESS = Metric("brightness", brightness, higher_is_better=True)
DISTANCE = Metric("distance", distance, extractor="pixels", higher_is_better=False)


def evaluator(samples=64, *, extractors=None, data=DATA):
    found = {"pixels": Pixels(), "missing": Missing()} if extractors is None else extractors
    return Evaluator(Bench(tiny.Tiny(), data, DCGAN(), extractors=found), samples=samples, device=CPU)


def score(metrics, variant=None, *, by=None, seed=0, traces=None, repeats=1, **more):
    subject = Subject(variant or build(), {} if traces is None else traces, seed, **more)
    return (by or evaluator()).score(subject, metrics, repeats=repeats)


# Quantisation


class Levels(tiny.Plain):
    """Gives all 256 grey levels, as a generator in [-1, 1] would."""

    def sample(self, n, cond=None):
        return to_float(torch.arange(256, dtype=torch.uint8).expand(n, 256).reshape(n, 1, 16, 16))


def test_every_grey_level_survives_the_way_to_a_network_and_back():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    served = to_float(levels)
    assert served.dtype == torch.float32 and served.min() == -1 and served.max() == 1
    torch.testing.assert_close(served.double(), levels.double() / 127.5 - 1, rtol=0, atol=1e-7)
    assert torch.equal(to_uint8(served), levels)
    assert torch.equal(generate(build(Levels), 3, DATA, seed=0).images, levels.expand(3, -1, -1, -1))


def test_samples_are_rounded_to_the_nearest_level_and_clamped():
    between = torch.tensor([-1.7, -1.0, -0.999, (99.4 / 127.5) - 1, (99.6 / 127.5) - 1, 0.999, 1.0, 3.0])
    assert to_uint8(between.reshape(1, 1, 2, 4)).flatten().tolist() == [0, 0, 0, 99, 100, 255, 255, 255]


def test_points_are_not_quantised():
    points = torch.tensor([[0.123456789, -7.5]], dtype=torch.float64)
    assert torch.equal(to_uint8(points), points.float()) and torch.equal(to_float(points), points.float())


# Sampling


def noise_of(cls, seed, **options):
    drawn = []

    class Watched(cls):
        def noise(self, n):
            drawn.append(super().noise(n))
            return drawn[-1]

    generate(build(Watched), 300, DATA, seed=seed, **options)
    return torch.cat(drawn)


class Different(tiny.Plain):
    """Other networks, and random numbers drawn while they are built."""

    def build(self, parts):
        super().build(parts)
        self.G = nn.Sequential(nn.Linear(parts.z_dim, 5), nn.Linear(5, 64), nn.Unflatten(1, (1, 8, 8)))
        self.register_buffer("more", torch.rand(1000))


def test_latents_depend_on_the_seed_and_not_on_the_variant():
    latents = noise_of(tiny.Plain, 3)
    assert latents.shape == (300, 4)
    torch.manual_seed(derive(3, "evaluate"))
    assert torch.equal(latents, torch.cat([torch.randn(256, 4), torch.randn(44, 4)]))
    torch.rand(17)  # whatever was drawn before
    assert torch.equal(latents, noise_of(Different, 3))
    assert not torch.equal(latents, noise_of(tiny.Plain, 4))
    assert not torch.equal(latents, noise_of(tiny.Plain, 3, purpose="picture"))


def test_equal_seeds_give_equal_samples():
    variant = build()
    first, again, other = (generate(variant, 20, DATA, seed=seed) for seed in (1, 1, 2))
    assert first.images.dtype == torch.uint8 and first.images.shape == (20, 1, 8, 8)
    assert torch.equal(first.images, again.images) and not torch.equal(first.images, other.images)
    assert first.cond is None


def test_labels_are_drawn_from_the_training_split_and_given_to_the_variant():
    asked = []

    class Watched(tiny.Labelled):
        def sample(self, n, cond=None):
            asked.append(cond)
            return super().sample(n, cond)

    # Label 3 alone in the training split, so that nothing else may be asked for.
    train = DATA.train._replace(cond=torch.full((256,), 3))
    only = generate(build(Watched, task="label"), 300, replace(DATA, train=train), seed=0)
    assert only.cond.tolist() == [3] * 300 and torch.equal(torch.cat(asked), only.cond)
    first, again, other = (generate(build(Watched, task="label"), 400, DATA, seed=s).cond for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert (first.bincount(minlength=4) > 60).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_sample_that_is_not_finite_is_never_scored(value):
    class Broken(tiny.Plain):
        def sample(self, n, cond=None):
            samples = super().sample(n, cond)
            samples[-1, 0, 3, 3] = value
            return samples

    with pytest.raises(NotFinite, match="plain generates values that are not finite"):
        score([BRIGHTNESS], build(Broken))


# Values


def test_a_value_is_the_metric_of_the_samples_and_the_reference_split():
    variant = build()
    fake = generate(variant, 64, DATA, seed=5)
    embed = Pixels().embed
    scores = score([BRIGHTNESS, DISTANCE], variant, seed=5)
    assert scores.unscored == {}
    assert scores.values["brightness"].value == fake.images.double().mean().item()
    assert scores.values["distance"].value == frechet_distance(embed(fake.images)[0], embed(DATA.test.images)[0])
    assert scores.values["brightness"].higher_is_better is True
    assert scores.values["distance"].higher_is_better is False


def test_a_metric_sees_the_whole_scene():
    seen = []

    def look(scene):
        seen.append(scene)
        return {"look": Value(0.0)}

    traces = {"grad_norm/G": np.ones(3, np.float32)}
    by = evaluator(300)
    variant = build(tiny.Labelled, task="label")
    score([Metric("look", look, extractor="pixels")], variant, by=by, traces=traces, seed=9)
    (scene,) = seen
    assert scene.data == DATA.spec() and scene.conditional and scene.traces is traces and scene.seed == 9
    assert torch.equal(scene.real.images, DATA.test.images) and torch.equal(scene.real.labels, DATA.test.cond)
    assert len(scene.fake.labels) == len(scene.fake.images) == len(scene.fake.embedding) == 300
    torch.testing.assert_close(scene.fake.probs.sum(1), torch.ones(300))


def test_samples_are_drawn_once_and_features_extracted_once():
    draws, pixels = [], Pixels()

    class Watched(tiny.Plain):
        def sample(self, n, cond=None):
            draws.append(n)
            return super().sample(n, cond)

    by = evaluator(300, extractors={"pixels": pixels})
    second = Metric("second", partial(distance, name="second"), extractor="pixels")
    for seed in range(2):
        score([BRIGHTNESS, DISTANCE, second], build(Watched), by=by, seed=seed)
    assert draws == [256, 44] * 2
    assert pixels.prepared == 1
    assert sorted(pixels.shown) == sorted([256, 44] * 2 + [64])  # the reference split once for both marks


def test_all_extractors_are_shown_the_same_tensors_in_turn():
    shown = []

    class Watching(Pixels):
        def embed(self, images):
            shown.append(images)
            return super().embed(images)

    by = evaluator(300, extractors={"first": Watching(), "second": Watching()})
    score([replace(DISTANCE, name=name, extractor=name) for name in ("first", "second")], by=by)
    assert [len(images) for images in shown] == [256, 256, 44, 44, 64, 64]
    assert all(first is second for first, second in zip(shown[::2], shown[1::2], strict=True))


def test_a_metric_of_the_traces_needs_no_samples():
    class Silent(tiny.Plain):
        def sample(self, n, cond=None):
            raise AssertionError("no samples were asked for")

    last = Metric("last", lambda scene: {"last": Value(float(scene.traces["loss/D"][-1]))}, samples=False)
    found = score([last], build(Silent), traces={"loss/D": np.array([1.0, 2.5])}).values["last"]
    assert found.value == 2.5 and found.reference is None
    assert "n_fake" not in found.protocol


def test_a_metric_may_give_several_values_each_with_its_own_direction():
    def several(scene):
        return {"main": Value(1.0), "main-part": Value(2.0), "main-other": Value(3.0, higher_is_better=True)}

    values = score([Metric("main", several, higher_is_better=False, version=4)]).values
    assert [value.higher_is_better for value in values.values()] == [False, None, True]
    assert [value.protocol["metric"] for value in values.values()] == ["main@4", "main-part@4", "main-other@4"]


@pytest.mark.parametrize("number", [np.float32(1.5), np.float64(1.5), torch.tensor(1.5), 1.5])
def test_a_number_of_any_library_is_kept_as_a_plain_one(number):
    found = score([constant(number)]).values["constant"]
    assert type(found.value) is float and found.value == found.reference == 1.5


# What cannot be scored


@pytest.mark.parametrize(("number", "told"), [(float("nan"), "nan"), (float("inf"), "inf"), (-float("inf"), "-inf")])
def test_a_value_that_is_not_a_number_is_listed_and_the_others_go_on(number, told):
    scores = score([constant(number, "odd"), BRIGHTNESS])
    assert scores.unscored == {"odd": f"odd came out as {told}"}
    assert list(scores.values) == ["brightness"]


def test_a_metric_that_is_undefined_is_listed_with_its_reason():
    def undefined(scene):
        raise UserError("three classes have no samples")

    scores = score([Metric("odd", undefined), BRIGHTNESS])
    assert scores.unscored == {"odd": "three classes have no samples"}
    assert list(scores.values) == ["brightness"]


@pytest.mark.parametrize("extractor", [None, "pixels"])
def test_a_metric_that_fails_is_listed_with_its_error(extractor):
    scores = score([Metric("odd", lambda scene: {"odd": Value(1 / 0)}, extractor=extractor), BRIGHTNESS, DISTANCE])
    assert scores.unscored == {"odd": "unavailable: the metric 'odd' failed with ZeroDivisionError: division by zero"}
    assert sorted(scores.values) == ["brightness", "distance"]


def test_an_extractor_that_fails_takes_only_its_own_metrics_down():
    class Failing(Pixels):
        def embed(self, images):
            raise RuntimeError("out of memory")

    scores = score([DISTANCE, BRIGHTNESS], by=evaluator(extractors={"pixels": Failing()}))
    assert scores.unscored == {
        "distance": f"{UNAVAILABLE}the extractor 'pixels' failed with RuntimeError: out of memory"
    }
    assert list(scores.values) == ["brightness"]


def test_an_extractor_without_weights_takes_only_its_own_metrics_down():
    lost = [Metric(name, distance, extractor="missing") for name in ("fid", "kid")]
    scores = score([*lost, BRIGHTNESS, DISTANCE])
    reason = f"{UNAVAILABLE}put weights.pt into the weights folder"
    assert scores.unscored == {"fid": reason, "kid": reason}
    assert sorted(scores.values) == ["brightness", "distance"]


def test_an_extractor_that_nobody_offers_is_named():
    scores = score([Metric("fid", distance, extractor="inception")])
    assert scores.unscored == {"fid": f"{UNAVAILABLE}there is no extractor 'inception'"}


def test_metrics_that_do_not_fit_the_data_are_told_apart():
    images, points = DataSpec((1, 8, 8), classes=4), DataSpec((2,))

    def reason(*needs, data, modes=False):
        return misfit(Metric("m", brightness, needs=frozenset(needs)), data, modes=modes)

    assert reason("images", "labels", data=images) is None
    assert reason("points", "modes", data=points, modes=True) is None
    assert reason("images", "labels", data=points) == "it needs images and labels"
    assert reason("modes", data=images) == "it needs modes"
    assert reason("labels", data=DataSpec((1, 8, 8), classes=1)) == "it needs labels"
    assert reason("points", data=images) == "it needs points"


# References


def test_the_reference_is_what_as_many_training_images_score():
    found = score([BRIGHTNESS, DISTANCE], by=evaluator(256)).values  # as many as there are
    embed = Pixels().embed
    assert found["brightness"].reference == pytest.approx(DATA.train.images.double().mean().item(), rel=1e-12)
    expected = frechet_distance(embed(DATA.train.images)[0], embed(DATA.test.images)[0])
    assert found["distance"].reference == pytest.approx(expected, rel=1e-9)


def test_a_smaller_reference_is_drawn_without_replacement_and_the_same_for_every_seed():
    shown = []

    def look(scene):
        shown.append(scene.fake.images)
        return {"look": Value(float(scene.seed))}

    for run_seed in (1, 2):
        found = score([Metric("look", look, version=run_seed)], by=evaluator(100), seed=run_seed)
        assert found.values["look"].value == run_seed and found.values["look"].references == (0, 1)
        assert found.values["look"].reference == 0.5
    one, two, _, other, _, _ = shown
    assert torch.equal(one, other) and len(one) == len(two) == 100
    train = {image.numpy().tobytes() for image in DATA.train.images}
    drawn = {image.numpy().tobytes() for image in torch.cat([one, two])}
    assert len(drawn) == 200 and drawn <= train  # 256 images give two draws that share none


def test_fewer_training_images_than_samples_give_no_reference():
    found = score([BRIGHTNESS], by=evaluator(257)).values["brightness"]
    assert found.reference is None and found.protocol["n_fake"] == 257


def test_a_reference_that_is_not_a_number_is_left_out():
    def odd(scene):  # defined for generated samples alone, whose seed is not 0
        return {"odd": Value(1.0 if scene.seed else float("nan"))}

    found = score([Metric("odd", odd)], seed=1)
    assert found.values["odd"].value == 1.0 and found.values["odd"].reference is None


# Protocols


def test_a_protocol_is_the_same_for_every_seed_and_variant():
    hashes = {
        score([DISTANCE], build(cls, seed=seed), seed=seed).values["distance"].protocol_hash
        for seed in (0, 1)
        for cls in (tiny.Plain, Different)
    }
    assert len(hashes) == 1


OTHER_DATA = replace(DATA, fingerprint="8" * 64)
OTHER_CROP = replace(DATA, protocol={"kind": "noise", "crop": "centre"})
FEWER_REAL = replace(DATA, test=DATA.test._replace(images=DATA.test.images[:50], cond=DATA.test.cond[:50]))


@pytest.mark.parametrize(
    ("metric", "cls", "samples", "data"),
    [
        (DISTANCE, tiny.Plain, 65, DATA),
        (DISTANCE, tiny.Plain, 64, OTHER_DATA),
        (DISTANCE, tiny.Plain, 64, OTHER_CROP),
        (DISTANCE, tiny.Plain, 64, FEWER_REAL),
        (replace(DISTANCE, version=2), tiny.Plain, 64, DATA),
    ],
)
def test_a_protocol_differs_with_whatever_a_number_depends_on(metric, cls, samples, data):
    standard = score([DISTANCE]).values["distance"].protocol_hash
    assert score([metric], build(cls), by=evaluator(samples, data=data)).values["distance"].protocol_hash != standard


def test_a_protocol_says_what_a_reader_must_know():
    protocol = score([DISTANCE]).values["distance"].protocol
    assert protocol | {
        "metric": "distance@1",
        "data": "777777777777",
        "kind": "noise",
        "n_fake": 64,
        "n_real": 64,
        "reference": "test split",
        "code": {"metric": "", "extractor": ""},
        "extractor": "pixels",
        "resize": "none",
    } == dict(protocol)
    assert not {"weights", "batch_norm", "labels", "latents"} & protocol.keys()  # those are of the method
    assert re.fullmatch("[0-9a-f]{8}", Value(0.0, protocol).protocol_hash)
    json.dumps(protocol)


# Caches


def test_real_features_and_references_are_computed_once_for_all_runs():
    first = score([BRIGHTNESS, DISTANCE])
    pixels = Pixels()
    second = score([BRIGHTNESS, DISTANCE], by=evaluator(extractors={"pixels": pixels}))
    assert pixels.shown == [64]  # the generated samples alone
    assert second == first


def test_metrics_of_one_protocol_keep_references_of_their_own():
    both = [constant(1.0, "one"), constant(2.0, "two"), replace(constant(3.0, "one"), version=2)]
    assert [score([metric]).values[metric.name].reference for metric in both] == [1.0, 2.0, 3.0]


CODES = {("extractor", "pixels"): "aa", ("metric", "distance"): "bb"}


def shown_again(monkeypatch, codes, numbers):
    """Score as one code, then as another; return how many images the second showed its extractor, and its reference."""
    images, measured = Pixels(), []

    def watched(scene):
        measured.append(len(scene.fake.images))
        return distance(scene)

    for extractor, plugins in ((Pixels(), CODES), (images, codes)):
        bench = Bench(tiny.Tiny(), DATA, DCGAN(), extractors={"pixels": extractor}, codes=plugins)
        measured.clear()
        score([replace(DISTANCE, compute=watched)], by=Evaluator(bench, samples=64, device=CPU))
        for module in ("features", "references"):
            monkeypatch.setattr(f"ganbench.scoring.{module}.NUMBERS", numbers)
    return images.shown, len(measured)


def test_what_other_code_has_made_is_not_taken_from_the_cache(monkeypatch):
    number = NUMBERS
    kept, whole = ([64], 1), ([64] * 6, 5)  # the samples alone, or the test split and four draws of references as well
    other = {("extractor", "others"): "cc", ("metric", "others"): "cc"}
    assert shown_again(monkeypatch, {**CODES, **other}, number) == kept
    assert shown_again(monkeypatch, {**CODES, ("extractor", "pixels"): "cc"}, number) == whole
    assert shown_again(monkeypatch, {**CODES, ("metric", "distance"): "cc"}, number) == ([64], 5)


def test_numbers_of_another_harness_are_not_taken_from_the_cache(monkeypatch):
    assert shown_again(monkeypatch, CODES, NUMBERS + 1) == ([64] * 6, 5)


PLUGIN = """
import torch
from ganbench import Extractor, Metric, Value, hookimpl
from beside import FACTOR

class Level:
    protocol = {"extractor": "level"}

    def __call__(self, images):
        return FACTOR * images.flatten(1).float().mean(1, keepdim=True), None

class LevelExtractor(Extractor):
    name = "level"

    def prepare(self, dataset, data, weights, device):
        return Level()

def level(scene):
    return {"level": Value(1 * float(scene.fake.embedding.mean()))}

@hookimpl
def ganbench_extractors():
    return [LevelExtractor()]

@hookimpl
def ganbench_metrics():
    return [Metric("level", level, extractor="level")]
"""


@pytest.mark.parametrize(
    ("file", "old", "new", "factor"),
    [
        ("level.py", "return FACTOR *", "return 3 * FACTOR *", 3),
        ("level.py", "1 * float", "5 * float", 5),
        ("beside.py", "1.0", "20.0", 20),
        ("level.py", "def level(scene):", "def level(scene):  # remark", 1),
    ],
    ids=["extractor", "metric", "a module beside it", "a remark"],
)
def test_an_edited_plugin_is_measured_anew(file, old, new, factor, tmp_path, monkeypatch, cache):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "level.py").write_text(PLUGIN)
    (tmp_path / "beside.py").write_text("FACTOR = 1.0\n")

    def reference():
        monkeypatch.delitem(sys.modules, "beside", raising=False)
        importlib.invalidate_caches()
        bench = open_bench(
            tiny.Tiny(),
            "mlp",
            discover([tmp_path / "level.py"]),
            {"backbone": {}},
            root=Path(),
            metrics=["level"],
            extractors=["level"],
        )
        found = score(bench.metrics, by=Evaluator(bench, samples=64, device=CPU))
        return found.values["level"].reference

    first = reference()
    entries = len(list(cache.rglob("*.*")))
    path = tmp_path / file
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    assert reference() == pytest.approx(factor * first) and first > 0
    assert (len(list(cache.rglob("*.*"))) == entries) is (factor == 1)


def test_no_word_of_a_protocol_is_taken_for_a_part_of_the_key():
    odd = replace(DATA, protocol={"metric": "x", "data": "x", "split": "x", "n": 0, "version": 0, "conditional": 0})
    other = replace(odd, fingerprint="9" * 64, train=odd.train._replace(images=255 - odd.train.images))
    first, second = (score([BRIGHTNESS, DISTANCE], by=evaluator(256, data=data)).values for data in (odd, other))
    for name in ("brightness", "distance"):
        assert first[name].reference != second[name].reference


def test_features_of_other_data_are_not_taken_for_these():
    score([DISTANCE])
    pixels = Pixels()
    score([DISTANCE], by=evaluator(extractors={"pixels": pixels}, data=OTHER_DATA))
    assert pixels.shown == [64] * 6


def spoil_packing(content):
    entry = content.find(b"PK\x01\x02")  # of the archive's directory; ten bytes on stands how the member is packed
    return content if entry < 0 else content[: entry + 10] + b"\x63" + content[entry + 11 :]


NUMPY_FILE = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }".ljust(128) + b"\0" * 8


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"\0" * len(content),
        lambda content: b"null",
        lambda content: b'{"distance": null}',
        lambda content: content.replace(b"embedding", b"embeddinG"),
        lambda content: content[:-22] + b"\xff" * 22,
        spoil_packing,
        lambda content: NUMPY_FILE,
    ],
    ids=["cut", "empty", "zeros", "another type", "no number", "a name", "its end", "its packing", "another file"],
)
def test_a_damaged_entry_is_made_again(damage, cache):
    first = score([BRIGHTNESS, DISTANCE])
    kept = {path: path.read_bytes() for path in cache.rglob("*.*")}
    assert {path.parent.name for path in kept} == {"features", "references"} and len(
        kept
    ) == 7  # the test split, four draws
    for path, content in kept.items():
        path.write_bytes(damage(content))
    assert any(path.read_bytes() != content for path, content in kept.items())
    assert score([BRIGHTNESS, DISTANCE]) == first
    for path, content in kept.items():
        if path.suffix == ".json":
            assert path.read_bytes() == content
    pixels = Pixels()
    score([BRIGHTNESS, DISTANCE], by=evaluator(extractors={"pixels": pixels}))
    assert pixels.shown == [64]  # whole again


def test_a_flipped_bit_never_changes_a_number(cache):
    first = score([DISTANCE])
    (path,) = [path for path in (cache / "features").iterdir() if len(path.read_bytes()) > 0][:1]
    content = path.read_bytes()
    for position in range(60, len(content), 97):
        path.write_bytes(content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :])
        for reference in (cache / "references").iterdir():
            reference.unlink()
        assert score([DISTANCE]) == first, position


def rows_of(path, change):
    with np.load(path) as arrays:
        content = {name: change(arrays[name].copy()) for name in arrays.files}
    np.savez(path, **content)


def with_nan(array):
    array[3, 0] = np.nan
    return array


def marked(change):
    """Edit an archive of features and mark it as its own again, as a writer with a fault would."""

    def harm(path, others):
        found = read_archive(path)
        with path.open("wb") as file:
            write_archive(file, {name: change(array.copy()) for name, array in found.arrays.items()}, found.owner)

    return harm


@pytest.mark.parametrize(
    "harm",
    [
        lambda path, others: rows_of(path, lambda array: array[: len(array) // 2]),
        lambda path, others: rows_of(path, with_nan),
        lambda path, others: rows_of(path, lambda array: array * 1.01),
        lambda path, others: rows_of(path, lambda array: array.astype(str)),
        lambda path, others: path.write_bytes(others[0]),
        marked(lambda array: array[: len(array) // 2]),
        marked(with_nan),
        marked(lambda array: array[:, 0]),
        marked(lambda array: array.astype("U8")),
    ],
    ids=["half", "NaN", "edited", "words", "another's", "half, marked", "NaN, marked", "flat", "words, marked"],
)
def test_features_that_are_not_those_asked_for_are_made_again(harm, cache):
    first = score([DISTANCE])
    paths = sorted((cache / "features").iterdir())
    contents = [path.read_bytes() for path in paths]
    assert len(paths) == 5  # the test split, four draws
    for reference in (cache / "references").iterdir():
        reference.unlink()
    for path, others in zip(paths, ([other] for other in contents[1:] + contents[:1]), strict=True):
        harm(path, others)
    assert score([DISTANCE]) == first
    assert [path.read_bytes() for path in paths] == contents


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: {**content, "values": dict.fromkeys(content["values"], 0.0)},
        lambda content: content["values"],
        lambda content: {**content, "values": {}},
        lambda content: {**content, "values": dict.fromkeys(content["values"], math.nan)},
        lambda content: {"values": dict.fromkeys(content["values"], 0.0)},
    ],
)
def test_a_reference_that_was_not_measured_is_never_shown(edit, cache):
    first = score([DISTANCE])
    (path,) = (cache / "references").iterdir()
    whole = path.read_bytes()
    path.write_text(json.dumps(edit(json.loads(whole))))
    assert score([DISTANCE]) == first and path.read_bytes() == whole


def test_the_reference_of_another_entry_is_not_believed(cache):
    first = score([BRIGHTNESS, DISTANCE])
    one, two = sorted((cache / "references").iterdir())
    contents = one.read_bytes(), two.read_bytes()
    one.write_bytes(contents[1])
    two.write_bytes(contents[0])
    assert score([BRIGHTNESS, DISTANCE]) == first and (one.read_bytes(), two.read_bytes()) == contents


class Wrong(Pixels):
    """Pixels, spoilt."""

    def __init__(self, spoil):
        super().__init__()
        self.spoil = spoil

    def embed(self, images):
        embedding, probs = super().embed(images)
        return self.spoil(embedding), probs


@pytest.mark.parametrize("spoil", [lambda e: e[1:], lambda e: e * math.nan, lambda e: e[:, 0], lambda e: e[:, :0]])
def test_an_extractor_that_gives_no_features_takes_its_metrics_alone_and_is_not_cached(spoil, cache):
    scores = score([BRIGHTNESS, DISTANCE], by=evaluator(extractors={"pixels": Wrong(spoil)}))
    assert "brightness" in scores.values and scores.unscored.keys() == {"distance"}
    assert scores.unscored["distance"].startswith(f"{UNAVAILABLE}extractor 'pixels' cannot be used")
    assert not (cache / "features").exists()


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left"), MemoryError(), torch.OutOfMemoryError(), KeyError("x")]
)
def test_what_another_attempt_may_mend_is_said_to_be_unavailable(error):
    def fail(scene):
        raise error

    scores = score([Metric("odd", fail)])
    assert scores.unscored["odd"].startswith(UNAVAILABLE)

    def refuse(scene):
        raise UserError("undefined for one image")

    assert score([Metric("odd", refuse)]).unscored == {"odd": "undefined for one image"}


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch):
    first = score([BRIGHTNESS, DISTANCE])
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path / "file"))
    pixels = Pixels()
    by = evaluator(extractors={"pixels": pixels})
    assert score([BRIGHTNESS, DISTANCE], by=by) == score([BRIGHTNESS, DISTANCE], by=by) == first
    assert pixels.shown == [64] * 7  # generated twice; the reference split and four draws once


# What the harness says of every metric


def test_samples_are_drawn_for_each_number_asked_for_and_compared_with_the_split_asked_for():
    seen = {}

    def look(scene, name):
        seen.setdefault(name, (len(scene.fake.images), len(scene.real.images)))
        return {name: Value(1.0)}

    some = [
        Measure(Metric("one", partial(look, name="one"), extractor="pixels")),
        Measure(Metric("two", partial(look, name="two")), "9-train", samples=9, reference="train"),
    ]
    found = score(some).values
    assert seen == {"one": (64, 64), "two": (9, 256)}
    assert found["two@9-train"].protocol["n_fake"] == 9 and found["two@9-train"].protocol["n_real"] == 256
    assert found["two@9-train"].protocol["reference"] == "training split"


def test_against_the_training_split_real_data_are_test_images():
    shown = []

    def look(scene):
        shown.append(scene.fake.images)
        return {"look": Value(1.0)}

    by = Evaluator(Bench(tiny.Tiny(), DATA, DCGAN()), samples=20, device=CPU, reference="train")
    score([Metric("look", look)], by=by)
    tests = {image.numpy().tobytes() for image in DATA.test.images}
    drawn = [image.numpy().tobytes() for images in shown[:-1] for image in images]
    assert len(drawn) == len(set(drawn)) == 60 and set(drawn) <= tests  # three draws of 64


def training_seen(variant):
    seen = []

    def look(scene):
        seen.append((scene.fake.images, torch.cat([piece.images for piece in scene.training()])))
        return {"look": Value(0.0)}

    score([Metric("look", look)], variant)
    return seen


def rows_in(images, others):
    known = {image.numpy().tobytes() for image in others}
    return sum(image.numpy().tobytes() in known for image in images)


def test_what_was_trained_is_compared_with_all_that_it_was_served_and_real_images_never_with_themselves():
    *draws, (_, whole) = training_seen(build())
    assert torch.equal(whole, DATA.train.images)
    for fake, training in draws:
        assert len(training) == 192 and rows_in(fake, training) == 0
    *_, (held_back, training) = training_seen(build(Real))
    assert rows_in(held_back, training) == 0 and len(training) == 128
    *_, (learnt, training) = training_seen(build(Memorizer))
    assert rows_in(learnt, training) == 64


def test_training_images_come_with_features_and_labels():
    def look(scene):
        pieces = list(scene.training())
        embedding = torch.cat([piece.embedding for piece in pieces])
        assert torch.equal(embedding, Pixels().embed(DATA.train.images)[0])
        assert torch.equal(torch.cat([piece.labels for piece in pieces]), DATA.train.cond)
        return {"look": Value(0.0)}

    assert score([Metric("look", look, extractor="pixels")], by=evaluator(300)).unscored == {}


def test_a_metric_that_asks_for_the_generator_gets_a_copy():
    def spoil(scene):
        generator = scene.generator()
        assert generator.sample(2).shape == (2, 1, 8, 8) and generator.noise(3).shape == (3, 4)
        for weight in generator.parameters():
            weight.data.fill_(7.0)
        return {"spoil": Value(float(scene.fresh().z_dim))}

    variant = build()
    before = [weight.clone() for weight in variant.parameters()]
    found = score([Metric("spoil", spoil, needs=frozenset({"generator"}))], variant, fresh=build)
    assert found.values["spoil"].value == 4
    assert all(map(torch.equal, before, variant.parameters()))
    assert score([Metric("spoil", spoil)], variant).unscored  # nobody else is offered it


def test_the_past_ends_with_what_has_been_measured_now():
    def look(scene):
        return {"look": Value(float(len(scene.past)) + scene.past[-1].values["brightness"])}

    past = [Past(0.5, {"G": 3}, {"brightness": 1.0}), Past(1.0, {"G": 6}, {})]
    found = score([Metric("look", look, needs=frozenset({"past"})), BRIGHTNESS], past=past).values
    assert found["look"].value == 2 + found["brightness"].value
    later = [past[0], past[1]._replace(values={"brightness": 7.0})]  # measured before, not with what is asked for now
    assert score([Metric("look", look, needs=frozenset({"past"}))], past=later).values["look"].value == 9


class Levelled(tiny.Labelled):
    """Another task."""


class Shifted(Different):
    ema_half_life_images = 1000.0


def test_no_protocol_of_any_metric_depends_on_the_variant():
    data = discover().get("dataset", "digits").item.load(Path(), 8)
    bench = open_bench(
        discover().get("dataset", "digits").item,
        "mlp",
        discover(),
        {"backbone": {"width": "16"}},
        root=Path(),
        metrics=[
            name
            for name, (entry,) in discover().entries["metric"].items()
            if entry.item.extractor in (None, "pixels", "classifier")
            and misfit(entry.item, data.spec(), modes=False) is None
        ],
        extractors=["classifier", "pixels"],
    )
    by = Evaluator(bench, samples=40, device=CPU)
    traces = {f"grad_norm/{player}": np.ones(50, np.float32) for player in "GD"}
    hashes: dict[str, set[str]] = {}
    for cls, task in ((tiny.Plain, "generate"), (Levelled, "label"), (Shifted, "generate"), (Real, "generate")):
        variant = build_variant(cls, bench.backbone, data.spec(task), seed=1).requires_grad_(False).eval()
        for weights in ("raw", "ema"):
            found = score(bench.metrics, variant, by=by, traces=traces, weights=weights)
            for name, value in found.values.items():
                hashes.setdefault(name, set()).add(value.protocol_hash)
    assert {"fd-classifier", "ms-ssim", "copies", "fd-pixels", "grad-norm-g"} <= hashes.keys()
    assert {name for name, of in hashes.items() if len(of) > 1} == set()
