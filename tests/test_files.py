"""Files: whole or not at all, whatever happens to the writer."""

import errno
import hashlib
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ganbench.errors import DiskError, UserError
from ganbench.files import cache_folder, expanded, locate, settle_cache, sha256_of, write_atomically


def put(path, content=b"new"):
    write_atomically(path, lambda file: file.write(content))


def test_a_file_is_written_with_its_folders(tmp_path):
    path = tmp_path / "a" / "b" / "record.json"
    put(path)
    assert path.read_bytes() == b"new"
    assert [found.name for found in path.parent.iterdir()] == ["record.json"]


def test_others_may_read_what_is_written(tmp_path):
    put(tmp_path / "record.json")
    assert stat.S_IMODE((tmp_path / "record.json").stat().st_mode) == 0o644


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, OSError(errno.EIO, "bad disk")])
def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(error, tmp_path):
    path = tmp_path / "record.json"
    put(path, b"old")

    def fail(file):
        file.write(b"half")
        file.flush()
        assert len(list(tmp_path.glob(".*.part"))) == 1  # the half file lies beside the whole one
        raise error

    with pytest.raises(DiskError if isinstance(error, OSError) else error):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_told_in_one_sentence(tmp_path):
    path = tmp_path / "record.json"

    def write(file):
        with Path("/dev/full").open("wb", buffering=0) as full:
            full.write(b"x")

    with pytest.raises(DiskError) as caught:
        write_atomically(path, write)
    assert str(caught.value) == f"cannot write {path}: No space left on device"
    assert isinstance(caught.value, UserError)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_only_when_the_file_is_closed_is_noticed(tmp_path, monkeypatch):
    def refuse(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(DiskError, match="No space left on device"):
        put(tmp_path / "record.json")
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_should_be_is_told(tmp_path):
    (tmp_path / "results").write_text("not a folder")
    with pytest.raises(DiskError, match=r"cannot write .*results/a\.json: "):
        put(tmp_path / "results" / "a.json")


def test_a_folder_where_the_file_should_be_is_told(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(DiskError, match="cannot write"):
        put(tmp_path / "a.json")
    assert [found.name for found in tmp_path.iterdir()] == ["a.json"]


def test_a_reader_sees_old_or_new_but_never_half(tmp_path):
    path, contents = tmp_path / "weights.bin", [bytes([value]) * 200_000 for value in (1, 2)]
    put(path, contents[0])
    writer = threading.Thread(target=lambda: [put(path, contents[number % 2]) for number in range(40)])
    writer.start()
    while writer.is_alive():
        assert path.read_bytes() in contents
    writer.join()


def test_checksums_are_those_of_the_content(tmp_path):
    content = os.urandom(300_000)
    (tmp_path / "a").write_bytes(content)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_the_cache_lies_where_the_environment_says(monkeypatch):
    monkeypatch.setenv("GANBENCH_CACHE", "~/elsewhere")
    assert cache_folder() == Path.home() / "elsewhere"
    monkeypatch.delenv("GANBENCH_CACHE")
    assert cache_folder().name == "ganbench" and cache_folder().is_absolute()


@pytest.mark.skipif(os.name != "posix", reason="there is no umask")
@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_the_umask_is_respected(umask, tmp_path):
    before = os.umask(umask)
    try:
        put(tmp_path / "below" / "record.json")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "below" / "record.json").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "below").stat().st_mode) == 0o777 & ~umask


KILLED = """
import os, signal, sys
from pathlib import Path
from ganbench.files import write_atomically
def write(file):
    file.write(b"half")
    file.flush()
    print("half", flush=True)
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
write_atomically(Path(sys.argv[1]), write)
"""


def writer(path, how):
    return subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


@pytest.mark.skipif(os.name != "posix", reason="needs file locks that end with their process")
def test_what_killed_writers_left_is_swept_and_what_others_write_is_not(tmp_path):
    (tmp_path / "folder.part").mkdir()
    for name in ("record.json", "weights.bin"):
        with writer(tmp_path / name, "killed") as killed:
            assert killed.wait(60) == -signal.SIGKILL
    assert len(list(tmp_path.glob(".*.part"))) == 1  # the second writer swept what the first one left
    with writer(tmp_path / "slow.bin", "alive") as alive:
        assert alive.stdout.readline() == b"half\n"
        put(tmp_path / "record.json")
        assert [path.name.split(".")[1] for path in tmp_path.glob(".*.part")] == ["slow"]
        alive.stdin.close()
        assert alive.wait(60) == 0
    assert (tmp_path / "slow.bin").read_bytes() == b"half"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.part", "record.json", "slow.bin"]


def test_writers_of_one_file_at_once_do_not_sweep_each_other(tmp_path):
    path, contents = tmp_path / "weights.bin", [bytes([value]) * 50_000 for value in range(4)]
    faults = []

    def write(content):
        try:
            for _ in range(50):
                put(path, content)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults and path.read_bytes() in contents
    assert [found.name for found in tmp_path.iterdir()] == ["weights.bin"]


@pytest.mark.parametrize("path", ["~nobody-of-this-name", "~nobody-of-this-name/x"])
def test_a_home_that_nobody_knows_is_told_wherever_it_is_named(path, monkeypatch):
    with pytest.raises(UserError, match=f"{path}: the home folder that ~ stands for is not known"):
        expanded(path)
    monkeypatch.setenv("GANBENCH_CACHE", path)
    with pytest.raises(UserError, match=f"GANBENCH_CACHE={path}: {path}: the home folder"):
        cache_folder()
    with pytest.raises(UserError, match="the home folder that ~ stands for is not known"):
        locate("folder", path, Path())


def test_without_any_home_the_cache_asks_for_a_folder(monkeypatch):
    import pwd

    def nobody(*_):
        raise KeyError("no entry")

    for name in ("GANBENCH_CACHE", "HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(UserError, match="no home folder is known to keep a cache in: set GANBENCH_CACHE"):
        cache_folder()
    with pytest.raises(UserError, match="not known"):
        expanded("~/x")


def test_the_cache_stays_where_it_is_though_the_current_folder_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANBENCH_CACHE", "cache")
    settle_cache()
    monkeypatch.chdir("/")
    assert cache_folder() == tmp_path / "cache"
