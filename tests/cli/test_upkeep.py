"""`ganbench results verify|merge|prune` on real runs: every damage is found, nothing good is lost or removed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from ganbench import NUMBERS
from ganbench.cli.group import main
from ganbench.contract.types import Value
from ganbench.results.record import UNFINISHED, RunRecord
from ganbench.results.store import ResultStore

PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"
TINY = ("--variants", "plain", "--dataset", "tiny", "--seeds", "2", "--plugin", str(PLUGIN), "--budget", "768-images")


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert "Traceback" not in result.output and not (result.exception and result.exit_code not in (1, 2))
    return result


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results: Path = tmp_path_factory.mktemp("made")
    assert call("run", *TINY, "--no-page", "--results", str(results)).exit_code == 0
    shutil.rmtree(results / ".work" / "sweeps")  # prune takes that away in `test_status.py`
    return results


@pytest.fixture
def here(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "here"))


def records(results: Path) -> list[RunRecord]:
    return ResultStore(results).records()[0]


def paths(results: Path, which: int = 0) -> tuple[Path, Path, Path]:
    """Record, traces and final weights of a run."""
    store, record = ResultStore(results), records(results)[which]
    return store.path(record.spec), store.traces_path(record.spec), store.work(record.spec) / "final.pt"


def pictures(results: Path, which: int = 0) -> Path:
    return ResultStore(results).samples(records(results)[which].spec)


def content(root: Path) -> dict[Path, bytes]:
    return {
        p.relative_to(root): p.read_bytes()
        for p in root.rglob("*")
        if p.is_file() and not p.name.startswith(("lock", "lease-"))
    }


# verify


def test_sound_runs_are_sound_and_untouched(here: Path) -> None:
    before = content(here)
    said = call("results", "verify", "--results", str(here))
    assert (said.exit_code, said.stdout) == (0, "2 records sound, 0 faults found\n") and content(here) == before


def edit_weights(results: Path) -> None:
    path = paths(results)[2]
    state = torch.load(path)
    next(iter(state["raw"].values())).add_(1)
    torch.save(state, path)


def edit_traces(results: Path) -> None:
    path = paths(results)[1]
    with np.load(path) as traces:
        edited = {name: traces[name] + 1 for name in traces.files}
    np.savez(path, **edited)


def edit_spec(results: Path) -> None:
    path = paths(results)[0]
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "spec": {**record["spec"], "batch": 128}}))


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (edit_weights, "final.pt is damaged (or edited"),
        (lambda results: shutil.copy(paths(results, 1)[2], paths(results)[2]), "final.pt is of another run"),
        (edit_traces, "traces.npz is damaged or was edited"),
        (lambda results: shutil.copy(paths(results, 1)[1], paths(results)[1]), "holds the traces of another run"),
        (lambda results: paths(results)[1].unlink(), "traces.npz is missing"),
        (lambda results: paths(results)[0].write_text("{"), "is damaged"),
        (lambda results: shutil.copy(paths(results, 1)[0], paths(results)[0]), "is a second record of the run"),
        (lambda results: (paths(results)[2].parent / "checkpoint.pt").write_text("cut"), "checkpoint.pt is damaged"),
        (edit_spec, "was edited or renamed"),
        (lambda results: (pictures(results) / "040.png").write_bytes(b"cut"), "040.png is damaged: remove it"),
    ],
)
def test_each_damage_is_found(harm: Callable[[Path], object], why: str, here: Path) -> None:
    harm(here)
    before = content(here)
    said = call("results", "verify", "--results", str(here))
    assert said.exit_code == 1 and why in said.stdout and content(here) == before


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert call("results", "verify", "--results", str(tmp_path)).exit_code == 2
    assert call("results", "merge", str(tmp_path), "--results", str(tmp_path / "b")).exit_code == 2


# merge


def test_what_is_merged_is_all_of_a_run_and_the_sources_stay(here: Path, tmp_path: Path) -> None:
    before, into = content(here), tmp_path / "into"
    said = call("results", "merge", str(here), "--results", str(into))
    assert (said.exit_code, said.stdout) == (0, "2 records new, 0 made better, 0 known already\n")
    assert content(here) == before and content(into) == before
    assert call("results", "verify", "--results", str(into)).exit_code == 0
    again = call("results", "merge", str(here), str(here), "--results", str(into))
    assert again.stdout == "0 records new, 0 made better, 4 known already\n" and content(into) == before
    later = call("run", *TINY, "--results", str(into), "--metrics", "tiny-late")
    assert later.exit_code == 0 and "started" in later.stderr and " 20% " not in later.stderr


def test_pictures_go_along_from_wherever_they_are(here: Path, tmp_path: Path) -> None:
    wanted, into = content(here), tmp_path / "into"
    hidden = paths(here)[2].parent / "samples"
    (pictures(here) / ".gitignore").unlink()
    pictures(here).rename(hidden)  # as an earlier ganbench had it
    assert call("results", "merge", str(here), "--results", str(into)).exit_code == 0
    assert content(into) == wanted and hidden.exists()
    assert "pictures of 1 run moved" in call("results", "upgrade", "--results", str(here)).stdout
    assert content(here) == wanted


def test_an_end_replaces_a_failure_and_never_the_other_way(here: Path, tmp_path: Path) -> None:
    poor = tmp_path / "poor"
    (first, second) = records(here)
    failed = replace(first, status="killed", error=UNFINISHED, values={}, curve=first.curve[:1], checksums={})
    ResultStore(poor).add(failed)
    before = content(here)
    assert "0 records new, 0 made better, 1 known" in call("results", "merge", str(poor), "--results", str(here)).stdout
    assert content(here) == before
    assert "1 record new, 1 made better" in call("results", "merge", str(here), "--results", str(poor)).stdout
    assert records(poor) == [first, second]


def test_values_that_only_one_has_are_joined_and_conflicts_are_told(here: Path, tmp_path: Path) -> None:
    other, (first, _) = tmp_path / "other", records(here)
    more = {"another": [Value(3.0, {"n_fake": 1})]}
    shutil.copytree(here, other)
    path = paths(other)[0]
    path.write_bytes(b"")  # as if it had been made there
    path.unlink()
    ResultStore(other).add(replace(first, values=more))
    assert "1 made better" in call("results", "merge", str(other), "--results", str(here)).stdout
    assert records(here)[0].values == {**first.values, **more}
    changed = {name: [replace(value, value=value.value + 1) for value in of] for name, of in first.values.items()}
    path.unlink()
    ResultStore(other).add(replace(first, values=changed))
    before = content(here)
    said = call("results", "merge", str(other), "--results", str(here))
    assert said.exit_code == 1 and "are one run with other numbers" in said.stderr and content(here) == before


def test_a_damaged_run_is_not_brought_in(here: Path, tmp_path: Path) -> None:
    edit_weights(here)
    said = call("results", "merge", str(here), "--results", str(tmp_path / "into"))
    assert said.exit_code == 1 and "1 record new" in said.stdout and "final.pt is damaged" in said.stderr


# prune


def test_prune_names_what_it_removes_and_leaves_what_is_needed(here: Path) -> None:
    record, traces, weights = paths(here)
    work = weights.parent
    gone = [work / "checkpoint.damaged", work / "checkpoint-before.pt", record.with_name(record.name + ".damaged")]
    gone += [record.with_name(".x.json.abc.part"), here / ".work" / ("0" * 16)]
    for path in gone[:-1]:
        path.write_text("rubbish")
    os.utime(gone[3], (time.time() - 7200,) * 2)
    gone.insert(4, record.with_name(".z.json.abc.part"))
    gone[4].write_text("of a clock that was wrong")
    os.utime(gone[4], (time.time() + 10**9,) * 2)
    young = record.with_name(".y.json.abc.part")
    young.write_text("a write under way")
    gone[-1].mkdir()
    (gone[-1] / "error.txt").write_text("of a run whose record was removed")
    (gone[-1] / "checkpoint.pt").write_text("of the same")
    before = content(here)
    shown = call("results", "prune", "--results", str(here), "--dry-run")
    assert shown.exit_code == 0 and all(str(path) in shown.stdout for path in gone) and content(here) == before
    assert "6 files and folders would be removed" in shown.stdout
    said = call("results", "prune", "--results", str(here))
    assert all(str(path) in said.stdout for path in gone) and not any(path.exists() for path in gone)
    assert young.exists() and record.exists() and traces.exists() and weights.exists()
    young.unlink()
    held = record.with_name(".w.json.abc.part")
    with held.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.utime(held, (0, 0))  # a write under way, and a clock that was set
        assert "0 files and folders removed" in call("results", "prune", "--results", str(here)).stdout
    assert "1 file" in call("results", "prune", "--results", str(here)).stdout and not held.exists()
    assert call("results", "verify", "--results", str(here)).exit_code == 0


def test_pictures_without_a_record_go_and_no_others(here: Path) -> None:
    record, before = paths(here)[0], pictures(here)
    record.unlink()
    others = [here / name / "a.png" for name in ("seed1.samples", "notes.samples", "seed0-12.samples")]
    for other in others:
        other.parent.mkdir()
        other.write_bytes(b"of the user")
    said = call("results", "prune", "--results", str(here))
    assert f"{before}: pictures of a run that has no record" in said.stdout and not before.exists()
    assert all(other.exists() for other in others) and pictures(here).exists()


def test_a_run_that_is_being_made_keeps_all_it_has(here: Path) -> None:
    store, (first, _) = ResultStore(here), records(here)
    kept = store.work(first.spec) / "checkpoint.pt"
    kept.write_text("of today")
    with store.lock(first.spec):
        assert "0 files and folders removed" in call("results", "prune", "--results", str(here)).stdout
    assert kept.exists()


def test_a_stopped_run_keeps_its_checkpoints(here: Path) -> None:
    store, (first, _) = ResultStore(here), records(here)
    path = store.path(first.spec)
    path.unlink()
    store.add(replace(first, status="killed", error=UNFINISHED))
    kept = [store.work(first.spec) / name for name in ("checkpoint.pt", "checkpoint-before.pt")]
    for each in kept:
        each.write_text("needed")
    call("results", "prune", "--results", str(here))
    assert all(each.exists() for each in kept)


def test_stale_runs_go_when_asked_for(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganbench.results.record.NUMBERS", NUMBERS + 1)
    assert "0 files" in call("results", "prune", "--results", str(here)).stdout
    said = call("results", "prune", "--results", str(here), "--stale")
    assert "8 files and folders removed" in said.stdout
    assert list(here.rglob("seed*")) == []
