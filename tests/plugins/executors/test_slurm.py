"""Runs as jobs: of submitit's local executor for real, and of a Slurm whose commands are scripts that write down."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from ganbench_plugins.executors import slurm
from kept_runs import kept

from ganbench import UserError
from ganbench.results.store import ResultStore
from ganbench.runs.executors.choosing import choose
from ganbench.runs.executors.orders import RunOrder
from ganbench.toolbox import orders as orders_followed

pytest.importorskip("submitit")

TINY = Path(__file__).parents[2] / "tiny_plugin.py"
HERE = ("cluster=local", "cpus=1")


def events_of(jobs, results, *options):
    orders = [RunOrder(job, results) for job in jobs]
    return choose("slurm", [*HERE, *options], []).events(orders, results, 0)


def tasks(results):
    """The processes that carry out jobs: the children of those that have the jobs' ids."""
    ids = [path.read_text().strip() for path in (results / ".work" / "executors" / "slurm").glob("*.job")]
    return [pid for id in ids for pid in children(id)]


def children(pid):
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
    return [int(child) for child in found.split()]


def below(pid):
    return [found for child in children(pid) for found in (child, *below(child))]


def until_share(events, share):
    for event in events:
        if event.mark is not None and event.mark.share >= share:
            return
    raise AssertionError(f"the runs ended before {share:g}")


def test_jobs_make_what_the_local_executor_makes_and_leave_no_files(jobs, whole, tmp_path):
    heard = list(events_of(jobs, tmp_path))
    ends = {event.job.spec.variant: event.record.status for event in heard if event.ended}
    assert ends == {"slow": "done", "raises": "error"}
    assert [event.mark.share for event in heard if event.mark is not None] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert any(event.tick is not None for event in heard)
    assert kept(tmp_path) == whole
    assert not list((tmp_path / ".work" / "executors" / "slurm").iterdir())


def test_a_preempted_job_is_requeued_and_goes_on_from_its_checkpoint(jobs, whole, tmp_path):
    events = events_of(jobs[:1], tmp_path)
    until_share(events, 0.4)
    (task,) = tasks(tmp_path)
    family = [task, *below(task)]
    assert len(family) > 2
    for pid in family:  # as Slurm does
        os.kill(pid, signal.SIGUSR2)
    heard = list(events)
    assert [event.mark.share for event in heard if event.mark is not None] == [0.6, 0.8, 1.0]
    assert heard[-1].record.status == "done"
    assert kept(tmp_path) == {"slow": whole["slow"]}


@pytest.mark.filterwarnings("ignore:Exception ignored in. <function Popen.__del__")  # a command that ends leaves it
def test_what_an_earlier_command_submitted_is_followed_and_not_submitted_again(jobs, whole, tmp_path):
    first = events_of(jobs[:1], tmp_path, "keep=true")
    until_share(first, 0.2)
    (task,) = tasks(tmp_path)
    first.close()
    del first
    gc.collect()  # while the warning is expected
    second = events_of(jobs[:1], tmp_path)
    assert next(second).note == "1 of 1 runs have jobs already, which are followed"
    assert tasks(tmp_path) == [task]
    *_, last = second
    assert last.record.status == "done" and kept(tmp_path) == {"slow": whole["slow"]}


def test_stopping_lets_the_runs_keep_what_they_have(jobs, tmp_path):
    events = events_of(jobs[:1], tmp_path)
    until_share(events, 0.2)
    events.close()
    assert not tasks(tmp_path)
    record = ResultStore(tmp_path).get(jobs[0].spec)
    assert (record.status, record.error) == ("killed", "stopped on request; the same command continues it")
    assert (tmp_path / ".work" / record.spec.id / "checkpoint.pt").exists()


def test_a_job_that_is_killed_is_a_run_that_is_lost_with_the_reason(jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(orders_followed, "LAG_SECONDS", 1.0)
    events = events_of(jobs[:1], tmp_path)
    until_share(events, 0.2)
    (task,) = tasks(tmp_path)
    os.kill(task, signal.SIGKILL)
    *_, last = events
    assert last.record.status == "killed"
    assert re.match(r"its job \d+ ended(, saying last: .*)?; the same", last.record.error)
    assert last.record.error.endswith("the same command continues it from its checkpoint")


# A Slurm of scripts


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Commands of Slurm that write down what they are given. `state`: what squeue says of every job, if it is there."""
    folder, state = tmp_path / "bin", tmp_path / "state"
    folder.mkdir()
    state.write_text("PENDING|Resources")
    lines = "".join(f"echo '{job}|'$(cat {state})\n" for job in ("77_0", "77_1", "77_N/A", "78_N/A"))
    number = f"n=$(cat {tmp_path}/last || echo 76)\nn=$((n + 1))\necho $n > {tmp_path}/last\n"
    scripts = {
        "sbatch": f'{number}cp "$1" {tmp_path}/script\necho Submitted batch job $n\n',
        "srun": "",
        "squeue": f"[ -e {state} ] || exit 0\n{lines}",
        "sacct": "exit 1",
        "scancel": f'echo "$@" >> {tmp_path}/cancelled\necho "CANCELLED|None" > {state}\n',
        "scontrol": f'echo "$@" >> {tmp_path}/asked\n',
    }
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(orders_followed, "LAG_SECONDS", 0.5)
    return tmp_path


def submitted(jobs, tmp_path, *options, side_by_side=0):
    results = tmp_path / "results"
    orders = [RunOrder(job, results) for job in jobs]
    return choose("slurm", options, []).events(orders, results, side_by_side)


def test_all_runs_are_one_array_with_what_was_asked_for(jobs, commands):
    asked = (
        "partition=gpu",
        "minutes=90",
        "gpus=1",
        "cpus=3",
        "memory=7.5",
        "account=us",
        "qos=low",
        "constraint=a100",
    )
    (commands / "state").write_text("FAILED|NonZeroExitCode")
    heard = list(submitted(jobs, commands, *asked, side_by_side=1))
    script = (commands / "script").read_text()
    for line in (
        *("partition=gpu", "time=90", "gpus-per-node=1", "cpus-per-task=3", "mem=7.5GB", "account=us", "qos=low"),
        *("constraint=a100", "array=0-1%1", "signal=USR2@90", "job-name=ganbench", "requeue"),
    ):
        assert f"#SBATCH --{line}\n" in script, script
    assert "\nsrun " in script and " --cpus-per-task=3 " in script.partition("\nsrun ")[2], script
    assert " -P -u -m submitit.core._submit " in script
    assert [event.record.error for event in heard if event.ended] == [
        f"its job 77_{number} ended as FAILED; the same command begins it anew" for number in range(2)
    ]


def test_an_array_has_no_more_jobs_than_slurm_takes(jobs, commands, monkeypatch):
    monkeypatch.setattr(slurm, "MOST_IN_ARRAY", 1)
    (commands / "state").write_text("FAILED|NonZeroExitCode")
    ends = [event.record.error for event in submitted(jobs, commands) if event.ended]
    assert ends == [f"its job {number} ended as FAILED; the same command begins it anew" for number in (77, 78)]


@pytest.mark.parametrize(
    ("sacct", "end"),
    [
        ("exit 1", "has ended, and Slurm no longer knows how"),  # as where there is no accounting
        ("echo 'CANCELLED by 0'", "ended as CANCELLED"),
        ("echo NODE_FAIL", "ended as NODE_FAIL"),
    ],
)
def test_a_job_that_squeue_does_not_list_any_more_has_ended(jobs, commands, sacct, end):
    (commands / "bin" / "sacct").write_text(f"#!/bin/sh\n{sacct}\n")
    (commands / "state").unlink()
    ends = [event.record.error for event in submitted(jobs[:1], commands) if event.ended]
    assert ends == [f"its job 77 {end}; the same command begins it anew"]


def test_nothing_has_ended_while_slurm_does_not_answer(jobs, commands):
    (commands / "bin" / "squeue").write_text("#!/bin/sh\necho 'slurm_load_jobs error: timed out' >&2\nexit 1\n")
    events = submitted(jobs, commands, "keep=true")
    with pytest.raises(KeyboardInterrupt):
        _pass(events, seconds=2)
    events.close()


def test_a_job_that_waits_for_what_will_not_come_says_so_once(jobs, commands):
    (commands / "state").write_text("PENDING|PartitionTimeLimit")
    events = submitted(jobs, commands)
    assert next(events).note == "its job 77_0 waits, and maybe others: Slurm's reason is PartitionTimeLimit"
    with pytest.raises(KeyboardInterrupt):
        _pass(events, seconds=1)
    events.close()


@pytest.mark.parametrize(
    ("state", "told", "asked"),
    [("RUNNING", True, ["requeue 77_1"]), ("COMPLETING", True, []), ("", True, []), ("RUNNING", False, [])],
)
def test_a_job_that_is_told_to_end_while_slurm_lets_it_run_is_requeued(commands, monkeypatch, state, told, asked):
    (commands / "bin" / "squeue").write_text(f"#!/bin/sh\necho {state}\n")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("SLURM_JOB_ID", "79")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "77")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")

    class Stopped:
        def make(self, *, threads, stopping):
            if told:
                os.kill(os.getpid(), signal.SIGTERM)
            while told and not stopping():
                time.sleep(0.01)
            return False

    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit):
            slurm.Making(Stopped(), 1)()
    finally:
        signal.signal(signal.SIGTERM, before)
    found = commands / "asked"
    assert (found.read_text().splitlines() if found.exists() else []) == asked


def test_what_waits_is_cancelled_with_the_command_or_kept_and_followed(jobs, commands):
    first = submitted(jobs, commands, "keep=true")
    with pytest.raises(KeyboardInterrupt):
        _pass(first, seconds=1.5)
    first.close()
    assert not (commands / "cancelled").exists()
    (commands / "script").unlink()
    second = submitted(jobs, commands)
    assert next(second).note == "2 of 2 runs have jobs already, which are followed"
    assert not (commands / "script").exists(), "nothing is submitted again"
    second.close()
    assert (commands / "cancelled").read_text() == "77_0 77_1\n"


def _pass(events, seconds):
    """Let a generator that has nothing to say look for news for some seconds."""

    def interrupt(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    next(events)


def test_a_refusal_is_one_sentence(jobs, commands):
    (commands / "bin" / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition: gpu' >&2\nexit 1\n")
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"the jobs cannot be submitted: .*invalid partition: gpu"):
        list(submitted(jobs, commands, "partition=gpu"))
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "there is no sbatch here: give the command on a machine that submits to Slurm"),
        (["minutes=0"], "minutes=0: must be 1 at least"),
        (["gpus=-1"], "gpus=-1: must not be negative"),
        (["cluster=pbs"], "slurm.cluster: input should be 'slurm' or 'local', but 'pbs' was given"),
    ],
)
def test_what_cannot_be_is_said_at_once(options, sentence, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match=sentence):
        choose("slurm", options, [])
