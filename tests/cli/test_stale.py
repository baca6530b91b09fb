"""Runs of a harness whose numbers are not today's: shown as they are, never mixed in, made again on request."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ganbench import NUMBERS
from ganbench.cli.group import main
from ganbench.contract.types import Value
from ganbench.reports.render import render
from ganbench.results import record as record_module
from ganbench.results.record import RunRecord, RunSpec
from ganbench.results.store import ResultStore
from ganbench.runs.executors import planner
from ganbench.runs.steps import unwatched
from ganbench.training.budget import Budget, Meters

PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"
OLD = f"numbers {NUMBERS}"
TINY = ("--variants", "plain", "--dataset", "tiny", "--seeds", "1", "--plugin", str(PLUGIN))


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(main, list(arguments), catch_exceptions=True)
    assert "Traceback" not in result.output
    return result


def done(*arguments: str) -> Result:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result


def files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def records(results: Path) -> list[RunRecord]:
    found, problems = ResultStore(results).records()
    assert problems == []
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results: Path = tmp_path_factory.mktemp("made")
    done("run", *TINY, "--results", str(results))
    return results


@pytest.fixture
def stale(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a finished run, once a seed gives other numbers; plans are made here, where that is so."""
    results = tmp_path / "stale"
    shutil.copytree(made, results)
    monkeypatch.setattr(record_module, "NUMBERS", NUMBERS + 1)
    monkeypatch.setattr(planner, "survive", lambda function, *arguments: (function(*arguments, unwatched), {}))
    return results


# On the command line


def test_a_stale_run_is_shown_as_it_is_with_one_note(stale: Path) -> None:
    untouched = files(stale)
    shown = done("run", *TINY, "--results", str(stale), "--no-page")
    (note,) = shown.stderr.splitlines()
    assert note.startswith("Note: 1 of 1 runs was made by an older ganbench; ") and "--redo stale" in note
    assert "| plain  " in shown.stdout and f"- All rows are of {OLD}: made by an older ganbench" in shown.stdout
    assert shown.stdout == done("report", "--results", str(stale)).stdout
    assert files(stale) == untouched


def test_a_dry_run_says_what_is_stale(stale: Path) -> None:
    assert "| done (stale) |" in done("run", *TINY, "--results", str(stale), "--dry-run").stdout
    assert "|        to do |" in done("run", *TINY, "--seeds", "2", "--results", str(stale), "--dry-run").stdout
    assert "| to do |" in done("run", *TINY, "--results", str(stale), "--dry-run", "--redo", "stale").stdout


def test_redo_makes_stale_runs_again_beside_the_old_ones(stale: Path) -> None:
    (old,) = records(stale)
    again = done("run", *TINY, "--results", str(stale), "--redo", "stale")
    assert "started (1 of 1)" in again.stderr and "older ganbench" not in again.stderr
    assert OLD not in again.stdout
    both = {record.spec.numbers: record for record in records(stale)}
    assert both.keys() == {NUMBERS, NUMBERS + 1} and both[NUMBERS] == old
    assert both[NUMBERS + 1].spec == replace(old.spec, numbers=NUMBERS + 1) and both[NUMBERS + 1].status == "done"
    assert both[NUMBERS + 1].values == old.values  # the harness of this test is the same
    untouched = files(stale)
    for more in ((), ("--redo", "stale")):
        shown = done("run", *TINY, "--results", str(stale), *more)
        assert shown.stderr == f"Page: {stale / 'report.html'}\n" and OLD not in shown.stdout
    assert files(stale) == untouched
    report = done("report", "--results", str(stale)).stdout
    assert f"| plain ‡{NUMBERS} " in report and "| plain  " in report and f"- ‡{NUMBERS} {OLD}: made by" in report


def test_a_stale_run_that_did_not_end_is_made_anew(stale: Path) -> None:
    (old,) = records(stale)
    path = ResultStore(stale).path(old.spec)
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "status": "killed"}), "utf-8")
    work = ResultStore(stale).work(old.spec)
    (work / "final.pt").rename(work / "checkpoint.pt")  # never looked at
    assert "| killed (stale) |" in done("run", *TINY, "--results", str(stale), "--dry-run").stdout
    again = done("run", *TINY, "--results", str(stale))
    assert "started (1 of 1)" in again.stderr and " 20% " in again.stderr and "older ganbench" not in again.stderr
    assert {record.spec.numbers: record.status for record in records(stale)} == {NUMBERS: "killed", NUMBERS + 1: "done"}
    assert (work / "checkpoint.pt").exists()


def test_a_stale_run_is_not_scored_later_and_the_table_says_why(stale: Path) -> None:
    untouched = files(stale)
    asked = ("run", *TINY, "--results", str(stale), "--metrics", "tiny-mean,tiny-late", "--no-page")
    shown = done(*asked)
    said = "plain seed 0: no tiny-late (asked for after the run, which an older ganbench made)"
    assert said in shown.stdout and len(shown.stderr.splitlines()) == 1
    assert "tiny-late" in done(*asked, "--json").stdout
    assert files(stale) == untouched
    done(*asked, "--redo", "stale")
    assert {record.spec.numbers: "tiny-late" in record.values for record in records(stale)} == {
        NUMBERS: False,
        NUMBERS + 1: True,
    }


def test_fresh_and_stale_runs_of_one_command_stand_apart(stale: Path) -> None:
    shown = done("run", *TINY, "--seeds", "2", "--results", str(stale))
    assert "Note: 1 of 2 runs was made by an older ganbench" in shown.stderr and "started (1 of 1)" in shown.stderr
    assert [record.spec.numbers for record in records(stale)] == [NUMBERS, NUMBERS + 1]
    rows = [line.split("|")[1].strip() for line in shown.stdout.splitlines() if line.startswith("| plain")]
    assert sorted(rows) == ["plain", f"plain ‡{NUMBERS}"]


# In reports


def made_by(numbers: int, variant: str, *values: float) -> list[RunRecord]:
    """Runs of seeds 0, 1, … of a harness, each with a score of which less is better."""
    spec = RunSpec(variant, "digits", "mlp", Budget(64, "images"), 0, 8, 64, numbers=numbers)
    return [
        RunRecord(
            replace(spec, seed=seed),
            "done",
            meters=Meters(1, 64, {"D": 1, "G": 1}),
            values={"fd": [Value(value, {"n_fake": 64}, higher_is_better=False)]},
        )
        for seed, value in enumerate(values)
    ]


def table(runs: list[RunRecord]) -> dict[str, str]:
    """The cells of the score, by row."""
    lines = [line.split("|") for line in render(runs).splitlines() if line.startswith("| ")]
    return {line[1].strip(): line[2].strip() for line in lines[2:]}


@pytest.fixture
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_module, "NUMBERS", 2)


@pytest.mark.usefixtures("today")
def test_no_mean_is_over_two_numbers() -> None:
    runs = [*made_by(1, "gan", 1.0, 1.1), *made_by(2, "gan", 5.0, 5.1)]
    assert table(runs) == {"gan ‡1": "1.05±0.64", "gan": "5.05±0.64"}
    report = render(runs)
    assert "- ‡1 numbers 1: made by an older ganbench; today's gives other numbers for the same seed" in report
    assert "different runs" not in report and "do not share" not in report
    assert len(json.loads(render(runs, format="json"))) == 2


@pytest.mark.usefixtures("today")
def test_a_stale_row_is_never_bold_and_never_the_runner_up() -> None:
    seeds = (0.0, 0.01, 0.02, 0.04, 0.03)
    gan, wgan = made_by(2, "gan", *(5 + x for x in seeds)), made_by(2, "wgan", *(9 + x * x for x in seeds))
    best, near = made_by(1, "vae", *(1 + x for x in seeds)), made_by(1, "wgan-gp", *(5 + x for x in seeds))
    bold = {name for name, cell in table([*gan, *wgan, *best, *near]).items() if cell.startswith("**")}
    assert bold == {"gan"}
    assert "**" not in "".join(table([*gan, *best]).values())
    assert "**" not in "".join(table([*best, *made_by(1, "wgan", 9.0, 9.01, 9.02)]).values())


@pytest.mark.usefixtures("today")
@pytest.mark.parametrize("runs", [False, True])
def test_csv_has_a_column_as_soon_as_a_row_is_stale(runs: bool) -> None:
    def read(records: list[RunRecord]) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(render(records, format="csv", runs=runs))))

    fresh, old = made_by(2, "gan", 5.0), made_by(1, "wgan", 1.0)
    assert "numbers" not in read(fresh)[0]
    assert {row["variant"]: row["numbers"] for row in read([*fresh, *old])} == {"gan": "2", "wgan": "1"}


@pytest.mark.parametrize("runs", [False, True])
def test_json_says_numbers_always(runs: bool) -> None:
    (row,) = json.loads(render(made_by(1, "gan", 5.0), format="json", runs=runs))
    assert row["numbers"] == 1


@pytest.mark.usefixtures("today")
def test_numbers_of_several_harnesses_are_told_apart() -> None:
    report = render([run for numbers in (1, 2, 3) for run in made_by(numbers, "gan", 5.0 + numbers)])
    assert "| gan ‡1 " in report and "| gan ‡3 " in report and "| gan  " in report
    assert "- ‡1 numbers 1: made by an older ganbench" in report
    assert "- ‡3 numbers 3: made by a newer ganbench, which gives other numbers for the same seed" in report
