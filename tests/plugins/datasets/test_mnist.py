"""MNIST and Fashion-MNIST: read whole from either form, or refused with the name of the file."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from ganbench_plugins.datasets.mnist import MNIST, FashionMNIST

from ganbench import UserError, idx_downloads, to_float
from ganbench.toolbox.idx import read_idx

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def tiny(root: Path, *, packed: bool = True, train_labels: int = 12) -> tuple[MNIST, dict[str, np.ndarray]]:
    """A data set of the same format, twelve images to train on and six to test."""
    rng = np.random.default_rng(0)
    arrays = dict(
        zip(
            NAMES,
            [
                rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
                if k == 0
                else rng.permutation(m).astype(np.uint8) % 10
                for n, m in ((12, train_labels), (6, 6))
                for k in (0, 1)
            ],
            strict=True,
        )
    )
    known, folder = {}, root / "TINY/raw"
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        plain = idx(array)
        content = gzip.compress(plain, mtime=0)
        (folder / (f"{name}.gz" if packed else name)).write_bytes(content if packed else plain)
        known[name] = (len(content), hashlib.sha256(content).hexdigest(), len(plain), hashlib.sha256(plain).hexdigest())
    dataset = MNIST()
    dataset.files = idx_downloads("TINY", (), known)
    return dataset, arrays


@pytest.mark.parametrize("packed", [True, False])
def test_both_forms_are_read(tmp_path: Path, packed: bool):
    dataset, arrays = tiny(tmp_path, packed=packed)
    data = dataset.load(tmp_path, 28)
    for split, images, labels in ((data.train, *NAMES[:2]), (data.test, *NAMES[2:])):
        assert np.array_equal(split.images.numpy()[:, 0], arrays[images])
        assert split.cond.tolist() == arrays[labels].tolist()
        assert (split.images.dtype, split.cond.dtype) == (torch.uint8, torch.int64)


def test_both_forms_have_one_fingerprint_and_padding_another(tmp_path: Path):
    packed, unpacked = (tiny(tmp_path / str(kind), packed=kind)[0].load(tmp_path / str(kind), 28) for kind in (1, 0))
    assert packed.fingerprint == unpacked.fingerprint
    assert packed.fingerprint != tiny(tmp_path / "1")[0].load(tmp_path / "1", 32).fingerprint


def test_32_pixels_are_28_in_a_black_frame(tmp_path: Path):
    dataset, arrays = tiny(tmp_path)
    data = dataset.load(tmp_path, 32)
    assert data.train.images.shape == (12, 1, 32, 32)
    assert np.array_equal(data.train.images[:, 0, 2:-2, 2:-2].numpy(), arrays[NAMES[0]])
    assert data.train.images.sum() == arrays[NAMES[0]].sum(dtype=np.int64)
    assert "padded" in data.protocol["resize"]


@pytest.mark.parametrize("cls", [MNIST, FashionMNIST])
def test_other_sizes_are_refused(cls, tmp_path: Path):
    with pytest.raises(UserError, match=f"{cls.name} comes at 28 pixels a side, or 32 by padding, but 64"):
        cls().load(tmp_path, 64)


def test_the_data_root_is_not_written_to(tmp_path: Path):
    dataset, _ = tiny(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    dataset.load(tmp_path, 28)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_cut_or_changed_file_is_named(tmp_path: Path, name: str, packed: bool):
    dataset, _ = tiny(tmp_path, packed=packed)
    path = tmp_path / "TINY/raw" / (f"{name}.gz" if packed else name)
    content = path.read_bytes()
    for wrong in (content[:-1], content[:-1] + bytes((content[-1] ^ 1,)), b""):
        path.write_bytes(wrong)
        with pytest.raises(UserError, match=f"{path} is not the right file"):
            dataset.load(tmp_path, 28)


def test_missing_files_are_all_named(tmp_path: Path):
    dataset, _ = tiny(tmp_path)
    for name in NAMES[1:3]:
        (tmp_path / f"TINY/raw/{name}.gz").unlink()
    with pytest.raises(UserError) as caught:
        dataset.load(tmp_path, 28)
    assert f"put TINY/raw/{NAMES[1]}.gz, TINY/raw/{NAMES[2]}.gz into the data root {tmp_path}" in str(caught.value)


def test_images_and_labels_of_different_number_are_refused(tmp_path: Path):
    dataset, _ = tiny(tmp_path, train_labels=11)
    with pytest.raises(UserError, match=r"has 12 images, but .* has 11 labels"):
        dataset.load(tmp_path, 28)


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.gz", b"no gzip", "cannot be unpacked"),
        ("a.gz", gzip.compress(idx(np.zeros((2, 2), np.uint8)), mtime=0)[:-9], "cannot be unpacked"),
        ("a", b"", "is not an idx file of bytes in 2 axes: it begins with nothing"),
        ("a", idx(np.zeros(2, np.uint8)), "in 2 axes: it begins with 00000801"),
        ("a", idx(np.zeros((2, 3), np.uint8))[:-1], "holds 5 bytes, but its header says 2 × 3"),
        ("a", idx(np.zeros((2, 3), np.uint8)) + b"\0", "holds 7 bytes, but its header says 2 × 3"),
    ],
)
def test_an_idx_file_is_read_whole_or_not_at_all(tmp_path: Path, name: str, content: bytes, fault: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{tmp_path / name} .*{fault}"):
        read_idx(tmp_path / name, 2)


@pytest.mark.parametrize(("cls", "mean", "std"), [(MNIST, 0.1307, 0.3081), (FashionMNIST, 0.2860, 0.3530)])
def test_the_real_files_have_the_published_statistics(data_root: Path, cls, mean: float, std: float):
    data = cls().load(data_root, 28)
    assert (data.train.images.shape, data.test.images.shape) == ((60_000, 1, 28, 28), (10_000, 1, 28, 28))
    pixels = (to_float(data.train.images) + 1) / 2
    assert (round(pixels.mean().item(), 4), round(pixels.std().item(), 4)) == (mean, std)
    assert data.spec().classes == 10
    if cls is FashionMNIST:
        assert data.train.cond.bincount().tolist() == [6000] * 10
    else:
        assert data.train.cond[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
