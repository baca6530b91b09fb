"""The experiment `filters`: how selective responses are by closed forms, and who takes part."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from ganbench_plugins.experiments.filters import CHANCE, FRESH, TRAINED, FiltersOfD, claims_of, cut, selectivity
from ganbench_plugins.variants.bigan import BiGAN
from ganbench_plugins.variants.gan import GAN
from ganbench_plugins.variants.pacgan import PacGAN
from made_runs import REGISTRY, TINY, cells, lab, run
from scipy.stats import norm

from ganbench import Box, ImageSet, Splits, UserError


@pytest.fixture(scope="module")
def digits():
    whole = REGISTRY.get("dataset", "digits").item.load(Path(), 8)
    return Splits(whole.train, ImageSet(whole.test.images[:64], whole.test.cond[:64]), whole.fingerprint)


def test_a_filter_of_one_class_is_as_selective_as_can_be():
    labels = torch.arange(100) % 10
    found = selectivity(torch.nn.functional.one_hot(labels, 10).float(), labels, 9)
    assert found["class share"] == 1 and found["explained"] == pytest.approx(1)
    assert found["peak"] == pytest.approx(0.9 / math.sqrt(0.1 * 0.9))  # 1 less its mean, in deviations of a coin


def test_noise_comes_to_its_expectations():
    n, labels = 500, torch.arange(500) % 10
    noise = torch.randn(n, 4000, generator=torch.Generator().manual_seed(0))
    found = selectivity(noise, labels, 9)
    assert found["explained"] == pytest.approx(9 / 499, rel=0.02)  # between over total, degrees of freedom
    ranks = np.arange(n - 8, n + 1)
    assert found["peak"] == pytest.approx(norm.ppf((ranks - 0.375) / (n + 0.25)).mean(), rel=0.01)  # Blom's
    random = np.random.default_rng(0)
    drawn = [np.bincount(random.permutation(labels.numpy())[:9]).max() / 9 for _ in range(4000)]
    assert found["class share"] == pytest.approx(np.mean(drawn), rel=0.02)


def test_scale_and_shift_do_not_matter_and_what_responds_to_all_alike_has_no_number():
    peaks, labels = torch.rand(60, 5, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
    one, other = selectivity(peaks, labels, 9), selectivity(peaks * 1e-3 - 7, labels, 9)
    assert one == pytest.approx(other, rel=1e-2)
    assert math.isnan(selectivity(torch.ones(60, 5), labels, 9)["peak"])
    assert set(selectivity(peaks, None, 9)) == {"peak"}


def test_trained_and_fresh_stand_beside_noise_and_who_does_not_fit_is_left_out(digits, tmp_path):
    class Critic(TINY.Plain):
        name = "critic"

        def build(self, parts):
            super().build(parts)
            self.critic = self.D
            del self.D

        def optimizers(self):
            return {}

    runs = [
        *(run(GAN, digits, seed=seed, width=4) for seed in (0, 1, 99)),
        run(BiGAN, digits, width=4),
        run(PacGAN, digits, width=4),
        run(TINY.Plain, digits, backbone="mlp", width=8),
        run(Critic, digits, backbone="mlp", width=8),
    ]
    finding = FiltersOfD().find(lab(FiltersOfD(), runs, tmp_path, shown=2, patches=2))
    table = cells(finding, "Filters of D's last convolution")
    assert [(row["run"].split()[0], row["D"]) for row in table] == [
        (name, of) for name in ("gan", "bigan") for of in (TRAINED, FRESH, CHANCE)
    ]
    assert table[0]["filters"] == "8" and "±" in table[0]["peak"] and "±" not in table[3]["peak"]
    reasons = {name.split()[0].strip(","): reason for name, reason in finding.left_out.items()}
    assert "were not kept" in reasons["gan"] and "no convolutions" in reasons["plain"]
    assert "does not look at single images" in reasons["pacgan"] and reasons["critic"] == "it has no network D"
    assert set(finding.figures) == {"filters-1", "filters-2"}
    assert len(finding.measured) == 3 * 3 and all(0 < row["class share"] <= 1 for row in finding.measured)
    with pytest.raises(UserError, match="no convolutions"):
        FiltersOfD().find(lab(FiltersOfD(), runs[-2:-1], tmp_path))


def test_points_have_no_filters(tmp_path):
    ring = REGISTRY.get("dataset", "ring").item.load(Path(), 0)
    with pytest.raises(UserError, match="points, not images"):
        FiltersOfD().find(lab(FiltersOfD(), [run(TINY.Plain, ring, backbone="mlp", width=8)], tmp_path))


def test_patches_at_the_border_stand_where_they_would():
    image = torch.arange(36, dtype=torch.uint8).view(1, 6, 6)
    corner = cut(image, Box(0, 2, 4, 6), 3, 3)
    assert corner[0].tolist() == [[128, 128, 128], [4, 5, 128], [10, 11, 128]]
    assert cut(image, Box(2, 5, 1, 4), 3, 3)[0].tolist() == image[0, 2:5, 1:4].tolist()


def test_claims_are_of_differences_over_seeds():
    def rows(trained, fresh, seeds):
        values = [(TRAINED, trained), (FRESH, fresh)]
        return [
            {"row": "gan", "of": of, "seed": seed, "peak": value + 0.01 * seed * (of == TRAINED), "class share": value}
            for seed in range(seeds)
            for of, value in values
        ]

    assert [claim.holds for claim in claims_of(rows(0.6, 0.3, 3))] == [
        True,
        True,
    ]
    assert [claim.holds for claim in claims_of(rows(0.3, 0.6, 3))] == [False, False]
    assert [claim.holds for claim in claims_of(rows(0.6, 0.3, 1))] == [None, None]
