"""What discriminators forget: AUC is that of all pairs, and batch norm judges as it is told to."""

import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score
from torch import nn

from ganbench import JudgedMarks, UserError
from ganbench.scoring.forgetting import auc_of, discriminator_of, outputs_of


def test_auc_is_the_share_of_pairs_that_are_ranked_right_ties_half():
    draw = np.random.default_rng(0)
    for size in ((7, 9), (40, 25), (1, 1)):
        real, fake = (torch.from_numpy(draw.integers(0, 5, n).astype(np.float32)) for n in size)  # many ties
        pairs = [1.0 if r > f else 0.5 if r == f else 0.0 for r, f in itertools.product(real.tolist(), fake.tolist())]
        assert auc_of(real, fake) == pytest.approx(np.mean(pairs), abs=1e-12)
        labels = [1] * len(real) + [0] * len(fake)
        assert auc_of(real, fake) == pytest.approx(roc_auc_score(labels, torch.cat([real, fake])), abs=1e-12)
    real, fake = torch.randn(2000) + 1, torch.randn(3000)
    assert auc_of(real, fake) == pytest.approx(stats.norm.cdf(1 / math.sqrt(2)), abs=0.03)  # of two normal laws
    assert auc_of(real, fake) == pytest.approx(auc_of(real * 1e6 - 5, fake * 1e6 - 5), abs=1e-3), (
        "whatever D's scale is"
    )
    assert auc_of(torch.tensor([math.inf]), torch.tensor([0.0])) == 1
    assert math.isnan(auc_of(torch.tensor([math.nan, 1.0]), torch.tensor([0.0]))), "not masked"


MATRIX = [[0.9, 0.4, 0.3], [0.7, 0.8, 0.5], [0.6, 0.9, 1.0]]


def test_summaries_are_those_counted_by_hand():
    found = JudgedMarks([0.2, 0.5, 1.0], MATRIX, [0.95, 0.9, 1.0], 1, 7).summary()
    lost = [0.9 - 0.7, 0.9 - 0.6, 0.8 - 0.9]
    wanted = {"own": 0.9, "older": (0.7 + 0.6 + 0.9) / 3, "newer": 0.4, "forgetting": sum(lost) / 3, "worst": 0.3}
    assert found == pytest.approx({**wanted, "own_train": 0.95})


def test_pairs_are_all_pairs_of_marks_and_only_older_samples_are_forgotten():
    pairs = JudgedMarks([0.2, 0.5, 1.0], MATRIX, [0.95, 0.9, 1.0], -1, 7).pairs()
    assert [(pair["D_at"], pair["G_at"]) for pair in pairs] == list(itertools.product([0.2, 0.5, 1.0], repeat=2))
    assert [pair["auc"] for pair in pairs] == [*itertools.chain(*MATRIX)]
    forgotten = {(p["D_at"], p["G_at"]): p["forgotten"] for p in pairs if p["forgotten"] is not None}
    assert forgotten == pytest.approx({(0.5, 0.2): 0.2, (1.0, 0.2): 0.3, (1.0, 0.5): -0.1})
    assert [p["auc_of_training_images"] for p in pairs if p["D_at"] == p["G_at"]] == [0.95, 0.9, 1.0]
    assert {(p["sign"], p["real"]) for p in pairs} == {(-1, 7)}


def test_nan_is_in_whatever_it_is_part_of():
    found = JudgedMarks([0.5, 1.0], [[1.0, 0.5], [math.nan, 1.0]], [1.0, 1.0], 1, 7).summary()
    assert {name for name, value in found.items() if math.isnan(value)} == {"older", "forgetting", "worst"}


class Fails(nn.Module):
    def forward(self, x):
        raise AssertionError


def test_a_failure_without_words_is_told_by_its_kind():
    with pytest.raises(UserError, match=r"its D does not judge images alone \(AssertionError\)"):
        outputs_of(Fails(), torch.zeros(2, 1, 2, 2), 8)


def test_batch_norm_judges_each_image_by_itself_or_by_its_batch_and_is_left_as_it_was():
    D = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 1)).eval()
    state = {name: value.clone() for name, value in D.state_dict().items()}
    images = torch.randn(6, 1, 2, 2)
    player: Any = SimpleNamespace(D=D)
    alone = torch.cat([outputs_of(discriminator_of(player, "running"), image, 8) for image in images.split(1)])
    torch.testing.assert_close(outputs_of(D, images, 8), alone)
    by_batch = outputs_of(discriminator_of(player, "batch"), images, 8)
    x = images.flatten(1).double()
    x = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()
    wanted = x @ state["2.weight"].double().T + state["2.bias"]
    torch.testing.assert_close(by_batch.double(), wanted.flatten(), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(by_batch, alone)
    assert all(torch.equal(D.state_dict()[name], value) for name, value in state.items() if "weight" in name)
