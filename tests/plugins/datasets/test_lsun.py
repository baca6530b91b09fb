"""LSUN: one data set from an LMDB, a folder or a zip; streamed; each fault in a sentence."""

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from ganbench_plugins.datasets.lsun import LSUN
from PIL import Image

from ganbench import Splits, UserError
from ganbench.runs.options import resolve

lmdb = pytest.importorskip("lmdb")


def load(root: Path, size: int = 32, category: str = "bedroom", **settings: str) -> Splits:
    dataset = LSUN()
    dataset.config = resolve(LSUN, "lsun", settings)
    return dataset.of(category).load(root, size)


def room(level: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((40, 60, 3), level, np.uint8)).save(out, "WEBP", lossless=True)
    return out.getvalue()


def rooms(start: int = 0, count: int = 30) -> dict[str, bytes]:
    return {f"{k:040x}": room(k) for k in range(start, start + count)}


def write_lmdb(folder: Path, images: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    with lmdb.open(str(folder), map_size=2**24) as environment, environment.begin(write=True) as transaction:
        for key, content in images.items():
            transaction.put(key.encode(), content)


def write_folder(folder: Path, images: dict[str, bytes]) -> None:
    for key, content in images.items():
        path = folder / key[-1] / f"{key}.webp"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write_zip(path: Path, images: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for key, content in images.items():
            archive.writestr(f"bedroom/{key}.webp", content)


def levels(images: torch.Tensor) -> list[int]:
    return images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("bedroom_train_lmdb", write_lmdb),
        ("bedroom", write_lmdb),
        ("bedroom", write_folder),
        ("bedroom.zip", write_zip),
    ],
)
def test_each_form_is_read_and_the_last_by_key_are_test(tmp_path: Path, name: str, write):
    write(tmp_path / "lsun" / name, rooms())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    data = load(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert (data.train.images.dtype, data.train.images.shape[1:]) == (torch.uint8, (3, 32, 32))
    assert len(data.test.images) == 3
    assert sorted(levels(data.train.images) + levels(data.test.images)) == list(range(30))
    assert data.protocol["split"] == "the last 3 of the training images by key are test"
    assert data.train.cond is None
    if write is not write_folder:  # its names begin with a folder
        assert levels(data.test.images) == [27, 28, 29]


def test_the_published_val_is_the_test_split_on_request(tmp_path: Path):
    write_lmdb(tmp_path / "lsun/bedroom_train_lmdb", rooms())
    write_lmdb(tmp_path / "lsun/bedroom_val_lmdb", rooms(100, 4))
    data = load(tmp_path, test="val")
    assert (levels(data.train.images), levels(data.test.images)) == ([*range(30)], [100, 101, 102, 103])
    assert data.protocol["split"] == "official train and val"
    assert load(tmp_path).fingerprint != data.fingerprint
    with pytest.raises(UserError, match=r"lsun\.test=val needs the folder .*tower_val_lmdb"):
        write_lmdb(tmp_path / "lsun/tower_train_lmdb", rooms())
        load(tmp_path, category="tower", test="val")


def test_classes_and_contents_have_their_fingerprints(tmp_path: Path):
    write_lmdb(tmp_path / "lsun/bedroom_train_lmdb", rooms())
    write_lmdb(tmp_path / "lsun/tower_train_lmdb", rooms(50))
    prints = {load(tmp_path).fingerprint, load(tmp_path, 64).fingerprint, load(tmp_path, category="tower").fingerprint}
    assert len(prints) == 3
    assert LSUN().of("tower").name == "lsun:tower"


def test_images_are_square_crops(tmp_path: Path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (80, 100, 3), dtype=np.uint8)
    for k in range(2):
        path = tmp_path / f"lsun/bedroom/{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    expected = Image.fromarray(pixels[:, 10:90]).resize((64, 64), Image.Resampling.BICUBIC)
    assert np.array_equal(load(tmp_path, 64).train.images[0].permute(1, 2, 0), np.asarray(expected))


def test_a_database_is_read_without_the_package_lmdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_lmdb(tmp_path / "lsun/bedroom_train_lmdb", rooms(1))
    monkeypatch.setitem(sys.modules, "lmdb", None)
    assert len(load(tmp_path).train.images) == 27


@pytest.mark.parametrize("write", [write_lmdb, write_zip, write_folder])
def test_a_damaged_image_is_named_or_left_out(tmp_path: Path, write):
    images = rooms(3)
    damaged = sorted(images)[5]
    images[damaged] = images[damaged][:-10]
    write(tmp_path / ("lsun/bedroom.zip" if write is write_zip else "lsun/bedroom"), images)
    with pytest.raises(UserError, match=rf"bedroom.*{damaged}.* cannot be decoded .*lsun\.skip_damaged=true"):
        load(tmp_path)
    data = load(tmp_path, skip_damaged="true")
    assert len(data.train.images) + len(data.test.images) == 29
    assert data.protocol["damaged images left out"] == 1


def test_a_damaged_database_is_named(tmp_path: Path):
    write_lmdb(tmp_path / "lsun/bedroom_train_lmdb", rooms(4))
    (tmp_path / "lsun/bedroom_train_lmdb/data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match="bedroom_train_lmdb is not a whole LMDB"):
        load(tmp_path)


def test_a_class_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"lsun has no class 'bedroom'; put bedroom_train_lmdb there"):
        load(tmp_path)
    write_lmdb(tmp_path / "lsun/bedroom_train_lmdb", rooms())
    with pytest.raises(UserError, match=r"has no class 'bedrom': did you mean 'bedroom'\?"):
        load(tmp_path, category="bedrom")
    (tmp_path / "lsun/church_train_lmdb.zip").touch()
    with pytest.raises(UserError, match=r"has no class 'church'.*; unpack church_train_lmdb\.zip"):
        load(tmp_path, category="church")
    for category in ("", " ", "a/b", ".."):
        with pytest.raises(UserError, match="write lsun:bedroom"):
            load(tmp_path, category=category)
    with pytest.raises(UserError, match="lsun comes at 32, 64, 128 pixels a side, but 48 was asked for"):
        load(tmp_path, 48)
    (tmp_path / "lsun/kitchen").mkdir()
    with pytest.raises(UserError, match="kitchen holds 0 images: at least two"):
        load(tmp_path, category="kitchen")


@pytest.mark.parametrize("category", ["bedroom", "cat"])
def test_a_class_is_never_offered_in_its_own_place(tmp_path: Path, category: str):
    folder = tmp_path / "lsun"
    folder.mkdir()
    (folder / f"{category}_train_lmdb.zip").touch()
    with pytest.raises(UserError, match=rf"has no class '{category}'; put .*unpack {category}_train_lmdb\.zip"):
        load(tmp_path, category=category)
    (folder / f"{category}_train_lmdb.zip").unlink()
    write_lmdb(folder / f"{category}_val_lmdb", rooms(1, 3))
    with pytest.raises(
        UserError, match=f"{category}_val_lmdb has the 300 images of val alone: put {category}_train_lmdb"
    ):
        load(tmp_path, category=category)


def test_a_cut_database_is_one_sentence_and_leaves_nothing_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path / "cache"))
    write_lmdb(tmp_path / "lsun/bedroom_train_lmdb", rooms())
    path = tmp_path / "lsun/bedroom_train_lmdb/data.mdb"
    content = path.read_bytes()
    for keep in (2 * 4096, len(content) // 2, len(content) - 4096):
        path.write_bytes(content[:keep])
        with pytest.raises(UserError, match=r"bedroom_train_lmdb is not a whole LMDB: it .*; replace it"):
            load(tmp_path)
    assert not list((tmp_path / "cache/data").iterdir())


def test_files_left_out_of_a_folder_are_said_every_time(tmp_path: Path):
    write_folder(tmp_path / "lsun/bedroom", rooms())
    (tmp_path / "lsun/bedroom/a.avif").touch()
    for _ in range(2):
        [note] = load(tmp_path).notes
        assert note.startswith("1 file is left out: 1 .avif")
