"""CIFAR-10: the official batches, packed or not, checked and then read without running what they may name."""

import hashlib
import io
import os
import pickle
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from ganbench_plugins.datasets.cifar10 import CIFAR10, read_batch, unpickle
from PIL import Image

from ganbench import Download, UserError

NAMES = [f"cifar-10-batches-py/{name}" for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")]
Batches = list[tuple[np.ndarray, list[int]]]


class Python2(pickle._Pickler):  # type: ignore[name-defined]
    """Write what Python 2 with the numpy of its time wrote: byte strings, and numpy's old module names."""

    dispatch = pickle._Pickler.dispatch.copy()  # type: ignore[attr-defined]

    def save_string(self, value: str | bytes) -> None:
        content = value.encode() if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string

    def save_global(self, item, name=None) -> None:
        module = item.__module__.replace("numpy._core", "numpy.core")
        self.write(pickle.GLOBAL + f"{module}\n{item.__name__}\n".encode())
        self.memoize(item)


def pickled(value: object) -> bytes:
    file = io.BytesIO()
    Python2(file, 2).dump(value)
    return file.getvalue()


def write(root: Path, batches: list[bytes], *, packed: bool) -> CIFAR10:
    """Lay batches out as they are published, and return the data set that takes them for the official ones."""
    root.mkdir(parents=True, exist_ok=True)
    dataset = CIFAR10()
    dataset.batches = tuple(
        Download(name, f"md5:{hashlib.md5(content).hexdigest()}", len(content))
        for name, content in zip(NAMES, batches, strict=True)
    )
    if packed:
        dataset.archive = pack(root / "cifar-10-python.tar.gz", dict(zip(NAMES, batches, strict=True)))
    else:
        (root / "cifar-10-batches-py").mkdir(exist_ok=True)
        for name, content in zip(NAMES, batches, strict=True):
            (root / name).write_bytes(content)
        dataset.archive = Download("cifar-10-python.tar.gz", "md5:0", 1)
    return dataset


def pack(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> Download:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    content = path.read_bytes()
    return Download(path.name, f"md5:{hashlib.md5(content).hexdigest()}", len(content))


@pytest.fixture
def batches(request: pytest.FixtureRequest) -> Batches:
    """Six batches of four images; of each test its own, so that none finds those of another in the cache."""
    rng = np.random.default_rng(zlib.crc32(request.node.name.encode()))
    return [(rng.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, 4).tolist()) for _ in range(6)]


def contents(batches: Batches) -> list[bytes]:
    return [
        pickled({"batch_label": "one of six", "labels": labels, "data": pixels.reshape(len(pixels), -1)})
        for pixels, labels in batches
    ]


@pytest.mark.parametrize("packed", [True, False])
def test_both_forms_are_read(tmp_path: Path, batches: Batches, packed: bool):
    data = write(tmp_path, contents(batches), packed=packed).load(tmp_path, 32)
    assert np.array_equal(data.train.images, np.concatenate([pixels for pixels, _ in batches[:5]]))
    assert np.array_equal(data.test.images, batches[5][0])
    assert data.train.cond.tolist() == [label for _, labels in batches[:5] for label in labels]
    assert data.test.cond.tolist() == batches[5][1]
    assert (data.train.images.dtype, data.train.cond.dtype) == (torch.uint8, torch.int64)
    assert data.protocol == {"resize": "none", "split": "official"}


def test_both_forms_have_one_fingerprint_and_other_sizes_another(tmp_path: Path, batches: Batches):
    prints = []
    for packed in (True, False):
        dataset = write(tmp_path / str(packed), contents(batches), packed=packed)
        prints.append([dataset.load(tmp_path / str(packed), size).fingerprint for size in (32, 64)])
    assert prints[0] == prints[1]
    assert prints[0][0] != prints[0][1]


@pytest.mark.parametrize("size", [16, 64])
def test_other_sizes_are_resampled_and_say_so(tmp_path: Path, batches: Batches, size: int):
    data = write(tmp_path, contents(batches), packed=False).load(tmp_path, size)
    image = Image.fromarray(batches[5][0][2].transpose(1, 2, 0)).resize((size, size), Image.Resampling.BICUBIC)
    assert np.array_equal(data.test.images[2].permute(1, 2, 0), np.asarray(image))
    assert data.protocol["resize"] == f"Pillow bicubic, antialiased, from 32 to {size}"
    with pytest.raises(UserError, match="cifar10 comes at 16, 32, 64 pixels a side, but 28 was asked for"):
        CIFAR10().load(tmp_path, 28)


def test_the_data_root_is_not_written_to(tmp_path: Path, batches: Batches):
    dataset = write(tmp_path, contents(batches), packed=True)
    dataset.load(tmp_path, 32)
    assert [path.name for path in tmp_path.rglob("*")] == ["cifar-10-python.tar.gz"]


@pytest.mark.parametrize("name", ["cifar-10-python.tar.gz", *NAMES])
def test_a_changed_file_is_named_and_never_unpickled(tmp_path: Path, batches: Batches, name: str):
    dataset = write(tmp_path, contents(batches), packed=name.endswith("gz"))
    path = tmp_path / name
    for wrong in (path.read_bytes()[:-1], path.read_bytes()[:-1] + b"?", b""):
        path.write_bytes(wrong)
        with pytest.raises(UserError, match=f"{path} is not the right file"):
            dataset.load(tmp_path, 32)


def test_what_is_missing_is_named(tmp_path: Path, batches: Batches):
    dataset = write(tmp_path, contents(batches), packed=False)
    (tmp_path / NAMES[2]).unlink()
    with pytest.raises(UserError, match=f"put {NAMES[2]} into the data root"):
        dataset.load(tmp_path, 32)
    with pytest.raises(UserError, match=r"put cifar-10-python\.tar\.gz into the data root"):
        dataset.load(tmp_path / "empty", 32)


def test_an_archive_stands_in_for_a_folder_that_is_not_whole(tmp_path: Path, batches: Batches):
    write(tmp_path, contents(batches), packed=False)
    (tmp_path / NAMES[0]).unlink()
    assert len(write(tmp_path, contents(batches), packed=True).load(tmp_path, 32).train.images) == 20


def test_each_member_of_the_archive_must_be_the_right_regular_file(tmp_path: Path, batches: Batches):
    good = dict(zip(NAMES, contents(batches), strict=True))
    link = tarfile.TarInfo(NAMES[1])
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    dataset = write(tmp_path, list(good.values()), packed=True)
    for members, fault in (
        (good | {NAMES[1]: good[NAMES[0]]}, f"its member {NAMES[1]} is not the right file"),
        (good | {NAMES[1]: link}, f"its member {NAMES[1]} is not the right file"),
        ({name: good[name] for name in NAMES[1:]}, f"lacks {NAMES[0]}"),
    ):
        dataset.archive = pack(tmp_path / "cifar-10-python.tar.gz", members)
        with pytest.raises(UserError, match=fault):
            dataset.load(tmp_path, 32)
    more = {"../escape": b"x", "cifar-10-batches-py/batches.meta": b"x"}
    dataset.archive = pack(tmp_path / "cifar-10-python.tar.gz", more | good)
    assert len(dataset.load(tmp_path, 32).test.images) == 4
    assert not (tmp_path.parent / "escape").exists()


def test_what_is_no_archive_is_refused_though_its_checksum_is_right(tmp_path: Path, batches: Batches):
    dataset = write(tmp_path, contents(batches), packed=True)
    path = tmp_path / "cifar-10-python.tar.gz"
    for wrong in (b"no archive", path.read_bytes()[:-2000]):
        path.write_bytes(wrong)
        dataset.archive = Download(path.name, f"md5:{hashlib.md5(wrong).hexdigest()}", len(wrong))
        with pytest.raises(UserError, match=f"{path} is not a whole tar file"):
            dataset.load(tmp_path, 32)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (os.system, f"{os.system.__module__}.system"),
        (eval, "builtins.eval"),
        (getattr, "builtins.getattr"),
        (np.save, "numpy.save"),
        (Path(), "pathlib"),
        ([np.memmap], "numpy.memmap"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_may_name_nothing_but_arrays(value: object, name: str, protocol: int):
    with pytest.raises(UserError, match=r"bad is refused: it names .*, which no batch of CIFAR-10 does") as caught:
        unpickle(pickle.dumps({"labels": [1], "data": value}, protocol), "bad")
    assert name in str(caught.value) or protocol == 2  # of protocol 2 the names are those of Python 2


@pytest.mark.parametrize("content", [b"", b"no pickle", pickled([1, 2])[:-2], b"\x80\x02."])
def test_what_is_no_pickle_is_refused(content: bytes):
    with pytest.raises(UserError, match=r"bad is refused: ."):
        unpickle(content, "bad")


@pytest.mark.parametrize(
    ("batch", "fault"),
    [
        ([], "holds NoneType"),
        ({"data": "pixels", "labels": [1]}, "but holds bytes"),
        ({"data": np.zeros((2, 3072)), "labels": [1, 1]}, r"but holds float64 \(2, 3072\)"),
        ({"data": np.zeros((2, 100), np.uint8), "labels": [1, 1]}, r"but holds uint8 \(2, 100\)"),
        ({"data": np.zeros(3072, np.uint8), "labels": [1]}, r"but holds uint8 \(3072,\)"),
        ({"data": np.zeros((2, 3072), np.uint8)}, "needs 'labels', a list of 2 numbers from 0 to 9"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}, "needs 'labels', a list of 2"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [1, 10]}, "needs 'labels', a list of 2"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [1, "1"]}, "needs 'labels', a list of 2"),
    ],
)
def test_a_batch_without_images_and_labels_is_refused(batch: object, fault: str):
    with pytest.raises(UserError, match=f"bad .*{fault}"):
        read_batch(pickled(batch), "bad")


def test_an_official_file_is_read(data_root: Path):
    content = (data_root / "cifar10-webp/batches.meta").read_bytes()
    assert hashlib.md5(content).hexdigest() == "5ff9c542aee3614f3951f8cda6e48888"
    meta = unpickle(content, "batches.meta")
    assert meta[b"num_cases_per_batch"] == 10_000
    assert meta[b"label_names"][:3] == [b"airplane", b"automobile", b"bird"]


@pytest.fixture
def photographs(data_root: Path) -> Batches:
    """Real images: the first thousand to train on, in five batches, and a hundred of each of two classes to test."""

    def grid(name: str) -> np.ndarray:
        with Image.open(data_root / f"cifar10-webp/{name}.webp") as image:
            tiles = np.asarray(image.convert("RGB")).reshape(25, 32, 40, 32, 3)
        return tiles.transpose(0, 2, 4, 1, 3).reshape(1000, 3, 32, 32)

    labels = np.load(data_root / "cifar10-webp/labels.npz")["train_labels"][:1000].tolist()
    train, rows = grid("train_00"), range(0, 1000, 200)
    test = np.concatenate([grid("test_03")[:100], grid("test_08")[:100]])
    return [(train[k : k + 200], labels[k : k + 200]) for k in rows] + [(test, [3] * 100 + [8] * 100)]


@pytest.mark.parametrize("packed", [True, False])
def test_real_images_come_out_as_they_went_in(tmp_path: Path, photographs: Batches, packed: bool):
    data = write(tmp_path, contents(photographs), packed=packed).load(tmp_path, 32)
    assert np.array_equal(data.train.images, np.concatenate([pixels for pixels, _ in photographs[:5]]))
    assert data.train.cond[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]  # frog, truck, truck, deer, …
    assert data.spec("label").classes == 10
    means = data.train.images.double().mean((0, 2, 3)) / 255
    assert torch.allclose(means, torch.tensor([0.4914, 0.4822, 0.4465], dtype=torch.float64), atol=0.02)
