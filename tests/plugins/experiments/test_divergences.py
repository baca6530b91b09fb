from pathlib import Path

import numpy as np
import pytest
import torch
from ganbench_plugins.experiments import divergences

from ganbench.errors import UserError
from ganbench.runs.experiments import Wanted, carry_out

STRANGE = """
import torch
from torch.optim import SGD
from ganbench import Update, Variant, hookimpl

class Cubic(Variant):
    name = "cubic"

    def build(self, parts):
        self.G, self.D = parts.generator(), parts.discriminator(norm="spectral", channels=3)

    def images_per_step(self, batch):
        return 3 * batch

    def optimizers(self):
        return {"G": SGD(self.G.parameters(), 0.1), "D": SGD(self.D.parameters(), 0.1)}

    def loss(self, v):
        return (v ** 3).mean()

    def step(self, batch, clock):
        packs = lambda x: self.D(x.unflatten(0, (-1, 3)).flatten(1, 2))
        yield Update("D", packs(batch.real).mean())
        yield Update("G", self.loss(packs(self.sample(len(batch.real)))))

class Odd(Cubic):
    name = "odd"

    def loss(self, v):
        return v.log().mean()

class Nobody(Cubic):
    name = "nobody"

    def step(self, batch, clock):
        yield Update("D", self.D(batch.real.unflatten(0, (-1, 3)).flatten(1, 2)).mean())

class Breaks(Cubic):
    name = "breaks"

    def step(self, batch, clock):
        raise RuntimeError("on its own")
        yield

@hookimpl
def ganbench_variants():
    return [Cubic, Odd, Nobody, Breaks]
"""


def find(variants, *settings, plugins=(), seeds=(), tmp="."):
    wanted = Wanted(
        "divergences", {"variants": variants}, settings=settings, seeds=seeds, plugins=plugins, results=Path(tmp)
    )
    return carry_out(wanted, [], {}, lambda step: None)


def curve(outcome, row):
    rows = [each for each in outcome.measured if each["row"] == row]
    return tuple(np.array([each[key] for each in rows]) for key in ("output", "gradient", "loss"))


@pytest.fixture(scope="module")
def known():
    variants = ["gan", "gan-minimax", "lsgan", "hinge", "wgan", "fgan", "pacgan", "ragan", "rgan", "unrolled"]
    return find(variants, "divergences.points=2", "divergences.span=6")


def autograd(loss):
    v = torch.linspace(-6, 6, 5, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(loss(v).sum(), v)
    zero = loss(torch.zeros(1, dtype=torch.float64))
    return slope.numpy(), (loss(v) - zero).detach().numpy()


def probability(v):
    return 1 / (1 + (-v).exp())


LOSSES = {
    "gan": lambda v: -probability(v).log(),
    "gan-minimax": lambda v: (1 - probability(v)).log(),
    "unrolled steps=0": lambda v: (1 - probability(v)).log(),
    "pacgan": lambda v: -probability(v).log(),
    "lsgan": lambda v: (v - 1) ** 2 / 2,
    "lsgan output=sigmoid": lambda v: (probability(v) - 1) ** 2 / 2,
    "lsgan fake_target=-1 generator_target=0": lambda v: v**2 / 2,
    "hinge": lambda v: -v,
    "wgan": lambda v: -v,
    "rgan": lambda v: -probability(v - 0).log(),
    "rgan loss=squares": lambda v: (v - 0 - 1) ** 2,
    "ragan": lambda v: -probability(v - 0).log() - (1 - probability(0 - v)).log(),
    "ragan halved=true": lambda v: (-probability(v - 0).log() - (1 - probability(0 - v)).log()) / 2,
    "fgan": lambda v: -(2 * probability(v)).log(),
    "fgan divergence=kl": lambda v: -v,
    "fgan divergence=kl generator=saddle": lambda v: -(v - 1).exp(),
    "fgan divergence=reverse-kl": lambda v: (-v).exp(),
    "fgan divergence=reverse-kl generator=saddle": lambda v: 1 + (-v).exp().log(),
    "fgan divergence=pearson": lambda v: -v,
    "fgan divergence=pearson generator=saddle": lambda v: -(v**2 / 4 + v),
    "fgan divergence=hellinger": lambda v: -(1 - (-v).exp()),
    "fgan divergence=hellinger generator=saddle": lambda v: -((1 - (-v).exp()) / (-v).exp()),
    "fgan divergence=jensen-shannon": lambda v: -(2 * probability(v)).log(),
    "fgan divergence=jensen-shannon generator=saddle": lambda v: (2 - 2 * probability(v)).log(),
    "fgan divergence=gan": lambda v: -probability(v).log(),
    "fgan divergence=gan generator=saddle": lambda v: (1 - probability(v)).log(),
    "fgan divergence=total-variation": lambda v: -v.tanh() / 2,
    "fgan divergence=total-variation generator=saddle": lambda v: -v.tanh() / 2,
}


@pytest.mark.parametrize("row", LOSSES)
def test_gradient_and_loss_are_those_of_the_loss_written_out(known, row):
    at, slopes, losses = curve(known, row)
    assert at == pytest.approx(np.linspace(-6, 6, 5))
    slope, loss = autograd(LOSSES[row])
    assert slopes == pytest.approx(slope, rel=1e-7, abs=1e-8)
    assert losses == pytest.approx(loss, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("forms", divergences.SAID.values())
def test_what_is_said_of_a_row_is_the_slope_of_its_loss(forms):
    for row in forms.keys() & LOSSES.keys():
        assert forms[row](np.linspace(-6, 6, 5)) == pytest.approx(-autograd(LOSSES[row])[0])


def test_every_claim_holds_and_names_who_took_part(known):
    assert all(claim.holds for claim in known.found.claims)
    assert len(known.found.claims) == 6
    assert "unrolled steps=0" in known.found.claims[0].found and "pacgan" in known.found.claims[1].found


def test_minimax_vanishes_where_D_rejects_and_least_squares_grow(known):
    kinds = {name: row[-1] for row in known.found.tables[0].rows for name in row[0].split(", ")}
    assert kinds["gan-minimax"] == "vanishes" and kinds["gan"] == "stays" and kinds["lsgan"] == "grows"
    assert kinds["lsgan output=sigmoid"] == "vanishes"


def test_rows_that_coincide_stand_in_one_line(known):
    lines = [set(row[0].split(", ")) for row in known.found.tables[0].rows]
    assert any({"gan", "pacgan", "fgan", "rgan"} <= line for line in lines)
    assert not any({"gan", "ragan"} <= line for line in lines)


def test_a_picture_is_drawn(known):
    assert known.pictures["gradients.png"].startswith(b"\x89PNG")


def test_variants_of_strangers_take_part_and_what_is_no_number_is_shown(tmp_path):
    plugin = tmp_path / "strange.py"
    plugin.write_text(STRANGE)
    outcome = find(["cubic", "odd", "nobody", "breaks"], "divergences.points=2", "divergences.span=2", plugins=[plugin])
    at, slopes, losses = curve(outcome, "cubic")
    assert slopes == pytest.approx(3 * at**2)  # of three samples together, and a weight divided by its norm
    assert losses == pytest.approx(at**3)
    _, slopes, _ = curve(outcome, "odd")
    assert not np.isfinite(slopes).all() or not np.isfinite(curve(outcome, "odd")[2]).all()
    assert "no player" in outcome.found.left_out["nobody"]
    assert "on its own" in outcome.found.left_out["breaks"]
    assert not outcome.found.claims


def test_another_set_leaves_out_the_rows_of_others(known):
    outcome = find(["wgan-gp", "dragan"], "divergences.points=1", "divergences.span=1")
    assert {each["row"] for each in outcome.measured} == {"wgan-gp", "dragan"}
    assert outcome.found.left_out["lsgan output=sigmoid"] == "its variant was not asked for"
    assert [claim.holds for claim in outcome.found.claims] == [True, True]


def test_other_rows_may_be_asked_for_and_bad_ones_are_told():
    outcome = find(["lsgan"], 'divergences.rows=["lsgan  generator_target=3"]', "divergences.points=1")
    at, slopes, _ = curve(outcome, "lsgan generator_target=3")
    assert slopes == pytest.approx(at - 3)
    with pytest.raises(UserError, match="a row is a variant with settings"):
        find(["lsgan"], 'divergences.rows=["lsgan output"]')
    outcome = find(["lsgan"], 'divergences.rows=["lsgan outptu=sigmoid"]', "divergences.points=1")
    assert "outptu" in outcome.found.left_out["lsgan outptu=sigmoid"]


def test_beyond_where_fgan_cuts_off_nothing_pulls():
    outcome = find(["fgan"], "divergences.points=2", "divergences.span=24")
    assert [claim.holds for claim in outcome.found.claims] == [True] * 3
    _, slopes, _ = curve(outcome, "fgan divergence=kl")
    assert slopes.tolist() == [0, 0, -1, 0, 0]


def test_a_D_that_is_more_than_a_slope_and_a_G_that_is_more_than_a_point_are_told():
    left_out = find(
        ["gan", "dfm", "minibatch-discrimination", "infogan", "mix-gan"], "divergences.points=1"
    ).found.left_out
    assert left_out["dfm"].startswith("its D is more than a slope, it has D.trunk")
    assert left_out["minibatch-discrimination"].startswith("its D is more than a slope, it has D.trunk")
    assert left_out["infogan"] == "its G is no player that moves the sample and nothing else"
    assert left_out["mix-gan"] == "it has no single point θ and slope ψ"


def test_where_nobody_fits_one_sentence_says_why():
    with pytest.raises(UserError, match=r"nobody fits; .*vae: this backbone has no encoder"):
        find(["vae"])


def test_a_wrong_option_is_told():
    with pytest.raises(UserError, match="span"):
        find(["gan"], "divergences.span=-1")
