"""What the README shows works as it stands there."""

import re
import subprocess
from pathlib import Path

import pytest

from ganbench.results.store import ResultStore
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import HOOKS, discover
from ganbench.testing.kit import run_checks

README = Path(__file__).parents[1] / "README.md"


def test_the_variant_of_the_readme_passes_the_conformance_kit(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    path = tmp_path / "my_gan.py"
    path.write_text(code)
    outcomes = run_checks("my-gan", registry=discover([path]))
    assert outcomes and all(outcome.passed for outcome in outcomes), outcomes


def test_the_readme_names_everything_that_comes_with_ganbench() -> None:
    registry, text = discover(), README.read_text()
    mine = [
        name
        for kind in HOOKS
        if kind != "extractor"
        for name, (entry, *_) in registry.entries[kind].items()
        if entry.origin.distribution == "ganbench"
    ]
    assert len(mine) > 20
    assert [name for name in mine if f"`{name}" not in text] == []


def test_the_demo_trains_in_a_checkout_and_finds_no_committed_records() -> None:
    variants, dataset = re.findall(r"ganbench run --variants (\S+) --dataset (\S+)\n", README.read_text())[0]
    jobs = plan(Request(variants.split(","), [dataset], seeds=3), discover()).jobs
    listed = subprocess.run(["git", "ls-files", "results"], cwd=README.parent, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    assert len(jobs) == 15
    assert not {str(ResultStore(Path("results")).path(job.spec)) for job in jobs} & set(listed.stdout.splitlines())
