"""ImageNet: class folders or the official archives, the same images from both, and never many of them in memory."""

import io
import shutil
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from ganbench_plugins.datasets.imagenet import DEVKIT, TRAIN_TAR, VAL_TAR, ImageNet
from PIL import Image
from scipy.io import savemat

from ganbench import Dataset, Splits, UserError
from ganbench.runs.options import resolve

NOWHERE = Path("nowhere")
WNIDS = ("n01440764", "n01443537", "n02119789")
NUMBERS = (3, 1, 2)  # of these in the development kit, which has an order of its own


def imagenet(path: Path | str, **settings: str) -> Dataset:
    dataset = ImageNet()
    dataset.config = resolve(ImageNet, "imagenet", settings)
    return dataset.of(str(path))


def load(path: Path | str, size: int = 32, **settings: str) -> Splits:
    return imagenet(path, **settings).load(NOWHERE, size)


def photo(level: int, mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((30, 40, 3), level, np.uint8)).convert(mode).save(out, "JPEG")
    return out.getvalue()


TRAIN = {
    f"{wnid}/{wnid}_{k}.JPEG": photo(40 * c + k, "L" if k else "RGB") for c, wnid in enumerate(WNIDS) for k in range(4)
}
VAL = {f"{WNIDS[c]}/ILSVRC2012_val_{k + 1:08}.JPEG": photo(200 + k) for k, c in enumerate((1, 1, 0, 2, 0))}


def write_folders(path: Path, split: str, images: dict[str, bytes]) -> Path:
    for name, content in images.items():
        (path / split / name).parent.mkdir(parents=True, exist_ok=True)
        (path / split / name).write_bytes(content)
    return path


def tar(members: dict[str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def write_train_tar(path: Path) -> None:
    path.mkdir(exist_ok=True)
    of = {wnid: {name.rpartition("/")[2]: TRAIN[name] for name in TRAIN if wnid in name} for wnid in WNIDS[::-1]}
    (path / TRAIN_TAR).write_bytes(tar({f"{wnid}.tar": tar(images) for wnid, images in of.items()}))


def write_val_tar(path: Path, *, truth: str | None = None) -> None:
    flat = sorted((name.partition("/")[2], content) for name, content in VAL.items())
    (path / VAL_TAR).write_bytes(tar(dict(flat[::-1])))
    classes = {name.partition("/")[2]: name.partition("/")[0] for name in VAL}
    lines = "".join(f"{NUMBERS[WNIDS.index(classes[name])]}\n" for name, _ in flat)
    kinds = [("ILSVRC2012_ID", float), ("WNID", object), ("words", object)]
    rows = sorted((number, wnid, "a fish") for number, wnid in zip(NUMBERS, WNIDS, strict=True))
    meta = io.BytesIO()
    savemat(meta, {"synsets": np.array([*rows, (4, "n00001740", "entity")], dtype=kinds)})
    kit = {"data/meta.mat": meta.getvalue(), "data/ILSVRC2012_validation_ground_truth.txt": (truth or lines).encode()}
    (path / DEVKIT).write_bytes(tar({f"ILSVRC2012_devkit_t12/{name}": kit[name] for name in kit}, "w:gz"))


def levels(images: torch.Tensor) -> list[int]:
    return images[:, 0, 0, 0].tolist()


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    return write_folders(write_folders(tmp_path / "ILSVRC", "train", TRAIN), "val", VAL)


def test_class_folders_are_read_and_labelled_in_the_order_of_their_names(folders: Path):
    data = load(folders)
    assert levels(data.train.images) == [40 * c + k for c in range(3) for k in range(4)]
    assert data.train.cond.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert list(zip(levels(data.test.images), data.test.cond.tolist(), strict=True)) == [
        (202, 0),
        (204, 0),
        (200, 1),
        (201, 1),
        (203, 2),
    ]
    assert (data.train.images.dtype, data.train.images.shape) == (torch.uint8, (12, 3, 32, 32))
    assert data.train.cond.dtype == torch.int64
    assert data.spec("label").classes == 3
    assert data.protocol["split"] == "official train and val"


def test_the_official_archives_hold_the_same(folders: Path, tmp_path: Path):
    write_train_tar(tmp_path / "tars")
    write_val_tar(tmp_path / "tars")
    expected, data = load(folders), load(tmp_path / "tars")
    for split, right in ((data.train, expected.train), (data.test, expected.test)):
        found = sorted(zip(split.cond.tolist(), levels(split.images), strict=True))
        assert found == sorted(zip(right.cond.tolist(), levels(right.images), strict=True))
    assert data.protocol == expected.protocol
    assert sorted(path.name for path in (tmp_path / "tars").iterdir()) == [DEVKIT, TRAIN_TAR, VAL_TAR]


def test_a_train_archive_goes_with_a_val_folder(tmp_path: Path):
    write_train_tar(tmp_path / "a")
    write_folders(tmp_path / "a", "val", VAL)
    assert len(load(tmp_path / "a").test.images) == 5


def test_without_val_some_of_each_class_are_held_out(tmp_path: Path):
    write_folders(tmp_path, "train", TRAIN)
    data = load(tmp_path)
    assert data.test.cond.tolist() == [0, 1, 2]
    assert len(data.train.images) == 9
    assert data.protocol["split"] == "no val: 0.04 of each class, evenly spread by name is test"
    one = write_folders(tmp_path / "one", "train", dict(list(TRAIN.items())[::4]))
    with pytest.raises(UserError, match="no val, and no class of two images"):
        load(one)


def test_images_are_square_crops(tmp_path: Path):
    rng = np.random.default_rng(0)
    for k in range(2):
        path = tmp_path / f"train/n1/{k}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(path)
    data = load(tmp_path, 64)
    with Image.open(tmp_path / "train/n1/0.JPEG") as image:
        expected = image.crop((15, 0, 105, 90)).resize((64, 64), Image.Resampling.BICUBIC)
    assert np.array_equal(data.train.images[0].permute(1, 2, 0), np.asarray(expected)) or np.array_equal(
        data.test.images[0].permute(1, 2, 0), np.asarray(expected)
    )


def test_many_images_never_lie_in_memory_together(tmp_path: Path):
    content = [photo(level) for level in range(8)]
    write_folders(tmp_path, "train", {f"n{k % 4}/{k}.JPEG": content[k % 8] for k in range(3000)})
    write_folders(tmp_path, "val", {"n0/0.JPEG": content[0]})
    tracemalloc.start()
    try:
        data = load(tmp_path, 64)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert data.train.images.nbytes == 3000 * 3 * 64 * 64
    assert peak < data.train.images.nbytes / 3


def test_the_fingerprint_follows_names_sizes_and_ends_but_not_times_or_places(folders: Path, tmp_path: Path):
    first = load(folders).fingerprint
    moved = tmp_path / "elsewhere"
    shutil.copytree(folders, moved, copy_function=shutil.copyfile)
    assert load(moved).fingerprint == first
    assert load(moved, 64).fingerprint != first
    path = moved / "train" / next(iter(TRAIN))
    path.write_bytes(path.read_bytes()[:-3] + b"\0" + path.read_bytes()[-2:])
    assert load(moved, skip_damaged="true").fingerprint != load(folders, skip_damaged="true").fingerprint
    path.write_bytes(TRAIN[next(iter(TRAIN))])
    assert load(moved).fingerprint == first
    path.rename(path.with_name("other.JPEG"))
    assert load(moved).fingerprint != first
    assert "sizes and samples" in load(moved).protocol["fingerprint"]


def test_a_path_is_taken_from_here_else_from_the_data_root(folders: Path, monkeypatch: pytest.MonkeyPatch):
    expected = load(folders).fingerprint
    assert imagenet("ILSVRC").load(folders.parent, 32).fingerprint == expected
    monkeypatch.chdir(folders.parent)
    assert load("ILSVRC").fingerprint == expected
    assert imagenet("ILSVRC/").name == imagenet(folders).name == "imagenet:ILSVRC"


def test_a_damaged_image_is_named_or_left_out(folders: Path, tmp_path: Path):
    path = folders / "train" / next(iter(TRAIN))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=rf"{path.name} cannot be decoded .*imagenet\.skip_damaged=true"):
        load(folders)
    data = load(folders, skip_damaged="true")
    assert data.train.cond.bincount().tolist() == [3, 4, 4]
    assert data.protocol["damaged images left out"] == 1


def test_what_is_missing_or_misplaced_is_named(folders: Path, tmp_path: Path):
    for path in ("", " "):
        with pytest.raises(UserError, match="write imagenet:PATH"):
            load(path)
    with pytest.raises(UserError, match="imagenet:gone is not there: looked for "):
        load("gone")
    with pytest.raises(UserError, match="imagenet comes at 32, 64, 128 pixels a side, but 256 was asked for"):
        load(folders, 256)
    with pytest.raises(UserError, match=r"holds neither train/<wnid>/\*\.JPEG nor ILSVRC2012_img_train\.tar"):
        load(folders / "val")
    (folders / "val/loose.JPEG").write_bytes(photo(1))
    with pytest.raises(UserError, match=r"val/loose\.JPEG lies in no class folder: right is val/<wnid>/loose\.JPEG"):
        load(folders)
    (folders / "val/loose.JPEG").unlink()
    write_folders(folders, "val", {"n99999999/1.JPEG": photo(1)})
    with pytest.raises(UserError, match="class 'n99999999' is in val, but has no image in train"):
        load(folders)
    (tmp_path / "empty/train").mkdir(parents=True)
    with pytest.raises(UserError, match="empty/train holds no images: right are class folders"):
        load(tmp_path / "empty")


def test_archives_that_are_not_the_official_ones_are_named(tmp_path: Path):
    write_train_tar(tmp_path)
    whole = (tmp_path / TRAIN_TAR).read_bytes()
    for content, fault in (
        (b"no archive" * 100, "is not a whole tar file"),
        (whole[: len(whole) // 2], "is not a whole tar file"),
        (tar({"n1.tar": b"no archive" * 100}), "is not a whole tar file"),
        (tar(TRAIN), r"holds n01440764/n01440764_0\.JPEG: right is one tar file for each class"),
    ):
        (tmp_path / TRAIN_TAR).write_bytes(content)
        with pytest.raises(UserError, match=f"{TRAIN_TAR} {fault}"):
            load(tmp_path)


def test_the_val_archive_needs_the_development_kit(tmp_path: Path):
    write_train_tar(tmp_path)
    write_val_tar(tmp_path)
    kit = (tmp_path / DEVKIT).read_bytes()
    for content, fault in (
        (b"no archive", f"{DEVKIT} is not the development kit"),
        (kit[: len(kit) // 2], f"{DEVKIT} is not the development kit"),
        (tar({"kit/data/meta.mat": b"matrix"}, "w:gz"), f"{DEVKIT} lacks data/ILSVRC2012_validation"),
    ):
        (tmp_path / DEVKIT).write_bytes(content)
        with pytest.raises(UserError, match=fault):
            load(tmp_path)
    write_val_tar(tmp_path, truth="1\n2\n3\n")
    with pytest.raises(UserError, match=rf"{VAL_TAR} has 5 images, but .*{DEVKIT} lists 3 classes"):
        load(tmp_path)
    write_val_tar(tmp_path, truth="1\n2\n3\n1\n9\n")
    with pytest.raises(UserError, match="is not the development kit: KeyError, 9"):
        load(tmp_path)
    (tmp_path / DEVKIT).unlink()
    with pytest.raises(UserError, match=rf"{VAL_TAR} holds no classes: put {DEVKIT}"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("train", "val"),
    [("Train", "Val"), ("TRAINING", "validation"), ("train", "valid"), ("train", "test"), ("train", "dev")],
)
def test_splits_are_known_in_any_case_and_said(folders: Path, tmp_path: Path, train: str, val: str):
    usual = load(folders)
    other = tmp_path / "other"
    other.mkdir()
    (folders / "train").rename(other / train)
    (folders / "val").rename(other / val)
    data = load(other)
    assert levels(data.test.images) == levels(usual.test.images)
    assert data.test.cond.tolist() == usual.test.cond.tolist()
    assert data.protocol["split"] == f"the folders {train} and {val}"
    assert data.fingerprint != usual.fingerprint
    assert [note.partition(":")[0] for note in data.notes] == [train, val]
    assert "3 classes: 'n01440764', 'n01443537', 'n02119789'" in data.notes[0]


def test_a_test_folder_without_classes_is_left_alone(folders: Path):
    write_folders(folders, "test", {"0.JPEG": photo(1)})
    assert load(folders).protocol["split"] == "official train and val"
    shutil.rmtree(folders / "val")
    data = load(folders)
    assert data.protocol["split"].startswith("no val: 0.04 of each class")
    assert data.notes[-1] == "there is no val: a part of each class of train is held out"


def test_two_folders_of_one_split_and_no_folder_of_train_are_refused(folders: Path):
    write_folders(folders, "Validation", VAL)
    assert load(folders).protocol["split"] == "official train and val"  # called so, it goes before others
    (folders / "val").rename(folders / "Val")
    with pytest.raises(UserError, match="holds 'Val', 'Validation', and which is val cannot be told"):
        load(folders)
    (folders / "train").rename(folders / "train.X1")
    shutil.rmtree(folders / "Val")
    with pytest.raises(UserError, match=r"holds neither train/.*\(it holds 'Validation', 'train\.X1'\)"):
        load(folders)


def test_system_folders_and_empty_classes_are_no_classes(folders: Path):
    before = load(folders)
    write_folders(folders, "train", {"@eaDir/a.JPEG": photo(1), "n01440764/@eaDir/x.JPEG": photo(2)})
    (folders / "train/n09999999").mkdir()
    (folders / "train/n01440764/a.txt").touch()
    after = load(folders)
    assert after.fingerprint == before.fingerprint
    assert "train: without an image, left out: 'n09999999'" in after.notes
    assert any(note.startswith("train: 1 file is left out: 1 .txt") for note in after.notes)
