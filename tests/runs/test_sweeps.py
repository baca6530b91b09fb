"""Swept options: every combination becomes runs, each once, seed by seed."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest
from click.testing import CliRunner

from ganbench.cli import main
from ganbench.errors import UserError
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import Registry, discover
from ganbench.runs.sweeps import combinations

PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover([PLUGIN])


def planned(registry: Registry, *variants: str, sweeps: tuple[str, ...], **more: object):
    return plan(Request(variants, ("tiny",), plugins=(PLUGIN,), sweeps=sweeps, **more), registry)  # type: ignore[arg-type]


def test_every_combination_of_values_is_made_and_none_without_a_sweep() -> None:
    assert combinations(()) == [()]
    found = combinations(("lr=1e-4, 2e-4,1e-4", "wgan.clip=0.1,0.2"))
    assert found == list(product(["lr=1e-4", "lr=2e-4"], ["wgan.clip=0.1", "wgan.clip=0.2"]))
    assert combinations(("lr=1",), ("beta=2",)) == [("lr=1",)]


def test_commas_inside_brackets_belong_to_a_list() -> None:
    lists = [f"betas=[{first},{second}]" for first, second in ((0.5, 0.9), (0.0, 0.99))]
    assert combinations(("betas=[0.5,0.9],[0.0,0.99]",)) == [(each,) for each in lists]
    assert combinations(("x=[[1,2],[3,4]],(5,6)",)) == [("x=[[1,2],[3,4]]",), ("x=(5,6)",)]


WRONG = {
    "lr": "--sweep 'lr' is not an option and its values: write lr=1e-4,2e-4",
    "lr=": "is not an option and its values",
    "=1,2": "is not an option and its values",
    ".lr=1,2": "is not an option and its values",
    "lr=1,,2": "is not an option and its values",
    "lr=1,2,": "is not an option and its values",
    "betas=[0.5,0.9": "has a bracket without its other half: write",
    "betas=0.5],0.9": "has a bracket without its other half: write",
    "beta=3,4": "--sweep beta is given by --set as well, as 2: keep one",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_sweep_is_told_in_one_sentence(text: str) -> None:
    with pytest.raises(UserError, match=re.escape(WRONG[text])):
        combinations((text,), ("beta=2",))
    result = CliRunner().invoke(main, f"run --variants gan --dataset digits --set beta=2 --sweep {text}".split())
    assert result.exit_code == 2 and WRONG[text] in " ".join(result.stderr.split()) and not result.stdout


def test_an_option_is_swept_once_and_not_endlessly() -> None:
    with pytest.raises(UserError, match="--sweep lr is given twice: name all its values in one"):
        combinations(("lr=1,2", "lr=3"))
    many = ",".join(map(str, range(40)))
    with pytest.raises(UserError, match="makes 1,600 combinations of options; at most 1,000 can be asked for"):
        combinations((f"a={many}", f"b={many}"))


def test_rows_are_those_of_as_many_commands_seed_by_seed(registry: Registry) -> None:
    made = planned(registry, "wgan", sweeps=("lr=1e-3,2e-3", "wgan.clip=0.1,0.2"), seeds=2, settings=("mlp.width=16",))
    apart = [
        plan(
            Request(("wgan",), ("tiny",), seeds=(seed,), settings=("mlp.width=16", *pair), plugins=(PLUGIN,)), registry
        ).jobs[0]
        for seed in range(2)
        for pair in product(["lr=1e-3", "lr=2e-3"], ["clip=0.1", "clip=0.2"])
    ]
    assert [job.spec.id for job in made.jobs] == [job.spec.id for job in apart]
    assert [job.spec.seed for job in made.jobs] == [0] * 4 + [1] * 4
    assert [dict(job.settings["variant"]) for job in made.jobs] == [dict(job.settings["variant"]) for job in apart]
    assert made.jobs[1].spec.options == {"clip": 0.2, "lr": 0.001, "mlp.width": 16}


def test_a_variant_without_the_option_runs_once_and_a_default_is_the_plain_row(registry: Registry) -> None:
    made = planned(registry, "plain", "wgan", sweeps=("wgan.clip=0.01,0.1",), seeds=1)
    assert [(job.spec.variant, job.spec.options) for job in made.jobs] == [
        ("plain", {}),
        ("wgan", {}),
        ("wgan", {"clip": 0.1}),
    ]


PICKY = """
from dataclasses import dataclass
from torch.optim import SGD
from ganbench import Update, UserError, Variant, hookimpl

@dataclass(frozen=True)
class Config:
    kind: str = "good"
    lr: float = 0.1

class Picky(Variant):
    name, family, summary = "picky", "gan", "takes one kind alone"
    config: Config

    def build(self, parts):
        if self.config.kind == "bad":
            raise UserError("it is bad")
        self.G, self.D = parts.generator(), parts.discriminator()

    def optimizers(self):
        return {name: SGD(getattr(self, name).parameters(), self.config.lr) for name in "GD"}

    def step(self, batch, clock):
        yield Update("G", self.D(self.sample(len(batch.real))).mean())

@hookimpl
def ganbench_variants():
    return [Picky]
"""


def test_what_is_skipped_with_some_values_says_with_which(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "picky.py"
    path.write_text(PICKY)
    made = planned(discover([PLUGIN, path]), "picky", sweeps=("kind=good,bad", "lr=0.1,0.2"), seeds=1)
    assert [job.spec.options for job in made.jobs] == [{}, {"lr": 0.2}]  # 0.1 is the default
    told = [skip.reason for skip in made.skips]
    assert told == ["it is bad (kind=bad lr=0.1)", "it is bad (kind=bad lr=0.2)"]
    alike = planned(registry, "cyclegan", sweeps=("cyclegan.lr=1e-4,2e-4",), seeds=1)
    assert not alike.jobs and len(alike.skips) == 1 and "(" not in alike.skips[0].reason


METRIC = """
from dataclasses import dataclass
from ganbench import Metric, hookimpl

@dataclass(frozen=True)
class Config:
    k: int = 3

@hookimpl
def ganbench_metrics():
    return [Metric("nearest", lambda scene: {}, samples=False, config=Config())]
"""


def test_an_option_of_a_metric_makes_no_other_run(tmp_path: Path) -> None:
    path = tmp_path / "nearest.py"
    path.write_text(METRIC)
    with pytest.raises(UserError, match=r"--sweep nearest\.k is an option of a metric, which makes no other run"):
        planned(discover([PLUGIN, path]), "plain", sweeps=("nearest.k=1,2",), metrics=("nearest",))


def test_faults_of_options_are_those_of_set(registry: Registry) -> None:
    for sweep, told in {
        "nonsense=1,2": "--set nonsense=1 is meant for all variants, but gan has no option 'nonsense'",
        "wgan.clip=1,2": "'wgan' takes no part in this run",
        "lr=1e-3,fast": "gan.lr: input should be",
    }.items():
        with pytest.raises(UserError, match=re.escape(told)):
            planned(registry, "gan", sweeps=(sweep,), seeds=1)


def test_a_preset_has_rows_of_its_own() -> None:
    command = "run --preset pacgan-synthetic --scale 0.01 --sweep gan.lr=1e-4,2e-4 --dry-run"
    result = CliRunner().invoke(main, command.split())
    assert result.exit_code == 2 and "--sweep: the preset 'pacgan-synthetic' has rows of its own" in result.stderr


def test_the_plan_shows_a_row_a_value_with_its_option(tmp_path: Path) -> None:
    command = ["run", "--variants", "wgan", "--dataset", "tiny", "--plugin", str(PLUGIN), "--results", str(tmp_path)]
    result = CliRunner().invoke(main, [*command, "--sweep", "wgan.lr=0.25,0.5", "--seeds", "1", "--dry-run"])
    assert result.exit_code == 0, result.stderr
    assert re.findall(r"wgan +\| +(lr=\S+)", result.stdout) == ["lr=0.25", "lr=0.5"], result.stdout
