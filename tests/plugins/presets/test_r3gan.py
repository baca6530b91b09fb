"""R3GAN's presets: budgets, burn-ins and averages are the authors', who count one of the two batches of a step."""

import pytest
from ganbench_plugins.presets.r3gan import PRESETS
from ganbench_plugins.variants.r3gan import RECIPES

from ganbench.runs.options import resolve
from ganbench.runs.presets import plan_preset
from ganbench.runs.registry import discover
from ganbench.runs.request import Request
from ganbench.training.budget import Budget

OF = {preset.name: preset for preset in PRESETS}


@pytest.mark.parametrize(
    ("name", "images", "batch", "burn_in", "half_life"),
    [
        ("r3gan-cifar10", 250e6, 512, 2e7, 5e6),
        ("r3gan-imagenet32", 1000e6, 4096, 2e8, 5e7),
        ("r3gan-stacked-mnist", 10e6, 512, 2e6, 5e5),
    ],
)
def test_lengths_are_the_authors(name, images, batch, burn_in, half_life):
    budget, entry = Budget.parse(OF[name].request["budget"]), OF[name].entries[0]
    assert (budget.amount, budget.unit, OF[name].request["batch"]) == (2 * images, "images", batch)
    settings = dict(setting.split("=") for setting in entry.settings)
    variant = discover().get("variant", entry.variant).item
    recipe = RECIPES[resolve(variant, entry.variant, settings).network]
    assert recipe.burn_in * budget.amount / 2 == pytest.approx(burn_in) and recipe.half_life == half_life


def test_published_numbers_stand_beside_their_runs(data_root):
    """Planned as a user would have it, with the networks of the table built."""
    request = Request([], [], data_root=data_root, settings=())
    (job,) = plan_preset("r3gan-stacked-mnist", 0.001, request, {}, discover()).jobs
    assert job.published["values"] == {"modes": [1000, None], "mode-kl": [0.029, None]}
    assert (str(job.spec.budget), job.spec.size, job.samples) == ("20k-images", 32, 26_000)
    assert job.spec.options == {"network": "stacked-mnist"}


@pytest.mark.parametrize("preset", PRESETS, ids=OF)
def test_each_number_is_of_a_row_and_of_a_metric_that_is_computed(preset):
    rows = {(dataset, entry.label or entry.variant) for dataset in preset.datasets for entry in preset.entries}
    assert preset.published
    for number in preset.published:
        assert (number.dataset, number.label) in rows and number.metric in preset.request["metrics"]
