"""Two hundred runs in a row leave no descriptor, process, thread or memory behind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).with_name("tiny_plugin.py")
SCRIPT = """
import json, os, sys, time
from dataclasses import replace
from pathlib import Path
from ganbench.runs.executors.local import run_all
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover

def state():
    time.sleep(0.5)  # the system lists a thread that has ended for a moment longer
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    threads = len(os.listdir("/proc/self/task"))
    return {"descriptors": len(os.listdir("/proc/self/fd")), "children": len(children), "threads": threads,
            "megabytes": pages * os.sysconf("SC_PAGE_SIZE") / 2**20}

if __name__ == "__main__":
    plugin, results, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    asked = Request(("plain",), ("tiny",), budget="64-images", marks=1, seeds=1, plugins=(plugin,))
    (job,) = plan(asked, discover([plugin])).jobs
    jobs = [replace(job, spec=replace(job.spec, seed=seed)) for seed in range(count)]
    done, states = 0, []
    for part in (jobs[:20], jobs[20:]):
        events = run_all(part, results, parallel=2)
        done += sum(event.record is not None and event.record.status == "done" for event in events)
        states.append(state())
    print(json.dumps([done, *states]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not list descriptors")
def test_two_hundred_runs_leave_nothing_behind(tmp_path):
    script = tmp_path / "many.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(PLUGIN), str(tmp_path / "results"), "200"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    done, early, late = json.loads(printed.splitlines()[-1])
    assert done == 200
    assert {name: late[name] for name in ("descriptors", "children", "threads")} == {
        name: early[name] for name in ("descriptors", "children", "threads")
    }
    assert late["megabytes"] < early["megabytes"] + 50
