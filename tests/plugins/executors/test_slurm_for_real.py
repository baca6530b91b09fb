"""Runs as jobs of a real Slurm, without accounting: preempted in each way, followed, stopped, lost.

Where Debian's packages are missing, or root's rights, it is skipped; slurm_here.py says what it needs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from kept_runs import kept, made_here
from slurm_here import lacking, slurm_here

from ganbench.results.store import ResultStore
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover

pytest.importorskip("submitit")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(lacking()), reason=lacking())]

TINY = Path(__file__).parents[2] / "tiny_plugin.py"
BUDGET, MARKS = "9600-images", 10
SECONDS = 120


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What the local executor makes of three seeds."""
    asked = Request(("slow",), ("tiny",), budget=BUDGET, seeds=3, marks=MARKS, plugins=(TINY,))
    return made_here(plan(asked, discover((TINY,))).jobs, tmp_path_factory.mktemp("whole"), "seed")


class Here:
    """A Slurm, a folder of results, and the command whose jobs are looked at."""

    def __init__(self, env, folder):
        self.env, self.results, self.commands = env, folder / "results", 0

    @contextmanager
    def command(self, *, seeds, options=()):
        """Give the command: its process, and the file of what it says."""
        self.commands += 1
        said = self.results.with_name(f"said-{self.commands}")
        asked = ["--variants", "slow", "--dataset", "tiny", "--budget", BUDGET, "--marks", str(MARKS)]
        sets = [f"--executor-set={option}" for option in ("partition=low", "cpus=1", "minutes=10", *options)]
        line = [sys.executable, "-P", "-m", "ganbench", "run", "--plugin", str(TINY), *asked, f"--seeds={seeds}"]
        with said.open("wb") as file:
            process = subprocess.Popen(
                [*line, f"--results={self.results}", "--executor=slurm", *sets],
                env=self.env,
                stdout=file,
                stderr=file,
            )
        try:
            yield process, said
        finally:
            process.kill()
            process.wait()

    def ask(self, *command):
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout.strip()

    def jobs(self, name="ganbench"):
        """The state of each job, by its id."""
        lines = self.ask("squeue", "-h", "-r", "-t", "all", f"--name={name}", "-o", "%F_%K %T").splitlines()
        return dict(line.split() for line in lines)

    def occupy(self, seconds):
        """Let a job of the other partition take both CPUs."""
        asked = ("--partition=high", "--ntasks=2", "--job-name=urgent", "--output=/dev/null")
        self.ask("sbatch", *asked, f"--wrap=sleep {seconds}")

    def preempt(self):
        """Let a job take the CPUs of those that run for a moment, and wait until it has ended."""
        self.occupy(seconds=1)
        until(lambda: set(self.jobs("urgent").values()) == {"COMPLETED"}, "the urgent job's end")

    def go_on(self):
        """Let jobs begin that wait for two minutes after they were requeued."""
        for id in self.jobs():
            subprocess.run(["scontrol", "update", f"JobId={id}", "StartTime=now"], env=self.env, check=False)

    def checkpoints(self):
        return len(list(self.results.glob(".work/*/checkpoint.pt")))

    @property
    def left(self):
        return sorted(path.name for path in (self.results / ".work" / "executors" / "slurm").iterdir())


def until(true, what, seconds=SECONDS):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what} did not come in {seconds} seconds"
        time.sleep(0.2)


def until_said(said, text, times=1):
    """Wait until a command has said something so many times."""
    try:
        until(lambda: said.read_text().count(text) >= times, text)
    except AssertionError as error:
        raise AssertionError(f"{error}: {said.read_text()}") from None


@contextmanager
def here(folder, **options):
    with slurm_here(**options) as env:
        yield Here(env, folder)


@pytest.mark.parametrize(
    "way",
    [
        {},
        {"grace": 60},
        {"grace": 60, "more": "SlurmctldParameters=preempt_send_user_signal"},
        {"grace": 60, "mode": "CANCEL"},
    ],
    ids=["at-once", "with-grace", "by-the-user-signal", "cancelling-with-grace"],
)
def test_preempted_jobs_keep_a_checkpoint_are_requeued_and_go_on_to_the_same_numbers(way, whole, tmp_path):
    with here(tmp_path, **way) as slurm, slurm.command(seeds=3) as (process, said):
        until_said(said, "  20%", times=2)
        before = slurm.jobs()
        running = [id for id, state in before.items() if state == "RUNNING"]
        assert len(before) == 3 and len(running) == 2
        slurm.preempt()
        assert [slurm.jobs()[id] for id in running] == ["PENDING", "PENDING"]
        assert slurm.checkpoints() >= 2
        assert "0 of 3 done" in slurm.ask(
            sys.executable, "-P", "-m", "ganbench", "status", f"--results={slurm.results}"
        )
        slurm.go_on()
        assert process.wait(SECONDS) == 0, said.read_text()
        assert slurm.jobs() == dict.fromkeys(before, "COMPLETED"), "the same jobs, and none but those"
        assert slurm.ask("scontrol", "show", "job").count("Restarts=1") == 2
        assert said.read_text().count("  20%") == 3, "what was made before is not made again"
        assert kept(slurm.results, "seed") == whole
        assert slurm.left == []


def test_the_same_command_follows_jobs_while_another_does_and_after_it_was_killed(whole, tmp_path):
    with here(tmp_path) as slurm:
        slurm.occupy(seconds=600)  # so that jobs wait until both commands are there
        with slurm.command(seeds=2) as (first, _):
            until(slurm.jobs, "jobs")
            with slurm.command(seeds=2) as (second, also):
                until_said(also, "2 of 2 runs have jobs already, which are followed")
                first.kill()
                slurm.ask("scancel", "--name=urgent")
                assert second.wait(SECONDS) == 0, also.read_text()
        assert set(slurm.jobs().values()) == {"COMPLETED"} and len(slurm.jobs()) == 2
        assert kept(slurm.results, "seed") == {seed: whole[seed] for seed in (0, 1)}
        assert slurm.left == []


def test_ctrl_c_cancels_the_jobs_whose_runs_the_same_command_continues(whole, tmp_path):
    with here(tmp_path) as slurm:
        with slurm.command(seeds=2) as (process, said):
            until_said(said, "  10%", times=2)
            process.send_signal(signal.SIGINT)
            begun = time.monotonic()
            process.wait(SECONDS)
            assert time.monotonic() - begun < 30
        assert set(slurm.jobs().values()) == {"CANCELLED"}
        assert slurm.checkpoints() == 2
        with slurm.command(seeds=2) as (process, said):
            assert process.wait(SECONDS) == 0, said.read_text()
        assert "  10%" not in said.read_text()
        assert kept(slurm.results, "seed") == {seed: whole[seed] for seed in (0, 1)}


def test_a_job_that_ends_without_news_is_a_run_that_is_lost_with_slurms_word_for_it(tmp_path):
    with here(tmp_path) as slurm, slurm.command(seeds=2) as (process, said):
        until_said(said, "  10%", times=2)
        slurm.ask("scancel", "1_0")
        for pid in slurm.ask("pgrep", "-f", f"^{sys.executable} .* submitit.core._submit").split():
            if b"SLURM_ARRAY_TASK_ID=1\0" in Path(f"/proc/{pid}/environ").read_bytes():
                os.kill(int(pid), signal.SIGKILL)
        assert process.wait(SECONDS) == 1
        errors = {record.spec.seed: record.error for record in ResultStore(slurm.results).records()[0]}
        for seed, end in ((0, "CANCELLED"), (1, "FAILED")):
            assert errors[seed].startswith(f"its job 1_{seed} ended as {end}, saying last: s"), errors
            assert errors[seed].endswith("; the same command continues it from its checkpoint")


def test_a_job_that_cannot_begin_says_why_it_waits(tmp_path):
    with here(tmp_path) as slurm, slurm.command(seeds=1, options=["minutes=600"]) as (process, said):
        until_said(said, "waits, and maybe others: Slurm's reason is PartitionTimeLimit")
        os.kill(process.pid, signal.SIGINT)
        process.wait(SECONDS)
        assert set(slurm.jobs().values()) == {"CANCELLED"}
