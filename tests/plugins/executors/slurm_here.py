"""A real Slurm of this machine alone: its daemons in one folder, which end and go with the command that is given.

    python tests/plugins/executors/slurm_here.py [COMMAND ...]     (a shell if none is given)

It needs root and, on Debian, `apt-get install slurmctld slurmd slurm-client munge`. One node of two CPUs, partitions
`low`, whose jobs are preempted, and `high`, whose jobs do that; no accounting, as on clusters without a database.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
START_SECONDS, END_SECONDS = 60, 40

CONF = """\
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode={mode}
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=low Nodes=node1 Default=YES PriorityTier=1 PreemptMode={mode} GraceTime={grace} MaxTime=60
PartitionName=high Nodes=node1 PriorityTier=10 PreemptMode=OFF MaxTime=60
{more}
"""


def lacking() -> str:
    """Say what keeps a Slurm from running here; nothing if it can."""
    if absent := [name for name in NEEDED if not shutil.which(name, path=PATH)]:
        return f"no {', '.join(absent)}: a Slurm here needs Debian's slurmctld, slurmd, slurm-client and munge"
    return "" if os.getuid() == 0 else "a Slurm here needs root"


@contextmanager
def slurm_here(*, mode: str = "REQUEUE", grace: int = 0, more: str = "") -> Iterator[dict[str, str]]:
    """Run a Slurm and give the environment in which its commands find it; its jobs end with it.

    `mode`, `grace`: how jobs of the partition `low` are preempted, and how many seconds they are given for it; `more`:
    lines of slurm.conf.
    """
    # Not a test's own folder: its path may be too long for a socket, and munge wants one that others may not write to.
    with tempfile.TemporaryDirectory(prefix="slurm-here-") as name, ExitStack() as daemons:
        folder = Path(name)
        folder.chmod(0o755)
        for made in ("state", "spool"):
            (folder / made).mkdir()
        key = folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        controller, node = _free_ports(2)
        host = socket.gethostname().partition(".")[0]
        conf = CONF.format(
            host=host, controller=controller, node=node, folder=folder, mode=mode, grace=grace, more=more
        )
        (folder / "slurm.conf").write_text(conf, encoding="utf-8")
        env = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": PATH}
        own = [f"--{file}-file={folder}/munged.{file}" for file in ("pid", "seed", "log")]
        munged = ["munged", "--foreground", f"--key-file={key}", f"--socket={folder}/munge.socket", *own]
        for command in (munged, ["slurmctld", "-D"], ["slurmd", "-D", "-N", "node1"]):
            daemons.enter_context(_daemon(command, folder, env))
        _wait_for(folder, env, ["sinfo", "--noheader", "--format=%T"], "idle", START_SECONDS)
        try:
            yield env
        finally:
            subprocess.run(["scancel", "--user=root"], env=env, check=False)
            _wait_for(folder, env, ["squeue", "--noheader"], "", END_SECONDS)


@contextmanager
def _daemon(command: Sequence[str], folder: Path, env: dict[str, str]) -> Iterator[None]:
    with (folder / f"{command[0]}.said").open("wb") as said:
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(folder: Path, env: dict[str, str], command: Sequence[str], wanted: str, seconds: float) -> None:
    until = time.monotonic() + seconds
    while True:
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip() == wanted:
            return
        if time.monotonic() > until:
            said = "".join(path.read_text(errors="replace")[-1500:] for path in folder.glob("*.said"))
            raise RuntimeError(f"{command[0]} says {done.stdout!r} for {seconds} seconds: {done.stderr}\n{said}")
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as sockets:
        opened = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in opened:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in opened]


if __name__ == "__main__":
    if reason := lacking():
        sys.exit(reason)
    with slurm_here() as environment:
        status = subprocess.run(
            sys.argv[1:] or [os.environ.get("SHELL", "sh")], env=environment, check=False
        ).returncode
    sys.exit(status)
