"""DiscoGAN: both forms of the loss in closed form, matching of features, schedules, directions."""

import numpy as np
import pytest
import torch
from ganbench_plugins.variants.discogan import Config, DiscoGAN, Judge, widths_of
from translators import D_SOURCE, D, F, G, arrays, batch_of, clock, judged, play_pairs, simple, softplus

from ganbench import DataSpec, Parts, UserError
from ganbench.runs.options import resolve


def terms(batch):
    y, x = arrays(batch)
    adversarial = softplus(-judged(G * x, D)).mean() + softplus(-judged(F * y, D_SOURCE)).mean()
    home = (F * G - 1) ** 2 * ((x**2).mean() + (y**2).mean())
    judging = softplus(-judged(y, D)).mean() + softplus(judged(G * x, D)).mean()
    judging += softplus(-judged(x, D_SOURCE)).mean() + softplus(judged(F * y, D_SOURCE)).mean()
    matching = (judged(y, D).mean() - judged(G * x, D).mean()) ** 2
    matching += (judged(x, D_SOURCE).mean() - judged(F * y, D_SOURCE).mean()) ** 2
    return adversarial, home, judging, matching


def test_losses_of_the_paper():
    batch = batch_of()
    adversarial, home, judging, _ = terms(batch)
    on_d, on_g = simple(DiscoGAN, Config()).step(batch, clock())
    assert (on_d.player, on_g.player) == ("D", "G")
    assert on_d.loss.item() == pytest.approx(judging, rel=1e-5)
    assert on_g.loss.item() == pytest.approx(adversarial + home, rel=1e-5)
    assert on_g.log["reconstruction"].item() == pytest.approx(home, rel=1e-5)


@pytest.mark.parametrize(("step", "share"), [(1, 0.01), (2, 0.01), (14, 0.01), (16, 0.5), (17, 0.5)])
def test_losses_of_the_code(step, share):
    batch = batch_of()
    adversarial, home, judging, matching = terms(batch)
    variant = simple(DiscoGAN, Config(form="code", start=10))  # the steps 1, 2, 4, 5, 7, 8, 10, 11, 13, 14
    (on_g,) = variant.step(batch, clock(step))
    expected = (1 - share) * (0.1 * adversarial + 0.9 * matching) + share * home
    assert on_g.player == "G" and on_g.loss.item() == pytest.approx(expected, rel=1e-5)
    (on_d,) = variant.step(batch, clock(3))
    assert on_d.player == "D" and on_d.loss.item() == pytest.approx(judging / 2, rel=1e-5)


def test_matching_compares_mean_features_after_the_first_stage():
    torch.manual_seed(0)
    judge = Judge(1, 4, 16).eval()
    real, fake = torch.randn(5, 1, 16, 16), torch.randn(7, 1, 16, 16)
    found = judge.matching(real, fake).item()
    x, y, expected = real, fake, 0.0
    for number, stage in enumerate(judge.stages):
        x, y = stage(x), stage(y)
        if number:
            gap = x.detach().double().numpy().mean(0) - y.detach().double().numpy().mean(0)
            expected += float(np.mean(gap**2))
    assert len(judge.stages) > 1 and found == pytest.approx(expected, rel=1e-4)
    assert judge(real).shape == (5, 1)


def test_schedules():
    assert [u.player for u in play_pairs(simple(DiscoGAN, Config()), 20)] == ["D", "G"] * 20
    code = simple(DiscoGAN, Config(form="code"))
    assert code.period == 3
    assert [u.player for u in play_pairs(code, 20)] == (["D", "G", "G"] * 7)[:20]


def test_samples_go_both_ways():
    variant, (y, x) = simple(DiscoGAN, Config()), batch_of()
    assert torch.equal(variant.sample(6, x), x * variant.G.factor)
    assert torch.equal(variant.sample(6, y, reverse=True), y * variant.F.factor)


@pytest.mark.parametrize(("side", "halvings"), [(8, 2), (28, 2), (32, 3), (64, 4), (128, 4)])
def test_networks_fit_the_size(side, halvings):
    assert len(widths_of(4, side)) == halvings
    variant = DiscoGAN(Parts(DataSpec((3, side, side), "translate"), 4), Config(width=2))
    x = torch.randn(2, 3, side, side)
    assert variant.sample(2, x).shape == x.shape and variant.D(x).shape == (2, 1)


def test_defaults_and_options():
    for optimizer in simple(DiscoGAN, Config()).optimizers().values():
        found = optimizer.defaults
        assert (found["lr"], found["betas"], found["weight_decay"]) == (2e-4, (0.5, 0.999), 1e-5)
    with pytest.raises(UserError, match="form"):
        resolve(DiscoGAN, "discogan", {"form": "other"})
    assert "divisible by 4" in DiscoGAN.misfit(DataSpec((3, 30, 30), "translate"))
