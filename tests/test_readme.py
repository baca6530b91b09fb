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


def committed() -> list[str]:
    """The files of results/ that git knows, as paths from the root of the repository."""
    listed = subprocess.run(["git", "ls-files", "results"], cwd=README.parent, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    return listed.stdout.splitlines()


def test_a_report_after_the_demo_shows_no_committed_records(tmp_path: Path) -> None:
    for name in committed():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(README.parent / name)
    problems: list[str] = []
    assert [path.name for path in ResultStore(tmp_path / "results").files(problems)] == []
    published = list(ResultStore(tmp_path / "results" / "published").files(problems))
    assert len(published) > 100 and not problems


def test_the_folders_of_records_that_the_commands_of_the_results_name_are_there() -> None:
    text = (README.parent / "results" / "README.md").read_text()
    folders = set(re.findall(r"--results (results/\S+?)[ `]", text))
    assert len(folders) > 8
    for folder in folders:
        assert any(name.startswith(f"{folder}/") and name.endswith(".json") for name in committed()), folder


def test_the_demo_trains_in_a_checkout_and_finds_no_committed_records() -> None:
    variants, dataset = re.findall(r"ganbench run --variants (\S+) --dataset (\S+)\n", README.read_text())[0]
    listed = committed()
    jobs = plan(Request(variants.split(","), [dataset], seeds=3), discover()).jobs
    assert len(jobs) == 15
    assert not {str(ResultStore(Path("results")).path(job.spec)) for job in jobs} & set(listed)
