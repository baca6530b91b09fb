"""`ganbench probe`, the experiment `vanishing`: table, numbers and picture, and one sentence for what is wrong."""

import csv
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from ganbench.cli import main

PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"
BASE = ("--variant", "plain", "--dataset", "tiny", "--plugin", str(PLUGIN), "--device", "cpu")


def call(*arguments):
    return CliRunner().invoke(main, ["probe", *BASE, *map(str, arguments)])


def test_the_command_prints_a_table_and_writes_numbers_and_picture(tmp_path):
    wanted = ("--at", "1,2", "--iterations", "12", "--set", "mlp.width=16", "--seed", "4", "--results", tmp_path)
    said = call(*wanted)
    assert said.exit_code == 0, said.output
    lines = [line for line in said.stdout.splitlines() if line.startswith("| ")]
    assert "0 updates of D" in lines[0] and "12 updates of D" in lines[0] and len(lines) == 8
    assert "plain mlp.width=16 tiny" in lines[2] and "images an epoch=256" in re.sub(r"\s+", " ", said.stdout)
    (path,) = tmp_path.rglob("vanishing.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["variant"], row["seed"], row["options"]) for row in rows} == {("plain", "4", "mlp.width=16")}
    assert {float(row["epoch"]) for row in rows} == {1, 2} and {row["loss"] for row in rows} == {
        "log(1-D)",
        "-log D",
        "own",
    }
    assert all(float(row["grad_norm"]) > 0 for row in rows)
    assert (path.parent / "gradients.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((path.parent / "finding.json").read_text())["command"].startswith("ganbench experiment ")
    assert CliRunner().invoke(main, ["report", "--results", str(tmp_path)]).exit_code == 2, "a probe is no record"
    again = call(*wanted)
    assert again.exit_code == 0 and again.stdout == said.stdout and "started" not in again.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--at", "0"], "name epochs above 0 and at most 1,000,000, as in 1,10,25"),
        (["--at", "soon"], "--at soon: name epochs, as in 1,10,25"),
        (["--variant", "plein"], "unknown variant 'plein': did you mean 'plain'"),
        (["--set", "plain.lr=1"], "plain has no option 'lr'"),
    ],
)
def test_a_wrong_request_is_one_sentence(tmp_path, arguments, told):
    said = call("--results", tmp_path, "--iterations", "1", "--at", "0.1", *arguments)
    assert said.exit_code == 2 and told in said.stderr and "Traceback" not in said.stderr
    assert len(said.stderr.splitlines()) == 1


def test_a_run_that_diverges_is_said(tmp_path):
    said = call("--variant", "makes-nan", "--at", "1,2.5", "--iterations", "2", "--results", tmp_path)
    assert said.exit_code == 2 and "Traceback" not in said.stderr
    assert re.search(r"no finished run to look at .*makes-nan tiny seed 0: the loss of D is nan", said.stderr)
