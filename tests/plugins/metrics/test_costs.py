"""The table of what metrics cost, as `benchmarks/metrics.py` prints it."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "metrics.py"
EXACT = {"Inception features": 1e-4, "Fréchet distance": 1e-6, "Inception score": 1e-6, "MS-SSIM": 1e-9, "modes": 0.0}


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_every_metric_stands_beside_its_peers_and_says_the_same(tmp_path: Path) -> None:
    """Without data and weights, as anyone can run it."""
    found = run("--quick", "--rounds", "1", "--data", str(tmp_path / "none"), "--weights", str(tmp_path))
    assert found.returncode == 0, found.stderr
    machine, _, head, _, *rows = found.stdout.splitlines()
    assert "1 threads, torch " in machine and head.count("|") == 10
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[0] for row in cells] == [
        "Inception features",
        *["Fréchet distance"] * 2,
        "KID, 100 × 1000",
        "Inception score",
        *["MS-SSIM"] * 2,
        "modes",
        "copies: the nearest",
    ]
    for name, *_, ours, theirs, ratio, _, _, gap in cells:
        assert float(ours) > 0 < float(theirs) and float(ratio.split()[0]) > 0
        assert float(gap) <= EXACT.get(name, 0.1), name
    notes = found.stderr.splitlines()
    assert (
        f"{tmp_path} has no weights-inception-2015-12-05-6726825d.pth: the features are those of weights" in notes[-1]
    )
    assert all(note.startswith("note: ") for note in notes) and sum("noise stands for" in note for note in notes) == 2


def test_too_few_samples_are_one_sentence() -> None:
    found = run("--samples", "999")
    assert found.returncode == 2 and "--samples 999: KID draws 1000 of each side" in found.stderr
    assert "Traceback" not in found.stderr
