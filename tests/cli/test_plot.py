"""`ganbench plot` on the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ganbench.cli.group import main
from ganbench.contract.types import Value
from ganbench.results.record import Mark, RunRecord, RunSpec
from ganbench.results.store import ResultStore
from ganbench.training.budget import Budget, Meters

STARTS = {".pdf": b"%PDF-", ".svg": b"<?xml", ".png": b"\x89PNG"}


@pytest.fixture
def results(tmp_path: Path) -> str:
    store = ResultStore(tmp_path / "results")
    for dataset in ("digits", "mnist"):
        for name in ("gan", "wgan"):
            for seed in (0, 1):
                meters = [Meters(k, 64 * k, {"D": k, "G": k}, 1e9 * k, 1.0 * k) for k in (5, 10)]
                values = [Value(9.0 / each.steps + seed, {"n_fake": 100}, None, False) for each in meters]
                curve = [Mark(m.steps / 10, m, {"fid": v}) for m, v in zip(meters, values, strict=True)]
                spec = RunSpec(name, dataset, "dcgan", Budget(640, "images"), seed, 8, 64)
                record = RunRecord(spec, "done", meters=meters[-1], values={"fid": [values[-1]]}, curve=curve)
                store.add(record, {"loss/D": np.ones(10, np.float32), "grad_norm/G": np.ones(10)})
    return str(tmp_path / "results")


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["plot", *arguments])
    assert "Traceback" not in result.output and not isinstance(result.exception, AssertionError)
    return result


@pytest.mark.parametrize("suffix", [".pdf", ".svg", ".png", ".PDF"])
def test_the_suffix_says_the_format(results: str, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"f{suffix}"
    result = call("fid", "--results", results, "--output", str(output), "--dataset", "digits")
    assert result.exit_code == 0 and output.read_bytes().startswith(STARTS[suffix.lower()])
    assert result.stdout.startswith("fid↓ (") and "2 seeds a row" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("loss/D", "--over", "updates"), "loss of D, over updates of G. digits, 8 px"),
        (("grad_norm/G", "--where", "seed=0"), "1 seed a row"),
        (("fid", "--cost", "flops"), "against FLOPs of training"),
        (("fid", "--cost", "seconds", "--log"), "against time of training"),
        (("fid", "--raw", "--width", "page"), "A line is a run"),
        (("fid", "--variants", "w*", "--dataset", "mnist", "--width", "5.5"), "mnist, 8 px"),
        (("fid",), "digits, 8 px, dcgan, batch 64, 640-images, fp32; mnist, 8 px"),
    ],
)
def test_options_choose_what_is_drawn(results: str, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    result = call(*arguments, "--results", results, "--output", str(tmp_path / "f.svg"))
    assert result.exit_code == 0 and told in result.stdout, result.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("fdi",), "no result has fdi: did you mean 'fid'?; there is fid, grad_norm/G, loss/D"),
        (("fid", "--output", "f.docx"), "no figure has the suffix .docx; write one of .pdf, .svg, .png"),
        (("fid", "--output", "figure"), "it has no suffix; write one of .pdf, .svg, .png"),
        (("fid", "--output", "no/such/f.pdf"), "there is no folder"),
        (("fid", "--dataset", "digit"), "--dataset digit: no result: did you mean 'digits'?"),
        (("fid", "--where", "batch=9"), "--where batch=9: no run has this value; there are 64"),
        (("fid", "--cost", "flops", "--over", "images"), "--cost draws points, not curves: leave --over out"),
        (("fid", "--cost", "flops", "--raw"), "--cost draws points, not curves: leave --raw out"),
        (("loss/D", "--cost", "flops"), "loss/D is a trace, and --cost is of metrics"),
        (("fid", "--results", "nowhere"), "no results in"),
    ],
)
def test_a_wrong_request_is_one_sentence(
    results: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("--results", results, "--output", "f.pdf", *arguments)
    assert result.exit_code == 2 and result.stdout == "" and len(result.stderr.splitlines()) == 1
    assert told in result.stderr and not list(tmp_path.glob("f*"))


@pytest.mark.parametrize("width", ["wide", "0", "-3", "nan", "99", "inf"])
def test_a_wrong_width_is_told_with_those_that_there_are(results: str, tmp_path: Path, width: str) -> None:
    result = call("fid", "--results", results, "--output", str(tmp_path / "f.pdf"), "--width", width)
    assert result.exit_code == 2 and "write column or page, or inches from 2 to 20" in result.stderr


def test_damaged_records_and_traces_are_told_and_the_rest_is_drawn(results: str, tmp_path: Path) -> None:
    traces = sorted(Path(results).rglob("*.traces.npz"))
    traces[0].write_bytes(traces[0].read_bytes()[:-30])
    (Path(results) / "odd.json").write_text("{")
    code = f"from ganbench.cli import main; main(['plot', 'loss/D', '--results', {results!r}, '--output', 'f.svg'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0 and (tmp_path / "f.svg").exists(), done.stderr
    assert "odd.json is damaged" in done.stderr and "traces.npz is damaged" in done.stderr
    assert "Traceback" not in done.stderr and "Glyph" not in done.stderr


def test_matplotlib_is_imported_by_a_figure_alone() -> None:
    """Nor is torch by it."""
    wanted = "import sys; from ganbench.cli import main\ntry: main({!r})\nfinally: print({!r} in sys.modules)"
    for given, module in (
        (["plot", "--help"], "matplotlib"),
        (["plot", "fid", "--output", "x.pdf", "--results", "/no/such"], "matplotlib"),
        (["report", "--help"], "matplotlib"),
        (["plot", "fid", "--output", "x.pdf", "--results", "/no/such"], "torch"),
    ):
        done = subprocess.run([sys.executable, "-c", wanted.format(given, module)], capture_output=True, text=True)
        assert done.stdout.splitlines()[-1] == "False", done.stderr
