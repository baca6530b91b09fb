"""What a run prints reaches standard error, up to a limit, and nothing that happens there reaches the run."""

import os
import subprocess
import sys
import threading
import time
from multiprocessing import Pipe
from pathlib import Path

import pytest

from ganbench.runs.executors.output import MOST_BYTES, Output

pytestmark = pytest.mark.skipif(os.name != "posix", reason="descriptors of POSIX")


def test_a_flood_is_cut_and_the_run_goes_on(jobs_of, made, tmp_path, capfd):
    record = made(jobs_of("floods"), tmp_path / "r")["floods"]
    assert record.status == "done"
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("first words\n")
    assert MOST_BYTES < len(printed.err) < MOST_BYTES + 1000
    assert printed.err.count("floods tiny seed 0 prints more than 1 MB: the rest is left out\n") == 1
    assert "last words" not in printed.err, "a run that is done has said enough"


def test_what_a_crash_says_is_seen_after_a_flood(jobs_of, made, tmp_path, capfd):
    record = made(jobs_of("crashes"), tmp_path / "r")["crashes"]
    assert record.status == "killed" and "SIGSEGV" in record.error
    printed = capfd.readouterr().err
    assert MOST_BYTES < len(printed) < MOST_BYTES + 10_000
    last = printed.partition("crashes tiny seed 0 printed last:\n")[2]
    assert "before the crash" in last
    assert "Fatal Python error: Segmentation fault" in last and "in misbehave" in last


def test_a_process_that_is_left_and_prints_on_is_not_waited_for(jobs_of, made, tmp_path, capfd):
    start = time.monotonic()
    assert made(jobs_of("leaves-printer"), tmp_path / "r")["leaves-printer"].status == "done"
    assert time.monotonic() - start < 15
    assert not [thread for thread in threading.enumerate() if thread.name == "output"]
    assert "on and on" in capfd.readouterr().err


@pytest.mark.parametrize("stderr", ["2>/dev/full", "2> >(exec true)", "2>&-", "2> >(sleep 1)"])
@pytest.mark.parametrize("count", [1, 3_000])
def test_no_standard_error_is_felt_by_who_prints(stderr, count, tmp_path):
    if stderr == "2>/dev/full" and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    script = tmp_path / "script.py"
    script.write_text(PRINTS)
    command = f"{sys.executable} {script} {count} {stderr}"
    done = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.stdout == f"{count} lines were taken\n"


CHILD = "import os, sys; [os.write(int(sys.argv[2]), b'x' * 999) for _ in range(int(sys.argv[1]))]"
PRINTS = f"""
import subprocess, sys, time
from multiprocessing import Pipe
from ganbench.runs.executors.output import Output
from ganbench.streams import open_streams

open_streams()
time.sleep(0.3)  # until a reader that goes has gone
reader, writer = Pipe(duplex=False)
output = Output(reader, "a run")
descriptor = writer.fileno()
subprocess.run([sys.executable, "-c", {CHILD!r}, sys.argv[1], str(descriptor)], check=True, pass_fds=[descriptor])
writer.close()
output.close(failed=False)
print(sys.argv[1], "lines were taken")
"""


@pytest.mark.parametrize(
    "text", [b"\r 10%|#   |\r 20%|##  |\r", b"\xff\xfe no text", b"no newline", b"\x1b[31mred\x1b[0m\n"]
)
def test_what_is_printed_passes_as_it_is(text, capfdbinary):
    reader, writer = Pipe(duplex=False)
    output = Output(reader, "a run")
    os.write(writer.fileno(), text)
    writer.close()
    output.close(failed=True)
    assert capfdbinary.readouterr().err == text


def test_a_flood_takes_no_memory(capfd):
    reader, writer = Pipe(duplex=False)
    output = Output(reader, "a run")
    for number in range(2_000):
        os.write(writer.fileno(), f"{number} {'z' * 65_000}\n".encode())
        assert len(output._last) <= 4_000
    os.write(writer.fileno(), b"the end\n")
    writer.close()
    output.close(failed=True)
    assert capfd.readouterr().err.endswith("a run printed last:\nthe end\n")
