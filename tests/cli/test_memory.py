"""What memory is in use, against processes that take a known amount."""

import subprocess
import sys
from pathlib import Path

import pytest

from ganbench.cli import memory
from ganbench.cli.memory import memory_in_use

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="this system does not tell")
TAKES = """
import subprocess, sys
taken = bytearray(b"x") * (64 * 2**20)
if sys.argv[1] != "0":
    subprocess.run([sys.executable, "-c", sys.argv[2], "0", ""], stdin=sys.stdin)
else:
    print("ready", flush=True)
    input()
"""


def test_all_that_the_command_has_started_counts():
    before = memory_in_use()
    child = subprocess.Popen(
        [sys.executable, "-c", TAKES, "1", TAKES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "ready\n"
    during = memory_in_use()
    child.communicate("\n")
    after = memory_in_use()
    assert 120 * 2**20 < during.command - before.command < 200 * 2**20, "two of 64 MiB, and two of Python"
    assert abs(after.command - before.command) < 30 * 2**20
    assert 0 < during.command < during.machine < during.total


def test_a_system_that_does_not_tell_is_no_fault(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "PROC", tmp_path)
    assert memory_in_use() is None
    (tmp_path / "meminfo").write_text("MemTotal: many kB\n")
    assert memory_in_use() is None


def test_a_container_has_what_it_may_use(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "CONTAINER", tmp_path)
    whole = memory_in_use()
    for name, text in (("memory.max", f"{2**30}\n"), ("memory.current", f"{2**28}\n")):
        (tmp_path / name).write_text(text)
    assert memory_in_use().total == whole.total, "half of it is missing"
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {2**27}\n")
    found = memory_in_use()
    assert (found.machine, found.total) == (2**28 - 2**27, 2**30)
    for unlimited in ("max\n", f"{2**60}\n"):
        (tmp_path / "memory.max").write_text(unlimited)
        assert memory_in_use().total == whole.total
