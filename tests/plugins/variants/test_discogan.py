"""DiscoGAN: both forms of the loss in closed form, matching of features, schedules, directions."""

import numpy as np
import pytest
import torch
from ganbench_plugins.variants.discogan import Config, DiscoGAN, Judge, widths_of
from torch import nn
from translators import D_SOURCE, D, F, G, arrays, batch_of, clock, judged, play_pairs, simple, softplus

from ganbench import DataSpec, Parts, UserError
from ganbench.runs.options import resolve


def terms(y, x):
    adversarial = softplus(-judged(G * x, D)).mean() + softplus(-judged(F * y, D_SOURCE)).mean()
    home = (F * G - 1) ** 2 * ((x**2).mean() + (y**2).mean())
    judging = softplus(-judged(y, D)).mean() + softplus(judged(G * x, D)).mean()
    judging += softplus(-judged(x, D_SOURCE)).mean() + softplus(judged(F * y, D_SOURCE)).mean()
    matching = (judged(y, D).mean() - judged(G * x, D).mean()) ** 2
    matching += (judged(x, D_SOURCE).mean() - judged(F * y, D_SOURCE).mean()) ** 2
    return adversarial, home, judging, matching


def test_losses_of_the_paper():
    batch = batch_of()
    adversarial, home, judging, _ = terms(*arrays(batch))
    on_d, on_g = simple(DiscoGAN, Config()).step(batch, clock())
    assert (on_d.player, on_g.player) == ("D", "G")
    assert on_d.loss.item() == pytest.approx(judging, rel=1e-5)
    assert on_g.loss.item() == pytest.approx(adversarial + home, rel=1e-5)
    assert on_g.log["reconstruction"].item() == pytest.approx(home, rel=1e-5)


def test_losses_of_the_code_are_of_pixels_from_0_to_1_and_the_share_changes_after_so_many_steps_of_both():
    batch = batch_of()
    adversarial, home, judging, matching = terms(*((images + 1) / 2 for images in arrays(batch)))
    variant, seen = simple(DiscoGAN, Config(form="code", start=8)), []
    for number in range(12):
        (update,) = variant.step(batch, clock(number))
        share = 0.01 if number < 8 else 0.5
        expected = judging / 2 if number % 3 == 0 else (1 - share) * (0.1 * adversarial + 0.9 * matching) + share * home
        assert update.loss.item() == pytest.approx(expected, rel=1e-5), number
        seen.append(update.player)
    assert seen == ["D", "G", "G"] * 4


def test_the_share_is_state_and_not_the_number_of_the_step():
    batch, one, other = batch_of(), *(simple(DiscoGAN, Config(form="code", start=2)) for _ in range(2))
    for number in range(4):
        list(one.step(batch, clock(number)))
    other.load_state_dict(one.state_dict())
    losses = [next(variant.step(batch, clock(number))).loss for variant, number in ((one, 4), (other, 1))]
    assert torch.equal(*losses)


def test_translations_of_the_code_lie_in_the_range_of_all_variants():
    torch.manual_seed(0)
    variant = DiscoGAN(Parts(DataSpec((1, 8, 8), "translate"), 4), Config(form="code", width=2))
    x = torch.rand(4, 1, 8, 8) * 2 - 1
    for reverse, network in ((False, variant.G), (True, variant.F)):
        made = variant.sample(4, x, reverse=reverse)
        torch.testing.assert_close((made + 1) / 2, network(x / 2 + 0.5))
        with torch.no_grad():
            for parameter in network[-2].parameters():
                parameter.mul_(1000)
        extremes = variant.sample(4, x, reverse=reverse)
        assert -1 <= extremes.min() < -0.9 and 0.9 < extremes.max() <= 1


def test_networks_of_the_code_have_no_biases_and_pytorch_s_weights():
    torch.manual_seed(0)
    paper, code = (
        DiscoGAN(Parts(DataSpec((3, 64, 64), "translate"), 4), Config(form=form, width=16))
        for form in ("paper", "code")
    )
    convolutions = [m for m in code.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convolutions) == 2 * 8 + 2 * 5 and all(layer.bias is None for layer in convolutions)
    assert isinstance(code.G[-1], nn.Sigmoid) and isinstance(paper.G[-1], nn.Tanh)
    second = code.D.stages[1][0].weight  # U(-1, 1) over the root of the 16·4·4 inputs
    assert second.std().item() == pytest.approx(1 / np.sqrt(3 * 16 * 16), rel=0.05)
    assert paper.D.stages[1][0].weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_matching_compares_mean_features_after_the_first_stage():
    torch.manual_seed(0)
    judge = Judge(1, 4, 16, code=False).eval()
    real, fake = torch.randn(5, 1, 16, 16), torch.randn(7, 1, 16, 16)
    logits, found = judge.compare(real, fake)
    x, y, expected = real, fake, 0.0
    for number, stage in enumerate(judge.stages):
        x, y = stage(x), stage(y)
        if number:
            gap = x.detach().double().numpy().mean(0) - y.detach().double().numpy().mean(0)
            expected += float(np.mean(gap**2))
    assert len(judge.stages) > 1 and found.item() == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(logits, judge(fake))
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
