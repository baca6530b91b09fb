"""What the three critics with a penalty on slopes share: the published recipe as options, constant rates without."""

import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.variants import wgan_div, wgan_gp, wgan_lp
from torch import nn

from ganbench import Clock, DataSpec, UserError
from ganbench.runs.options import resolve

CRITICS = (wgan_gp, wgan_lp, wgan_div)
NAMES = ("wgan-gp", "wgan-lp", "wgan-div")


def class_of(module):
    (cls,) = module.ganbench_variants()
    return cls


@pytest.mark.parametrize("module", CRITICS, ids=NAMES)
def test_the_published_recipe_is_a_matter_of_options(module, play, seen_by):
    """Real images bear noise, G's batch is twice D's, D has no norm, and rates fall linearly to zero."""
    torch.manual_seed(0)
    cls, options = (
        class_of(module),
        module.Config(lr=2e-4, critic_steps=1, decay=True, norm="none", generator_batch=2, dequantise=True),
    )
    variant = cls(DCGAN()(DataSpec((1, 8, 8))), options)
    assert not [layer for layer in variant.D.modules() if isinstance(layer, nn.BatchNorm2d | nn.GroupNorm)]
    real, seen = torch.full((6, 1, 8, 8), 17 / 127.5 - 1), seen_by(variant.D)
    list(play(variant, real, 1))
    assert sorted(len(batch) for batch in seen) == [6, 6, 6, 12]
    (noisy,) = [batch for batch in seen if batch.std() < 0.01]  # all of one level; it was D's real batch
    above = noisy * 128 + 128 - 17
    assert -1e-3 <= above.min() < 0.1 and 0.9 < above.max() <= 1 + 1e-3
    rates = variant.schedules(Clock(0, torch.tensor(0.25)))
    assert {player: float(values["lr"]) for player, values in rates.items()} == pytest.approx(
        {"G": 1.5e-4, "D": 1.5e-4}
    )


@pytest.mark.parametrize("module", CRITICS, ids=NAMES)
def test_rates_are_constant_and_images_as_they_are_unless_asked_otherwise(module, parts, real, play, seen_by):
    variant = class_of(module)(parts, module.Config(critic_steps=1))
    seen = seen_by(variant.D)
    list(play(variant, real, 1))
    assert not variant.schedules(Clock(0, torch.tensor(0.25)))
    assert sum(torch.equal(batch, real) for batch in seen) == 1 and {len(batch) for batch in seen} == {8}


@pytest.mark.parametrize("module", CRITICS, ids=NAMES)
def test_a_norm_that_mixes_samples_is_refused(module):
    cls = class_of(module)
    with pytest.raises(UserError, match=f"{cls.name}.norm"):
        resolve(cls, cls.name, {"norm": "batch"})
