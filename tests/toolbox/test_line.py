from pathlib import Path

import pytest
import torch

from ganbench import SCALE, SHIFT, Line, TrainedOnLine, UserError, judged, line_data, outputs_on_line
from ganbench.contract.types import DataSpec
from ganbench.runs.lab import HarnessLab
from ganbench.runs.registry import discover
from ganbench.toolbox import line


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("memory")
    return HarnessLab(
        None, [], [0], discover(()), name="line", folder=folder, code="", root=Path(), weights=None,
        device=torch.device("cpu"), begin=lambda step: None,
    )  # fmt: skip


HOW = {"batch": 32, "steps": 4, "rate": 0.01}


def trained(lab, row, **options):
    return TrainedOnLine(lab, row, **{"seed": 0, **HOW, **options})


def test_the_generator_draws_its_gaussian_whatever_the_latents_are(lab):
    course = lab.course("mmd-gan", line_data(64), Line())
    course.restart({SHIFT: torch.tensor([3.0]), SCALE: torch.tensor([0.5])})
    torch.manual_seed(0)
    samples = course.variant.sample(20_000)
    assert samples.shape == (20_000, 1)
    assert samples.mean().item() == pytest.approx(3, abs=0.02)
    assert samples.std().item() == pytest.approx(0.5, abs=0.02)


def test_data_are_normal_and_of_their_seed():
    images = line_data(20_000, 1).images
    assert images.mean().item() == pytest.approx(0, abs=0.03) and images.std().item() == pytest.approx(1, abs=0.03)
    assert torch.equal(images, line_data(20_000, 1).images)
    assert not torch.equal(images, line_data(20_000, 2).images)


@pytest.mark.parametrize("row", ["gan", "wgan", "unrolled", "infogan"])
def test_the_generator_stays_and_D_moves(lab, row):
    one = trained(lab, row)
    before = one.at(2.0, torch.linspace(-1, 3, 5))
    after = one.at(2.0, torch.linspace(-1, 3, 5))
    state = one.course.variant.state_dict()
    assert (state[SHIFT].item(), state[SCALE].item()) == (2.0, 1.0)
    assert not torch.equal(before, after)


def test_a_critic_stays_in_its_box_with_another_optimizer(lab):
    one = trained(lab, "wgan", rate=1.0)
    one.at(2.0, torch.zeros(1))
    assert max(weight.abs().max().item() for weight in one.course.variant.D.parameters()) <= 0.01


def test_a_pack_is_of_equal_points_and_its_output_is_divided(lab):
    variant = lab.course("pacgan", line_data(64), Line(), batch=16).variant
    x = torch.tensor([-1.0, 0.5])
    together = variant.D(torch.stack([x, x], 1))[:, 0] / 2
    assert torch.allclose(judged(variant, x), together.double())
    assert variant.training


@pytest.mark.parametrize(
    ("row", "why"), [("mmd-gan", "no single output"), ("vae", "no D"), ("ali", "judges more"), ("ebgan", "rebuilds")]
)
def test_a_D_that_does_not_judge_points_is_told(lab, row, why):
    with pytest.raises(UserError, match=why):
        trained(lab, row)


def test_one_that_diverges_is_told(lab):
    with pytest.raises(UserError, match=r"it diverges: the (loss|gradient norm) of [DG]"):
        trained(lab, "lsgan", rate=1e30, steps=40).at(1.0, torch.zeros(1))


def test_other_data_do_not_fit():
    assert Line().misfit(DataSpec((1,))) is None
    assert "not of shape (2,)" in (Line().misfit(DataSpec((2,))) or "")
    with pytest.raises(UserError, match="line"):
        Line()(DataSpec((1, 8, 8)))


def test_outputs_are_of_each_row_seed_and_distance_and_kept(lab, monkeypatch):
    monkeypatch.setattr(lab, "seeds", [0, 3])
    points = torch.linspace(-1, 3, 5, dtype=torch.float64)
    rows = {"fgan divergence=kl": [1.0, 2.0], "vae": [1.0]}
    outputs, failed = outputs_on_line(lab, rows, points, **HOW)
    one = trained(lab, "fgan divergence=kl", seed=3)
    for distance in (1.0, 2.0):
        assert torch.equal(outputs["fgan divergence=kl"][3][distance], one.at(distance, points))
    assert not torch.equal(outputs["fgan divergence=kl"][0][1.0], outputs["fgan divergence=kl"][3][1.0])
    assert set(failed) == {"vae"} and all("no D" in failed["vae"][seed] for seed in (0, 3))

    def never(*args, **options):
        raise UserError("it is trained again")

    monkeypatch.setattr(line, "TrainedOnLine", never)
    again, failed = outputs_on_line(lab, rows, points, **HOW)
    assert torch.equal(again["fgan divergence=kl"][3][2.0], outputs["fgan divergence=kl"][3][2.0])
    assert set(again) == {"fgan divergence=kl"} and set(failed) == {"vae"}
    _, failed = outputs_on_line(lab, rows, points, **{**HOW, "steps": 6})
    assert set(failed) == set(rows), "other steps are another training"


def test_a_slow_step_is_told_and_a_busy_machine_alone_changes_nothing(lab, monkeypatch):
    points = torch.zeros(1, dtype=torch.float64)
    quick = trained(lab, "gan").at(1.0, points)
    times = iter([0.0, 1.0, 1.0, 1.1])
    monkeypatch.setattr(line.time, "process_time", lambda: next(times))
    assert torch.equal(trained(lab, "gan").at(1.0, points), quick)
    times = iter(range(100))
    with pytest.raises(UserError, match=r"more than 0\.2 s of a processor"):
        trained(lab, "gan")
