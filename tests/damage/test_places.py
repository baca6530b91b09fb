"""Real disks that refuse: folders of another user, a home that is not one's own, a file system that is full.

Root may do everything, so that the commands here are given by root without that right.
"""

from __future__ import annotations

import ctypes
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from disk import content, parts

from ganbench.errors import DiskError
from ganbench.files import write_atomically
from ganbench.results.store import ResultStore
from ganbench.runs.execute import execute
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root on Linux"),
    pytest.mark.usefixtures("switches"),
]
PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"
TINY = ("--variants", "plain", "--dataset", "tiny", "--plugin", str(PLUGIN), "--seeds", "1", "--marks", "1")
SMALL = (*TINY, "--budget", "128-images", "--set", "mlp.width=4")
NOBODY = 65534


def as_any_user() -> None:
    """Give up the rights by which root reads and writes whatever belongs to others."""
    for right in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        if ctypes.CDLL(None).prctl(24, right, 0, 0, 0):
            os._exit(99)


def call(*arguments: object, umask: int = -1, **environment: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "ganbench", *map(str, arguments)],
        preexec_fn=as_any_user,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        umask=umask,
        env={**os.environ, **{name: str(path) for name, path in environment.items()}},
    )
    if done.returncode == 99:
        pytest.skip("root may not give up its rights here")
    assert "Traceback" not in done.stderr, done.stderr
    return done


def refused(*arguments: object, **environment: Path) -> str:
    """Give a command that is to end with 2, and return its sentence."""
    done = call(*arguments, **environment)
    assert done.returncode == 2 and done.stdout == "", done.stderr
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    return told


@pytest.fixture
def theirs(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder, or take a file, for another user."""

    def give(name: str, mode: int) -> Path:
        path = tmp_path / name
        if not path.exists():
            path.mkdir(parents=True)
        path.chmod(mode)
        os.chown(path, NOBODY, NOBODY)
        return path

    return give


def test_a_results_folder_of_another_user(theirs: Callable[..., Path], tmp_path: Path) -> None:
    results = theirs("results", 0o755)
    assert refused("run", *SMALL, "--results", results) == (
        f"Error: cannot write {results}/.work/.gitignore: Permission denied"
    )
    assert content(results) == {}
    closed = theirs("closed", 0o700)
    for command in (["report"], ["results", "prune"]):
        said = refused(*command, "--results", closed)
        assert said == f"Error: cannot read results folder {closed}: Permission denied"


@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_a_working_folder_of_another_user(mode: int, theirs: Callable[..., Path], tmp_path: Path) -> None:
    results = theirs("results/.work", mode).parent
    assert refused("run", *SMALL, "--results", results).startswith(f"Error: cannot write {results}/.work/")
    if mode == 0o700:
        assert refused("results", "prune", "--results", results).endswith(f"{results}/.work: Permission denied")


@pytest.mark.slow
def test_a_cache_that_is_somebody_elses(theirs: Callable[..., Path], tmp_path: Path) -> None:
    for mode in (0o700, 0o000):
        cache = theirs("cache", mode)
        for command in (["cache"], ["cache", "prune"]):
            assert "Permission denied" in refused(*command, GANBENCH_CACHE=cache / "inner")
    said = refused("run", *TINY, "--metrics", "fid", "--results", tmp_path / "r", HOME=theirs("home", 0o700))
    assert "fid" in said and ("Permission denied" in said or "torch-fidelity" in said)
    digits = ("--variants", "gan", "--dataset", "digits", "--backbone", "mlp", "--seeds", "1")
    said = refused("run", *digits, "--results", tmp_path / "r", GANBENCH_CACHE=cache)
    assert said.startswith(f"Error: cannot prepare data in {cache}/data: Permission denied; make room or name another")
    assert not (tmp_path / "r").exists()


def test_a_foreign_home_and_temporary_folder_and_a_strict_umask_harm_no_run(
    theirs: Callable[..., Path], tmp_path: Path
) -> None:
    foreign = theirs("foreign", 0o700)
    places: dict[str, Path] = {"HOME": foreign, "TMPDIR": foreign, "GANBENCH_CACHE": foreign / "cache"}
    done = call("run", *SMALL, "--results", tmp_path / "r", umask=0o077, **places)
    assert done.returncode == 0 and "| plain" in done.stdout, done.stderr
    made = [path for path in (tmp_path / "r").rglob("*") if not path.is_symlink()]
    assert made and {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o600, 0o700}
    assert content(foreign) == {}
    (record,) = (tmp_path / "r").rglob("seed*.json")
    theirs(str(record.relative_to(tmp_path)), 0o600)
    assert refused("report", "--results", tmp_path / "r") == f"Error: cannot read {record}: Permission denied"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_full(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANBENCH_CACHE", str(small_disk / "cache"))
    write_atomically(small_disk / "old", lambda file: file.write(b"x" * 1000))
    for size in (200_000, 131_072, 1_000_000):
        with pytest.raises(DiskError, match=r"cannot write .*old: No space left on device"):
            write_atomically(small_disk / "old", lambda file, size=size: file.write(bytes(size)))  # type: ignore[misc]
    assert content(small_disk) == {"old": b"x" * 1000}

    registry = discover([PLUGIN])
    request = Request(
        ["plain"], ["tiny"], budget="384-images", seeds=1, marks=2, samples=16, settings=("mlp.width=96",)
    )
    (job,) = plan(request, registry).jobs
    store = ResultStore(small_disk / "results")
    with pytest.raises(DiskError, match=r"^cannot write .*checkpoint-next\.pt: No space left on device$"):
        execute(job, store, registry, threads=1)
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert execute(job, store, registry, threads=1).status == "done"
    assert parts(small_disk) == []


@pytest.mark.parametrize("limit", [0, 1, 4096, 60_000])
def test_files_that_may_not_be_so_large(limit: int, tmp_path: Path) -> None:
    """Half of what is written may be there when the rest is refused, by whoever writes: Python, NumPy, Pillow."""
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 255, (300, 300), dtype=np.uint8)
    writers: dict[str, Callable[[Any], object]] = {
        "bytes": lambda file: file.write(noise.tobytes()),
        "many": lambda file: file.writelines([bytes(100)] * 1000),
        "array": lambda file: np.save(file, noise),
        "picture": lambda file: Image.fromarray(noise).save(file, format="PNG"),
    }
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for name, write in writers.items():
        (tmp_path / name).write_bytes(b"")
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        try:
            with pytest.raises(DiskError) as caught:
                write_atomically(tmp_path / name, write)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert str(caught.value).startswith(f"cannot write {tmp_path / name}: ") and "\n" not in str(caught.value)
        assert content(tmp_path)[name] == b"" and parts(tmp_path) == []
