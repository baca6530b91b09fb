"""`ganbench run --devices 2` as it is typed: processes that end together, and runs that go on in any layout."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from ganbench.cli.group import main

TESTS = Path(__file__).parents[1]
ASKED = ("--variants", "gan", "--dataset", "digits", "--seeds", "1", "--metrics", "none", "--marks", "1", "--no-page")


def call(results: Path, *more: str) -> str:
    result = CliRunner().invoke(main, ["run", *ASKED, "--device", "cpu", "--results", str(results), *more])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return f"{result.exit_code}\n{result.output}"


def test_a_variant_for_one_device_is_refused_with_its_reason_and_listed_with_it(tmp_path: Path) -> None:
    plugins = [str(TESTS / name) for name in ("sharing_plugin.py", "tiny_plugin.py")]
    asked = ("--variants", "for-one", "--dataset", "tiny", "--plugin", plugins[0], "--plugin", plugins[1])
    said = call(tmp_path, *asked, "--devices", "2")
    assert said.startswith("2\n") and "for-one on tiny: it is for one device: its secret is its own" in said
    told = CliRunner().invoke(main, ["list", "cyclegan"]).stdout
    assert "Devices:" in told and "one: its pool of earlier translations" in told


def below(parent: int) -> Iterator[int]:
    """Yield the processes that one has started, and those that they have."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = {parent}
    while fresh := {pid for pid, of in parents.items() if of in found} - found:
        found |= fresh
        yield from sorted(fresh)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc")
def test_a_process_that_is_killed_ends_the_run_which_goes_on_on_one_device(tmp_path: Path) -> None:
    asked = [*ASKED, "--budget", "64k-images", "--device", "cpu", "--results", str(tmp_path / "results")]
    command = subprocess.Popen(
        [sys.executable, "-m", "ganbench", "run", *asked, "--devices", "2"], stderr=subprocess.PIPE, text=True
    )
    assert command.stderr is not None
    until, helpers = time.monotonic() + 120, list[int]()
    while not helpers and time.monotonic() < until:
        time.sleep(1)
        started = list(below(command.pid))
        leaders = {pid for pid in started if os.getpgid(pid) == pid}
        # The last of a group is the second rank; before it come the run itself and its server of processes.
        groups = [[pid for pid in started if os.getpgid(pid) == leader] for leader in leaders]
        helpers = [max(group) for group in groups if len(group) >= 3]
    assert helpers
    time.sleep(2)  # it is loading, or training
    os.kill(helpers[0], signal.SIGKILL)
    _, said = command.communicate(timeout=120)
    assert command.returncode == 1 and "on another of its devices, cpu: its process was ended by SIGKILL" in said
    again = subprocess.run(
        [sys.executable, "-m", "ganbench", "run", *asked], check=True, capture_output=True, text=True, timeout=300
    )
    assert "| gan " in again.stdout and "2 × cpu" not in again.stdout.rpartition("Made with")[2]
