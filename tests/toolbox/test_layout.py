"""Folders as splits and classes: what is understood in any case, what is refused, and what is said of it."""

import re
from pathlib import Path

import numpy as np
import pytest
from ganbench_plugins.datasets.folder import Folder, FolderPair
from PIL import Image

from ganbench import Splits, UserError

NOWHERE = Path("nowhere")


def draw(path: Path, level: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), level, np.uint8)).save(path)


def lay_out(root: Path, *names: str) -> Path:
    """Draw images of levels 0, 1, 2 … under these names."""
    for level, name in enumerate(names):
        draw(root / f"{name}.png", level)
    return root


def load(path: Path) -> Splits:
    return Folder().of(str(path)).load(NOWHERE, 8)


def levels(data: Splits) -> tuple[list[int], list[int]]:
    train, test = ([image[0, 0, 0].item() for image in part.images] for part in (data.train, data.test))
    return train, test


@pytest.mark.parametrize("train", ["train", "Train", "TRAINING", "training_set", "trn", "trainval", "train split"])
@pytest.mark.parametrize("test", ["Test", "testing", "TST", "validation", "Valid", "val-set", "dev", "eval"])
def test_splits_are_known_by_many_names_in_any_case(tmp_path: Path, train: str, test: str):
    names = [f"{train}/a/0", f"{train}/b/1", f"{test}/b/2", f"{train}/a/3"]
    data = load(lay_out(tmp_path, *names))
    assert levels(data) == ([0, 3, 1], [2])
    assert (data.train.cond.tolist(), data.test.cond.tolist()) == ([0, 0, 1], [1])
    assert data.protocol["split"] == f"the folders {train} and {test}"
    assert f"train is the folder '{train}' (3 images), test is '{test}' (1 image)" in data.notes
    assert "2 classes: 'a', 'b'" in data.notes


def test_test_goes_before_val_and_what_is_left_out_is_said(tmp_path: Path):
    data = load(lay_out(tmp_path, "Training/0", "Training/1", "Testing/2", "dev/3", "unlabelled/4", "5"))
    assert levels(data) == ([0, 1], [2])
    assert "3 images elsewhere, as in 'dev', 'unlabelled', left out" in data.notes


def test_a_layout_that_is_read_otherwise_now_is_other_data(tmp_path: Path):
    names = ["x/a/0", "x/b/1", "y/a/2", "y/b/3"]
    prints = []
    for number, (train, test) in enumerate((("train", "test"), ("Train", "Test"), ("train", "valid"))):
        renamed = [name.replace("x/", f"{train}/").replace("y/", f"{test}/") for name in names]
        data = load(lay_out(tmp_path / str(number), *renamed))
        assert levels(data) == ([0, 1], [2, 3])
        prints.append(data.fingerprint)
    assert len(set(prints)) == 3


@pytest.mark.parametrize(
    "tops",
    [
        ("train1", "test"),
        ("train1", "train2"),
        ("train_small", "test_small"),
        ("trainA", "trainB", "testA", "testB"),
        ("traina", "testa"),
        ("TRAIN", "train", "x"),
        ("train", "training", "test_1"),
        ("images_train", "images_val"),
        ("train2017", "val2017"),
        ("seg_train", "seg_test", "seg_pred"),
        ("fold1", "fold2", "fold3"),
        ("split_0", "split_1"),
        ("cats", "dogs", "test"),
        ("cats", "dogs", "Validation"),
        ("test", "val"),
        ("TrainImages", "TestImages", "Labels"),
    ],
)
def test_what_looks_like_splits_and_is_not_understood_is_refused(tmp_path: Path, tops: tuple[str, ...]):
    lay_out(tmp_path, *(f"{top}/{k}" for top in tops for k in range(3)))
    with pytest.raises(
        UserError, match="folders that look like splits, and which is train and which is test"
    ) as caught:
        load(tmp_path)
    assert f"folder:{tmp_path}/" in str(caught.value)
    assert ("folder-pair:" in str(caught.value)) == ("trainA" in tops)


@pytest.mark.parametrize(
    "names",
    [["data/train/0", "data/test/1"], ["cat/train/0", "cat/test/1", "dog/train/2"], ["x/y/Train/0", "x/y/dev/1"]],
)
def test_splits_below_the_top_are_refused_with_their_place(tmp_path: Path, names: list[str]):
    inside = names[0].rpartition("/")[0].rpartition("/")[0]
    with pytest.raises(UserError, match=f"{tmp_path}/{inside} has folders that look like splits.*only at the top"):
        load(lay_out(tmp_path, *names))


@pytest.mark.parametrize(
    "names",
    [["test/0", "test/1", "2", "3"], ["train/0", "1", "2"], ["train/a/0", "train/b/1", "extra/2", "extra/3"]],
)
def test_a_split_beside_images_or_folders_of_another_kind_is_refused(tmp_path: Path, names: list[str]):
    with pytest.raises(UserError, match="look like splits"):
        load(lay_out(tmp_path, *names))


@pytest.mark.parametrize(
    "classes", [("bus", "car", "train"), ("airport", "train_station"), ("bullet train", "oak", "valley"), ("1", "2")]
)
def test_classes_that_are_called_like_a_split_stay_classes(tmp_path: Path, classes: tuple[str, ...]):
    data = load(lay_out(tmp_path, *(f"{name}/{k}" for name in classes for k in range(4))))
    assert data.spec("label").classes == len(classes)
    assert f"{len(classes)} classes: {', '.join(map(repr, classes))}" in data.notes


@pytest.mark.parametrize("only", ["train", "Training", "test"])
def test_a_single_folder_of_a_split_is_gone_down_for_its_classes(tmp_path: Path, only: str):
    data = load(lay_out(tmp_path, *(f"{only}/{name}/{k}" for name in "ab" for k in range(4))))
    assert data.spec("label").classes == 2
    assert (
        f"8 images, no folders of splits: a part of them is held out as test; {only!r}, the only folder, is no class"
        in (data.notes)
    )
    assert load(lay_out(tmp_path / "flat", *(f"{only}/{k}" for k in range(4)))).train.cond is None


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a/0", "a/1", "b/2", "b/3", "sheet"], r"no classes, because 1 image, 'sheet\.png', lies beside .*'a', 'b'"),
        (
            ["train/a/0", "train/b/1", "train/2", "test/a/3"],
            r"no classes, because 1 image, 'train/2\.png', lies beside",
        ),
        (
            ["all/a/0", "all/b/1", "all/b/2"],
            "no classes, because all images lie in one folder, 'all': write folder:.*/all",
        ),
        (["all/0", "all/1"], "no classes, because all images lie in one folder, 'all'$"),
        (["a/0", "b/1"], "no classes, because each of 2 folders has one image"),
        (["0", "1"], "no classes, because there are no folders for them"),
    ],
)
def test_why_there_are_no_classes_is_said(tmp_path: Path, names: list[str], said: str):
    data = load(lay_out(tmp_path, *names))
    assert data.train.cond is None
    [note] = [note for note in data.notes if note.startswith("no classes")]
    assert re.search(said, note), note


def test_many_classes_are_counted_and_the_first_are_named(tmp_path: Path):
    data = load(lay_out(tmp_path, *(f"{k:02}/{j}" for k in range(20) for j in range(2))))
    assert "20 classes: '00', '01', '02', '03', '04', '05' and 14 more" in data.notes


def test_what_systems_put_beside_images_is_nobody_s_class(tmp_path: Path):
    lay_out(tmp_path, *(f"{name}/{k}" for name in "ab" for k in range(4)))
    before = load(tmp_path)
    for name in ("@eaDir/a/SYNO", "a/@eaDir/0.png/SYNO", "__MACOSX/a/x", ".ipynb_checkpoints/0", "#recycle/1", "a/._0"):
        draw(tmp_path / f"{name}.png", 99)
    for name in ("Thumbs.db", "a/Thumbs.db", "b/desktop.ini", ".DS_Store"):
        (tmp_path / name).write_bytes(b"x")
    after = load(tmp_path)
    assert (after.fingerprint, after.notes) == (before.fingerprint, before.notes)


def test_folders_without_an_image_are_said(tmp_path: Path):
    lay_out(tmp_path, *(f"{name}/{k}" for name in "ab" for k in range(4)))
    (tmp_path / "empty/deep").mkdir(parents=True)
    (tmp_path / "a/inner").mkdir()
    assert "a folder without an image left out: 'empty'" in load(tmp_path).notes
    splits = lay_out(tmp_path / "of", "train/a/0", "train/b/1", "test/a/2")
    (splits / "test/b").mkdir()
    (splits / "notes").mkdir()
    assert "folders without an image left out: 'notes', 'test/b'" in load(splits).notes


def test_files_left_out_are_counted_by_suffix(tmp_path: Path):
    for k, suffix in enumerate((".png", ".JFIF", ".jpe", ".Jpg", ".TIF")):
        image = Image.fromarray(np.full((8, 8), k, np.uint8))
        image.save(tmp_path / f"{k}{suffix}", "PNG" if suffix == ".png" else "TIFF" if suffix == ".TIF" else "JPEG")
    for k in range(3):
        (tmp_path / f"{k}.tga").write_bytes(b"x")
    (tmp_path / "a.HEIC").write_bytes(b"x")
    (tmp_path / "README").write_bytes(b"x")
    data = load(tmp_path)
    assert len(data.train.images) + len(data.test.images) == 5
    [note] = [note for note in data.notes if "left out" in note]
    assert note.startswith("5 files are left out: 3 .tga, 1 .heic, 1 without a suffix (images are .png, .jpg")


def cyclegan(root: Path, *folders: str) -> Path:
    for level, folder in enumerate(folders):
        for k in range(3):
            draw(root / folder / f"{k}.png", 10 * level + k)
    return root


def pair(argument: Path | str) -> Splits:
    return FolderPair().of(str(argument)).load(NOWHERE, 8)


@pytest.mark.parametrize(
    "folders",
    [
        ("trainA", "trainB", "testA", "testB"),
        ("TrainA", "TrainB", "TestA", "TestB"),
        ("train_a", "train_b", "val_a", "val_b"),
        ("training-A", "training-B", "testing-A", "testing-B"),
    ],
)
def test_cyclegan_s_layout_is_one_path_with_its_own_test_split(tmp_path: Path, folders: tuple[str, ...]):
    data = pair(cyclegan(tmp_path / "horses", *folders))
    assert data.domain is not None
    assert [image[0, 0, 0].item() for image in data.domain.train] == [0, 1, 2]
    assert [image[0, 0, 0].item() for image in data.domain.test] == [20, 21, 22]
    assert levels(data) == ([10, 11, 12], [30, 31, 32])
    assert data.domain.names == ("horses A", "horses B")
    said = f"horses A: train is the folder '{folders[0]}' (3 images), test is '{folders[2]}' (3 images)"
    assert data.notes == (
        said,
        said.replace(" A:", " B:").replace(folders[0], folders[1]).replace(folders[2], folders[3]),
    )


def test_without_test_folders_and_with_folders_a_and_b_a_part_is_held_out(tmp_path: Path):
    for name, folders in (("one", ("trainA", "trainB")), ("two", ("A", "b"))):
        data = pair(cyclegan(tmp_path / name, *folders))
        assert (len(data.train.images), len(data.test.images)) == (2, 1)


def test_two_folders_of_training_images_say_that_test_folders_beside_them_are_not_read(tmp_path: Path):
    cyclegan(tmp_path, "trainA", "trainB", "testA", "testB")
    data = pair(f"{tmp_path}/trainA,{tmp_path}/trainB")
    assert (len(data.train.images), len(data.test.images)) == (2, 1)
    assert data.notes[0] == f"'testA', 'testB' beside them are not read: write folder-pair:{tmp_path} to test on these"


@pytest.mark.parametrize(
    ("folders", "fault"),
    [
        (("trainA", "trainB", "testA"), "but no testB"),
        (("trainA", "testA", "testB"), "but no trainB"),
        (("trainA", "TrainA", "trainB"), "for one split of one domain"),
        (("horses", "zebras"), r"needs two paths, not .*it holds 'horses', 'zebras'"),
    ],
)
def test_half_a_pair_is_refused(tmp_path: Path, folders: tuple[str, ...], fault: str):
    with pytest.raises(UserError, match=fault):
        pair(cyclegan(tmp_path, *folders))
