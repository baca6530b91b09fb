"""The experiment `filters`: who takes part, and claims by hand."""

from pathlib import Path

import pytest
from ganbench_plugins.experiments.filters import CHANCE, FRESH, TRAINED, FiltersOfD, claims_of
from ganbench_plugins.variants.bigan import BiGAN
from ganbench_plugins.variants.gan import GAN
from ganbench_plugins.variants.pacgan import PacGAN
from made_runs import REGISTRY, TINY, cells, lab, run

from ganbench import ImageSet, Splits, UserError


@pytest.fixture(scope="module")
def digits():
    whole = REGISTRY.get("dataset", "digits").item.load(Path(), 8)
    return Splits(whole.train, ImageSet(whole.test.images[:64], whole.test.cond[:64]), whole.fingerprint)


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
