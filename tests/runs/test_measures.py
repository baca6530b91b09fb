"""Metrics as they are asked for: behind an @ stand an extractor, or a number of samples and a split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from ganbench import Metric, Value
from ganbench.errors import UserError
from ganbench.runs.measures import measure, plain_name, wanted
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import Origin, Registry, discover

TINY = Path(__file__).parents[1] / "tiny_plugin.py"


@dataclass(frozen=True)
class Neighbours:
    """k: neighbours."""

    k: int = 5


def give(scene):
    return {"near": Value(float(scene.options.k))}


NEAR = Metric("near", give, config=Neighbours(), owner="both", any_extractor=True, extractor="pixels")
FAR = Metric("far", give, config=Neighbours(), owner="both", extractor="pixels")


@pytest.fixture(scope="module")
def registry() -> Registry:
    import sys

    from ganbench import hookimpl

    class Plugin:
        @staticmethod
        @hookimpl
        def ganbench_metrics():
            return [NEAR, FAR]

    found = discover([TINY])
    found.add(Plugin, Origin("near", "file", "", ""), sys.modules[__name__])
    return found


def asked(name: str, registry: Registry, dataset: str = "cifar10", **settings: str):
    return measure(name, registry, {key.replace("__", "."): text for key, text in settings.items()}, dataset)


def test_a_plain_name_is_the_metric_as_it_is(registry: Registry) -> None:
    found = asked("fid", registry)
    assert found.metric is registry.get("metric", "fid").item
    assert (found.name, found.samples, found.reference, found.options) == ("fid", None, None, None)
    assert found.named("fid-more") == "fid-more" and plain_name("fid@10k-test@x") == "fid"


@pytest.mark.parametrize(
    ("name", "samples", "split"),
    [
        ("fid@10k-test", 10_000, "test"),
        ("fid@50k-train", 50_000, "train"),
        ("fid@cifar10-50k-train", 50_000, "train"),
        ("kid@500-train", 500, "train"),
    ],
)
def test_a_protocol_is_a_number_of_samples_and_a_split(name: str, samples: int, split: str, registry: Registry) -> None:
    found = asked(name, registry)
    assert (found.samples, found.reference, found.name) == (samples, split, name)


def test_an_extractor_takes_the_place_of_the_usual_one(registry: Registry) -> None:
    found = asked("near@classifier@100-train", registry)
    assert (found.metric.extractor, found.samples) == ("classifier", 100)
    assert found.named("near-one") == "near-one@classifier@100-train"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("fid@classifier", "fid is measured by the extractor 'inception' alone"),
        ("near@clasifier", "no extractor that it can have"),
        ("near@classifier@inception", "names two extractors"),
        ("fid@10-valid", "no number of samples and split such as 10k-test"),
        ("fid@celeba-10k-test", "is the protocol of celeba, but the data set is cifar10"),
        ("fid@1-test", "at least 2 samples"),
        ("grad-norm-g@10k-test", "looks at training alone"),
        ("nothing@10k-test", "unknown metric 'nothing'"),
    ],
)
def test_what_cannot_be_is_told(name: str, told: str, registry: Registry) -> None:
    with pytest.raises(UserError, match=told):
        asked(name, registry)


def test_options_are_set_by_the_name_that_metrics_share_or_their_own(registry: Registry) -> None:
    assert asked("near", registry).options == Neighbours(5)
    assert asked("near", registry, both__k="3").options == Neighbours(3)
    assert asked("near", registry, both__k="3", near__k="4").options == Neighbours(4)
    assert asked("far", registry, both__k="3", near__k="4").options == Neighbours(3)
    facts = wanted(asked("near", registry, both__k="3"), registry, samples=9, reference="train", repeats=1)
    assert facts["options"] == {"k": 3} and facts["n_fake"] == 9 and facts["reference"] == "training split"


def request(**more):
    return Request(("plain",), ("tiny",), plugins=(TINY,), seeds=1, **more)


def test_a_plan_takes_options_of_metrics_and_refuses_those_of_others(registry: Registry) -> None:
    metrics = ("near", "tiny-mean")
    (job,) = plan(request(metrics=metrics, settings=("both.k=3",)), registry).jobs
    assert job.settings["metric"] == {"both.k": "3"} and job.measured["near"]["options"] == {"k": 3}
    assert "both.k" not in job.spec.options  # they change no run, only what it is measured by
    for settings, told in (
        ("both.n=3", "has no option 'n'"),
        ("far.k=3", "'far' takes no part in this run"),
        ("both.k=x", "k: "),
    ):
        with pytest.raises(UserError, match=told):
            plan(request(metrics=metrics, settings=(settings,)), registry)


def test_the_average_is_an_option_of_every_variant(registry: Registry) -> None:
    def job(*settings, variant="plain", **more):
        wanted = Request((variant,), ("tiny",), plugins=(TINY,), seeds=1, settings=settings, **more)
        made = plan(wanted, registry)
        return made.jobs[0] if made.jobs else made.skips[0].reason

    assert (job().half_life, job().score, dict(job().spec.options)) == ("paper", ("raw",), {})
    averaged = job("ema=5k")
    assert (averaged.half_life, averaged.score, averaged.spec.options["ema"]) == (5000.0, ("ema",), 5000.0)
    assert averaged.spec.id != job().spec.id
    assert job("ema=none").spec.id == job("plain.ema=none").spec.id == job().spec.id  # its default
    assert job("ema=44000", variant="r1").spec.id == job(variant="r1").spec.id
    assert job("ema=none", variant="r1").score == ("raw",) and job(variant="r1").score == ("ema",)
    assert job(variant="r1", score=("raw", "ema")).score == ("ema", "raw")
    assert "keeps no average" in job(score=("ema",))
    assert job(score=("raw", "ema")).score == ("raw",)
    for wrong, told in (
        ({"settings": ("ema=often",)}, "write 500k, or none"),
        ({"settings": ("plain.ema=0",)}, "write 500k, or none"),
        ({"score": ("mean",)}, "write raw, ema or both"),
    ):
        with pytest.raises(UserError, match=told):
            plan(Request(("plain",), ("tiny",), plugins=(TINY,), seeds=1, **wrong), registry)


def test_too_few_samples_for_a_covariance_are_told_before_training(registry: Registry) -> None:
    made = plan(request(metrics=("fd-pixels",), samples=63), registry)
    assert any("compares covariances of 64 features on 63 images" in note for note in made.notes)
    assert not plan(request(metrics=("fd-pixels", "tiny-mean"), samples=64), registry).notes
