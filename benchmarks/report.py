"""How long a report of very many records takes, and how much memory: `python benchmarks/report.py [N] [--runs]`.

The records are those of results/published under new seeds and new names of variants, in a folder that is removed
afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results" / "published"
FORMATS = ("markdown", "csv", "json", "latex")


@dataclass(frozen=True)
class Cost:
    """What one command took. `seconds`: on the clock; `cpu`: of the processor; `peak`: bytes of memory."""

    seconds: float
    cpu: float
    peak: int
    written: int


def contents(results: Path = RESULTS) -> Iterator[dict[str, Any]]:
    """Yield the records of results/published for ever, each round under names and seeds that nothing had before."""
    paths = sorted(results.rglob("seed*.json"))
    originals = [json.loads(path.read_text("utf-8")) for path in paths]
    for number in count():
        for content in originals:
            spec = content["spec"]
            suffix = f"-{number // 5}" if number >= 5 else ""
            new = {"variant": spec["variant"] + suffix, "seed": spec["seed"] + 10 * (number % 5)}
            yield {**content, "spec": {**spec, **new}}


def write(folder: Path, number: int) -> int:
    """Write so many records as a run would, and return how many bytes they have."""
    total = 0
    for place, content in enumerate(islice(contents(), number)):
        path = folder / content["spec"]["dataset"].replace(":", "-") / f"seed{content['spec']['seed']}-{place:08x}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        total += path.write_bytes(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return total


REPORT = """
import atexit, re, sys
from pathlib import Path

status, peak = Path("/proc/self/status"), Path(sys.argv.pop(1))
if status.exists():
    atexit.register(lambda: peak.write_text(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]))
from ganbench.cli import main
main()
"""
"""What `ganbench report` is, and says its peak of memory: that of `wait4` begins at the peak of whoever starts it."""


def measure(folder: Path, *options: str) -> Cost:
    """Report a folder in a process of its own."""
    output, peak = folder.parent / "report", folder.parent / "peak"
    wanted = ["report", "--results", str(folder), "--output", str(output), *options]
    command = [sys.executable, "-c", REPORT, str(peak), *wanted]
    start = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)  # Popen did not see it end
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    kilobytes = int(peak.read_text()) if peak.exists() else usage.ru_maxrss >> (10 * (sys.platform == "darwin"))
    return Cost(seconds, usage.ru_utime + usage.ru_stime, 1024 * kilobytes, output.stat().st_size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("number", type=int, nargs="?", default=10_000)
    parser.add_argument("--runs", action="store_true", help="one row a run")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "results")
        size = write(folder, asked.number)
        print(f"{asked.number:,} records, {size / 1e6:.0f} MB\n")
        print("| format   | seconds | of processor | memory MB | report MB |")
        print("| -------- | ------: | -----------: | --------: | --------: |")
        for form in FORMATS:
            cost = measure(folder, "--format", form, *(["--runs"] if asked.runs else []))
            cells = f"{cost.seconds:7.2f} | {cost.cpu:12.2f} | {cost.peak / 1e6:9.0f} | {cost.written / 1e6:9.1f}"
            print(f"| {form:8} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
