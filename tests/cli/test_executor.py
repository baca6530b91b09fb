"""Options of executors on the command line, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import ganbench
from ganbench.cli.group import main
from ganbench.cli.keywords import asked

EXECUTING = Path(__file__).parents[1] / "executing_plugin.py"
ASKED = ("--variants", "gan", "--dataset", "digits", "--dry-run", "--plugin", str(EXECUTING))


@pytest.mark.parametrize(
    "given",
    [
        {"gpus_per_run": 0.25, "address": "auto"},
        {"executor_set": ["gpus_per_run=0.25", "address=auto"]},
        {"gpus_per_run": 0.25, "executor_set": "address=auto"},
    ],
)
@pytest.mark.parametrize("command", ["run", "experiment"])
def test_what_has_an_option_of_its_own_is_a_setting_as_any_other(command, given):
    named = {"name": "convergence"} if command == "experiment" else {}
    with asked(command, {**named, **given}) as options:
        assert options["executor_settings"] == ("gpus_per_run=0.25", "address=auto")
    with asked(command, named) as options:
        assert options["executor_settings"] == ()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--gpus-per-run", "0.25"], "local has no option 'gpus_per_run'"),
        (["--executor", "has-options", "--gpus-per-run", "1"], "has-options has no option 'gpus_per_run'"),
        (["--executor", "has-options", "--executor-set", "nodes=many"], "has-options.nodes: input should be"),
        (["--executor", "has-options", "--executor-set", "nodes"], "--executor-set 'nodes': write KEY=VALUE"),
        (["--executor", "needs"], "--executor needs needs the package no_such_package"),
        (["--executor", ""], "--executor: unknown executor ''"),
    ],
)
def test_a_wrong_one_is_one_sentence_before_anything_is_planned(words, sentence, tmp_path):
    said = CliRunner().invoke(main, ["run", *ASKED, "--results", str(tmp_path / "results"), *words])
    assert said.exit_code == 2 and said.stdout == "" and not (tmp_path / "results").exists()
    (line,) = said.stderr.splitlines()
    assert line.startswith(f"Error: {sentence}")


def test_it_is_the_same_from_python():
    with pytest.raises(ganbench.UserError, match="local has no option 'address'"):
        ganbench.run(variants="gan", dataset="digits", address="auto")
