"""CycleGAN: losses in closed form, the pool of earlier translations, order, rates, directions."""

import numpy as np
import pytest
import torch
from ganbench_plugins.variants.cyclegan import Config, CycleGAN, Reflection
from translators import D_SOURCE, D, F, G, arrays, batch_of, clock, judged, play_pairs, simple

from ganbench import DataSpec, Parts, UserError
from ganbench.runs.options import resolve


def test_losses_are_those_of_the_paper():
    variant, batch = simple(CycleGAN, Config(cycle=10, identity=0.5)), batch_of()
    y, x = arrays(batch)
    on_g, on_d = variant.step(batch, clock())
    adversarial = ((judged(G * x, D) - 1) ** 2).mean() + ((judged(F * y, D_SOURCE) - 1) ** 2).mean()
    cycle = abs(F * G - 1) * (np.abs(x).mean() + np.abs(y).mean())
    identity = abs(G - 1) * np.abs(y).mean() + abs(F - 1) * np.abs(x).mean()
    assert on_g.player == "G"
    assert on_g.loss.item() == pytest.approx(adversarial + 10 * cycle + 5 * identity, rel=1e-5)
    assert on_g.log["cycle"].item() == pytest.approx(cycle, rel=1e-5)
    judging = ((judged(y, D) - 1) ** 2).mean() + (judged(G * x, D) ** 2).mean()
    judging += ((judged(x, D_SOURCE) - 1) ** 2).mean() + (judged(F * y, D_SOURCE) ** 2).mean()
    assert on_d.player == "D" and on_d.loss.item() == pytest.approx(judging / 2, rel=1e-5)


def test_without_identity_nothing_is_added():
    variant, batch = simple(CycleGAN, Config()), batch_of()
    y, x = arrays(batch)
    loss = next(variant.step(batch, clock())).loss.item()
    adversarial = ((judged(G * x, D) - 1) ** 2).mean() + ((judged(F * y, D_SOURCE) - 1) ** 2).mean()
    assert loss == pytest.approx(adversarial + 10 * abs(F * G - 1) * (np.abs(x).mean() + np.abs(y).mean()), rel=1e-5)


def test_d_gives_no_gradient_to_the_translators():
    variant = simple(CycleGAN, Config())
    *_, on_d = variant.step(batch_of(), clock())
    on_d.loss.backward()
    assert variant.G.factor.grad is None and variant.D.weight.grad is not None


def images(start, n):
    return torch.arange(start, start + n, dtype=torch.float32)[:, None, None, None].expand(n, 1, 8, 8)


def values(shown):
    return shown[:, 0, 0, 0].tolist()


def test_the_pool_fills_first_then_half_are_exchanged():
    variant = simple(CycleGAN, Config(pool=10))
    assert values(variant.earlier(0, images(0, 4))) == [0, 1, 2, 3]
    assert values(variant.earlier(0, images(4, 4))) == [4, 5, 6, 7]
    assert values(variant.earlier(0, images(8, 4))) == [8, 9, 10, 11], "only two of them find a place"
    assert values(variant.pool[0]) == list(range(10)) and values(variant.pool[1]) == [0] * 10
    torch.manual_seed(0)
    old = 0
    for step in range(3, 203):
        new = list(range(4 * step, 4 * step + 4))
        before = values(variant.pool[0])
        shown = values(variant.earlier(0, images(4 * step, 4)))
        after = values(variant.pool[0])
        exchanged = [(was, now) for was, now in zip(new, shown, strict=True) if was != now]
        assert all(was in after and now in before and now not in after for was, now in exchanged)
        assert set(before) - set(after) == {now for _, now in exchanged}, "what is kept leaves the pool as it was"
        old += len(exchanged)
    assert 0.4 < old / 800 < 0.6


def test_each_domain_has_a_pool_and_how_full_it_is_is_state():
    variant = simple(CycleGAN, Config(pool=9))
    for number in range(2):
        list(variant.step(batch_of(seed=number), clock()))
    assert variant.filled.tolist() == [9, 9] and variant.pool[0].abs().sum() != variant.pool[1].abs().sum()
    again = simple(CycleGAN, Config(pool=9))
    again.load_state_dict(variant.state_dict())
    torch.manual_seed(3)
    shown = variant.earlier(1, images(0, 4))
    torch.manual_seed(3)
    assert torch.equal(again.earlier(1, images(0, 4)), shown), "a resumed pool goes on, whatever the step's number"


@pytest.mark.parametrize(("margin", "height", "width"), [(1, 2, 3), (3, 4, 8), (3, 28, 28), (1, 7, 7)])
def test_reflection_is_pytorch_s_own(margin, height, width):
    torch.manual_seed(0)
    x, y = (torch.randn(2, 3, height, width, requires_grad=True) for _ in range(2))
    y.data.copy_(x.data)
    ours, theirs = Reflection(margin)(x), torch.nn.ReflectionPad2d(margin)(y)
    assert torch.equal(ours, theirs)
    weight = torch.randn_like(ours)
    (ours * weight).sum().backward()
    (theirs * weight).sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-6, atol=1e-6)


def test_nothing_in_its_networks_reflects_by_a_kernel_that_is_not_deterministic():
    variant = CycleGAN(Parts(DataSpec((3, 32, 32), "translate"), 4), Config(width=4))
    modes = {m.padding_mode for m in variant.modules() if isinstance(m, torch.nn.Conv2d)}
    assert modes == {"zeros"} and not any(isinstance(m, torch.nn.ReflectionPad2d) for m in variant.modules())
    assert sum(isinstance(m, Reflection) for m in variant.G.modules()) == 2 + 2 * 6
    assert variant.G(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 32, 32)


def test_more_translations_than_the_pool_holds_are_shown_as_they_are():
    variant = simple(CycleGAN, Config(pool=3))
    variant.earlier(0, images(0, 8))
    shown = values(variant.earlier(0, images(8, 8)))
    assert shown[3:] == [11, 12, 13, 14, 15] and set(shown[:3]) <= {0, 1, 2, 8, 9, 10}


def test_g_comes_first_and_both_move_in_every_step():
    assert [update.player for update in play_pairs(simple(CycleGAN, Config()), 20)] == ["G", "D"] * 20


def test_the_rate_falls_over_the_second_half():
    variant = simple(CycleGAN, Config())
    found = [
        {name: float(s["lr_factor"]) for name, s in variant.schedules(clock(0, p)).items()} for p in (0, 0.5, 0.75, 1)
    ]
    assert [rates["G"] for rates in found] == [1, 1, 0.5, 0] and all(rates["D"] == rates["G"] for rates in found)


def test_samples_go_both_ways():
    variant, (y, x) = simple(CycleGAN, Config()), batch_of()
    assert torch.equal(variant.sample(6, x), x * variant.G.factor)
    assert torch.equal(variant.sample(6, y, reverse=True), y * variant.F.factor)


def test_defaults_are_those_of_the_paper():
    variant = CycleGAN(Parts(DataSpec((3, 32, 32), "translate"), 4), Config(width=4))
    for optimizer in variant.optimizers().values():
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (2e-4, (0.5, 0.999))
    assert (Config().cycle, Config().pool, Config().identity) == (10, 50, 0)


def test_what_does_not_fit_is_said():
    assert CycleGAN.misfit(DataSpec((3, 32, 32), "translate")) is None
    assert "two domains" in CycleGAN.misfit(DataSpec((3, 32, 32)))
    assert "divisible by 4" in CycleGAN.misfit(DataSpec((3, 30, 30), "translate"))
    with pytest.raises(UserError, match="cycle"):
        resolve(CycleGAN, "cyclegan", {"cycle": "-1"})
