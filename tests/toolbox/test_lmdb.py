"""LMDB by pages: what the library wrote is read in its order, and no cut or damage is more than one sentence."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from ganbench import UserError
from ganbench.toolbox.lmdb import lmdb_files

lmdb = pytest.importorskip("lmdb")

PAGE = 4096


def items(count: int, most: int) -> dict[bytes, bytes]:
    rng = random.Random(count)
    return {b"%040x" % rng.getrandbits(160): rng.randbytes(rng.randint(1, most)) for _ in range(count)}


def write(folder: Path, content: dict[bytes, bytes], *, transactions: int = 1, scratch: bool = False) -> Path:
    """Write a database; `scratch`: values are put and deleted meanwhile, so that pages at its end are free."""
    folder.mkdir(parents=True)
    with lmdb.open(str(folder), map_size=2**26) as environment:
        for turn in range(transactions):
            with environment.begin(write=True) as transaction:
                for key in list(content)[turn::transactions]:
                    transaction.put(key, content[key])
                for k in range(40 if scratch else 0):
                    transaction.put(b"zz%d" % k, bytes(60_000))
                for k in range(40 if scratch else 0):
                    transaction.delete(b"zz%d" % k)
    return folder


@pytest.mark.parametrize(
    ("count", "most", "transactions"), [(1, 10, 1), (3, 100, 1), (300, 20_000, 1), (9_000, 300, 1), (500, 5_000, 7)]
)
@pytest.mark.parametrize("scratch", [False, True])
def test_what_was_written_is_read_in_the_order_of_the_keys(tmp_path: Path, count, most, transactions, scratch):
    content = items(count, most)
    folder = write(tmp_path / "db", content, transactions=transactions, scratch=scratch)
    (folder / "lock.mdb").unlink()
    before = (folder / "data.mdb").read_bytes()
    with lmdb_files(folder) as files:
        assert files.names == sorted(key.decode() for key in content)
        for key, value in list(content.items())[:400]:
            assert files.find(key.decode()).content == value
    assert [path.name for path in folder.iterdir()] == ["data.mdb"]
    assert (folder / "data.mdb").read_bytes() == before


def test_an_empty_database_has_no_images(tmp_path: Path):
    with lmdb_files(write(tmp_path / "db", {})) as files:
        assert files.names == []


def test_free_pages_that_were_never_written_are_not_missed(tmp_path: Path):
    folder = write(tmp_path / "db", items(500, 5_000), transactions=7, scratch=True)
    with lmdb.open(str(folder), readonly=True, lock=False) as environment:
        told = (environment.info()["last_pgno"] + 1) * PAGE
    assert (folder / "data.mdb").stat().st_size < told  # the library leaves such files, and they are whole
    with lmdb_files(folder) as files:
        assert len(files.names) == 500


READ = """
import sys
from pathlib import Path
from ganbench import UserError
from ganbench.toolbox.lmdb import lmdb_files
original = Path(sys.argv[1]).read_bytes()
folder = Path(sys.argv[2])
for spoilt in eval(sys.argv[3]):
    (folder / "data.mdb").write_bytes(spoilt(original))
    try:
        with lmdb_files(folder) as files:
            found = [files.find(name).content for name in files.names]
        print("read", len(found))
    except UserError as error:
        assert str(folder) in str(error), error
        print("refused")
"""


def spoilt(tmp_path: Path, folder: Path, ways: str) -> list[str]:
    """Read a database spoilt in several ways in a process of its own, which a signal would end."""
    (tmp_path / "spoilt").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", READ, folder / "data.mdb", tmp_path / "spoilt", ways], capture_output=True, text=True
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    return done.stdout.splitlines()


@pytest.mark.parametrize(("count", "most"), [(3, 100), (60, 20_000), (2_000, 300)])
def test_every_cut_is_refused(tmp_path: Path, count: int, most: int):
    folder = write(tmp_path / "db", items(count, most))
    size = (folder / "data.mdb").stat().st_size
    step = max(1, size // PAGE // 60) * PAGE
    cuts = sorted({0, 1, 100, PAGE, PAGE + 1, 2 * PAGE, size - PAGE, size - 1, *range(0, size, step)} - {size})
    assert spoilt(tmp_path, folder, f"[lambda b, k=k: b[:k] for k in {cuts}]") == ["refused"] * len(cuts)


@pytest.mark.parametrize(("count", "most"), [(60, 20_000), (2_000, 300)])
def test_zeros_at_the_end_and_flipped_bytes_end_no_process(tmp_path: Path, count: int, most: int):
    folder = write(tmp_path / "db", items(count, most))
    size = (folder / "data.mdb").stat().st_size
    ways = f"[lambda b, k=k: b[:k] + bytes(len(b) - k) for k in range(8192, {size}, {size // 40})]"
    assert "refused" in spoilt(tmp_path, folder, ways)
    (tmp_path / "spoilt/data.mdb").unlink()
    (tmp_path / "spoilt").rmdir()
    rng = random.Random(0)
    bytes_of = [[(rng.randrange(size), rng.randrange(256)) for _ in range(200)] for _ in range(40)]
    flipped = f"[lambda b, w=dict(w): bytes(w.get(k, v) for k, v in enumerate(b)) for w in {bytes_of}]"
    assert len(spoilt(tmp_path, folder, flipped)) == 40


def test_what_is_no_set_of_images_is_refused(tmp_path: Path):
    with lmdb.open(str(tmp_path / "named"), map_size=2**20, max_dbs=2) as environment:
        environment.open_db(b"inner")
    with pytest.raises(UserError, match=r"named is not a whole LMDB: page .* something else than keys with one value"):
        lmdb_files(tmp_path / "named").__enter__()
    (tmp_path / "text").mkdir()
    (tmp_path / "text/data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match="text is not a whole LMDB: it does not begin as one does; replace it"):
        lmdb_files(tmp_path / "text").__enter__()


def test_an_error_of_the_block_is_not_taken_for_the_database_s(tmp_path: Path):
    with pytest.raises(OSError, match="full"), lmdb_files(write(tmp_path / "db", items(3, 9))):
        raise OSError("full")
