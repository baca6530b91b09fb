"""`ganbench probe`: table, CSV and picture; it continues where it was, and training does not feel it."""

import csv
import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from ganbench import UserError
from ganbench.cli import main
from ganbench.reports.probe import table
from ganbench.results.store import ResultStore
from ganbench.runs.plan import Request
from ganbench.runs.probe import plan_probe, read_curves, run_probe
from ganbench.runs.registry import discover
from ganbench.runs.run import Run
from ganbench.training.devices import make_repeatable

PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"
SETTINGS = ("mlp.width=16",)


pytestmark = pytest.mark.usefixtures("switches")


@pytest.fixture(scope="module")
def registry():
    return discover([PLUGIN])


def probe_of(registry, results, variant="plain", epochs=(1, 2.5), iterations=12):
    request = Request([variant], ["tiny"], settings=SETTINGS)
    return plan_probe(request, registry, epochs=epochs, iterations=iterations, seed=0, results=results)


def made(probe, registry, tell=lambda line: None):
    return run_probe(probe, registry, threads=1, tell=tell)


def test_epochs_are_epochs_of_the_data(registry, tmp_path):
    probe = probe_of(registry, tmp_path)
    assert probe.images == 256 and probe.job.spec.budget.amount == 640
    curves = made(probe, registry)
    assert sorted(curves) == [(epoch, loss) for epoch in (1, 2.5) for loss in ("-log D", "log(1-D)", "own")]
    state = torch.load(ResultStore(probe.results).work(probe.job.spec) / "checkpoint.pt", weights_only=True)
    assert state["trainer"]["meters"]["images"] == 640


def test_training_does_not_feel_the_probe(registry, tmp_path):
    probe = probe_of(registry, tmp_path / "probed")
    made(probe, registry)
    store = ResultStore(probe.results)
    probed = torch.load(store.work(probe.job.spec) / "checkpoint.pt", weights_only=True)["trainer"]
    make_repeatable(torch.device("cpu"), 1)
    trainer = Run(probe.job, ResultStore(tmp_path / "plain"), registry, 1).begin()
    list(trainer.train(1.0))
    for name, value in trainer.state_dict()["variant"].items():
        assert torch.equal(value, probed["variant"][name]), name


def test_a_probe_that_was_stopped_continues_to_the_same_curves(registry, tmp_path):
    whole = made(probe_of(registry, tmp_path / "whole"), registry)
    probe = probe_of(registry, tmp_path / "halted")

    def stop(line):
        if line.startswith("epoch 2.5: probing"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(probe, registry, stop)
    assert {epoch for epoch, _ in read_curves(probe.path(".csv"))} == {1}
    assert made(probe, registry) == whole
    told = []
    assert made(probe, registry, told.append) == whole and not told


def test_an_earlier_epoch_asked_for_later_is_not_probed_at_the_checkpoint(registry, tmp_path):
    both = made(probe_of(registry, tmp_path / "at once"), registry)
    made(probe_of(registry, tmp_path / "again", epochs=(2.5,)), registry)
    told = []
    again = made(probe_of(registry, tmp_path / "again"), registry, told.append)
    assert again == both
    assert "training starts anew" in told[0]
    longer = made(probe_of(registry, tmp_path / "again", iterations=20), registry)
    for key, curve in both.items():
        assert longer[key].norms[0] == curve.norms[0]


def test_the_command_prints_a_table_and_writes_csv_and_picture(tmp_path):
    arguments = ["probe", "--variant", "plain", "--dataset", "tiny", "--at", "1,2", "--iterations", "12"]
    arguments += ["--plugin", str(PLUGIN), "--set", "mlp.width=16", "--results", str(tmp_path), "--device", "cpu"]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    lines = [line for line in result.stdout.splitlines() if line.startswith("| ")]
    assert "0 updates of D" in lines[0] and "12 updates of D" in lines[0] and len(lines) == 8
    assert "mlp.width=16" in result.stdout and "256 images an epoch" in result.stdout
    (path,) = tmp_path.rglob("*.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["variant"] for row in rows} == {"plain"} and {row["epoch"] for row in rows} == {"1", "2"}
    assert all(float(row["grad_norm"]) > 0 for row in rows)
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert CliRunner().invoke(main, ["report", "--results", str(tmp_path)]).exit_code == 2, "a probe is no record"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--at", "0"], "name epochs above 0"),
        (["--at", "soon"], "name epochs, as in 1,10,25"),
        (["--at", "nan"], "name epochs above 0"),
        (["--variant", "plein"], "unknown variant 'plein': did you mean 'plain'"),
        (["--variant", "plain,slow"], "unknown variant"),
        (["--dataset", "tiny,ring"], "unknown dataset"),
        (["--set", "plain.lr=1"], "lr"),
    ],
)
def test_a_wrong_request_is_one_sentence(tmp_path, arguments, told):
    base = ["probe", "--variant", "plain", "--dataset", "tiny", "--plugin", str(PLUGIN), "--results", str(tmp_path)]
    result = CliRunner().invoke(main, [*base, "--iterations", "1", "--at", "0.1", *arguments])
    assert result.exit_code == 2 and re.search(told, result.stderr) and "Traceback" not in result.stderr


def test_a_run_that_diverges_is_said(registry, tmp_path):
    with pytest.raises(UserError, match=r"makes-nan diverged before epoch 2\.5"):
        made(probe_of(registry, tmp_path, "makes-nan"), registry)


def test_a_damaged_table_is_said_and_kept(registry, tmp_path):
    probe = probe_of(registry, tmp_path)
    probe.path(".csv").parent.mkdir(parents=True)
    probe.path(".csv").write_text("epoch,loss\n1,own\n")
    with pytest.raises(UserError, match="is not the table of a probe"):
        made(probe, registry)
    assert probe.path(".csv").read_text() == "epoch,loss\n1,own\n"


def test_the_table_tells_decades(registry, tmp_path):
    probe = probe_of(registry, tmp_path, epochs=(1,))
    curves = made(probe, registry)
    text = table(probe, curves)
    for (_, loss), curve in curves.items():
        (line,) = [line for line in text.splitlines() if f" {loss} |" in line]
        assert line.rstrip(" |").endswith(f"{curve.decades:+.2f}") and f"{curve.norms[0]:.3g}" in line
