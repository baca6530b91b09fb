"""Samples of strangers in files of arrays are read as they are meant, and what is none is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ganbench.errors import UserError
from ganbench.runs import array_files
from ganbench.runs.array_files import prepare_arrays

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 3, 6, 5), dtype=np.uint8)  # pixels first


def read(path: Path, tmp_path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    folder = tmp_path / "prepared"
    folder.mkdir()
    prepare_arrays(path, folder)
    found = {file.stem: np.load(file) for file in folder.iterdir()}
    return found.pop("images"), found


@pytest.mark.parametrize("step", [1, 7, 10**9])
@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("first.npy", lambda path: np.save(path, IMAGES)),
        ("last.npy", lambda path: np.save(path, IMAGES.transpose(0, 2, 3, 1).copy())),
        ("arr.npz", lambda path: np.savez(path, IMAGES.transpose(0, 2, 3, 1).copy())),
        ("packed.npz", lambda path: np.savez_compressed(path, images=IMAGES, more=np.zeros(3))),
        ("any.npz", lambda path: np.savez(path, samples=IMAGES)),
    ],
)
def test_images_come_back_with_channels_first_in_pieces_of_any_size(name, save, step, tmp_path, monkeypatch):
    monkeypatch.setattr(array_files, "PIECE_BYTES", step * IMAGES[0].nbytes)
    save(tmp_path / name)
    images, labels = read(tmp_path / name, tmp_path)
    assert np.array_equal(images, IMAGES) and images.dtype == np.uint8 and not labels


def test_grey_images_points_and_labels(tmp_path):
    grey = IMAGES[:, 0]
    np.savez(tmp_path / "grey.npz", arr_0=grey, labels=np.arange(50, dtype=np.int32))
    images, others = read(tmp_path / "grey.npz", tmp_path)
    assert np.array_equal(images, grey[:, None])
    assert np.array_equal(others["labels"], np.arange(50)) and others["labels"].dtype == np.int64
    points = np.random.default_rng(1).normal(size=(9, 2))
    np.save(tmp_path / "points.npy", points)
    (tmp_path / "below").mkdir()
    found, _ = read(tmp_path / "points.npy", tmp_path / "below")
    assert found.dtype == np.float32 and np.array_equal(found, points.astype(np.float32))


@pytest.mark.parametrize(
    ("name", "arrays", "sentence"),
    [
        ("a.npy", IMAGES / 255, r"holds float64 \(50, 3, 6, 5\), but samples are uint8"),
        ("a.npy", IMAGES[:0], r"holds uint8 \(0, 3, 6, 5\), but samples are"),
        ("a.npy", np.asfortranarray(IMAGES), r"in Fortran's order"),
        (
            "a.npz",
            {"x": IMAGES, "y": IMAGES},
            r"needs one array of samples, 'arr_0' or 'images'.* holds x: uint8",
        ),
        ("a.npz", {"images": IMAGES, "labels": np.zeros(3, int)}, r"needs 'labels' of integers, one for each of 50"),
        ("a.npz", {"images": IMAGES, "labels": np.zeros(50)}, r"needs 'labels' of integers"),
        ("a.npz", {}, "but holds nothing"),
    ],
)
def test_what_holds_no_samples_is_told(name, arrays, sentence, tmp_path):
    if isinstance(arrays, dict):
        np.savez(tmp_path / name, **arrays)
    else:
        np.save(tmp_path / name, arrays)
    with pytest.raises(UserError, match=sentence):
        prepare_arrays(tmp_path / name, tmp_path)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_file_that_is_cut_is_told(name, share, tmp_path):
    path = tmp_path / name
    np.save(path, IMAGES) if name == "a.npy" else np.savez(path, IMAGES)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match=str(path)):
        prepare_arrays(path, tmp_path)
