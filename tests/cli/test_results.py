"""Results of an older ganbench on the command line: read, continued and upgraded; options that are their defaults."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ganbench import NUMBERS
from ganbench.cli.group import main
from ganbench.contract.types import digest
from ganbench.files import sha256_of
from ganbench.results import schemas
from ganbench.results.record import RunRecord
from ganbench.results.rows import Row
from ganbench.results.store import ResultStore
from ganbench.runs.checkpoint import UNMARKED
from ganbench.runs.execute import execute
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover

PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"
SCHEMA_1 = Path(__file__).parents[1] / "results" / "schema1"
TINY = ("--variants", "plain", "--dataset", "tiny", "--seeds", "2", "--plugin", str(PLUGIN))


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(main, list(arguments), catch_exceptions=True)
    assert "Traceback" not in result.output
    return result


def done(*arguments: str) -> Result:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(*arguments: str) -> str:
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


def records(results: Path) -> list[RunRecord]:
    found, problems = ResultStore(results).records()
    assert problems == []
    return found


def files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def age(results: Path, options: dict[str, Any]) -> None:
    """Write the records of a folder as schema 1 did; `options` were set, to their defaults."""
    for path in list(results.rglob("seed*.json")):
        content = json.loads(path.read_text("utf-8"))
        spec, plugins, now = content["spec"], content["provenance"]["plugins"], ResultStore(results)
        (record,) = [record for record in records(results) if now.path(record.spec) == path]
        spec["options"] |= options
        spec["code"] = {kind: plugins[f"{kind}:{spec[kind]}"]["sha256"] for kind in ("variant", "backbone")}
        del spec["numbers"], content["variant"]["defaults"]
        old = digest({key: value for key, value in spec.items() if key not in ("preset", "compiled")})[:16]
        before = path.with_name(f"seed{spec['seed']}-{old[:8]}.json")
        before.write_text(json.dumps({**content, "schema": 1}), "utf-8")
        path.unlink()
        path.with_suffix(".traces.npz").rename(before.with_suffix(".traces.npz"))
        now.work(record.spec).rename(results / ".work" / old)


@pytest.fixture(autouse=True)
def same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let seeds give what they gave when schema 1 was written: here it is the names of runs that have changed."""
    monkeypatch.setattr(schemas, "NUMBERS_BEFORE", NUMBERS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results: Path = tmp_path_factory.mktemp("made")
    done("run", *TINY, "--results", str(results))
    return results


@pytest.fixture
def old(made: Path, tmp_path: Path) -> Path:
    """The folder of two finished runs as schema 1 kept them."""
    results = tmp_path / "old"
    shutil.copytree(made, results)
    age(results, {})
    return results


# Read as they are


def test_a_report_of_old_records_is_that_of_new_ones_and_touches_nothing(made: Path, old: Path) -> None:
    untouched = files(old)
    assert done("report", "--results", str(old)).stdout.splitlines() != []
    for form in ("markdown", "csv"):
        wanted = done("report", "--results", str(made), "--format", form).stdout
        assert done("report", "--results", str(old), "--format", form).stdout.replace("(1)", "") == wanted
    assert files(old) == untouched


def test_the_same_command_finds_old_runs_done(made: Path, old: Path) -> None:
    untouched = files(old)
    assert done("run", *TINY, "--results", str(old), "--dry-run").stdout.count("done") == 2
    again = done("run", *TINY, "--results", str(old))
    assert "started" not in again.stderr
    assert again.stdout == done("report", "--results", str(made)).stdout
    assert files(old) == untouched


def test_a_metric_asked_for_later_is_scored_from_the_weights_of_an_old_run(made: Path, old: Path) -> None:
    done("run", *TINY, "--results", str(old), "--metrics", "tiny-late")
    assert {record.spec.id for record in records(old)} == {record.spec.id for record in records(made)}
    for record in records(old):
        assert record.values["tiny-late"][0].value == record.values["tiny-mean"][0].value
        assert (ResultStore(old).work(record.spec) / "final.pt").exists() and ResultStore(old).traces(record)
    assert len([path for path in (old / ".work").iterdir() if path.name not in (".gitignore", "sweeps")]) == 2


def stop_after_a_mark(results: Path, *more: str) -> None:
    """Leave a run as one that was killed after its second mark of five leaves it."""
    registry = discover([PLUGIN])
    (job,) = plan(Request(["plain"], ["tiny"], seeds=1, plugins=[PLUGIN]), registry).jobs
    marks = []

    def listen(share: float, tick: Any, mark: Any) -> None:
        marks.extend([mark] if mark else [])

    store = ResultStore(results)
    with store.lock(job.spec):
        record = execute(job, store, registry, threads=1, listen=listen, stopping=lambda: len(marks) == 2)
    assert record.status == "killed" and (store.work(job.spec) / "checkpoint.pt").exists()


@pytest.mark.usefixtures("switches")
@pytest.mark.parametrize("upgraded", [False, True])
def test_an_old_unfinished_run_goes_on_from_its_checkpoint(upgraded: bool, made: Path, tmp_path: Path) -> None:
    assert UNMARKED == 1
    results = tmp_path / "old"
    stop_after_a_mark(results)
    age(results, {})
    if upgraded:
        done("results", "upgrade", "--results", str(results), "--plugin", str(PLUGIN))
    made_on = done("run", *TINY, "--seeds", "1", "--results", str(results))
    shares = [line.split()[4] for line in made_on.stderr.splitlines() if "%" in line]
    assert shares == ["60%", "80%", "100%"]
    (found,) = records(results)
    wanted = next(record for record in records(made) if record.spec == found.spec)
    assert found.status == "done" and found.values == wanted.values
    assert [mark.values for mark in found.curve] == [mark.values for mark in wanted.curve]


# Upgraded


def test_upgrade_says_how_many_and_the_second_time_none(made: Path, old: Path) -> None:
    upgrade = ("results", "upgrade", "--results", str(old), "--plugin", str(PLUGIN))
    first = done(*upgrade)
    assert first.stdout == "2 records upgraded to schema 3\n" and first.stderr == ""
    assert {path.relative_to(old) for path in old.rglob("seed*")} == {
        path.relative_to(made) for path in made.rglob("seed*")
    }
    assert done(*upgrade).stdout == "0 records upgraded to schema 3\n"
    assert done("report", "--results", str(old)).stdout == done("report", "--results", str(made)).stdout


def test_upgrade_without_a_plugin_tells_of_it_and_with_it_mends_that(made: Path, old: Path) -> None:
    said = done("results", "upgrade", "--results", str(old))
    assert said.stdout == "2 records upgraded to schema 3\n"
    assert "2 of them are of plugins that are not installed as they were (dataset tiny, variant plain)" in said.stderr
    assert "| plain " in done("report", "--results", str(old)).stdout
    assert done("results", "upgrade", "--results", str(old)).stdout == "0 records upgraded to schema 3\n"
    upgrade = ("results", "upgrade", "--results", str(old), "--plugin", str(PLUGIN))
    assert done(*upgrade).stdout == "2 records upgraded to schema 3\n"
    # How samples were made stood in protocols then, which these records have in today's words.
    assert records(old) == [replace(record, sampling={}) for record in records(made)]


def test_upgrade_names_what_it_leaves(old: Path) -> None:
    (old / "evidence.json").write_text("{}")
    first, _ = sorted(old.rglob("seed*.json"))
    first.write_text(first.read_text("utf-8")[:99], "utf-8")
    said = done("results", "upgrade", "--results", str(old), "--plugin", str(PLUGIN))
    assert said.stdout == "1 record upgraded to schema 3\n"
    assert f"Skipped: {old / 'evidence.json'} is not a record of a run" in said.stderr
    assert f"Skipped: {first} is damaged" in said.stderr and len(said.stderr.splitlines()) == 2


def test_upgrade_refuses_in_a_sentence(old: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert "is a file: name a folder" in refused("results", "upgrade", "--results", str(file))
    assert "no results in" in refused("results", "upgrade", "--results", str(tmp_path / "missing"))
    assert "there is no such file" in refused("results", "upgrade", "--results", str(old), "--plugin", "no.py")
    assert "upgrade" in call("results", "upgade").output


def test_a_disk_that_refuses_ends_an_upgrade_in_a_sentence(made: Path, old: Path) -> None:
    for record in records(made):  # a file in place of the new working folder refuses also root
        (old / ".work" / record.spec.id).write_text("")
    untouched = files(old)
    assert "cannot move" in refused("results", "upgrade", "--results", str(old), "--plugin", str(PLUGIN))
    assert {path: content for path, content in files(old).items() if path.name != "lock"} == {
        path: content for path, content in untouched.items() if path.name != "lock"
    }


def test_help_says_what_an_upgrade_does() -> None:
    assert "Give records of an older schema the names that runs have now." in done("results", "--help").stdout
    assert "--plugin" in done("results", "upgrade", "--help").stdout


# Options that are their defaults


@pytest.mark.parametrize(
    ("variant", "settings", "options"),
    [
        ("wgan", ("wgan.clip=0.01",), ""),
        ("wgan", ("wgan.clip=1e-2", "lr=0.00005"), ""),
        ("wgan", ("lr=5e-5", "wgan.clip=0.02"), "clip=0.02"),
        ("wgan", ("lr=1e-3", "wgan.lr=5e-5"), ""),
        ("wgan-gp", ("penalty=10",), ""),
        ("gan", ("betas=(0.5, 0.999)",), ""),
        ("gan", ("betas=[0.5,0.999]", "mlp.width=256", "mlp.z_dim=none"), ""),
        ("gan", ("betas=0.5,0.99", "mlp.width=128"), "betas=[0.5,0.99] mlp.width=128"),
    ],
)
def test_an_option_set_to_its_default_is_no_other_run(variant: str, settings: tuple[str, ...], options: str) -> None:
    registry = discover()

    def spec(*given: str) -> Any:
        (job,) = plan(Request([variant], ["digits"], "mlp", seeds=1, settings=given), registry).jobs
        return job.spec

    changed = tuple(setting for setting in settings if setting.partition("=")[0].split(".")[-1] in options)
    assert spec(*settings) == spec(*changed)
    assert (spec(*settings).id == spec().id) is (options == "")
    assert Row([RunRecord(spec(*settings), "done")], []).options == options


def test_a_record_keeps_the_defaults_of_all_that_has_options(made: Path) -> None:
    facts = records(made)[0].variant["defaults"]
    assert facts == {
        "variant": {},
        "backbone": {"code": 64, "depth": 3, "width": 256, "z_dim": None},
        "dataset": {},
    }


def test_old_runs_whose_options_were_their_defaults_are_found_without_them(made: Path, tmp_path: Path) -> None:
    results = tmp_path / "old"
    shutil.copytree(made, results)
    age(results, {"mlp.width": 256})
    assert "width" in next(results.rglob("seed0*.json")).read_text("utf-8").partition('"options"')[2][:60]
    assert "started" not in done("run", *TINY, "--results", str(results)).stderr
    assert "started" not in done("run", *TINY, "--results", str(results), "--set", "mlp.width=256").stderr
    assert sha256_of(PLUGIN) == json.loads(next(results.rglob("seed0*.json")).read_text())["spec"]["code"]["variant"]
