"""Whether another process is still there."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ganbench.results.process import Process, is_alive, this_process

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system tells no start of a process")


def test_this_process_is_there():
    here = this_process()
    assert here.pid == os.getpid() and here.host and is_alive(here) is True


def test_one_that_has_ended_is_not_and_nor_is_one_that_nobody_has_buried():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    known = replace(this_process(), pid=process.pid, began=start_of(process.pid))
    assert is_alive(known) is True
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    if Path("/proc/self/stat").exists():
        assert is_alive(known) is False, "a zombie"
    process.wait()
    assert is_alive(known) is False
    process.stdin.close()


def start_of(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat as `ps` reads it, against the start of the machine."""
    if not Path("/proc/self/stat").exists():
        return None
    return int(Path(f"/proc/{pid}/stat").read_text().split()[21])


@linux
def test_another_process_that_got_the_same_id_is_told_apart():
    here = this_process()
    assert here.began == start_of(os.getpid())
    assert is_alive(replace(here, began=here.began - 1)) is False


def test_of_another_machine_nothing_can_be_told():
    here = this_process()
    assert is_alive(replace(here, host="elsewhere")) is None
    assert is_alive(replace(here, system=f"{here.system} of another boot")) is None


@pytest.mark.skipif(os.name != "posix" or not hasattr(os, "geteuid"), reason="users of POSIX")
def test_another_users_process_is_there():
    first = Process(this_process().host, 1, this_process().system, start_of(1))
    assert is_alive(first) is True
