"""The experiment `convergence`: verdicts and claims against the paper and maps written out by hand."""

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ganbench_plugins.experiments.convergence import SAID

from ganbench import GRADIENT_DESCENT, UserError
from ganbench.runs.experiments import Wanted, carry_out

TINY = Path(__file__).parents[2] / "tiny_plugin.py"
SHORT = ("convergence.rate=0.2", "convergence.steps=80", "convergence.draws=4")

STRANGER = """
from torch.optim import SGD

from ganbench import Update, Variant, hookimpl


class Linear(Variant):
    name = "linear"

    def build(self, parts):
        self.G, self.D = parts.generator(), parts.discriminator(norm="none")

    def optimizers(self):
        return {"G": SGD(self.G.parameters(), 1e-3), "D": SGD(self.D.parameters(), 1e-3)}

    def step(self, batch, clock):
        n = len(batch.real)
        fake = self.sample(n)
        of_D, of_G = self.D(fake.detach()).mean() - self.D(batch.real).mean(), -self.D(fake).mean()
        yield Update("G", of_G)
        yield Update("D", of_D)


class Exploding(Linear):
    name = "exploding"

    def step(self, batch, clock):
        n = len(batch.real)
        yield Update("D", -self.D(self.sample(n).detach()).square().exp().mean() - self.D.head.weight.sum())
        yield Update("G", -self.D(self.sample(n)).square().exp().mean())


class Long(Linear):
    name = "long"
    period = 1000


class Failing(Linear):
    name = "failing"

    def step(self, batch, clock):
        raise RuntimeError("broken")
        yield


@hookimpl
def ganbench_variants():
    return [Linear, Exploding, Long, Failing]
"""


@cache
def outcome(*variants, settings=SHORT, seeds=(), plugins=()):
    wanted = Wanted("convergence", {"variants": variants}, settings, seeds, plugins=plugins)
    return carry_out(wanted, [], {}, lambda step: None)


def table_of(done):
    (table,) = done.found.tables
    return {row[0]: dict(zip(table.columns[:6], row, strict=False)) for row in table.rows}


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin") / "stranger.py"
    path.write_text(STRANGER)
    return path


@pytest.mark.parametrize("h", [0.02, 0.2])
def test_the_closed_forms_are_those_of_the_paper(h):
    """|λ|² is the determinant where eigenvalues are complex; otherwise the larger root, by hand."""

    def largest(damping):
        trace, determinant = 2 - h * damping - h**2 / 4, 1 - h * damping
        under = trace**2 / 4 - determinant
        return math.sqrt(determinant) if under < 0 else trace / 2 + math.sqrt(under)

    expected = {
        "gan-minimax": 1.0,
        "gan": 1.0,
        "gan simultaneous=true": math.sqrt(1 + h**2 / 4),
        "wgan clip=1": 1.0,
        "r1 penalty=0.3": largest(0.3),
        "r1 penalty=1": largest(1.0),
        "r1 penalty=0.3 on=fake": largest(0.3),
        "r1 penalty=0.3 on=both": largest(0.6),
        "instance-noise deviation=0.7": largest(0.245),
        "consensus penalty=1": math.sqrt((1 - h / 4) ** 2 + h**2 / 4),
    }
    assert {" ".join([row.variant, *row.settings]): row.radius(h) for row in SAID if row.radius} == pytest.approx(
        expected, abs=1e-12
    )


def test_what_the_paper_says_of_gan_and_of_its_penalties_is_found():
    done = outcome("gan", "r1")
    rows = table_of(done)
    assert [claim.holds for claim in done.found.claims] == [True] * 6
    assert rows["gan"]["verdict"] == "cycles" and rows["gan simultaneous=true"]["verdict"] == "diverges"
    assert {rows[name]["verdict"] for name in rows if "r1 penalty" in name} == {"converges"}
    assert rows["gan"]["updates"] == "1 D, 1 G, in turns"
    assert rows["gan simultaneous=true"]["updates"] == "1 D, 1 G, at once"
    assert set(done.pictures) == {"trajectories.png", "eigenvalues.png"}
    assert "of one seed" in done.found.tables[0].note.lower() and "±" not in str(done.found.tables[0].rows)


def test_paths_and_shares_are_those_of_the_map_by_hand():
    theta, psi, far = 1.0, 1.0, [math.sqrt(2)]
    for _ in range(80):
        psi -= 0.2 * theta / (1 + math.exp(-psi * theta))
        theta += 0.2 * psi / (1 + math.exp(psi * theta))
        far.append(math.hypot(theta, psi))
    quarters = [max(part) for part in np.array_split(far, 4)]
    (found,) = [
        row
        for row in outcome("gan", "r1").measured
        if (row["kind"], row["variant"], row["settings"], row["optimizers"]) == ("verdict", "gan", "", GRADIENT_DESCENT)
    ]
    assert found["left"] == pytest.approx(quarters[3] / quarters[0], abs=1e-9)
    places = [row for row in outcome("gan", "r1").measured if row["kind"] == "place" and row["variant"] == "gan"]
    last = [row for row in places if row["settings"] == "" and row["optimizers"] == GRADIENT_DESCENT][-1]
    assert (last["step"], last["theta"], last["psi"]) == (80, pytest.approx(theta), pytest.approx(psi))


def test_every_row_of_the_csv_has_the_same_columns():
    columns = [list(row) for row in outcome("gan", "r1").measured]
    assert all(set(each) == set(columns[0]) for each in columns)


def test_seeds_have_an_interval_and_rows_may_be_asked_for():
    settings = (*SHORT, "convergence.also=r1 penalty=2 on=fake; gan")
    done = outcome("gan-minimax", seeds=(0, 3), settings=settings)
    rows = table_of(done)
    assert list(rows) == ["r1 penalty=2 on=fake", "gan", "gan-minimax"]
    assert "± 0" in rows["gan-minimax"]["left"]
    assert "2 seeds" in done.found.tables[0].note
    assert done.found.protocol["seeds"] == [0, 3]
    assert [claim.holds for claim in done.found.claims] == [True]


def test_who_has_no_part_is_told_why():
    done = outcome("wgan", "mix-gan", "sngan", "cgan", "ali")
    rows = table_of(done)
    assert list(rows) == ["wgan", "wgan clip=1"]
    assert rows["wgan clip=1"]["updates"] == "5 D, 1 G, in turns"
    assert [claim.holds for claim in done.found.claims] == [True]
    assert "single point" in done.found.left_out["mix-gan"]
    assert "never moves" in done.found.left_out["sngan"]
    assert "labels" in done.found.left_out["cgan"]
    assert "encoder" in done.found.left_out["ali"]


def test_strangers_have_a_part_and_one_that_diverges_is_counted(stranger):
    done = outcome("linear", "exploding", "long", "failing", "plain", "makes-nan", plugins=(stranger, TINY))
    rows = table_of(done)
    assert rows["linear"]["verdict"] == "diverges" and rows["linear"]["updates"] == "1 D, 1 G, at once"
    assert float(rows["linear"]["|λ|"]) == pytest.approx(math.hypot(1, 0.2), abs=1e-5)
    assert rows["exploding"]["verdict"] == "diverges (1 of 1 not finite)"
    assert rows["exploding"]["left"] == "nan"
    assert rows["plain"]["verdict"] == "cycles"
    assert rows["makes-nan"]["verdict"] == "diverges (1 of 1 not finite)"
    assert done.found.left_out["long"].endswith("so it needs 8000 of them or more")
    assert "broken" in done.found.left_out["failing"]
    assert not done.found.claims


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("convergence.also=r1 penalti=2", "convergence.also: r1 penalti=2: .*no option 'penalti'"),
        ("convergence.also=mix-gan", "convergence.also: mix-gan: .*single point"),
        ("convergence.rate=0", r"convergence\.rate: input should be greater than or equal to 0\.001"),
        ("convergence.rate=2", r"convergence\.rate: input should be less than or equal to 1"),
        ("convergence.steps=7", "gan-minimax has no part: its updates repeat after 1 steps, so it needs 8"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(setting, told):
    with pytest.raises(UserError, match=told):
        others = (other for other in SHORT if other.partition("=")[0] != setting.partition("=")[0])
        outcome("gan-minimax", settings=(*others, setting))
