"""`ganbench cache`: says what is kept, and removes that alone."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ganbench.cli.group import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path / "cache"))
    for name, size in (("features/a.npz", 2**20), ("features/b.npz", 2**20), ("data/key/train.npy", 3 * 2**20)):
        path = tmp_path / "cache" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0" * size)
    (tmp_path / "cache" / "thesis").mkdir()
    (tmp_path / "cache" / "thesis" / "main.tex").write_text("not ganbench's")
    return tmp_path / "cache"


def done(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["cache", *arguments])
    assert result.exit_code == 0, result.output
    return result


def test_it_says_where_and_how_much_by_kind(folder: Path) -> None:
    lines = done().stdout.splitlines()
    assert lines[0].startswith(f"{folder} ")
    table = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:4]] for line in lines[4:]}
    assert table == {"data": ["1", "3 MiB"], "features": ["2", "2 MiB"], "*total*": ["3", "5 MiB"]}


def test_prune_removes_what_ganbench_keeps_and_nothing_else(folder: Path) -> None:
    said = done("prune", "--dry-run").stdout
    assert "3 entries would be removed, 5 MiB" in said and (folder / "features/a.npz").exists()
    said = done("prune").stdout
    assert all(str(folder / name) in said for name in ("features/a.npz", "features/b.npz", "data/key"))
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["main.tex"]
    assert "0 entries removed" in done("prune").stdout


def test_prune_by_age_looks_at_the_newest_file_of_an_entry(folder: Path) -> None:
    old = time.time() - 10 * 86_400
    for path in (folder / "features/a.npz", folder / "data/key"):
        os.utime(path, (old, old))
    assert str(folder / "features/a.npz") in done("prune", "--older-than", "9").stdout
    assert sorted(path.name for path in folder.rglob("*.np*")) == ["b.npz", "train.npy"]


@pytest.mark.parametrize(("when", "goes"), [(0, True), (-(10**6), True), (10**10, False)])
def test_prune_by_age_knows_times_that_no_clock_gives(folder: Path, when: int, goes: bool) -> None:
    os.utime(folder / "features/a.npz", (when, when))
    assert (str(folder / "features/a.npz") in done("prune", "--older-than", "9").stdout) == goes
    assert "entries removed" in done("prune").stdout and not list(folder.rglob("*.npz")), "without an age all goes"


def test_links_are_removed_and_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "image.png").write_text("precious")
    (folder / "data" / "link").symlink_to(tmp_path / "mine")
    done("prune")
    assert (tmp_path / "mine" / "image.png").exists() and not (folder / "data" / "link").is_symlink()


def test_no_cache_is_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path / "nowhere"))
    assert "*total*" in done().stdout and "0 entries removed" in done("prune").stdout
    assert CliRunner().invoke(main, ["cache", "prune", "--older-than", "-1"]).exit_code == 2
