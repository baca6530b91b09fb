"""What classifiers say of images: classes where the data have them, attributes where the data set offers some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ganbench.contract.data import ImageSet, to_float
from ganbench.contract.experiments import Lab, Made
from ganbench.contract.metrics import Embedding
from ganbench.errors import UserError

LABELS = "labels"
"""The option by which a data set names the attribute that gives its labels 0 and 1, as `celeba.labels=Smiling` does."""


class Seen(NamedTuple):
    """What was seen of images. `features`: float32 `[N, d]`, of all classifiers; pixels where there is none.

    `sure`: the largest probability, the mean over classifiers, `[N]`; NaN where there is none. `has`: by class or
    attribute, bool `[N]`.
    """

    features: Tensor
    sure: Tensor
    has: Mapping[str, Tensor]


@dataclass(frozen=True)
class Classifier:
    """An extractor whose probabilities are those of `names`, and how good it is on the test split.

    `balanced`: the mean over classes of the share that is recognised.
    """

    names: Sequence[str]
    embed: Embedding
    accuracy: float
    balanced: float


@dataclass(frozen=True)
class Judge:
    """Classifiers of one data set, of its `attributes` or of its classes. `reason`: why there are none."""

    classifiers: Sequence[Classifier]
    reason: str = ""
    attributes: bool = False
    _known: dict[str, Tensor] = field(default_factory=dict, compare=False, repr=False)

    def features_of(self, key: str, images: Tensor) -> Tensor:
        """Return the features of images that many runs are compared with, computed once for each key."""
        if key not in self._known:
            self._known[key] = self(images).features
        return self._known[key]

    def __call__(self, images: Tensor) -> Seen:
        """Look at uint8 images `[N, C, H, W]`."""
        if not self.classifiers:
            return Seen(to_float(images).flatten(1), torch.full((len(images),), torch.nan), {})
        features, sure, has = list[Tensor](), list[Tensor](), dict[str, Tensor]()
        for classifier in self.classifiers:
            of_images, probs = _embedded(classifier.embed, images)
            features.append(of_images)
            sure.append(probs.max(1).values)
            found = probs.argmax(1)
            has |= {name: found == k for k, name in enumerate(classifier.names)}
        return Seen(torch.cat(features, 1), torch.stack(sure).mean(0), has)


@dataclass(frozen=True)
class Judges:
    """Judges of the data of many runs, made when they are first needed. `attributes`: see `judge_of`."""

    lab: Lab
    attributes: Sequence[str]
    _made: dict[str, Judge] = field(default_factory=dict, init=False, repr=False)

    def of(self, made: Made) -> Judge:
        """Return the judge of a run's data."""
        data = made.record.spec.data
        if data not in self._made:
            self._made[data] = judge_of(self.lab, made, self.attributes)
        return self._made[data]

    @property
    def accuracies(self) -> list[dict[str, str | float]]:
        """What all classifiers tell apart, and how well on the test split: rows of numbers."""
        return [
            {"classifier": " or ".join(each.names), "accuracy": each.accuracy, "balanced accuracy": each.balanced}
            for judge in self._made.values()
            for each in judge.classifiers
        ]


def judge_of(lab: Lab, made: Made, attributes: Sequence[str], extractor: str = "classifier") -> Judge:
    """Make the judge of a run's data: one classifier where these have classes, else one for each attribute.

    An attribute is what a data set's option `labels` can name; `no NAME` is what lacks it.
    """
    spec, data = made.record.spec, made.data
    try:
        if (classes := data.spec().classes) > 1:
            embed = lab.extractor(extractor, spec.dataset, data)
            return Judge([_measured([str(k) for k in range(classes)], embed, data.test)])
        kept = [f"{key}={value}" for key, value in spec.config.get("dataset", {}).items() if key != LABELS]
        found = []
        for name in attributes:
            lab.tell(f"a classifier of {name}")
            labelled = lab.open(spec.dataset, size=spec.size, settings=[*kept, f"{LABELS}={name}"])
            embed = lab.extractor(extractor, spec.dataset, labelled)
            found.append(_measured([f"no {name}", name], embed, labelled.test))
        return Judge(found, attributes=True)
    except UserError as error:
        return Judge([], str(error))


def _measured(names: Sequence[str], embed: Embedding, test: ImageSet) -> Classifier:
    if test.cond is None:
        raise UserError("its test images have no labels")
    right = _embedded(embed, test.images)[1].argmax(1) == test.cond
    of_classes = [right[test.cond == k].double().mean() for k in range(len(names)) if bool((test.cond == k).any())]
    return Classifier(names, embed, float(right.double().mean()), float(torch.stack(of_classes).mean()))


def _embedded(embed: Embedding, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return features and probabilities on the host, so many images at a time that any device holds them."""
    found = [embed(piece) for piece in images.split(1024)]
    probs = [each for _, each in found if each is not None]
    if len(probs) < len(found):
        raise UserError("this extractor gives no probabilities of classes")
    return torch.cat([features.cpu() for features, _ in found]), torch.cat([each.cpu() for each in probs])
