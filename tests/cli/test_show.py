"""`ganbench show`: every run with its files, in lines that can be read; one of them opened where there is a display."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from ganbench.cli.group import main
from ganbench.results.record import STOPPED, RunRecord, RunSpec
from ganbench.results.store import ResultStore
from ganbench.training.budget import Budget


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["show", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def made(variant: str = "gan", seed: int = 0, **facts: Any) -> RunRecord:
    spec = RunSpec(variant, "digits", "dcgan", Budget(1000, "images"), seed, 8, 50)
    return replace(RunRecord(spec, "done"), **facts)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    root = tmp_path / "results"
    store = ResultStore(root)
    for record in (made(), made(seed=1, status="diverged", error="loss of D is not finite"), made("wgan")):
        store.add(record, {})
        for mark in ("020", "100", "nearest"):
            (store.make_samples(record.spec) / f"{mark}.png").write_bytes(b"x")
    return root


def test_every_run_is_a_block_of_lines_that_fit(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(results.parent)
    said = call()
    assert said.exit_code == 0 and said.stderr == ""
    first, second, third = said.stdout.split("\n\n")
    record = made()
    place = f"results/digits/dcgan/1k-images/gan/seed0-{record.spec.id[:8]}"
    assert first == (
        f"gan · seed 0 · digits · dcgan · 1k-images · {record.spec.id[:8]}\n"
        f"  status    done\n"
        f"  samples   {place}.samples\n"
        f"            020.png 100.png nearest.png\n"
        f"  traces    {place}.traces.npz\n"
        f"  record    {place}.json"
    )
    assert "  status    diverged: loss of D is not finite\n" in second and third.startswith("wgan · seed 0")
    assert all(len(line) <= 80 for line in said.stdout.splitlines())
    for line in said.stdout.splitlines():
        if "results/" in line:
            assert Path(line.split()[1]).exists()


def test_a_path_outside_the_current_folder_is_in_full(results: Path) -> None:
    assert f"  record    {results}/digits" in call("wgan", "--results", str(results)).stdout


def test_as_json_all_is_there(results: Path) -> None:
    (one,) = json.loads(call("wgan", "--results", str(results), "--json").stdout)
    record = made("wgan")
    store = ResultStore(results)
    assert one == {
        "row": "wgan",
        "variant": "wgan",
        "seed": 0,
        "dataset": "digits",
        "backbone": "dcgan",
        "budget": "1k-images",
        "id": record.spec.id,
        "status": "done",
        "at_work": False,
        "error": "",
        "samples": str(store.samples(record.spec)),
        "pictures": {
            name: str(store.samples(record.spec) / f"{name}.png") for name in ("020", "100", "nearest")
        },
        "left_out": {},
        "traces": str(store.traces_path(record.spec)),
        "record": str(store.path(record.spec)),
        "weights": None,
        "traceback": None,
    }  # fmt: skip


def test_a_run_that_is_at_work_is_no_dead_one(results: Path) -> None:
    store, open_run = ResultStore(results), made("r1", status="killed", error=STOPPED)
    store.add(open_run)
    assert "  status    killed: " in call("r1", "--results", str(results)).stdout
    with store.lock(open_run.spec):
        assert "  status    being made" in call("r1", "--results", str(results)).stdout


def test_what_a_record_holds_steers_no_terminal(results: Path) -> None:
    ResultStore(results).add(made("evil\x1b[2J", status="error", error="\x1b]0;title\x07 gone"))
    said = call("--results", str(results)).stdout
    assert "\x1b" not in said and "\x07" not in said and "evil" in said


def test_names_that_are_none_are_told_in_one_sentence(results: Path) -> None:
    for arguments, told in (
        (["wgen"], "is called 'wgen': did you mean 'wgan'?"),
        (["gan", "wgan"], "`ganbench show` takes one run at a time"),
        (["--id", "3"], "write the run alone, as in ganbench show 3"),
    ):
        said = call(*arguments, "--results", str(results))
        assert said.exit_code == 2 and said.stdout == "" and told in said.stderr.splitlines()[-1], said.stderr
    assert "no results in" in call("--results", str(results / "nowhere")).stderr


def test_damaged_records_are_told_beside_the_others(results: Path) -> None:
    ResultStore(results).path(made().spec).write_text("{")
    said = call("--results", str(results))
    assert said.exit_code == 0 and said.stderr.startswith("Skipped: ") and said.stdout.count("  record ") == 2


# --open


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(click, "launch", lambda target: found.append(target) or 0)  # type: ignore[func-returns-value]
    return found


def test_the_samples_of_the_last_mark_are_opened(results: Path, opened: list[str]) -> None:
    assert call("wgan", "--results", str(results), "--open").exit_code == 0
    assert opened == [str(ResultStore(results).samples(made("wgan").spec) / "100.png")]


def test_of_all_runs_the_page_is_opened(results: Path, opened: list[str]) -> None:
    said = call("--results", str(results), "--open")
    assert said.exit_code == 2 and "--open: there are 3 runs: name one by its id (" in said.stderr and opened == []
    (results / "report.html").write_text("<html>")
    assert call("--results", str(results), "--open").exit_code == 0
    assert opened == [str(results / "report.html")]


def test_what_cannot_be_opened_is_told(results: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    store = ResultStore(results)
    store.add(made("r1"))
    assert "there are no pictures of the run" in call("r1", "--results", str(results), "--open").stderr
    monkeypatch.setattr(click, "launch", lambda target: 1)
    assert "no program here opens" in call("wgan", "--results", str(results), "--open").stderr
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    said = call("wgan", "--results", str(results), "--open")
    assert said.exit_code == 2 and "there is no display here to open" in said.stderr and opened == []


def test_names_are_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganbench.cli.complete._names", lambda: {"variant": ["gan", "wgan", "wgan-gp"]})
    complete = ShellComplete(main, {}, "ganbench", "_GANBENCH_COMPLETE")
    assert [item.value for item in complete.get_completions(["show"], "wg")] == ["wgan", "wgan-gp"]
