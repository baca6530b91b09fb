"""Controls: which images they hand out, what a table makes of them, and that copies are seen."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from ganbench_plugins.backbones.dcgan import DCGAN
from ganbench_plugins.datasets.digits import Digits
from ganbench_plugins.variants.controls import Memorizer, Real

from ganbench import DataSpec, ImageSet, Parts, UserError
from ganbench.cli import main
from ganbench.contract.data import Splits
from ganbench.runs.registry import discover
from ganbench.scoring.evaluate import Evaluator, Subject
from ganbench.scoring.samples import control_rows, generate
from ganbench.testing.kit import run_checks
from ganbench.training.bench import Bench
from ganbench.training.budget import Budget
from ganbench.training.trainer import Trainer

PLUGIN = Path(__file__).parents[2] / "tiny_plugin.py"
IMAGES = torch.randint(0, 256, (300, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
TRAIN = ImageSet(IMAGES, torch.arange(300))
DATA = Splits(TRAIN, TRAIN, "5" * 64)
CPU = torch.device("cpu")


def control(cls):
    return cls(Parts(DataSpec((1, 8, 8)), 4))


def test_the_training_split_is_divided_once_for_all():
    seen, unseen = control_rows(300, 20)
    assert len(unseen) == 40 and len(seen) == 260
    assert sorted([*seen.tolist(), *unseen.tolist()]) == list(range(300))
    assert torch.equal(control_rows(300, 20)[1], unseen)
    assert len(control_rows(300, 200)[1]) == 150, "at most half"


@pytest.mark.parametrize(("cls", "part"), [(Memorizer, 0), (Real, 1)])
def test_a_control_hands_out_images_of_its_part_each_once(cls, part):
    rows = set(control_rows(300, 20)[part].tolist())
    first, again, other = (generate(control(cls), 20, DATA, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.images, again.images) and not torch.equal(first.images, other.images)
    drawn = first.cond.tolist()
    assert set(drawn) <= rows and len(set(drawn)) == 20
    assert torch.equal(first.images, IMAGES[first.cond])


def test_more_than_there_are_is_refused():
    with pytest.raises(UserError, match="real has 150 training images to draw from, not 200: lower --samples"):
        generate(control(Real), 200, DATA, seed=0)


@pytest.mark.parametrize("budget", [Budget(100, "images"), Budget(5, "updates"), Budget(1e9, "flops")])
def test_a_control_spends_nothing(budget):
    trainer = Trainer(control(Real), TRAIN, budget, seed=0, batch=8, device=CPU)
    (tick,) = trainer.train(1.0)
    assert (tick.meters.steps, tick.meters.images, tick.meters.flops) == (0, 0, 0)


def test_the_conformance_kit_says_what_controls_are():
    with pytest.raises(UserError, match="memorizer is a control: it is not trained"):
        run_checks("memorizer", registry=discover())


def test_controls_stand_in_a_table_and_win_nothing(tmp_path):
    arguments = ["run", "--variants", "plain,family:control", "--dataset", "tiny", "--plugin", str(PLUGIN)]
    arguments += ["--set", "mlp.width=16", "--budget", "128-images", "--seeds", "2", "--samples", "32", "--marks", "1"]
    arguments += ["--metrics", "tiny-mean,copies,grad-norm-g", "--results", str(tmp_path), "--device", "cpu"]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    rows = {line.split("|")[1].split()[0]: line for line in result.stdout.splitlines() if line.startswith("| ")}
    assert {"plain", "real", "memorizer"} <= rows.keys()
    assert "1±0" in rows["memorizer"].replace(" ", "") and "**" not in rows["memorizer"] + rows["real"]
    controls = next(line for line in result.stdout.splitlines() if "Controls, which are not trained" in line)
    assert "real" in controls and "memorizer" in controls
    assert "every variant was served 128 real images" in result.stdout and "no grad-norm-g" not in result.stdout
    again = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert again.stdout == result.stdout, "nothing was left to do"


def test_real_images_are_no_copies_and_learnt_ones_are():
    (metric,) = [m.item for m in discover().entries["metric"]["copies"]]
    data = Splits(TRAIN, ImageSet(IMAGES[:0].new_tensor(np.random.default_rng(1).integers(0, 256, (60, 1, 8, 8)))), "5")
    by = Evaluator(Bench(Digits(), data, DCGAN()), samples=60, device=CPU)
    shares = {cls: by.score(Subject(control(cls)), [metric]).values["copies"].value for cls in (Real, Memorizer)}
    assert shares[Memorizer] == 1 and shares[Real] < 0.1
