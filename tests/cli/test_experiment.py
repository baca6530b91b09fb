"""`ganbench experiment`: whatever a stranger's experiment does is a finding or one sentence, and nothing is lost."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import ganbench
from ganbench.cli.experiment import _looked_at
from ganbench.cli.group import main
from ganbench.contract.experiments import Finding
from ganbench.results.findings import Found, findings
from ganbench.results.record import RunRecord
from ganbench.results.store import ResultStore
from ganbench.runs.experiments import Outcome, Wanted, carry_out, requests
from ganbench.runs.steps import unwatched

HERE = Path(__file__).parents[1]
EXECUTING = HERE / "executing_plugin.py"
PLUGINS = (HERE / "studying_plugin.py", HERE / "tiny_plugin.py")
GIVEN = [word for path in PLUGINS for word in ("--plugin", str(path))] + ["--device", "cpu"]


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["experiment", *arguments, *GIVEN])
    assert "Traceback" not in result.output
    return result


def refused(*arguments: str) -> str:
    """Return the one sentence that a request is refused with."""
    result = call(*arguments)
    assert result.exit_code == 2 and result.stdout == "", result.output
    (line,) = result.stderr.splitlines()
    return line


def rows(folder: Path) -> list[dict[str, str]]:
    (path,) = folder.glob("*.csv")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that holds a line for each thing that an experiment computed."""
    monkeypatch.setenv("COUNTED", str(tmp_path / "counted"))
    (tmp_path / "counted").touch()
    return tmp_path / "counted"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """An experiment with runs: a variant of two seeds, one that diverges, one that breaks, one that does not fit."""
    results: Path = tmp_path_factory.mktemp("made") / "results"
    named = "plain,makes-nan,raises"
    return results, call(
        "way", "--variants", named, "--seeds", "0,2", "--results", str(results), "--set", "mlp.width=8"
    )


@pytest.fixture
def wanted(tmp_path: Path) -> Any:
    def make(name: str = "point", *settings: str, **more: Any) -> Wanted:
        return Wanted(name, more.pop("asked", {}), settings, results=tmp_path / "r", plugins=PLUGINS, **more)

    return make


# With runs


def test_runs_are_made_looked_at_and_told(made):
    results, result = made
    assert result.exit_code == 0
    (folder,) = (results / "experiments").glob("way-*")
    assert [(row["variant"], row["seed"]) for row in rows(folder)] == [("plain", "0"), ("plain", "2")]
    assert sorted(path.name for path in folder.iterdir()) == ["finding.json", "way.csv", "way.md", "way.png"]
    assert (folder / "way.md").read_text() == result.stdout and (folder / "way.png").read_bytes()[:4] == b"\x89PNG"
    assert "**as said**: It moves (by hand)." in result.stdout
    records, _ = ResultStore(results / "experiments" / "runs").records()
    assert {record.spec.options["mlp.width"] for record in records} == {8}  # the user's, not the experiment's 16
    assert not any(record.values for record in records)  # it asked for no metrics
    (found, _) = findings(results)
    assert found[folder].asked == {
        "variants": ["plain", "makes-nan", "raises"],
        "set": ["mlp.width=8"],
        "seeds": [0, 2],
    }
    assert found[folder].protocol["variants"] == ["plain", "makes-nan", "raises"]


def test_runs_that_have_no_part_are_counted_and_told_with_their_reason(made):
    results, result = made
    (note,) = [note for found in findings(results)[0].values() for note in found.notes]
    assert note.startswith("4 of 6 runs have no part (")
    for part in ("makes-nan mlp.width=8 tiny seed 0: the loss of D is", "raises mlp.width=8 tiny seed 2: RuntimeError"):
        assert part in note and part.partition(":")[0] in result.stderr
    assert "Note: 1 more runs have no part" in result.stderr
    records, _ = ResultStore(results / "experiments" / "runs").records()
    specs, failed, lost = _looked_at(records)
    assert {spec.variant for spec in specs} == {"plain"} and len(failed) == len(lost) == 4
    assert {(spec.variant, spec.seed) for spec in lost} == {
        (name, s) for name in ("makes-nan", "raises") for s in (0, 2)
    }


def test_given_again_it_makes_and_computes_nothing_anew(made, counted, tmp_path):
    results = Path(shutil.copytree(made[0], tmp_path / "again"))
    result = call("way", "--variants", "plain", "--seeds", "0,2", "--results", str(results), "--set", "mlp.width=8")
    assert result.exit_code == 0 and "started" not in result.stderr
    assert counted.read_text() == ""  # what was kept of those runs, asked for among others


def test_runs_are_made_where_the_executor_says(tmp_path):
    executing = ["--executor", "loses", "--plugin", str(EXECUTING), "--results", str(tmp_path / "results")]
    result = call("way", "--variants", "plain", "--seeds", "1", *executing)
    assert "has no part: its node is gone; the same command begins it anew" in result.stderr
    idle = call("point", *executing)
    assert idle.exit_code == 0 and "--executor loses has nothing to make" in idle.stderr


def test_results_around_it_do_not_see_it_and_are_not_damaged(made):
    results, _ = made
    for words in (["verify"], ["prune", "--dry-run"]):
        for folder in (results, results / "experiments", results / "experiments" / "runs"):
            result = CliRunner().invoke(main, ["results", *words, "--results", str(folder)])
            removed = [line for line in result.stdout.splitlines() if str(folder) in line]
            assert result.exit_code == 0, (words, folder, result.output)
            assert all("a sweep that is over" in line or "of a run that diverged" in line for line in removed), removed
    result = CliRunner().invoke(main, ["results", "verify", "--results", str(results)])
    assert result.stdout == "6 records, 1 finding sound, 0 faults found\n"


def test_what_an_experiment_sweeps_may_be_set_for_its_other_runs(tmp_path):
    results = tmp_path / "results"
    words = ("--results", str(results), "--no-page", "--seeds", "1", "--set", "mlp.width=8", "--set", "way.widths=4,12")
    assert call("way", *words).exit_code == 0
    records, _ = ResultStore(results / "experiments" / "runs").records()
    assert sorted(record.spec.options["mlp.width"] for record in records) == [4, 8, 12]


def test_weights_of_the_way_are_verified_and_those_of_finished_runs_stay(made, tmp_path):
    results = Path(shutil.copytree(made[0], tmp_path / "here"))
    runs = results / "experiments" / "runs"
    done = [record.spec.id for record in ResultStore(runs).records()[0] if record.status == "done"]
    assert CliRunner().invoke(main, ["results", "prune", "--results", str(runs)]).exit_code == 0
    assert {path.parent.name for path in runs.glob(".work/*/at-*.pt")} == set(done)
    (runs / ".work" / done[0] / "at-0.5.pt").write_bytes(b"damaged")
    result = CliRunner().invoke(main, ["results", "verify", "--results", str(results)])
    assert result.exit_code == 1 and "at-0.5.pt is damaged" in result.stdout


# The runs of a folder


def looked_at(made: tuple[Path, Result], tmp_path: Path, *words: str) -> Result:
    runs = made[0] / "experiments" / "runs"
    return call("way", "--runs", str(runs), "--results", str(tmp_path / "other"), *words)


def test_finished_runs_of_a_folder_are_looked_at(made, tmp_path):
    result = looked_at(made, tmp_path, "--seeds", "2-2", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["asked"] == {"seeds": [2], "runs": "runs"} and found["protocol"]["variants"] == ["plain"]
    assert [row[0] for row in found["tables"][0]["rows"]] == ["plain"]
    assert not (tmp_path / "other" / "experiments" / "runs").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--seeds", "7-7"], "no run has one of the seeds asked for; there are 0, 2"),
        (["--batch", "32"], "batch=32: no run has this value; there are 64"),
        (["--metrics", "fid"], "--metrics: the runs in .* are made already"),
        (["--variants", "raises"], "there is no finished run to look at in .*RuntimeError: the plugin broke"),
        (["--set", "way.half=0.25"], "at 0.25 of its budget are not kept; there are those at 0.5, 1"),
    ],
)
def test_runs_that_are_not_there_are_a_sentence(made, tmp_path, words, sentence):
    result = looked_at(made, tmp_path, *words)
    assert result.exit_code == 2 and re.search(sentence, result.stderr.splitlines()[-1]), result.stderr


def test_runs_of_another_harness_have_no_part(made, tmp_path):
    old = ResultStore(tmp_path / "old")
    store = ResultStore(made[0] / "experiments" / "runs")
    record = next(record for record in store.records()[0] if record.status == "done")
    old.add(replace(record, spec=replace(record.spec, numbers=1), checksums={}))
    sentence = refused_last("way", "--runs", str(old.root), "--results", str(tmp_path / "r"))
    assert "an older ganbench made it, which gives other numbers (harness 1 instead of" in sentence


def refused_last(*words: str) -> str:
    result = call(*words)
    assert result.exit_code == 2
    return result.stderr.splitlines()[-1]


# What is wrong in a request


@pytest.mark.parametrize(
    ("name", "settings", "more", "sentence"),
    [
        ("pont", [], {}, "^unknown experiment 'pont': did you mean 'point'"),
        ("point", ["lr=1"], {}, "^--set lr=1: point makes no runs; its own options are set as point.lr=…$"),
        ("point", ["point.att=1"], {}, "^point has no option 'att': did you mean 'at'"),
        ("point", ["point.at=0"], {}, "^point.at: .* but '0' was given"),
        ("point", ["point.at"], {}, "'point.at' is not an option and a value"),
        ("point", ["point.at=1", "point.at=2"], {}, "point.at is given twice, as 1 and 2: keep one"),
        ("point", [], {"asked": {"budget": "1k-images"}}, "^--budget: point makes no runs, it has data of its own"),
        ("point", [], {"records": Path("nowhere")}, "^--runs: point looks at no runs, it has data of its own"),
        ("idle", [], {}, "^the experiment 'idle' makes runs, but asks for none$"),
    ],
)
def test_a_wrong_request_is_one_sentence(wanted, name, settings, more, sentence):
    with pytest.raises(ganbench.UserError, match=sentence) as told:
        requests(wanted(name, *settings, **more), unwatched)
    assert "\n" not in str(told.value)


def test_an_unknown_variant_is_one_sentence(wanted):
    with pytest.raises(ganbench.UserError, match="unknown variant 'plian': did you mean 'plain'"):
        carry_out(wanted(asked={"variants": ("plian",)}), [], {}, unwatched)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["pont"], "Error: unknown experiment 'pont': did you mean 'point'"),
        (["way", "--runs", "nowhere"], "no results in .*nowhere"),
        (["way", "--budget", "many"], "budget 'many' is not an amount"),
        (["way", "--executor", "slrum"], "--executor: unknown executor 'slrum': did you mean 'slurm'"),
        (["point", "--executor-set", "nodes=2"], "local"),
        (["way", "--set", "no.such=1", "--seeds", "1"], "no.such"),
        (["strange"], "ganbench.run has no option 'no_such'"),
    ],
)
def test_a_wrong_command_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    assert re.search(sentence, refused(*words))
    assert not list(tmp_path.rglob("*.json"))


def test_a_folder_without_runs_leaves_not_even_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "no results in" in refused("way", "--runs", "nowhere", "--results", "results")
    assert not list(tmp_path.iterdir())


def test_results_that_cannot_be_written_are_told_before_anything_is_computed(tmp_path, counted):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "experiments").write_text("a file")
    assert "cannot write" in refused("point", "--results", str(tmp_path / "results"))
    assert counted.read_text() == ""


# What is wrong in an experiment


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("raises", r"^the experiment 'point' failed: RuntimeError: no luck \(studying_plugin\.py, line \d+\)$"),
        ("exits", r"^the experiment 'point' failed: SystemExit: 0"),
        ("nothing", r"^the experiment 'point' returns None instead of a ganbench\.Finding$"),
        ("outside", r"cannot be kept: a figure is called '\.\./x'"),
        ("ragged", "cannot be kept: the table 'T' has 2 columns, and a row of 1"),
        ("tensors", "cannot be kept: what was measured in row 1, 'x' is tensor"),
        ("unkept", r"TypeError: a object cannot be kept by `lab\.once`.*studying_plugin\.py"),
    ],
)
def test_whatever_it_does_is_one_sentence(wanted, fault, sentence):
    with pytest.raises(ganbench.UserError, match=sentence) as told:
        carry_out(wanted("point", f"point.fault={fault}"), [], {}, unwatched)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [("dies", "point: dying: its process ended with exit code 3"), ("interrupts", "the experiment 'point'")],
)
def test_what_ends_its_process_is_one_sentence_too(tmp_path, fault, sentence):
    assert sentence in refused("point", "--set", f"point.fault={fault}", "--results", str(tmp_path / "r"))


def test_odd_values_come_out_as_they_are(tmp_path):
    result = call("point", "--set", "point.fault=odd", "--results", str(tmp_path / "r"), "--json", "--quiet")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout, parse_constant=pytest.fail)
    assert found["protocol"]["rate"] == 0.25 and found["protocol"]["limit"] == "inf"
    assert found["claims"][0]["holds"] is False and found["left_out"] == {"gan": "no part"}
    (folder,) = (tmp_path / "r" / "experiments").glob("point-*")
    first, second = rows(folder)
    assert [first[key] for key in "abcd"] == ["0.5", "2", "True", "1.5"]
    assert [second[key] for key in ("a", "b", "e", "text")] == ["nan", "-inf", "1e-300", 'a,"b"\nc']
    assert findings(tmp_path / "r")[1] == []


def test_a_picture_that_cannot_be_drawn_costs_nothing_else(wanted):
    outcome = carry_out(wanted("point", "point.fault=undrawn"), [], {}, unwatched)
    assert list(outcome.pictures) == list(outcome.found.pictures) == ["good.png"]
    (note,) = outcome.found.notes
    assert note.startswith("The picture bad could not be drawn: ")
    assert outcome.measured == [{"x": 1}]


def test_a_hundred_thousand_rows_are_handed_over(tmp_path):
    assert call("point", "--set", "point.fault=many", "--results", str(tmp_path / "r")).exit_code == 0
    (folder,) = (tmp_path / "r" / "experiments").glob("point-*")
    assert len(rows(folder)) == 100_000


# Without runs


def test_variants_seeds_and_what_has_no_part(wanted):
    asked = wanted("point", "point.at=3", asked={"variants": ("plain", "labelled", "wgan")}, seeds=(0, 4))
    outcome = carry_out(asked, [], {}, unwatched)
    found = [(row["variant"], row["seed"], row["slope"]) for row in outcome.measured]
    half = -1 / (1 + 2.718281828459045**3)  # of softplus(-ψθ) at θ = 3 and ψ = 1
    assert found[:2] == [("plain", 0, pytest.approx(half)), ("plain", 4, pytest.approx(half))]
    assert found[2:] == [("wgan", 0, pytest.approx(-1)), ("wgan", 4, pytest.approx(-1))]
    assert outcome.found.left_out == {"labelled": "it needs labels of at least two classes"}


def test_each_request_has_an_identity_of_its_own(wanted, tmp_path):
    def identity(*words: Any, **more: Any) -> str:
        return carry_out(wanted(*words, **more), [], {}, unwatched).found.id

    asked = {"variants": ("plain",)}
    ids = [
        identity(),
        identity("point", "point.at=3"),
        identity(asked=asked),
        identity(seeds=(1,)),
        identity(asked=asked, seeds=(1,)),
    ]
    assert len(set(ids)) == len(ids) and ids[0] == identity()
    assert wanted().is_plain and not wanted(seeds=(1,)).is_plain
    places = [wanted("way", records=tmp_path / name / "results") for name in "ab"]
    outcomes = [_of_no_runs(place) for place in places]
    assert outcomes[0].found.id != outcomes[1].found.id  # two folders of one name


def _of_no_runs(wanted: Wanted) -> Outcome:
    from ganbench.runs import experiments
    from ganbench.runs.registry import discover

    entry = discover(PLUGINS).get("experiment", "way")
    return experiments._outcome(wanted, entry, None, Finding([], [], [], {}))


# What is asked of runs


def test_what_the_user_says_of_runs_is_what_is_asked_for(wanted):
    (plain,) = requests(wanted("way"), unwatched)
    assert plain["variants"] == ["plain"] and plain["keep"] == [0.5] and "seeds" not in plain
    asked = {"variants": ("gan",), "budget": "1k-images", "batch": 8, "marks": 3}
    (request,) = requests(wanted("way", "lr=1", "way.half=0.25", asked=asked, seeds=(3,)), unwatched)
    assert {**request, **asked} == request and request["keep"] == [0.25] and request["seeds"] == [3]


def test_as_a_function_it_returns_what_was_found(tmp_path):
    more = {"plugin": list(PLUGINS), "results": tmp_path, "device": "cpu", "quiet": True, "no_page": True}
    found = ganbench.experiment("point", variants=["plain", "wgan"], seeds=[4], set={"point.at": 3}, **more)
    assert isinstance(found, Found) and found.options == {"at": 3, "fault": ""}
    assert found.asked == {"variants": ["plain", "wgan"], "set": ["point.at=3"], "seeds": [4]}
    assert [row[0] for row in found.tables[0].rows] == ["plain", "wgan"]
    folder = tmp_path / "experiments" / f"point-{found.id[:8]}"
    assert json.loads((folder / "finding.json").read_text())["id"] == found.id
    assert shutil.which("ganbench") is None or found.command.startswith("ganbench experiment")


def test_what_is_kept_names_no_folder_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(PLUGINS[0].parent)
    more = {"plugin": list(PLUGINS), "results": tmp_path, "device": "cpu", "quiet": True, "no_page": True}
    found = ganbench.experiment("point", variants=["plain", "wgan"], seeds=1, set={"point.at": 3}, **more)
    files = " ".join(f"--plugin={path.name}" for path in PLUGINS)
    assert found.command == f"ganbench experiment point --variants=plain,wgan --seeds=1 --set=point.at=3 {files}"
    (kept,) = (tmp_path / "experiments").glob("point-*/finding.json")
    assert str(tmp_path) not in kept.read_text() and str(PLUGINS[0].parent) not in kept.read_text()


# Stopped and given again


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL])
def test_stopped_while_it_looks_it_goes_on_from_what_it_kept(tmp_path, counted, number):
    words = ["point", "--set", "point.fault=waits", "--results", str(tmp_path / "r"), "--no-page"]
    command = [sys.executable, "-m", "ganbench", "experiment", *words, *GIVEN]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    waiting, until = counted.with_name("waiting"), time.monotonic() + 120
    while not waiting.exists() and time.monotonic() < until and process.poll() is None:
        time.sleep(0.05)
    assert waiting.exists(), process.communicate()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert out == ""
    if number == signal.SIGINT:
        assert process.returncode == 130 and err == "Stopped; the same command continues where it was.\n"
    assert not list(tmp_path.rglob("finding.json"))
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "WAIT": "0"}, check=False)
    assert done.returncode == 0, done.stderr
    assert counted.read_text() == "first\n"  # once, in the command that was stopped


def test_records_hold_nothing_of_experiments(made):
    """Whoever reads the results above sees none of its runs."""
    assert not list(ResultStore(made[0]).files([]))
    record: RunRecord = ResultStore(made[0] / "experiments" / "runs").records()[0][0]
    assert record.spec.dataset == "tiny"
