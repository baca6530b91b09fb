"""`ganbench report` and `ganbench explain` on the command line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ganbench.cli.group import main
from ganbench.contract.types import Value
from ganbench.results.record import RunRecord, RunSpec
from ganbench.results.store import ResultStore
from ganbench.training.budget import Budget, Meters

ONE, OTHER = {"n_fake": 100}, {"n_fake": 200}
HASH, OTHER_HASH = (Value(0.0, protocol).protocol_hash for protocol in (ONE, OTHER))


@pytest.fixture
def results(tmp_path: Path) -> str:
    store = ResultStore(tmp_path / "results")
    for dataset in ("digits", "mnist"):
        for place, name in enumerate(("gan", "wgan", "wgan-gp")):
            for seed in (0, 1):
                spec = RunSpec(name, dataset, "dcgan", Budget(640, "images"), seed, 8, 64)
                values = {"fid": [Value(place + seed / 10, ONE, None, False)], "kid": [Value(1.0, OTHER)]}
                meters = Meters(10, 640, {"D": 10, "G": 10}, 1e12, 90.0, 100)
                store.add(RunRecord(spec, "done", meters=meters, values=values))
    return str(tmp_path / "results")


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert "Traceback" not in result.output and not isinstance(result.exception, AssertionError)
    return result


def shown(*arguments: str) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: str) -> str:
    result = call(*arguments)
    assert result.exit_code == 2 and result.stdout == "" and len(result.stderr.splitlines()) == 1, result.output
    return result.stderr


def rows(text: str) -> list[str]:
    return [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ") and "---" not in line]


def test_rows_are_chosen_and_sorted(results: str) -> None:
    base = ("report", "--results", results)
    assert rows(shown(*base, "--dataset", "digits")) == ["variant", "gan", "wgan", "wgan-gp"]
    assert rows(shown(*base, "--dataset", "mn*", "--variants", "wgan*")) == ["variant", "wgan", "wgan-gp"]
    assert rows(shown(*base, "--dataset", "digits", "--variants", "gan,wgan", "--where", "seed=0")) == [
        "variant",
        "gan",
        "wgan",
    ]
    assert "Seed 1;" in shown(*base, "--where", "seed=1", "--where", "batch=64")
    by_name = shown(*base, "--dataset", "digits", "--sort", "variant", "--columns", "kid")
    assert rows(by_name) == ["variant", "gan", "wgan", "wgan-gp"] and "fid" not in by_name


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--dataset", "digit"), "--dataset digit: no result: did you mean 'digits'?; there are digits, mnist"),
        (("--variants", "began"), "--variants began: no result: did you mean 'gan'?; there are gan, wgan, wgan-gp"),
        (("--where", "batch=8"), "--where batch=8: no run has this value; there are 64"),
        (("--where", "batch"), "--where batch: write key=value"),
        (("--columns", "fdi"), "--columns fdi: no such column: did you mean 'fid'?; there are fid, kid, images"),
        (("--sort", "fdi"), "--sort fdi: no such column: did you mean 'fid'?; there are fid, kid, images"),
        (("--columns", "fdi", "--format", "csv"), "--columns fdi: no such column"),
        (("--columns", "fdi", "--format", "json"), "--columns fdi: no such column"),
        (("--columns", "fdi", "--format", "latex"), "--columns fdi: no such column"),
        (("--output", "x.csv", "--format", "latex"), ".csv is csv, but --format says latex; leave one of them out"),
        (("--output", "x.csv", "--json"), ".csv is csv, but --format says json"),
        (("--output", "x.docx"), "no format has the suffix .docx; write one of .md, .markdown, .csv, .json, .tex"),
        (("--summary", "--format", "csv"), "--summary is Markdown alone, not csv"),
    ],
)
def test_a_wrong_request_is_one_sentence(more: tuple[str, ...], told: str, results: str) -> None:
    assert told in refused("report", "--results", results, *more)


def test_the_suffix_of_the_file_says_the_format(results: str, tmp_path: Path) -> None:
    texts = {}
    for name in ("t.md", "t.markdown", "t.csv", "t.json", "t.tex", "T.CSV", "plain"):
        shown("report", "--results", results, "--output", str(tmp_path / name))
        texts[name] = (tmp_path / name).read_text("utf-8")
    assert texts["t.md"] == texts["t.markdown"] == texts["plain"] == shown("report", "--results", results)
    assert texts["t.tex"] == shown("report", "--results", results, "--format", "latex")
    assert len(json.loads(texts["t.json"])) == 6
    assert len(list(csv.DictReader(io.StringIO(texts["t.csv"])))) == 6 and texts["T.CSV"] == texts["t.csv"]
    shown("report", "--results", results, "--output", str(tmp_path / "t.txt"), "--format", "csv")
    assert (tmp_path / "t.txt").read_text("utf-8") == texts["t.csv"]


def test_the_summary_ranks_over_data_sets(results: str) -> None:
    text = shown("report", "--results", results, "--summary")
    assert text.startswith("### Mean ranks over 2 tables\n") and rows(text) == ["variant", "gan", "wgan", "wgan-gp"]
    assert "critical difference" in text


def test_protocols_are_a_line_or_whole(results: str) -> None:
    assert f"- fid↓ ({HASH}): 100 samples\n" in shown("report", "--results", results)
    assert f"- fid↓, protocol {HASH}: n_fake=100\n" in shown("report", "--results", results, "--protocols")


def test_a_protocol_is_explained_by_the_first_digits_of_its_hash(results: str) -> None:
    assert "Used for fid on digits (6 runs), fid on mnist (6 runs)" in shown("explain", HASH[:5], "--results", results)
    both = shown("explain", HASH, OTHER_HASH, "--results", results)
    assert "| n_fake | 100" in both and "200" in both
    assert json.loads(shown("explain", HASH, OTHER_HASH, "--results", results, "--json")) == {
        HASH: ONE,
        OTHER_HASH: OTHER,
    }


def test_an_unknown_protocol_is_one_sentence(results: str) -> None:
    assert f"no result was measured under a protocol 'zzz'; there are {min(HASH, OTHER_HASH)}" in refused(
        "explain", "zzz", "--results", results
    )
    assert "3 protocols cannot be compared: name one or two" in refused("explain", "a", "b", "c", "--results", results)
    assert "no results in" in refused("explain", "abc", "--results", f"{results}/none")
