"""Runs as jobs of Slurm, submitted by submitit as one array."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ganbench import Executor, News, Order, Terms, UserError, follow, hookimpl

SAVING_SECONDS = 90
"""How long before its time is over, or once it is preempted, a job is told so that its run keeps a checkpoint."""
LOOK_SECONDS = 15.0
"""How often Slurm is asked for the state of jobs, in one call for all."""
WAIT_SECONDS = 2.0
"""The same while jobs end, which is waited for."""
ENDING_SECONDS = 20
"""How long jobs are waited for whose runs have ended, before they are cancelled."""
ORDINARY = ("None", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime", "Cleaning", "Prolog")
"""Slurm's reasons for which jobs wait that are not worth a word. After BeginTime a job is that was requeued."""
MOST_IN_ARRAY = 1000
"""So many jobs has an array at most: Slurm's own default is to refuse more."""
OVER = (
    *("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"),
    "PREEMPTED",
)
"""The states in which a job has ended. PREEMPTED is one that was cancelled for it; what is requeued is PENDING."""


@dataclass(frozen=True)
class Config:
    """Options of the jobs.

    cluster: `slurm`, or `local` for processes of this machine in place of jobs, to try things out.
    partition: of Slurm; empty for the default one.
    minutes: the time of a job, after which it is requeued and its run goes on from its checkpoint.
    requeues: how often its time may be over before it is given up.
    cpus: of a job, with which its run computes.
    gpus: of a job.
    memory: of a job in GB, 0 for Slurm's default.
    account: of Slurm.
    qos: of Slurm.
    constraint: of Slurm.
    python: what starts Python on the nodes, empty for the Python of the command.
    keep: whether jobs go on when the command is stopped; given again, it follows them.
    """

    cluster: Literal["slurm", "local"] = "slurm"
    partition: str = ""
    minutes: int = 240
    requeues: int = 100
    cpus: int = 4
    gpus: int = 0
    memory: float = 0.0
    account: str = ""
    qos: str = ""
    constraint: str = ""
    python: str = ""
    keep: bool = False


class Making:
    """What a job carries out: an order, made by a thread, so that the main one hears Slurm's signals."""

    def __init__(self, order: Order, threads: int) -> None:
        self.order, self.threads = order, threads
        self._ended = False
        self._stop: threading.Event | None = None
        self._thread: threading.Thread | None = None

    def __call__(self) -> None:
        """Make the run. A job that is told to end (SIGTERM: preempted or cancelled) leaves no result behind.

        What is preempted with a grace time still runs when its checkpoint is kept. It asks to be requeued then: Slurm
        does so only with jobs that it has to kill, and takes one that ends by itself for a failure.
        """
        stop = self._stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        self._thread = threading.Thread(target=self._make, args=(stop,))
        self._thread.start()
        told = False
        try:
            while self._thread.is_alive():
                self._thread.join(0.5)
            told = stop.is_set()
        finally:
            stop.set()
            self._thread.join()
        if not self._ended:
            if told:
                _requeue()
            raise SystemExit(128 + signal.SIGTERM)

    def checkpoint(self) -> Any:
        """Keep a checkpoint and say how to go on: called by submitit in a handler, before it requeues the job."""
        import submitit

        if self._stop is not None and self._thread is not None:
            self._stop.set()
            self._thread.join(SAVING_SECONDS)
        return submitit.helpers.DelayedSubmission(Making(self.order, self.threads))

    def _make(self, stop: threading.Event) -> None:
        # Slurm sends its signals to every process of a job. What this thread starts inherits that it does not hear
        # those that the main thread alone knows what to do with, of which a run would die without a checkpoint.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGUSR2})
        self._ended = self.order.make(threads=self.threads, stopping=stop.is_set)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_stop": None, "_thread": None}


class Slurm(Executor):
    """Submits all runs as one job array, as many at a time as `--jobs` says, and follows them from here.

    A job that is preempted or whose time is over keeps a checkpoint and is requeued. Where the command ends while jobs
    wait or run (with keep=true, or a kill), the same command given again follows them and submits none twice. It is
    given on a machine with `sbatch`, `squeue` and the folder of results; the logs of jobs that failed stay in
    `.work/executors/slurm` there, and pickles of jobs while these wait, so that whoever may write to it may run code.
    """

    name = "slurm"
    summary = "jobs of Slurm"
    needs = ("submitit",)
    install = "ganbench[slurm]"
    config: Config = Config()

    def check(self, config: Config) -> None:
        """See `Executor.check`."""
        for name in ("minutes", "cpus"):
            if getattr(config, name) < 1:
                raise UserError(f"{name}={getattr(config, name)}: must be 1 at least")
        for name in ("requeues", "gpus", "memory"):
            if getattr(config, name) < 0:
                raise UserError(f"{name}={getattr(config, name)}: must not be negative")
        if config.cluster == "slurm" and not shutil.which("sbatch"):
            raise UserError("there is no sbatch here: give the command on a machine that submits to Slurm")

    def execute(self, orders: Sequence[Order], terms: Terms) -> Generator[News, None, None]:
        """See `Executor.execute`."""
        terms.folder.mkdir(parents=True, exist_ok=True)
        cluster = _Here(terms) if terms.config.cluster == "local" else _Cluster(terms)
        jobs = {order.run: _Job(order, cluster, terms.folder) for order in orders}
        new = [job for job in jobs.values() if not job.attach()]
        cluster.submit(new)
        stopped = True
        try:
            if attached := len(jobs) - len(new):
                yield orders[0].note(f"{attached} of {len(jobs)} runs have jobs already, which are followed")
            yield from follow(
                [job.order for job in jobs.values()],
                lambda order: jobs[order.run].fate(),
                lambda: [job.order.note(why) for job in jobs.values() if (why := cluster.waiting(job.at_work))],
            )
            stopped = False
            cluster.wait(list(jobs.values()), ENDING_SECONDS)
        finally:
            if not (stopped and terms.config.keep):
                cluster.stop([job for job in jobs.values() if job.is_going])
                for job in jobs.values():
                    job.forget()


class _Job:
    """The job of an order. Its id is kept beside the logs, so that another command finds it."""

    def __init__(self, order: Order, cluster: _Cluster, folder: Path) -> None:
        self.order, self.at_work = order, None  # type: tuple[Order, Any]
        self._cluster, self._folder, self._note = cluster, folder, folder / f"{order.run}.job"

    def attach(self) -> bool:
        """Take the job that an earlier command submitted for the run, where it has not ended."""
        from submitit.core.utils import DelayedSubmission

        try:
            self.at_work = self._cluster.job(self._note.read_text(encoding="utf-8").strip())
            if not self.is_going:
                return False
            making: Any = DelayedSubmission.load(self.at_work.paths.submitted_pickle).function
            self.order = making.order
        except (OSError, EOFError, AttributeError):
            return False
        return True

    def took(self, at_work: Any) -> None:
        """Note the job that the order was given to."""
        self.at_work, part = at_work, self._note.with_suffix(".new")
        part.write_text(f"{at_work.job_id}\n", encoding="utf-8")
        part.replace(self._note)

    @property
    def is_going(self) -> bool:
        """Whether the job waits or runs, as far as is known."""
        return not self._cluster.is_over(self.at_work)

    def fate(self) -> str | None:
        """See `follow`."""
        if self.is_going:
            return None
        return f"its job {self.at_work.job_id} {self._cluster.end(self.at_work)}{self._last_words()}"

    def forget(self) -> None:
        """Remove what is kept of the job: what happened stands in the record of its run, and its logs if it failed."""
        self._note.unlink(missing_ok=True)
        self.at_work.paths.submitted_pickle.unlink(missing_ok=True)
        if self.at_work.paths.result_pickle.exists():
            for path in self._folder.glob(f"{self.at_work.job_id}_*"):
                path.unlink(missing_ok=True)

    def _last_words(self) -> str:
        with suppress(OSError):
            lines = self.at_work.paths.stderr.read_text(encoding="utf-8", errors="replace").split("\n")
            if said := [line.strip() for line in lines if line.strip()]:
                return f", saying last: {said[-1][:200]}"
        return ""


class _Cluster:
    """Slurm, through submitit."""

    def __init__(self, terms: Terms) -> None:
        self._folder, self._config = terms.folder, terms.config
        self._look_seconds, self._looked = LOOK_SECONDS, float("-inf")
        self._states: dict[str, tuple[str, str]] | None = None
        self._gone: dict[str, str] = {}
        self._told: set[str] = set()
        self.engine = self._engine(terms)

    def submit(self, jobs: Sequence[_Job]) -> None:
        """Submit jobs as one array, many as several. Raises `UserError` where they are refused."""
        for start in range(0, len(jobs), MOST_IN_ARRAY):
            self._submit(jobs[start : start + MOST_IN_ARRAY])

    def _submit(self, jobs: Sequence[_Job]) -> None:
        try:
            submitted = self.engine.submit_array([Making(job.order, self._config.cpus) for job in jobs])
        except Exception as error:  # it refuses in many ways
            raise UserError(f"--executor slurm: the jobs cannot be submitted: {_brief(str(error), 500)}") from error
        for job, at_work in zip(jobs, submitted, strict=True):
            job.took(at_work)
        self._looked, self._states = time.monotonic(), None  # what was seen before knows nothing of these
        self._tidy(str(submitted[0].job_id).partition("_")[0])

    def _tidy(self, id: str) -> None:
        """Remove the script of a job, which Slurm has taken, and the name that submitit leaves of it."""
        (self._folder / f"{id}_submission.sh").unlink(missing_ok=True)
        for path in self._folder.glob(".submission_file_*"):
            if path.is_symlink() and not path.exists():
                path.unlink(missing_ok=True)

    def job(self, id: str) -> Any:
        """Return the job of an id."""
        return self.engine.job_class(self._folder, id)

    def is_over(self, at_work: Any) -> bool:
        """Whether a job has ended, as it was lately. While squeue has no answer, nothing has."""
        state = self._state(at_work)
        return state is not None and (not state or state in OVER)

    def end(self, at_work: Any) -> str:
        """Say how a job ended, in a few words."""
        id = str(at_work.job_id)
        if state := self._state(at_work):
            return f"ended as {state}"
        if id not in self._gone:
            self._gone[id] = _accounted(id)
        return self._gone[id]

    def _state(self, at_work: Any) -> str | None:
        """Return Slurm's word for the state of a job; nothing if it knows of none, None while that is unknown."""
        seen, id = self._seen(), str(at_work.job_id)
        if seen is None:
            return None
        state, _ = seen.get(id) or seen.get(id.partition("_")[0]) or ("", "")  # an array cancelled as it waits is one
        return state

    def waiting(self, at_work: Any) -> str:
        """Say why a job waits that may wait for long, once for all jobs that wait for the same reason."""
        state, reason = (self._seen() or {}).get(str(at_work.job_id), ("", ""))
        if state != "PENDING" or reason in (*ORDINARY, *self._told):
            return ""
        self._told.add(reason)
        return f"its job {at_work.job_id} waits, and maybe others: Slurm's reason is {reason}"

    def _seen(self) -> dict[str, tuple[str, str]] | None:
        if time.monotonic() - self._looked > self._look_seconds:
            self._looked, seen = time.monotonic(), _queue()
            self._states = self._states if seen is None else seen
        return self._states

    def stop(self, jobs: Sequence[_Job]) -> None:
        """Ask jobs to end, upon which runs keep a checkpoint, and wait until they have."""
        if jobs:
            self._cancel([str(job.at_work.job_id) for job in jobs])
        self.wait(jobs, SAVING_SECONDS)

    def wait(self, jobs: Sequence[_Job], seconds: float) -> None:
        """Wait until jobs have ended, no longer than so many seconds."""
        self._look_seconds = min(WAIT_SECONDS, LOOK_SECONDS)
        until = time.monotonic() + seconds
        while time.monotonic() < until and any(job.is_going for job in jobs):
            time.sleep(0.5)

    def _cancel(self, ids: Sequence[str]) -> None:
        subprocess.run(["scancel", *ids], check=False)

    def _engine(self, terms: Terms) -> Any:
        import submitit

        config: Config = terms.config
        engine = submitit.SlurmExecutor(terms.folder, max_num_timeout=config.requeues, python=_python(config))
        asked = {
            "job_name": "ganbench",
            "time": config.minutes,
            "cpus_per_task": config.cpus,
            "gpus_per_node": config.gpus,
            "mem": f"{config.memory:g}GB" if config.memory else "",
            "partition": config.partition,
            "account": config.account,
            "qos": config.qos,
            "constraint": config.constraint,
            "signal_delay_s": SAVING_SECONDS,
            "array_parallelism": terms.side_by_side or MOST_IN_ARRAY,
            "srun_args": [f"--cpus-per-task={config.cpus}"],  # which it does not take over from the job since 22.05
            "additional_parameters": {"requeue": True},  # also where jobs are not by default
        }
        engine.update_parameters(**{name: value for name, value in asked.items() if value})
        return engine


class _Here(_Cluster):
    """Processes of this machine in the place of jobs, which outlive the command as those do."""

    def waiting(self, at_work: Any) -> str:
        return ""

    def is_over(self, at_work: Any) -> bool:
        if at_work._process is not None:
            return at_work._process.poll() is not None
        with suppress(OSError):  # of an earlier command
            return b"submitit" not in Path(f"/proc/{at_work.job_id}/cmdline").read_bytes()
        return True

    def end(self, at_work: Any) -> str:
        return "ended"

    def _cancel(self, ids: Sequence[str]) -> None:
        for id in ids:
            with suppress(OSError):
                os.kill(int(id), signal.SIGTERM)

    def _engine(self, terms: Terms) -> Any:
        import submitit

        config: Config = terms.config
        engine = submitit.LocalExecutor(terms.folder, max_num_timeout=config.requeues, python=_python(config))
        warned = min(SAVING_SECONDS, 30 * config.minutes)
        engine.update_parameters(timeout_min=config.minutes, gpus_per_node=config.gpus, signal_delay_s=warned)
        return engine


def _requeue() -> None:
    """Have the job that this process is of requeued, unless it was cancelled or is being requeued already."""
    import submitit

    job = submitit.JobEnvironment()
    # The id with the task's number: the bare one of an array's last task is that of the whole array.
    if job.cluster == "slurm" and (
        _answer("squeue", "--noheader", f"--jobs={job.job_id}", "--format=%T") or ""
    ).split() == ["RUNNING"]:
        _answer("scontrol", "requeue", job.job_id)


def _queue() -> dict[str, tuple[str, str]] | None:
    """Return state and reason of each job of this user that Slurm's controller knows; None where it does not answer.

    This needs no accounting. The controller knows of a job for some minutes after its end.
    The tasks of an array have ids such as 77_0; an array that was cancelled while it waited is one job, 77.
    """
    listed = ("--noheader", "--array", "--states=all", f"--user={os.getuid()}", "--format=%F_%K|%T|%r")
    text = _answer("squeue", *listed)
    if text is None:
        return None
    found = [line.strip().split("|") for line in text.splitlines()]
    return {line[0].removesuffix("_N/A"): (line[1], line[2]) for line in found if len(line) == 3}


def _accounted(id: str) -> str:
    """Say how a job ended that the controller does not know any more, as accounting has it where there is one."""
    asked = ("--noheader", "--parsable2", "--allocations", "--format=State", f"--jobs={id}")
    said = (_answer("sacct", *asked) or "").split()
    return f"ended as {said[0]}" if said else "has ended, and Slurm no longer knows how"


def _answer(*command: str) -> str | None:
    """Return what a command of Slurm says; None where it fails, takes a minute, or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, errors="replace")
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _brief(text: str, width: int) -> str:
    """Return a text on one line, cut to so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[:width]} [...]"


def _python(config: Config) -> str:
    """Return what starts Python so that it does not import from the current folder."""
    return f"{config.python or shlex.quote(sys.executable)} -P"


@hookimpl
def ganbench_executors() -> list[Executor]:
    return [Slurm()]
