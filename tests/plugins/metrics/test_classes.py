"""Accuracy of the class asked for, and Fréchet distances class by class."""

from typing import Any

import pytest
import torch
from ganbench_plugins.metrics.classes import Config, ganbench_metrics, inception_outputs
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from ganbench import DataSpec, Features, Scene, UserError, Value

METRICS = {metric.name: metric for metric in ganbench_metrics()}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def features(embedding: Tensor, labels: Tensor | None, probs: Tensor | None = None) -> Features:
    return Features(torch.zeros(len(embedding), 1, 8, 8, dtype=torch.uint8), embedding, probs, labels)


def scene(fake: Features, real: Features, classes: int, **more: Any) -> Scene:
    return Scene(DataSpec((1, 8, 8), "label", classes), fake, real, {}, **{"conditional": True, **more})


def accuracy(probs: Tensor | None, labels: Tensor | None, classes: int, **more: Any) -> Value:
    count = len(probs) if probs is not None else 4
    seen = scene(features(normal(count, 2), labels, probs), features(normal(9, 2), None), classes, **more)
    ((name, value),) = METRICS["class-accuracy"].compute(seen).items()
    assert name == "class-accuracy"
    return value


def test_accuracy_is_the_share_of_samples_of_the_class_asked_for() -> None:
    labels = torch.arange(40) % 4
    seen_as = torch.where(torch.arange(40) < 10, (labels + 1) % 4, labels)
    probs = torch.full((40, 4), 0.1).scatter_(1, seen_as[:, None], 0.7)
    value = accuracy(probs, labels, 4)
    assert value.value == 0.75
    assert value.spread == pytest.approx((0.75 * 0.25 / 39) ** 0.5)
    assert accuracy(probs, seen_as, 4).value == 1


def test_classes_of_imagenet_are_told_by_the_inception_network() -> None:
    """Every class once, at its output; the other eight outputs are of no class, whatever their probability."""
    outputs = inception_outputs()
    probs = torch.zeros(1000, 1008).scatter_(1, torch.tensor(outputs)[:, None], 0.4)
    probs[:, 0] = 0.6
    value = accuracy(probs, torch.arange(1000), 1000)
    assert value.value == 1 and "1000 classes" in value.protocol["right"]
    assert accuracy(probs, (torch.arange(1000) + 1) % 1000, 1000).value == 0


def test_outputs_of_the_inception_network_are_those_of_its_label_map() -> None:
    """tench, goldfish, giant panda, bolete, ear, toilet tissue."""
    outputs = inception_outputs()
    assert sorted(outputs) == list(range(1, 1001))
    assert [outputs[number] for number in (0, 1, 388, 997, 998, 999)] == [449, 450, 169, 981, 329, 889]


@pytest.mark.parametrize(("outputs", "classes"), [(1008, 10), (30, 1000), (10, 9)])
def test_probabilities_of_other_classes_are_refused(outputs: int, classes: int) -> None:
    with pytest.raises(UserError, match=f"tells {outputs} classes apart, but the data have {classes}"):
        accuracy(torch.full((20, outputs), 0.1), torch.zeros(20, dtype=torch.int64), classes)


def test_features_alone_are_refused() -> None:
    with pytest.raises(UserError, match="features alone, no probabilities"):
        accuracy(None, torch.zeros(4, dtype=torch.int64), 4)


@pytest.mark.parametrize("name", list(METRICS))
@pytest.mark.parametrize(("labels", "conditional"), [(None, True), (torch.zeros(4, dtype=torch.int64), False)])
def test_where_no_class_is_asked_for_there_is_no_value(name: str, labels: Tensor | None, conditional: bool) -> None:
    """A variant without labels; a control, whose samples have labels that nobody asked for."""
    fake = features(normal(4, 2), labels, torch.full((4, 4), 0.25))
    seen = scene(fake, features(normal(9, 2), torch.zeros(9, dtype=torch.int64)), 4, conditional=conditional)
    with pytest.raises(UserError, match=f"{name} looks at samples by the class .* no class is asked for"):
        METRICS[name].compute(seen)


def theirs(fake: Tensor, real: Tensor) -> float:
    both = (fid_features_to_statistics(part) for part in (fake, real))
    return float(fid_statistics_to_metric(*both, False)["frechet_inception_distance"])


def by_class(options: Config | None = None) -> tuple[dict[str, Value], list[float]]:
    """Four classes of 40, 30, 3 and 20 samples; of the last there are 5 reference images. And the distances of each."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(4).repeat_interleave(torch.tensor([40, 30, 3, 20]))[torch.randperm(93, generator=generator)]
    truth = torch.arange(4).repeat_interleave(torch.tensor([25, 50, 60, 5]))[torch.randperm(140, generator=generator)]
    fake, real = normal(93, 6, seed=1) + labels[:, None] * 1.5, normal(140, 6, seed=2) + truth[:, None]
    seen = scene(features(fake, labels), features(real, truth), 4, options=options)
    distances = [theirs(fake[labels == number], real[truth == number]) for number in range(4)]
    return dict(METRICS["fid-class"].compute(seen)), distances


def test_fid_class_is_the_mean_of_torch_fidelitys_within_each_class() -> None:
    values, distances = by_class(Config(least=2))
    assert list(values) == ["fid-class", "fid-class-worst"]
    assert values["fid-class"].value == pytest.approx(sum(distances) / 4, abs=1e-3)
    assert values["fid-class-worst"].value == pytest.approx(max(distances), abs=1e-3)
    assert values["fid-class-worst"].higher_is_better is False


def test_classes_of_few_samples_are_left_out_and_counted() -> None:
    values, distances = by_class()
    assert values["fid-class"].value == pytest.approx(sum(distances[:2]) / 2, abs=1e-3)
    assert values["fid-class-left-out"].value == 2
    assert "at least 10 samples" in values["fid-class"].protocol["classes"]
    values, distances = by_class(Config(least=5))
    assert values["fid-class-left-out"].value == 1
    assert values["fid-class"].value == pytest.approx((distances[0] + distances[1] + distances[3]) / 3, abs=1e-3)
    with pytest.raises(UserError, match="no class has 41 samples and 41 reference images"):
        by_class(Config(least=41))


def test_the_value_of_each_class_can_be_had() -> None:
    values, distances = by_class(Config(least=5, each=True))
    each = {name: value.value for name, value in values.items() if name[10:].isdigit()}
    assert each == pytest.approx({f"fid-class-{n}": distances[n] for n in (0, 1, 3)}, abs=1e-3)


@pytest.mark.parametrize("name", list(METRICS))
def test_each_says_what_it_is(name: str) -> None:
    metric = METRICS[name]
    assert metric.any_extractor and metric.needs == {"images", "labels"} and metric.summary
    assert metric.higher_is_better is (name == "class-accuracy")
    assert (metric.extractor, metric.worst) == (("classifier", 0) if name == "class-accuracy" else ("inception", None))
