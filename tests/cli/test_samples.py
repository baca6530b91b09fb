"""`ganbench sample` and `ganbench score` from the command line: what they print, write and refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from ganbench.cli import main
from ganbench.results.store import ResultStore
from ganbench.runs.execute import execute
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover

PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    result = call(*arguments)
    assert result.exit_code == 2 and "Traceback" not in result.output and not result.stdout, result.output
    return result.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, registry = tmp_path_factory.mktemp("results"), discover([PLUGIN])
    request = Request(["plain"], ["tiny"], budget="320-images", seeds=1, marks=1, samples=64, metrics=("tiny-mean",))
    (job,) = plan(request, registry).jobs
    deterministic = torch.are_deterministic_algorithms_enabled()
    execute(job, ResultStore(folder), registry, threads=torch.get_num_threads())
    torch.use_deterministic_algorithms(deterministic)
    return folder


def test_samples_are_written_and_scored_as_the_run_is(results: Path, tmp_path: Path) -> None:
    common = ("--results", results, "--plugin", PLUGIN, "--device", "cpu")
    made = call("sample", "plain", "-n", 64, "--output", tmp_path / "out", *common)
    assert made.exit_code == 0 and made.stdout == f"64 samples in {tmp_path / 'out'}\n", made.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{n:06}.png" for n in range(64)]
    assert "there is something already" in refused("sample", "plain", "--output", tmp_path / "out", *common)

    scored = call("score", tmp_path / "out", "tiny", "--metrics", "tiny-mean", "--json", *common)
    found = json.loads(scored.stdout)
    (record,) = ResultStore(results).records()[0]
    (kept,) = record.values["tiny-mean"]
    assert found["values"]["tiny-mean"]["value"] == kept.value
    assert found["values"]["tiny-mean"]["protocol_hash"] == kept.protocol_hash
    assert found["a"]["samples"] == 64 and found["b"]["shape"] == "1×8×8"

    table = call("score", tmp_path / "out", "tiny", "--metrics", "tiny-mean", *common).stdout
    assert f"| tiny-mean ↓ | {kept.value:.6g} |" in table and f"- tiny-mean, protocol {kept.protocol_hash}: " in table


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("sample plain --output x.npy", "name a folder for PNG files, or a file that ends in .npz"),
        ("sample nobody --output x", "is called 'nobody'"),
        ("sample plain --output x --device tpu", "--device tpu"),
        ("sample plain --output x --weights both", "'--weights'"),
        ("sample plain -n 0 --output x", "'-n'"),
        ("sample plain", "'--output'"),
        ("score a b", "'--metrics'"),
        ("score a b --metrics fid --device tpu", "--device tpu"),
    ],
)
def test_wrong_requests_are_refused_before_anything_starts(words: str, sentence: str, results: Path) -> None:
    assert sentence in refused(*words.split(), "--results", results)


def test_sides_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 8, 8), dtype=np.uint8))
    told = refused("score", tmp_path / "a.npy", "digits", "--metrics", "grad-norm-g")
    assert told.startswith("Error: grad-norm-g cannot compare ")
