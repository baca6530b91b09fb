"""An executor is found by its name, given what is to be made, and each run has one end whatever it does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ganbench import UserError
from ganbench.cli import main
from ganbench.results.store import ResultStore
from ganbench.runs.executors.choosing import choose
from ganbench.runs.executors.orders import RunOrder
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover
from ganbench.toolbox import orders as orders_followed

ROOT = Path(__file__).parents[3]
TINY = ROOT / "tests" / "tiny_plugin.py"
EXECUTING = ROOT / "tests" / "executing_plugin.py"
ASKED = ("run", "--dataset", "tiny", "--budget", "640-images", "--marks", "2", "--seeds", "1", "--plugin", str(TINY))
SOURCE = """
from ganbench import Executor, hookimpl

class Found(Executor):
    name = "NAME"
    def execute(self, orders, terms): ...

@hookimpl
def ganbench_executors():
    return [Found()]
"""


@pytest.fixture(scope="module")
def jobs():
    asked = Request(("plain", "raises"), ("tiny",), budget="640-images", seeds=1, marks=2, plugins=(TINY,))
    return plan(asked, discover((TINY,))).jobs


def values(results):
    return {
        record.spec.variant: (record.status, record.values, [mark.values for mark in record.curve])
        for record in ResultStore(results).records()[0]
    }


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    results = tmp_path_factory.mktemp("local")
    done = CliRunner().invoke(main, [*ASKED, "--variants", "plain,raises", "--results", str(results)])
    assert done.exit_code == 1, done.output
    return values(results)


def test_the_example_of_the_docs_makes_runs_as_the_local_one_does(tmp_path, local):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "executors.md").read_text(), re.DOTALL)
    (tmp_path / "pool.py").write_text(code)
    words = ["--variants", "plain,raises", "--results", str(tmp_path / "results")]
    pool = ["--plugin", str(tmp_path / "pool.py"), "--executor", "pool", "--executor-set"]
    wrong = CliRunner().invoke(main, [*ASKED, *words, *pool, "processes=0"])
    assert wrong.exit_code == 2 and "Error: --executor pool: processes=0: it needs one at least" in wrong.output
    call = [sys.executable, "-m", "ganbench", *ASKED, *words, *pool, "processes=2"]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr  # `raises` failed
    assert "plain tiny seed 0   50%" in done.stderr
    assert values(tmp_path / "results") == local
    assert not list((tmp_path / "results").rglob("news-*"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--executor", "lokal"], "Error: --executor: unknown executor 'lokal': did you mean 'local'?"),
        (["--executor", "nothing-like-it"], "unknown executor 'nothing-like-it'; there are babbles"),
        (["--executor-set", "partition=gpu"], "local has no option 'partition'"),
        (["--executor-set", "partition"], "--executor-set 'partition': write KEY=VALUE"),
        (["--executor", "needs"], "needs the package no_such_package, which is not installed: pip install 'x[needs]'"),
        (["--executor", "has-options", "--executor-set", "nodes=many"], "has-options.nodes: input should be"),
        (["--executor", "has-options", "--executor-set", "noodes=2"], "has no option 'noodes': did you mean 'nodes'?"),
    ],
)
def test_what_cannot_be_met_is_one_sentence_before_anything_is_planned(words, sentence, tmp_path):
    asked = [*ASKED, "--variants", "plain", "--plugin", str(EXECUTING), "--results", str(tmp_path), *words]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 2 and sentence in done.output and "Traceback" not in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_an_installed_one_is_found_by_its_entry_point_and_no_other_is_imported(install):
    install("a-stranger", SOURCE.replace("NAME", "kept"), entry="executor-kept")
    install("another", "raise SystemExit('it must not be imported')", entry="executor-other")
    chosen = choose("kept", [], [])
    assert chosen.executor.name == "kept" and not chosen.is_local
    with pytest.raises(UserError, match="the plugin of the executor 'other' is broken"):
        choose("other", [], [])


def test_options_are_those_of_the_executor_however_they_are_written():
    for text in ("nodes=3", "has-options.nodes=3"):
        assert choose("has-options", [text], [EXECUTING]).config.nodes == 3
    assert choose("has-options", [], [EXECUTING]).config.nodes == 1
    assert choose("has-options", ["time-limit=5"], [EXECUTING]).config.time_limit == 5


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("forgets", "the executor 'forgets' ended without news of it; the same command begins it anew"),
        ("loses", "its node is gone; the same command begins it anew"),
    ],
)
def test_a_run_without_an_end_gets_one(name, says, jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(orders_followed, "LAG_SECONDS", 0.5)
    orders = [RunOrder(job, tmp_path) for job in jobs]
    ends = [event for event in choose(name, [], [EXECUTING]).events(orders, tmp_path, 0) if event.ended]
    assert [event.run for event in ends] == [order.run for order in orders]
    for event in ends:
        assert event.record.status == "killed" and event.record.error == says
        assert ResultStore(tmp_path).get(event.job.spec) == event.record


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("fails", r"the executor 'fails' failed: RuntimeError: no luck \(executing_plugin.py, line \d+\)"),
        ("babbles", "the executor 'babbles' yields 'hello', which is no news"),
    ],
)
def test_one_that_misbehaves_ends_the_command_in_one_sentence(name, says, jobs, tmp_path):
    with pytest.raises(UserError, match=says):
        list(choose(name, [], [EXECUTING]).events([RunOrder(job, tmp_path) for job in jobs], tmp_path, 0))


def test_what_is_waited_for_is_stopped_by_closing(jobs, tmp_path):
    events = choose("watches", [], [EXECUTING]).events([RunOrder(jobs[0], tmp_path)], tmp_path, 0)
    assert next(events).note == "begun"
    events.close()
    assert (tmp_path / "closed").exists()
