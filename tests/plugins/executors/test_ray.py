"""Runs as tasks of Ray: of one that is started here, and of clusters whose nodes are machines as far as they can tell.

Each node has processes, a host name, an address and mounts of its own. Those take minutes: `pytest -m slow` with this
file.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from ganbench_plugins.executors import ray as plugin
from kept_runs import kept, made_here

import ganbench
from ganbench import UserError
from ganbench.results.store import ResultStore
from ganbench.runs.describe import describe as describe_plugin
from ganbench.runs.executors.choosing import Chosen
from ganbench.runs.executors.local import run_all
from ganbench.runs.executors.orders import RunOrder
from ganbench.runs.options import resolve
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import Entry, Origin, discover
from ganbench.training.devices import describe

TINY = Path(__file__).parents[2] / "tiny_plugin.py"
ROOT = Path(ganbench.__file__).parents[1]
START_SECONDS = 120


def chosen(*options):
    executor = plugin.Ray()
    config = resolve(executor, "ray", dict(option.split("=", 1) for option in options))
    executor.check(config)
    return Chosen(executor, config, Entry(executor, Origin("executor-ray", "ganbench", "0", ""), plugin))


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("cpus_per_run=0", "cpus_per_run=0: must be 1 at least"),
        ("gpus_per_run=-0.5", "gpus_per_run=-0.5: must not be negative"),
        ("gpus_per_run=1.5", "gpus_per_run=1.5: must be a whole number, or a part of one GPU"),
        ("memory_per_run=inf", "memory_per_run"),
        ("retries=-1", "retries=-1: must not be negative"),
        ("shared=perhaps", "ray.shared: input should be 'auto', 'yes' or 'no', but 'perhaps' was given"),
        ("address=ray://head:10001", "give the command on a machine of the cluster, with address=auto"),
    ],
)
def test_what_cannot_be_is_said_at_once(option, sentence):
    with pytest.raises(UserError, match=sentence):
        chosen(option)


@pytest.mark.parametrize(
    ("asked", "most", "runs"),
    [
        ({"gpus_per_run": 0.1}, 0, 10),
        ({"gpus_per_run": 0.25}, 0, 4),
        ({"gpus_per_run": 0.25}, 3, 3),
        ({"gpus_per_run": 0.25, "cpus_per_run": 8}, 0, 2),
        ({"gpus_per_run": 1 / 3}, 0, 3),
        ({"gpus_per_run": 1}, 0, 1),
        ({"gpus_per_run": 4}, 0, 1),
        ({}, 0, 16),
        ({"cpus_per_run": 3}, 0, 5),
        ({"cpus_per_run": 3}, 2, 2),
        ({"memory_per_run": 3}, 0, 2),
    ],
)
def test_a_record_will_say_how_many_runs_share_a_device(asked, most, runs):
    seat = plugin.Seat(plugin.Config(**asked), Path(), (), {}, Path(), "", most)
    assert seat.at_once({"CPU": 16.0, "GPU": 4.0, "memory": 8.0 * 2**30}) == runs


def test_its_options_are_listed_with_what_they_mean():
    options = {option.name: option.meaning for option in describe_plugin(plugin.Ray).options}
    assert list(options) == ["address", "gpus_per_run", "cpus_per_run", "memory_per_run", "retries", "shared"]
    assert all(options.values())


# For real


@pytest.fixture(scope="module")
def ray():
    """Ray, which keeps its files in a folder whose name is short enough, and lets nobody in but these tests."""
    if find_spec("ray") is None:
        pytest.skip("needs Ray")
    # All of this first: Ray reads it when it is imported.
    folder = tempfile.mkdtemp(prefix="rt-", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("GANBENCH_LEASE_SECONDS", "5")
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def long():
    """A run that takes at least twenty seconds, so that a node can be lost in its middle."""
    return plan(Request(("slow",), ("tiny",), budget="25600-images", seeds=1, marks=5, plugins=(TINY,)),
                discover((TINY,))).jobs  # fmt: skip


@pytest.fixture(scope="module")
def whole_long(long, tmp_path_factory):
    return made_here(long, tmp_path_factory.mktemp("whole-long"))


def slow_of(jobs):
    return [job for job in jobs if job.spec.variant == "slow"]


def events_of(jobs, results, *options, side_by_side=0):
    return chosen(*options).events([RunOrder(job, results) for job in jobs], results, side_by_side)


def until_share(events, share):
    heard = []
    for event in events:
        heard.append(event)
        if event.mark is not None and event.mark.share >= share:
            return heard
    raise AssertionError(f"the runs ended before {share:g}: {heard[-1]}")


def shares(events):
    return [event.mark.share for event in events if event.mark is not None]


def notes(events):
    return [event.note for event in events if event.note]


def test_tasks_make_what_the_local_executor_makes_and_leave_nothing_running(ray, jobs, whole, tmp_path, capfd):
    heard = list(events_of(jobs, tmp_path))
    assert {event.job.spec.variant: event.record.status for event in heard if event.ended} == {
        "slow": "done",
        "raises": "error",
    }
    assert shares(heard) == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert kept(tmp_path) == whole
    assert not list((tmp_path / ".work" / "executors" / "ray").iterdir())
    assert {record.provenance["at_once"] for record in ResultStore(tmp_path).records()[0]} == {os.cpu_count()}
    assert "".join(capfd.readouterr()) == ""
    assert [process for process in processes() if ray in process] == []


def processes():
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


# Clusters


class Machines:
    """Nodes of a Ray, each in namespaces of its own: when its first process is killed, so is all that runs there."""

    def __init__(self, stack, folder):
        self._stack, self._folder = stack, folder
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.address = ""
        self._nodes = {}

    def start(self, name, *, cpus, blind=None, path=None):
        """Start a node. `blind`: a folder that it does not see; `path`: from where it imports before all else."""
        options = ["--num-cpus", str(cpus), "--block", "--disable-usage-stats", "--object-store-memory", "100000000"]
        if not self.address:
            options += ["--head", "--port", str(self._port), "--include-dashboard", "false", "--temp-dir", self._folder]
        else:
            options += ["--address", self.address, "--node-ip-address", f"127.0.0.{len(self._nodes) + 1}"]
        script = f"hostname {name} && " + (f"mount -t tmpfs none {blind} && " if blind else "")
        shut = ["unshare", "--mount", "--uts"]
        if self.address:  # the head must see the processes of the command
            shut += ["--pid", "--fork", "--kill-child", "--mount-proc"]
        command = [*shut, "sh", "-c", script + 'exec "$@"', "sh", str(Path(sys.executable).with_name("ray")), "start"]
        environment = dict(os.environ)
        if path is not None:
            environment["PYTHONPATH"] = str(path)
        log = (Path(self._folder) / f"{name}.log").open("wb")
        with log:
            node = subprocess.Popen(
                [*command, *options], env=environment, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        self._nodes[name] = node
        self._stack.callback(self.kill, name)
        said = Path(log.name)
        until = time.monotonic() + START_SECONDS
        while "Ray runtime started" not in said.read_text():
            assert node.poll() is None and time.monotonic() < until, said.read_text()
            time.sleep(0.2)
        if not self.address:
            ip = next(line.split()[-1] for line in said.read_text().splitlines() if "Local node IP" in line)
            self.address = f"{ip}:{self._port}"

    def events(self, jobs, results, *options):
        """Have jobs made by the nodes. Whatever becomes of a test, it is closed before they are: Ray would end us."""
        events = events_of(jobs, results, f"address={self.address}", *options)
        self._stack.callback(events.close)
        return events

    def maker(self):
        """The node that makes a run now, which has a server of processes for it."""
        for name, node in list(self._nodes.items())[1:]:
            inside = Path(f"/proc/{node.pid}/ns/pid_for_children").readlink()
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    called = (process / "cmdline").read_bytes()
                    if (process / "ns" / "pid").readlink() == inside and b"multiprocessing.forkserver" in called:
                        return name
        raise AssertionError("nobody makes a run")

    def kill(self, name):
        """End a node and all its processes at once."""
        node = self._nodes[name]
        if node.poll() is None:
            if name == next(iter(self._nodes)):
                node.terminate()
                node.wait(60)
            os.killpg(node.pid, signal.SIGKILL) if node.poll() is None else None
        node.wait(60)


def may_unshare() -> bool:
    if sys.platform != "linux":
        return False
    shut = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return not subprocess.run([*shut, "hostname", "elsewhere"], capture_output=True, check=False).returncode


needs_machines = pytest.mark.skipif(not may_unshare(), reason="needs the right to give processes machines of their own")


@pytest.fixture
def machines(ray):
    with ExitStack() as stack:
        yield Machines(stack, ray)


@pytest.mark.slow
@needs_machines
def test_when_a_node_is_lost_its_run_goes_on_elsewhere_to_the_same_numbers(machines, long, whole_long, tmp_path, capfd):
    for name, cpus in (("head", 0), ("one", 1), ("two", 1)):
        machines.start(name, cpus=cpus)
    events = machines.events(long, tmp_path, "shared=yes")
    until_share(events, 0.4)
    lost = machines.maker()
    machines.kill(lost)
    heard = list(events)
    assert shares(heard) == [0.6, 0.8, 1.0]
    (note,) = (note for note in notes(heard) if note.startswith("lost with its process on node "))
    other = {"one": "two", "two": "one"}[lost]
    assert f"({lost})" in note and f"({other})" in note
    assert kept(tmp_path) == whole_long
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.slow
@needs_machines
def test_what_no_shared_folder_holds_is_carried_back_also_from_a_node_that_is_lost(
    machines, long, whole_long, tmp_path
):
    machines.start("head", cpus=0)
    for name in ("one", "two"):
        machines.start(name, cpus=1, blind=tmp_path)
    events = machines.events(long, tmp_path)
    heard = until_share(events, 0.4)
    (said,) = notes(heard)
    assert f"(two) do not see the folder of results, {tmp_path}: what comes of runs there is carried back" in said
    machines.kill(machines.maker())
    heard = list(events)
    assert heard[-1].record.status == "done"
    # What was told last before the node was lost may have been told to nobody.
    assert shares(heard)[-3:] == [0.6, 0.8, 1.0] and set(shares(heard)) <= {0.6, 0.8, 1.0}
    assert any("(one)" in note and "(two)" in note for note in notes(heard))
    assert kept(tmp_path) == whole_long
    work = tmp_path / ".work" / heard[-1].run
    assert [path.name for path in work.iterdir() if not path.name.startswith("lease-")] == ["final.pt"]


@pytest.mark.slow
@needs_machines
def test_a_run_that_is_lost_once_too_often_says_why_and_the_same_command_continues_it(
    machines, long, whole_long, tmp_path
):
    machines.start("head", cpus=0)
    machines.start("one", cpus=1, blind=tmp_path)
    events = machines.events(long, tmp_path, "retries=0")
    until_share(events, 0.4)
    machines.kill("one")
    *_, last = events
    assert (last.record.status, last.record) == ("killed", ResultStore(tmp_path).get(long[0].spec))
    assert last.record.error.startswith("its task of Ray failed: ")
    assert last.record.error.endswith("; the same command continues it from its checkpoint")
    events.close()
    for _ in run_all(long, tmp_path, parallel=1, threads=1):
        pass
    assert kept(tmp_path) == whole_long


@pytest.mark.slow
@needs_machines
def test_runs_that_are_stopped_keep_checkpoints_which_are_carried_back(machines, long, whole_long, tmp_path):
    machines.start("head", cpus=0)
    machines.start("one", cpus=1, blind=tmp_path)
    (job,) = long
    events = machines.events([job], tmp_path)
    until_share(events, 0.2)
    events.close()
    record = ResultStore(tmp_path).get(job.spec)
    assert (record.status, record.error) == ("killed", "stopped on request; the same command continues it")
    heard = list(machines.events([job], tmp_path))
    assert min(shares(heard)) > record.curve[-1].share - 1e-9
    assert kept(tmp_path) == whole_long


def copied(target, changed):
    """Copy ganbench, with another remark in one of its files."""
    for name in ("ganbench", "plugins"):
        shutil.copytree(ROOT / name, target / name.replace("plugins", "ganbench_plugins"), symlinks=False)
    with (target / changed).open("a") as file:
        file.write("# changed here\n")
    return target


@pytest.mark.slow
@needs_machines
def test_a_node_that_has_another_ganbench_is_named_before_any_run(machines, jobs, tmp_path):
    here = ganbench.installed(["ganbench"])["ganbench"]
    machines.start("head", cpus=1)
    machines.start("other", cpus=1, path=copied(tmp_path / "copy", "ganbench/training/meter.py"))
    for name in ("ganbench", "ganbench_plugins"):
        (tmp_path / "old" / name).mkdir(parents=True)
        (tmp_path / "old" / name / "__init__.py").write_text("raise ImportError('an old one')\n")
    with pytest.raises(UserError) as caught:
        list(machines.events(jobs, tmp_path / "results"))
    said = str(caught.value)
    there = said.partition(" has ganbench ")[2].partition(", this machine ")[0]
    assert there.startswith(here.partition(" ")[0]) and there != here
    assert f"node 127.0.0.2 (other) has ganbench {there}, this machine {here}: install the same there" in said
    machines.start("old", cpus=1, path=tmp_path / "old")
    with pytest.raises(
        UserError,
        match=r"node 127\.0\.0\.3 \(old\) cannot say what it has installed: .*an old one: install the same there",
    ):
        list(machines.events(jobs, tmp_path / "results"))
    assert not list((tmp_path / "results").rglob("*.json"))


@pytest.mark.slow
@needs_machines
def test_a_node_that_joins_later_with_another_ganbench_is_left_out(machines, jobs, whole, tmp_path):
    machines.start("head", cpus=1)
    results = tmp_path / "results"
    events = machines.events(sorted(jobs, key=lambda job: job.spec.variant == "raises"), results)
    until_share(events, 0.2)
    machines.start("other", cpus=1, path=copied(tmp_path / "copy", "ganbench/training/meter.py"))
    heard = list(events)
    (note,) = notes(heard)
    assert note.startswith("no runs are made on node 127.0.0.2 (other) has ganbench ")
    assert kept(results) == whole


@pytest.mark.gpu
def test_two_runs_share_a_gpu(ray, jobs, tmp_path):
    list(events_of([replace(job, device="auto") for job in slow_of(jobs)], tmp_path, "gpus_per_run=0.5"))
    (record,) = ResultStore(tmp_path).records()[0]
    assert (record.status, record.provenance["at_once"]) == ("done", 2)
    assert record.provenance["machine"]["device"] == describe(torch.device("cuda:0"))


@pytest.mark.slow
def test_what_no_node_has_is_said(ray, jobs, tmp_path):
    with pytest.raises(UserError, match=r"no node has what a run takes \(1 CPU, 64 GPU\); the most that any has: "):
        list(events_of(jobs, tmp_path, "gpus_per_run=64"))


def test_a_cluster_that_does_not_answer_is_said(ray, jobs, tmp_path):
    with pytest.raises(UserError, match=r"--executor ray: cannot reach the Ray at 127\.0\.0\.1:9: .*refused"):
        list(events_of(jobs, tmp_path, "address=127.0.0.1:9"))


@pytest.mark.slow
@pytest.mark.skipif(not entry_points(group="ganbench", name="executor-ray"), reason="needs it installed")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_stopped_leaves_checkpoints_and_no_processes(ray, tmp_path, number):
    command = [sys.executable, "-m", "ganbench", "run", "--variants", "slow", "--dataset", "tiny", "--seeds", "2"]
    options = ["--budget", "19200-images", "--plugin", str(TINY), "--results", str(tmp_path), "--executor", "ray"]
    running = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True, start_new_session=True)
    until = time.monotonic() + START_SECONDS
    while len(list(tmp_path.rglob("checkpoint.pt"))) < 2:
        assert running.poll() is None and time.monotonic() < until
        time.sleep(0.5)
    os.killpg(running.pid, number)  # as a terminal does it
    running.communicate(timeout=START_SECONDS)
    records, _ = ResultStore(tmp_path).records()
    assert {record.error for record in records} == {"stopped on request; the same command continues it"}
    assert len(list(tmp_path.rglob("checkpoint.pt"))) == 2
    assert [process for process in processes() if ray in process] == []
