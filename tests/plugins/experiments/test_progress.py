"""Progress: rank correlations are scipy's and those counted by hand; what is odd, missing or alone is shown so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from ganbench_plugins.experiments.progress import Config, Progress
from scipy import stats

from ganbench.cli.group import main
from ganbench.contract.experiments import Finding
from ganbench.contract.types import Value
from ganbench.errors import UserError
from ganbench.results.record import Mark, RunRecord, RunSpec
from ganbench.results.store import ResultStore
from ganbench.runs.lab import HarnessLab
from ganbench.runs.made import MadeRun
from ganbench.training.budget import Budget, Meters

STEPS = 20
"""Of D between marks; G has one for every second of these."""


def meters(steps: int) -> Meters:
    return Meters(steps, 64 * steps, {"D": steps, "G": steps // 2})


class Folder:
    """Runs made by hand, each quantity of one number all along the way to each mark."""

    def __init__(self, root: Path) -> None:
        self.store, self.made = ResultStore(root), list[MadeRun]()

    def add(
        self,
        variant: str,
        seed: int,
        distances: Sequence[float],
        traced: Mapping[str, Sequence[float]],
        *,
        metric: str = "fd-classifier",
        **spec: Any,
    ) -> None:
        n = len(distances)
        whole = {"dataset": "digits", "backbone": "dcgan", "budget": Budget(1000, "images"), "size": 8, "batch": 64}
        protocol = {"n_fake": 359, "extractor": "classifier"}
        curve = [
            Mark(
                (k + 1) / n, meters(STEPS * (k + 1)), {"ms-ssim": Value(0.5), metric: Value(d, protocol, weights="raw")}
            )
            for k, d in enumerate(distances)
        ]
        traces = {
            name: np.repeat(np.array(numbers, np.float64), STEPS // 2 if name.endswith("/G") else STEPS)
            for name, numbers in traced.items()
        }
        record = RunRecord(
            RunSpec(variant=variant, seed=seed, **{**whole, **spec}), "done", meters=meters(STEPS * n), curve=curve
        )
        archive = self.store.traces_path(record.spec)
        archive.parent.mkdir(parents=True, exist_ok=True)
        self.made.append(Held(record, traces))

    def find(self, failed: Mapping[str, str] | None = None, **options: Any) -> Finding:
        lab = lab_of(Config(**options), self.store.root)
        lab.runs, lab.failed = self.made, failed or {}
        return Progress().find(lab)


class Held(MadeRun):
    """A finished run whose traces are held."""

    def __init__(self, record: RunRecord, traces: Mapping[str, np.ndarray]) -> None:
        self.record, self._held = record, traces

    def traces(self) -> Mapping[str, np.ndarray]:
        return self._held


def lab_of(config: Config, folder: Path) -> HarnessLab:
    facts: dict[str, Any] = {
        "name": "progress",
        "folder": folder,
        "code": "",
        "root": folder,
        "weights": None,
        "device": "cpu",
    }
    return HarnessLab(config, [], [0], None, begin=lambda step: None, **facts)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def cell(finding: Finding, row: str, column: str, table: int = 0) -> str:
    drawn = finding.tables[table]
    return next(line for line in drawn.rows if line[0] == row)[list(drawn.columns).index(column)]


def ranks(finding: Finding, quantity: str, key: str = "rank") -> list[float]:
    found = {(line["row"], line["seed"]): line[key] for line in finding.measured if line["quantity"] == quantity}
    return [float(number) for number in found.values()]  # type: ignore[arg-type]


def test_a_quantity_that_falls_with_the_distance_has_one_and_one_that_rises_minus_one(folder: Folder) -> None:
    folder.add("any", 0, [9, 7, 5, 3, 1], {"loss/D": [5, 4, 3, 2, 1], "loss/G": [1, 2, 3, 4, 50]})
    finding = folder.find()
    assert (cell(finding, "any", "loss/D"), cell(finding, "any", "loss/G")) == ("+1.00", "-1.00")
    assert cell(finding, "any", "images") == "-1.00", "images only grow"
    assert (cell(finding, "any", "seeds"), cell(finding, "any", "marks")) == ("1", "5")


def test_the_correlation_of_five_marks_is_that_counted_by_hand(folder: Folder) -> None:
    # Ranks 1 2 3 4 5 and 2 1 4 3 5: differences 1 1 1 1 0, so 1 - 6 * 4 / (5 * 24).
    folder.add("any", 0, [1, 2, 3, 4, 5], {"loss/D": [20, 10, 40, 30, 50]})
    assert ranks(folder.find(), "loss/D") == [pytest.approx(0.8)]


def test_ties_share_their_ranks_and_seeds_have_the_interval_of_scipy(folder: Folder) -> None:
    distances = [[9.0, 7, 7, 5, 3], [8.0, 9, 6, 2, 4], [5.0, 6, 4, 3, 3]]
    losses = [[3.0, 3, 2, 1, 4], [1.0, 5, 3, 2, 4], [9.0, 9, 9, 1, 2]]
    for seed, (y, x) in enumerate(zip(distances, losses, strict=True)):
        folder.add("any", seed, y, {"loss/D": x})
    finding = folder.find()
    expected = [stats.spearmanr(x, y).statistic for x, y in zip(losses, distances, strict=True)]
    of_changes = [stats.spearmanr(np.diff(x), np.diff(y)).statistic for x, y in zip(losses, distances, strict=True)]
    assert ranks(finding, "loss/D") == pytest.approx(expected)
    assert ranks(finding, "loss/D", "rank_of_changes") == pytest.approx(of_changes)
    low, high = stats.t.interval(0.95, 2, loc=np.mean(expected), scale=stats.sem(expected))
    assert cell(finding, "any", "loss/D") == f"{np.mean(expected):+.2f} ± {(high - low) / 2:.2f}"
    assert cell(finding, "any", "loss/D", table=1).startswith(f"{np.mean(of_changes):+.2f} ± ")


def test_a_quantity_at_a_mark_is_the_median_of_the_last_part_of_the_updates_of_its_player(folder: Folder) -> None:
    folder.add("any", 0, [4, 3, 2, 1], {"loss/D": [1, 2, 3, 4], "loss/G": [1, 2, 3, 4], "log/k": [1, 2, 3, 4]})
    way = np.arange(4.0 * STEPS)
    folder.made[0]._held = {"loss/D": way, "loss/G": way[: 2 * STEPS], "log/k": way}  # type: ignore[attr-defined]
    values = {
        part: {
            name: [line["value"] for line in folder.find(part=part).measured if line["quantity"] == name]
            for name in ("loss/D", "loss/G", "log/k")
        }
        for part in (0.0, 0.1)
    }
    assert values[0.0]["loss/D"] == values[0.0]["log/k"] == [19, 39, 59, 79]
    assert values[0.0]["loss/G"] == [9, 19, 29, 39]
    # Two, four, six and eight entries: the mean of the middle two.
    assert values[0.1]["loss/D"] == [18.5, 37.5, 56.5, 75.5]
    assert values[0.1]["loss/G"] == [9, 18.5, 28, 37.5]


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_a_distance_that_is_no_number_is_told_and_never_masked(folder: Folder, odd: float) -> None:
    folder.add("any", 0, [9, 7, 5, 3], {"loss/D": [4, 3, 2, 1]})
    folder.add("any", 1, [9, odd, 5, 3], {"loss/D": [4, 3, 2, 1]})
    finding = folder.find()
    assert cell(finding, "any", "loss/D") == "nan" and cell(finding, "any", "seeds") == "2"
    assert list(finding.notes) == [f"any, seed 1: fd-classifier is {odd} at 50% of the budget"]
    assert ranks(finding, "loss/D")[0] == 1 and math.isnan(ranks(finding, "loss/D")[1])
    assert {line["of_distance"] for line in finding.measured if line["seed"] == "1"} >= {9.0, 5.0, 3.0}


def test_a_trace_that_is_no_number_and_one_that_stands_still_tell_nothing(folder: Folder) -> None:
    folder.add("any", 0, [9, 7, 5, 3], {"loss/D": [4, 3, math.nan, 1], "loss/G": [2, 2, 2, 2]})
    finding = folder.find()
    assert (cell(finding, "any", "loss/D"), cell(finding, "any", "loss/G")) == ("nan", "nan")


def test_too_few_marks_no_traces_and_runs_that_failed_have_no_part_and_it_is_said(folder: Folder) -> None:
    folder.add("any", 0, [9, 7, 5, 3], {"loss/D": [4, 3, 2, 1]})
    folder.add("short", 0, [9, 7, 5], {"loss/D": [4, 3, 2]})
    folder.add("control", 0, [9, 7, 5, 3], {})
    folder.add("plain", 0, [9, 7, 5, 3], {"loss/D": [4, 3, 2, 1]}, metric="tiny-mean")
    finding = folder.find({"wgan digits seed 0": "loss of D is NaN at step 4"})  # which is the harness's to tell
    assert finding.left_out == {
        "short, seed 0": "cannot tell: 3 marks have a Fréchet distance, 4 are needed",
        "control, seed 0": "nothing was traced, or its traces were not kept",
        "plain, seed 0": "cannot tell: 0 marks have a Fréchet distance, 4 are needed",
    }
    assert [row[0] for row in finding.tables[0].rows] == ["any"]
    assert "short" in [row[0] for row in folder.find(least=3).tables[0].rows]


def test_nothing_to_tell_is_one_sentence(folder: Folder) -> None:
    folder.add("short", 0, [9, 7], {"loss/D": [4, 3]})
    with pytest.raises(
        UserError, match=r"no run has a part \(cannot tell: 2 marks have a Fréchet distance, 4 are needed"
    ):
        folder.find()


@pytest.mark.parametrize(
    ("metric", "counts"), [("fid", True), ("fid-768", True), ("fid@classifier", True), ("kid", False)]
)
def test_any_frechet_distance_serves_and_nothing_else(folder: Folder, metric: str, counts: bool) -> None:
    folder.add("any", 0, [9, 7, 5, 3], {"loss/D": [4, 3, 2, 1]}, metric=metric)
    if counts:
        assert cell(folder.find(), "any", "distance") == metric
    else:
        with pytest.raises(UserError):
            folder.find()


def test_rows_say_in_what_they_differ_and_the_most_faithful_loss_stands_first(folder: Folder) -> None:
    folder.add("b", 0, [9, 7, 5, 3], {"loss/D": [1, 2, 3, 4]})
    folder.add("a", 0, [9, 7, 5, 3], {"loss/D": [4, 3, 2, 1]}, options={"lr": 0.1})
    folder.add("a", 0, [9, 7, 5, 3], {"loss/G": [4, 3, 2, 1]}, batch=32)
    finding = folder.find()
    assert [row[0] for row in finding.tables[0].rows] == ["a lr=0.1 64", "b 64", "a 32"]
    assert cell(finding, "a 32", "loss/D") == ""


def claims_of(finding: Finding) -> list[bool | None]:
    return [claim.holds for claim in finding.claims]


@pytest.mark.parametrize(
    ("estimates", "holds"),
    [
        ([[5, 4, 3, 2], [5, 4, 2, 3], [5, 4, 3, 1]], True),
        ([[2, 3, 4, 5], [2, 3, 5, 4], [2, 3, 4, 6]], False),
        ([[5, 4, 3, 2], [2, 3, 4, 5], [5, 2, 4, 3]], None),
        ([[5, 4, 3, 2]], None),
    ],
    ids=["falls", "rises", "either", "one seed"],
)
def test_a_critic_is_held_to_what_its_paper_says_whoever_it_is(
    folder: Folder, estimates: list[list[float]], holds: bool | None
) -> None:
    for seed, estimate in enumerate(estimates):
        folder.add("a-stranger", seed, [9, 7, 5, 3], {"log/wasserstein": estimate, "loss/D": [-x for x in estimate]})
    finding = folder.find()
    assert claims_of(finding) == [holds] and "figure 3" in finding.claims[0].said
    assert bool(finding.claims[0].reason) == (holds is not True)


def test_the_estimate_of_js_is_held_to_the_opposite_by_the_loss_that_it_is_made_of(folder: Folder) -> None:
    rising = [math.log(2) - np.array(js) for js in ([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.4, 0.3], [0, 0.2, 0.3, 0.5])]
    for seed, half in enumerate(rising):  # log 2 - loss/2 rises while the distance falls, as the paper says
        folder.add("gan", seed, [9, 7, 5, 3], {"loss/D": 2 * half})
        folder.add("gan-minimax", seed, [9, 7, 5, 3], {"loss/D": 2 * half[::-1]})
        folder.add("mine", seed, [9, 7, 5, 3], {"loss/D": 2 * half})
    assert claims_of(folder.find()) == [True, False]
    assert claims_of(folder.find(js=("mine",))) == [True] and claims_of(folder.find(js=())) == []


def test_it_asks_for_runs_of_ten_marks_with_a_frechet_distance_and_leaves_what_the_user_says() -> None:
    (request,) = Progress().runs(Config(), {})
    assert request["metrics"] == ("fd-classifier",) and request["marks"] == 10 and request["seeds"] == 3
    (request,) = Progress().runs(Config(), {"dataset": ("mnist",), "marks": 5})
    assert request == {"dataset": ("mnist",), "seeds": 3, "marks": 5}, "metrics and budget are the data set's"


def test_pictures_name_their_axes_and_show_every_mark(folder: Folder) -> None:
    for seed in range(9):
        folder.add("a$_{b}$", seed, [9, 7, 5, 3], {"loss/D": [4, 3, 2, 1 + seed], "loss/G": [1, 2, math.nan, 3]})
    finding = folder.find()
    for figure, caption in finding.figures.values():
        figure.canvas.draw()
        assert caption and figure.get_size_inches()[0] * 110 == pytest.approx(803)
    heat, scatter = (figure for figure, _ in finding.figures.values())
    assert heat.axes[0].get_xlabel() and heat.axes[0].get_ylabel()
    assert "nan" in [text.get_text() for text in heat.axes[0].texts]
    assert [axes.get_xlabel() for axes in scatter.axes] == ["loss/D", "loss/G"]
    assert len(scatter.axes[0].lines) == 2 * 7, "a line and a star of seven seeds"


def test_the_command_looks_at_a_folder_and_keeps_what_it_found(tmp_path: Path) -> None:
    zoo = Path(__file__).parents[3] / "results" / "published" / "zoo"
    given = ["experiment", "progress", "--runs", str(zoo), "--results", str(tmp_path), "--no-page"]
    result = CliRunner().invoke(main, [*given, "--variants", "gan,real", "--set", "progress.shown=1"])
    assert result.exit_code == 0, result.output
    (kept,) = (tmp_path / "experiments").glob("progress-*")
    assert {"correlation.png", "scatter.png", "progress.csv", "progress.md", "finding.json"} == {
        path.name for path in kept.iterdir()
    }
    assert "runs.done=10" in result.stdout and "runs.dataset=digits" in result.stdout
    result = CliRunner().invoke(main, [*given, "--set", "progress.least=0"])
    assert result.exit_code == 2 and len(result.stderr.strip().splitlines()) == 1, result.output
