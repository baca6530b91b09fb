"""Judges: one classifier of classes, or one of each attribute that the data set's option can name."""

from types import SimpleNamespace

import pytest
import torch

from ganbench import ImageSet, Splits, UserError
from ganbench.toolbox.judges import Judge, Judges, judge_of


def splits(labels):
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    cond = None if labels is None else torch.tensor(labels)
    return Splits(ImageSet(images, cond), ImageSet(images, cond), "")


def run(data, **config):
    spec = SimpleNamespace(dataset="faces", size=8, config={"dataset": config})
    return SimpleNamespace(record=SimpleNamespace(spec=spec), data=data)


class Lab:
    """Attributes A and B; an extractor that takes every image darker than level 3 for the first class."""

    def __init__(self):
        self.opened = []

    def tell(self, text):
        pass

    def open(self, dataset, *, size, settings):
        self.opened.append((dataset, size, list(settings)))
        if settings[-1] not in ("labels=A", "labels=B"):
            raise UserError("no such attribute")
        return splits([0, 0, 0, 0, 1] if settings[-1] == "labels=A" else [0, 1, 0, 1, 1])

    def extractor(self, name, dataset, data):
        def embed(images):
            level = images[:, 0, 0, 0]
            sure = torch.stack([level < 3, level >= 3], 1) * 0.6 + 0.2
            return level.float()[:, None], sure

        return embed


def test_attributes_are_read_from_the_same_data_and_balanced_accuracy_is_that_of_both_classes():
    lab, data = Lab(), Splits(ImageSet(splits([0]).train.images), ImageSet(splits([0]).test.images), "")
    judge = judge_of(lab, run(data, crop=100, labels=""), ["A", "B"])
    assert lab.opened == [("faces", 8, ["crop=100", "labels=A"]), ("faces", 8, ["crop=100", "labels=B"])]
    assert judge.attributes and [each.names for each in judge.classifiers] == [["no A", "A"], ["no B", "B"]]
    first, second = judge.classifiers
    assert (first.accuracy, first.balanced) == pytest.approx((4 / 5, (3 / 4 + 1) / 2))
    assert (second.accuracy, second.balanced) == pytest.approx((4 / 5, (1 + 2 / 3) / 2))
    seen = judge(torch.tensor([1, 5], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 8, 8))
    assert seen.features.tolist() == [[1, 1], [5, 5]] and seen.sure.tolist() == pytest.approx([0.8, 0.8])
    assert {name: has.tolist() for name, has in seen.has.items()} == {
        "no A": [True, False],
        "A": [False, True],
        "no B": [True, False],
        "B": [False, True],
    }


def test_data_with_classes_need_no_attribute():
    lab = Lab()
    judge = judge_of(lab, run(splits([0, 0, 0, 1, 1])), ["A"])
    assert lab.opened == [] and not judge.attributes and judge.classifiers[0].names == ["0", "1"]
    assert judge.classifiers[0].accuracy == 1


def test_where_nobody_can_tell_pixels_are_seen_and_the_reason_is_kept():
    judge = judge_of(
        Lab(), run(Splits(ImageSet(splits([0]).train.images), ImageSet(splits([0]).test.images), "")), ["C"]
    )
    assert judge == Judge([], "no such attribute")
    seen = judge(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1))
    assert seen.features.tolist() == [[-1], [1]] and seen.sure.isnan().all() and seen.has == {}


def test_a_judge_is_made_once_for_runs_on_the_same_data_and_their_accuracies_are_rows():
    lab = Lab()
    judges = Judges(lab, ["A", "B"])
    runs = [run(splits([0, 1]), labels=""), run(splits([0, 0, 0, 1, 1])), run(splits([0, 0, 0, 1, 1]))]
    for each, data in zip(runs, "xyy", strict=True):
        each.record.spec.data = data
    assert judges.accuracies == []
    assert judges.of(runs[1]) is judges.of(runs[2]) is not judges.of(runs[0])
    assert judges.accuracies[0] == {"classifier": "0 or 1", "accuracy": 1, "balanced accuracy": 1}
    assert len(judges.accuracies) == 2
