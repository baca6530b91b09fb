"""A folder of results has a page of itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ganbench.cli.group import main
from ganbench.cli.page import NAME, keep_page
from ganbench.results.findings import FILE, FOLDER, RUNS, Found, folder_of, keep, mark_apart
from ganbench.results.record import RunRecord, RunSpec
from ganbench.results.store import ResultStore
from ganbench.training.budget import Budget

RUN = [*("run", "--variants", "real", "--dataset", "ring", "--seeds", "1"), *("--metrics", "modes", "--samples", "50")]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    store = ResultStore(tmp_path / "results")
    store.add(RunRecord(RunSpec("gan", "digits", "dcgan", Budget(640, "images"), 0, 8, 64), "done"))
    return store.root


@pytest.fixture
def experiments(tmp_path: Path) -> Path:
    """A folder of results that holds a finding, the folder of runs made for it, and no run of its own."""
    root = tmp_path / "experiments-alone"
    found = Found("vanishing", "0" * 16, "how gradients vanish", "", [], [], {}, {})
    keep(folder_of(root, found.name, found.id, default=True), found, {}, [], "text")
    (mark_apart(root) / RUNS).mkdir()
    return root


def test_a_folder_of_experiments_alone_has_a_page_asked_for_or_not(
    experiments: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "page.html"
    result = CliRunner().invoke(main, ["report", "--results", str(experiments), "--output", str(path)])
    assert result.exit_code == 0 and not result.output, result.output
    assert "how gradients vanish" in path.read_text("utf-8")
    keep_page(experiments, news=True)
    assert capsys.readouterr().err == f"Page: {experiments / NAME}\n"
    assert (experiments / NAME).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("more", [[], ["--format", "csv"], ["--json"], ["--summary"]])
def test_a_table_of_experiments_alone_is_refused_with_where_they_are_shown(experiments: Path, more: list[str]) -> None:
    result = CliRunner().invoke(main, ["report", "--results", str(experiments), *more])
    assert result.exit_code == 2 and len(result.stderr.strip().splitlines()) == 1, result.output
    assert "no results in" in result.stderr and "a page shows (--output report.html)" in result.stderr
    assert f"--results {experiments / FOLDER / RUNS}" in result.stderr


def test_where_a_finding_cannot_be_read_the_page_of_runs_says_so(results: Path) -> None:
    bad = results / FOLDER / "vanishing" / FILE
    bad.parent.mkdir(parents=True)
    bad.write_text("{")
    keep_page(results, news=True)
    assert "is no finding of an experiment" in (results / NAME).read_text("utf-8")


def test_a_report_is_written_as_a_page(results: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    for more in (["--output", str(path)], ["--format", "html", "--output", str(path.with_suffix(".page"))]):
        result = CliRunner().invoke(main, ["report", "--results", str(results), *more])
        assert result.exit_code == 0 and not result.output, result.output
    assert path.read_text("utf-8").startswith("<!doctype html>")
    assert path.read_bytes() == path.with_suffix(".page").read_bytes()
    result = CliRunner().invoke(main, ["report", "--results", str(results), "--summary", "--format", "html"])
    assert result.exit_code == 2 and "--summary is Markdown alone" in result.stderr


def test_a_page_is_written_without_torch(results: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from ganbench.cli.page import write_page;"
        f"write_page(Path({str(results)!r}), Path({str(results / 'x.html')!r})); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_a_run_leaves_the_page_of_its_folder_unless_it_is_told_not_to(tmp_path: Path) -> None:
    page = tmp_path / NAME
    arguments = [*RUN, "--results", str(tmp_path)]
    result = CliRunner().invoke(main, [*arguments, "--no-page"])
    assert result.exit_code == 0 and not page.exists(), result.output
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0 and f"Page: {page}" in result.stderr and "Page" not in result.stdout
    assert "real" in page.read_text("utf-8")


def test_a_page_that_is_there_is_written_anew_only_where_there_is_news(results: Path) -> None:
    (results / NAME).write_text("old")
    keep_page(results, news=False)
    assert (results / NAME).read_text() == "old"
    keep_page(results, news=True)
    assert (results / NAME).read_text("utf-8").startswith("<!doctype html>")


def test_a_folder_of_very_many_runs_has_none_unasked(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganbench.cli.page.MOST_RUNS", 0)
    keep_page(results, news=True)
    assert not (results / NAME).exists() and "ganbench report --results" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_fails_nothing(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (results / NAME).mkdir()
    keep_page(results, news=True)
    said = capsys.readouterr().err
    assert said.startswith("Note: ") and "was not written" in said and len(said.splitlines()) == 1
