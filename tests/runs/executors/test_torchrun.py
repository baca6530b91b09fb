"""Under torchrun: its processes are commands on one folder, which make each run once and all print the table."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[2] / "tiny_plugin.py"


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_the_processes_of_torchrun_make_each_run_once(processes: int, tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    logs = ["--log-dir", str(tmp_path / "logs"), "--redirects", "3"]
    asked = ["--variants", "plain,slow", "--dataset", "tiny", "--plugin", str(PLUGIN), "--budget", "640-images"]
    command = [*launch, *logs, "-m", "ganbench", "run", *asked, "--seeds", "1", "--results", str(tmp_path / "results")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr

    news = [path.read_text("utf-8") for path in (tmp_path / "logs").rglob("stderr.log")]
    tables = [path.read_text("utf-8") for path in (tmp_path / "logs").rglob("stdout.log")]
    assert len(news) == len(tables) == processes
    for text in news:
        started = [(int(number), int(of)) for number, of in re.findall(r"started \((\d+) of (\d+)\)", text)]
        assert all(number <= of for number, of in started) and "Traceback" not in text
        assert len(started) == len(set(started))
    for text in tables:
        assert re.search(r"^\| plain  ", text, re.MULTILINE) and re.search(r"^\| slow  ", text, re.MULTILINE)
        assert text == tables[0]
    marks = [line for text in news for line in text.splitlines() if re.search(r" (20|40|60|80|100)%  ", line)]
    assert len(marks) == len(set(marks)) == 10  # nobody trained or scored what another did
