"""Forgetting: AUC is that of all pairs, and what D forgot is known where D and G are made by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ganbench_plugins.experiments.forgetting import Config, Forgetting
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from ganbench.contract.data import ImageSet, Splits
from ganbench.contract.experiments import Finding
from ganbench.errors import UserError
from ganbench.results.record import RunRecord, RunSpec
from ganbench.results.store import ResultStore
from ganbench.runs.execute import execute
from ganbench.runs.lab import HarnessLab
from ganbench.runs.made import MadeRun
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import Registry, discover
from ganbench.seeds import derive, seeded
from ganbench.training.budget import Budget

PLUGIN = Path(__file__).parents[2] / "tiny_plugin.py"
CPU = torch.device("cpu")
MARKS = 4
SHARES = [(k + 1) / MARKS for k in range(MARKS)]
WHITE = Splits(  # real images are white; samples of mark k are of grey level k / 8
    ImageSet(torch.full((30, 1, 2, 2), 255, dtype=torch.uint8)),
    ImageSet(torch.full((20, 1, 2, 2), 255, dtype=torch.uint8)),
    "0" * 64,
)


def grey(mark: int) -> float:
    return mark / 8


class Judge(nn.Module):
    """A discriminator that knows samples of some marks, and takes all else for real."""

    def __init__(self, known: Sequence[int], real: float = 1.0) -> None:
        super().__init__()
        self.known, self.real = known, real

    def forward(self, x: Tensor) -> Tensor:
        level = x.flatten(1).mean(1, keepdim=True)
        fake = sum(((level - grey(mark)).abs() < 1e-3).float() for mark in self.known)
        return self.real * (1 - fake)


class Player(nn.Module):
    """What an experiment asks of a variant."""

    task = "generate"

    def __init__(self, mark: int, D: Any) -> None:
        super().__init__()
        self.mark, self.D = mark, D

    def sample(self, n: int, cond: Tensor | None = None) -> Tensor:
        return torch.full((n, 1, 2, 2), grey(self.mark))


class ByHand:
    """A finished run whose players at each mark are made by hand."""

    device, data, shares = CPU, WHITE, SHARES

    def __init__(self, variant: str, seed: int, D: Callable[[int], Any]) -> None:
        spec = RunSpec(variant, "white", "none", Budget(100, "images"), seed, 2, 8)
        self.record, self.made = RunRecord(spec, "done"), D

    def at(self, share: float = 1.0) -> Any:
        mark = self.shares.index(share)
        return Player(mark, self.made(mark)).eval()


def find(
    made: Sequence[Any],
    folder: Path,
    failed: Mapping[str, str] | None = None,
    lost: Sequence[RunSpec] = (),
    **options: Any,
) -> Finding:
    registry: Any = SimpleNamespace(entries={})
    asked = Config(**{"samples": 40, **options})
    lab = HarnessLab(
        asked, [], [0], registry, name="forgetting", folder=folder, code="", root=folder, weights=None, device=CPU,
        begin=lambda step: "",
    )  # fmt: skip
    lab.runs, lab.failed, lab.lost = made, failed or {}, lost
    return Forgetting().find(lab)


def own_alone(mark: int) -> Judge:
    return Judge([mark])


def all_so_far(mark: int) -> Judge:
    return Judge(range(mark + 1))


def matrix_of(finding: Finding, variant: str, seed: int = 0) -> np.ndarray:
    cells = [row["auc"] for row in finding.measured if (row["variant"], row["seed"]) == (variant, seed)]
    return np.array(cells, float).reshape(MARKS, MARKS)


def test_a_d_that_knows_its_own_samples_alone_has_forgotten_half(tmp_path: Path) -> None:
    finding = find([ByHand("forgets", seed, own_alone) for seed in range(3)], tmp_path)
    assert (matrix_of(finding, "forgets") == np.where(np.eye(MARKS), 1, 0.5)).all()
    (row,) = finding.tables[0].rows
    assert [cell.partition(" ")[0] for cell in row] == ["forgets", "3", "1.000", *["0.500"] * 4, "1.000"]
    assert finding.claims[0].holds is True


def test_a_d_that_knows_all_so_far_has_forgotten_nothing(tmp_path: Path) -> None:
    finding = find([ByHand("remembers", seed, all_so_far) for seed in range(3)], tmp_path)
    assert (matrix_of(finding, "remembers") == np.where(np.tri(MARKS), 1, 0.5)).all()
    (row,) = finding.tables[0].rows
    assert [cell.partition(" ")[0] for cell in row[2:6]] == ["1.000", "1.000", "0.500", "0.000"]
    assert finding.claims[0].holds is None, "an interval from 0 to 0 holds 0"


def test_a_critic_that_is_low_for_real_images_is_turned_round(tmp_path: Path) -> None:
    finding = find([ByHand("energy", 0, lambda mark: Judge(range(mark + 1), -3.0))], tmp_path)
    assert (matrix_of(finding, "energy") == np.where(np.tri(MARKS), 1, 0.5)).all()
    assert {row["sign"] for row in finding.measured} == {-1}
    assert any("turned round: energy" in note for note in finding.notes)


def test_claims_are_judged_by_intervals_over_seeds(tmp_path: Path) -> None:
    made = [ByHand("gan", seed, own_alone) for seed in range(3)]
    made += [ByHand("r1", seed, all_so_far) for seed in range(3)]
    both, less = find(made, tmp_path).claims
    assert both.holds is None and both.reason == "Not told from 0 by these seeds: r1."
    assert both.found == "forgetting in AUC: gan 0.500 ± 0.000; r1 0.000 ± 0.000."
    assert less.holds is True and "0.500 ± 0.000" in less.found and "3 seeds" in less.found
    one = find([made[0], made[3]], tmp_path).claims
    assert [claim.holds for claim in one] == [None, None], "one seed has no interval"
    worse = [ByHand("gan", seed, all_so_far) for seed in range(3)] + [ByHand("r1", s, own_alone) for s in range(3)]
    assert find(worse, tmp_path / "worse").claims[1].holds is False


class Several(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :3]


class WithLabels(nn.Module):
    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        return x.flatten(1)[:, :1]


class Packs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.first(x)
        return output


@pytest.mark.parametrize(
    ("D", "reason"),
    [
        (None, "it has no discriminator D"),
        (Several(), r"its D gives \(8, 3\) for 8 images, not a number each"),
        (WithLabels(), "its D does not judge images alone .*label"),
        (Packs(), "its D does not judge images alone .*channels"),
    ],
)
def test_a_d_that_gives_images_alone_no_number_has_no_part(tmp_path: Path, D: Any, reason: str) -> None:
    other = ByHand("stranger", 0, lambda mark: D)
    with pytest.raises(UserError, match=f"nobody has a part: {reason}"):
        find([other], tmp_path)
    finding = find([other, ByHand("gan", 0, own_alone)], tmp_path)
    assert set(finding.left_out) == {"stranger white seed 0"} and len(finding.tables[0].rows) == 1


def test_a_run_without_a_part_leaves_the_others_of_its_row_and_the_table_counts_them(tmp_path: Path) -> None:
    lone, other = ByHand("gan", 1, own_alone), ByHand("gan", 3, own_alone)
    lone.shares, other.shares = [1.0], SHARES[1:]
    finding = find([ByHand("gan", 0, own_alone), lone, ByHand("gan", 2, own_alone), other], tmp_path)
    assert finding.tables[0].rows[0][:2] == ["gan", "2 of 4"]
    assert sorted({row["seed"] for row in finding.measured}) == [0, 2]
    assert "at one mark alone" in finding.left_out["gan white seed 1"]
    assert "at other shares of the budget" in finding.left_out["gan white seed 3"]
    with pytest.raises(UserError, match="its weights lie at one mark alone, and two are the least"):
        find([lone], tmp_path)


def test_runs_that_failed_are_counted_in_the_row_that_they_are_of(tmp_path: Path) -> None:
    made, lost = ByHand("gan", 0, own_alone), ByHand("gan", 1, own_alone).record.spec
    others = [ByHand("r1", seed, own_alone) for seed in range(2)]
    finding = find([made, *others], tmp_path, {"gan white seed 1": "diverged: loss of D"}, [lost])
    assert finding.left_out == {"gan white seed 1": "diverged: loss of D"}
    assert [row[:2] for row in finding.tables[0].rows] == [["gan", "1 of 2"], ["r1", "2"]]


def test_what_is_asked_for_is_preferred_and_weights_are_kept_at_every_mark() -> None:
    experiment = Forgetting()
    (plain,) = experiment.runs(Config(), {})
    assert plain["keep"] == [k / 8 for k in range(1, 8)] and plain["marks"] == 1 and plain["dataset"] == ["digits"]
    (asked,) = experiment.runs(Config(), {"marks": 2, "dataset": ["tiny"], "variants": ["plain"], "set": ["lr=1"]})
    assert asked["keep"] == [0.5] and asked["dataset"] == ["tiny"] and asked["variants"] == ["plain"]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover([PLUGIN])


@pytest.mark.usefixtures("switches")
def test_variants_of_a_stranger_take_part(registry: Registry, tmp_path: Path) -> None:
    store, made = ResultStore(tmp_path), []
    whole: dict[str, Any] = {"budget": "512-images", "seeds": 2, "marks": 1, "samples": 32, "keep": (0.5,)}
    request = Request(["plain", "labelled", "makes-nan"], ["tiny"], metrics=("tiny-mean",), **whole)
    for job in plan(replace(request, settings=("mlp.width=16",)), registry).jobs:
        record = execute(job, store, registry, threads=1)
        made += [MadeRun(record, store, registry, root=tmp_path, device=CPU)] if record.status == "done" else []
    finding = find(made, tmp_path / "memory", samples=64)
    assert [row[:2] for row in finding.tables[0].rows] == [["plain", "2"], ["labelled", "2"]]
    assert len(finding.measured) == 2 * 2 * 2 * 2
    assert all(0 <= row["auc"] <= 1 for row in finding.measured)
    assert finding.protocol["n"].startswith("64 held-out real images, 64 samples")
    plain = made[0]
    D, real = plain.at(0.5).D, plain.data.test.images.float() / 127.5 - 1
    with torch.no_grad(), seeded(derive(0, "forgetting", "samples")):
        fake = plain.at(1.0).sample(64)
    with torch.no_grad():
        wanted = roc_auc_score([1] * 64 + [0] * 64, torch.cat([D(real), D(fake)]).flatten())
    (cell,) = [r for r in finding.measured if (r["variant"], r["seed"], r["D_at"], r["G_at"]) == ("plain", 0, 0.5, 1.0)]
    assert cell["auc"] == pytest.approx(wanted if cell["sign"] > 0 else 1 - wanted, abs=1e-9)
    assert find(made, tmp_path / "memory", samples=64).measured == finding.measured, "kept, and read again"
