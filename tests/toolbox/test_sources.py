"""Files with checksums, digests that are remembered, and prepared arrays that are kept."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from ganbench.errors import DiskError, UserError
from ganbench.toolbox import sources
from ganbench.toolbox.prepared import prepared
from ganbench.toolbox.sources import Download, digest_of, fetch, tree_digest


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("GANBENCH_CACHE", str(folder))
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every file whose content is hashed; fresh files count as settled."""
    found: list[str] = []
    original = hashlib.file_digest

    def counted(file, algorithm):
        found.append(Path(file.name).name)
        return original(file, algorithm)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    monkeypatch.setattr(sources, "_SETTLED", 0)
    return found


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def host(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address under which a host on this machine gives its files away."""
    folder = tmp_path / "host"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def described(content: bytes, *urls: str, path: str = "SET/a.bin", algorithm: str = "sha256") -> Download:
    return Download(path, f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}", len(content), urls)


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_file_under_the_data_root_is_used_where_it_lies(tmp_path: Path, algorithm: str):
    path = put(tmp_path / "data/SET/a.bin", b"content")
    assert fetch(tmp_path / "data", described(b"content", algorithm=algorithm)) == [path]


def test_another_form_of_the_content_is_used_too(tmp_path: Path):
    unpacked = put(tmp_path / "data/SET/a.txt", b"unpacked")
    file = Download("SET/a.gz", "md5:00", 3, also=(described(b"unpacked", path="SET/a.txt"),))
    assert fetch(tmp_path / "data", file) == [unpacked]


@pytest.mark.parametrize(("found", "fault"), [(b"cont", "has 4 bytes instead of 7"), (b"CONTENT", "has the sha256")])
def test_a_wrong_file_under_the_root_is_named_and_left_alone(tmp_path: Path, host, found: bytes, fault: str):
    path = put(tmp_path / "data/SET/a.bin", found)
    put(host[0] / "a.bin", b"content")
    with pytest.raises(UserError, match=f"{path} is not the right file: it {fault}"):
        fetch(tmp_path / "data", described(b"content", host[1] + "a.bin"))
    assert path.read_bytes() == found


def test_a_missing_file_is_downloaded_once_into_the_cache_and_never_into_the_root(tmp_path, own_cache, host):
    served = put(host[0] / "a.bin", b"content")
    file = described(b"content", host[1] + "gone.bin", host[1] + "a.bin")
    (tmp_path / "data").mkdir()
    for _ in range(2):
        [path] = fetch(tmp_path / "data", file)
        assert path.read_bytes() == b"content"
        assert path.is_relative_to(own_cache)
        served.unlink(missing_ok=True)
    assert not list((tmp_path / "data").iterdir())


def test_a_damaged_download_in_the_cache_is_fetched_again(tmp_path: Path, host):
    put(host[0] / "a.bin", b"content")
    file = described(b"content", host[1] + "a.bin")
    [path] = fetch(tmp_path, file)
    path.write_bytes(b"c0ntent")
    assert fetch(tmp_path, file)[0].read_bytes() == b"content"


@pytest.mark.parametrize("sent", [b"cont", b"CONTENT", b"content and more"])
def test_a_host_that_sends_something_else_is_not_believed(tmp_path: Path, own_cache: Path, host, sent: bytes):
    put(host[0] / "a.bin", sent)
    with pytest.raises(UserError, match=r"put SET/a\.bin into the data root .*sent a file of another content"):
        fetch(tmp_path / "data", described(b"content", host[1] + "a.bin"))
    assert not [path for path in own_cache.rglob("*") if path.is_file()]


def test_without_a_network_one_sentence_names_all_files_to_put_there(tmp_path: Path):
    put(tmp_path / "data/SET/b.bin", b"here")
    dead = "http://127.0.0.1:9/"  # nothing listens there
    files = [described(name.encode(), dead + name, path=f"SET/{name}") for name in ("a.bin", "c.bin")]
    with pytest.raises(UserError) as caught:
        fetch(tmp_path / "data", files[0], described(b"here", path="SET/b.bin"), files[1])
    text = str(caught.value)
    assert f"put SET/a.bin, SET/c.bin into the data root {tmp_path / 'data'}" in text
    assert f"{dead}a.bin failed" in text
    assert "b.bin" not in text


def test_a_file_without_a_host_says_so(tmp_path: Path):
    with pytest.raises(UserError, match=r"put SET/a\.bin .*cannot be downloaded without a person"):
        fetch(tmp_path, described(b"content"))


def test_an_unchanged_file_is_checked_once(tmp_path: Path, reads: list[str]):
    put(tmp_path / "SET/a.bin", b"content")
    for _ in range(3):
        fetch(tmp_path, described(b"content"))
    assert reads == ["a.bin"]


def test_a_file_that_changed_is_checked_again(tmp_path: Path, reads: list[str]):
    path = put(tmp_path / "SET/a.bin", b"content")
    fetch(tmp_path, described(b"content"))
    path.write_bytes(b"CONTENT")
    with pytest.raises(UserError, match="sha256"):
        fetch(tmp_path, described(b"content"))


@pytest.mark.parametrize("when", [0, 2**31 - 1, 10**10, -(10**6)])
def test_whatever_time_a_file_bears_a_change_of_it_is_seen(tmp_path: Path, when: int):
    path = put(tmp_path / "SET/a.bin", b"content")
    for content in (b"content", b"CONTENT", b"contenT"):
        path.write_bytes(content)
        os.utime(path, (when, when))  # the time and the size that it had before
        for _ in range(2):
            assert digest_of(path) == hashlib.sha256(content).hexdigest()
            assert (
                tree_digest(tmp_path, ["SET/a.bin"])
                == hashlib.sha256(b"SET/a.bin\0" + hashlib.sha256(content).digest()).hexdigest()
            )


@pytest.mark.parametrize("shift", [-(10**9), -3600, 3600, 10**9])
def test_a_clock_that_was_set_makes_no_digest_wrong(tmp_path: Path, shift: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sources, "_SETTLED", 2_000_000_000)
    clock = time.time_ns
    monkeypatch.setattr(sources.time, "time_ns", lambda: clock() + shift * 10**9)
    path = put(tmp_path / "a.bin", b"first")
    for content in (b"first", b"other", b"third"):
        path.write_bytes(content)
        assert digest_of(path) == hashlib.sha256(content).hexdigest() == digest_of(path)


def test_a_check_of_a_file_that_could_still_change_unseen_is_not_remembered(tmp_path: Path, reads, monkeypatch):
    monkeypatch.setattr(sources, "_SETTLED", 2_000_000_000)
    put(tmp_path / "SET/a.bin", b"content")
    for _ in range(2):
        fetch(tmp_path, described(b"content"))
    assert reads == ["a.bin", "a.bin"]


def test_a_spoilt_memory_of_a_check_is_not_believed(tmp_path: Path, own_cache: Path, reads: list[str]):
    put(tmp_path / "SET/a.bin", b"content")
    fetch(tmp_path, described(b"content"))
    for spoilt in (b"", b"\xff\xfe", b"abc"):
        for note in (own_cache / "digests").iterdir():
            note.write_bytes(spoilt)
        fetch(tmp_path, described(b"content"))
    assert len(reads) == 4


def test_the_note_of_another_file_is_not_believed(tmp_path: Path, own_cache: Path, reads: list[str]):
    for name in ("a", "b"):
        put(tmp_path / f"SET/{name}.bin", name.encode())
    files = [described(name.encode(), path=f"SET/{name}.bin") for name in ("a", "b")]
    fetch(tmp_path, *files)
    first, second = (own_cache / "digests").iterdir()
    whole = first.read_text(), second.read_text()
    first.write_text(whole[1])
    second.write_text(whole[0])
    assert fetch(tmp_path, *files) == [tmp_path / "SET/a.bin", tmp_path / "SET/b.bin"]
    assert len(reads) == 4


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_no_cut_of_a_note_has_a_good_file_replaced(tmp_path: Path, own_cache: Path, reads: list[str], algorithm: str):
    path, file = put(tmp_path / "SET/a.bin", b"content"), described(b"content", algorithm=algorithm)
    fetch(tmp_path, file)
    [note] = (own_cache / "digests").iterdir()
    whole = note.read_text()
    for length in range(len(whole)):
        note.write_text(whole[:length])
        assert fetch(tmp_path, file) == [path]
        assert note.read_text() == whole
    assert len(reads) == 1 + len(whole)


def test_a_note_of_an_older_form_costs_a_reading_and_nothing_else(tmp_path: Path, own_cache: Path, reads: list[str]):
    put(tmp_path / "SET/a.bin", b"content")
    fetch(tmp_path, described(b"content"))
    [note] = (own_cache / "digests").iterdir()
    note.write_text("0" * 64)
    fetch(tmp_path, described(b"content"))
    assert len(reads) == 2


def test_a_tree_digest_tells_names_contents_and_order_apart(tmp_path: Path):
    for folder, files in (("a", {"x": b"1", "y": b"2"}), ("b", {"x": b"1", "y": b"3"}), ("c", {"x": b"1", "z": b"2"})):
        for name, content in files.items():
            put(tmp_path / folder / name, content)
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    first = tree_digest(tmp_path / "a", ["x", "y"])
    assert first == tree_digest(tmp_path / "copy", ["x", "y"])
    others = [("a", "yx"), ("a", "x"), ("b", "xy"), ("c", "xz")]
    assert len({first, *(tree_digest(tmp_path / folder, list(names)) for folder, names in others)}) == 5
    sums = [hashlib.sha256(content).digest() for content in (b"1", b"2")]
    assert first == hashlib.sha256(b"x\0" + sums[0] + b"y\0" + sums[1]).hexdigest()


def test_an_unchanged_tree_is_read_once(tmp_path: Path, reads: list[str]):
    put(tmp_path / "t/x", b"1")
    put(tmp_path / "t/y", b"2")
    first = [tree_digest(tmp_path / "t", ["x", "y"]) for _ in range(2)]
    assert sorted(reads) == ["x", "y"]
    put(tmp_path / "t/y", b"3")
    assert tree_digest(tmp_path / "t", ["x", "y"]) not in first


def test_a_sampled_digest_sees_sizes_both_ends_and_a_block_a_mebibyte(tmp_path: Path):
    content = bytearray(range(256)) * 4096 * 4  # 4 MiB: blocks begin at 0, a third, two thirds and the end less 4096

    def digest_with(changes: dict[int, int], size: int = len(content)) -> str:
        changed = bytearray(content[:size])
        for place, value in changes.items():
            changed[place] = value
        put(tmp_path / "t/x", bytes(changed))
        return tree_digest(tmp_path / "t", ["x"], sampled=True)

    first = digest_with({})
    assert first != tree_digest(tmp_path / "t", ["x"])
    seen = [{0: 9}, {4095: 9}, {(len(content) - 4096) // 3: 9}, {len(content) - 1: 9}]
    assert len({first, digest_with({}, len(content) - 1), *(digest_with(changes) for changes in seen)}) == 6
    assert digest_with({4096: 9}) == first  # between two blocks: the price of not reading it all
    assert digest_with({9: 0}, 10) != digest_with({}, 10)


def build_counting(folder: Path, count: list[int]) -> dict[str, int]:
    count.append(1)
    np.save(folder / "images.npy", np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2))
    np.save(folder / "labels.npy", np.arange(2))
    return {"damaged": 0}


def test_prepared_arrays_are_built_once_and_mapped(own_cache: Path):
    built: list[int] = []
    for _ in range(3):
        arrays, notes = prepared({"source": "a", "size": 2}, partial(build_counting, count=built))
        assert arrays["images"].flatten().tolist() == list(range(24))
        assert (arrays["images"].dtype, arrays["labels"].dtype) == (torch.uint8, torch.int64)
        assert notes == {"damaged": 0}
        arrays["images"].zero_()  # a private copy: the cache keeps its content
    assert built == [1]
    prepared({"source": "a", "size": 4}, partial(build_counting, count=built))
    assert built == [1, 1]
    assert not list((own_cache / "data").glob(".*"))


def spoil_cut(entry: Path) -> None:
    content = (entry / "images.npy").read_bytes()
    (entry / "images.npy").write_bytes(content[:-1])


def spoil_byte(entry: Path) -> None:
    content = bytearray((entry / "images.npy").read_bytes())
    content[-1] ^= 1
    (entry / "images.npy").write_bytes(content)


def spoil_shape(entry: Path) -> None:
    np.save(entry / "images.npy", np.zeros((1, 3, 2, 4), np.uint8))


def spoil_meta(entry: Path) -> None:
    (entry / "meta.json").write_text('{"arrays"')


def spoil_meta_kind(entry: Path) -> None:
    (entry / "meta.json").write_text(json.dumps(["arrays"]))


def spoil_missing(entry: Path) -> None:
    (entry / "labels.npy").unlink()


def spoil_no_meta(entry: Path) -> None:
    (entry / "meta.json").unlink()


def spoil_file(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.write_text("a file where a folder should be")


@pytest.mark.parametrize(
    "spoil",
    [spoil_cut, spoil_byte, spoil_shape, spoil_meta, spoil_meta_kind, spoil_missing, spoil_no_meta, spoil_file],
)
def test_a_damaged_entry_is_never_used_but_built_again(own_cache: Path, spoil):
    built: list[int] = []
    build = partial(build_counting, count=built)
    prepared({"source": "a"}, build)
    [entry] = (own_cache / "data").iterdir()
    spoil(entry)
    assert prepared({"source": "a"}, build).arrays["images"].flatten().tolist() == list(range(24))
    assert built == [1, 1]
    prepared({"source": "a"}, build)
    assert built == [1, 1]
    assert list((own_cache / "data").iterdir()) == [entry]


def test_a_build_that_fails_leaves_nothing(own_cache: Path):
    def build(folder: Path) -> None:
        np.save(folder / "images.npy", np.zeros(3))
        raise UserError("no such image")

    with pytest.raises(UserError, match="no such image"):
        prepared({}, build)
    assert not list((own_cache / "data").iterdir())


def test_two_that_prepare_at_once_both_end_well(own_cache: Path):
    meeting, results = threading.Barrier(2, timeout=30), []

    def build(folder: Path) -> None:
        build_counting(folder, [])
        meeting.wait()  # neither is ready before the other has begun

    def work() -> None:
        results.append(prepared({"source": "a"}, build).arrays["images"].sum().item())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [sum(range(24))] * 2
    assert len(list((own_cache / "data").iterdir())) == 1


def test_two_that_mend_a_damaged_entry_at_once_both_end_well(own_cache: Path):
    build_counting_once = partial(build_counting, count=[])
    prepared({"source": "a"}, build_counting_once)
    [entry] = (own_cache / "data").iterdir()
    spoil_cut(entry)
    test_two_that_prepare_at_once_both_end_well(own_cache)


def test_what_a_killed_build_left_is_cleared_away_after_a_day(own_cache: Path):
    old, wrong, new, ahead = (own_cache / f"data/.{name}.part" for name in ("aa", "bb", "cc", "dd"))
    for folder in (old, wrong, new, ahead):
        put(folder / "images.npy", b"half")
    now = time.time()
    os.utime(old, (0, 0))
    os.utime(wrong, (now + 10 * 365 * 86_400,) * 2)  # the clock was wrong then, or is so now
    os.utime(ahead, (now + 3600,) * 2)
    prepared({}, partial(build_counting, count=[]))
    assert not old.exists() and not wrong.exists()
    assert new.exists() and ahead.exists()


KILLED = """
import os, signal, sys
import numpy as np
from ganbench import prepared
def build(folder):
    np.save(folder / "images.npy", np.zeros(100))
    print("building", flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)
prepared({"source": "killed"}, build)
"""


def test_what_a_killed_build_left_is_swept_by_the_next_and_a_living_one_is_let_be(own_cache: Path):
    building = subprocess.Popen(
        [sys.executable, "-c", KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert building.stdin is not None and building.stdout is not None
    assert building.stdout.readline() == "building\n"
    [half] = (own_cache / "data").iterdir()
    os.utime(half, (0, 0))  # however long it has been at work
    prepared({"source": "a"}, partial(build_counting, count=[]))
    assert half.exists()
    building.communicate("\n", timeout=60)
    assert building.returncode == -9
    assert half.exists()
    prepared({"source": "b"}, partial(build_counting, count=[]))
    assert not half.exists()
    assert not list((own_cache / "data").glob(".*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_told_in_one_sentence(own_cache: Path):
    def build(folder: Path) -> None:
        (folder / "images.npy").symlink_to("/dev/full")
        np.save(folder / "images.npy", np.zeros(100_000))

    with pytest.raises(DiskError, match=r"cannot prepare data in .*GANBENCH_CACHE"):
        prepared({}, build)
    assert not list((own_cache / "data").iterdir())


def test_a_cache_that_is_a_file_is_told_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GANBENCH_CACHE", str(put(tmp_path / "file", b"")))
    with pytest.raises(DiskError, match="GANBENCH_CACHE"):
        prepared({}, partial(build_counting, count=[]))
