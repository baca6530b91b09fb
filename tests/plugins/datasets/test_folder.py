"""folder:PATH: any tree of images or an .npz, prepared once, split the same way everywhere."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from ganbench_plugins.datasets.folder import Folder, divide, measure
from PIL import Image

from ganbench import Dataset, Splits, UserError, image_names
from ganbench.cli import main
from ganbench.runs.options import resolve

NOWHERE = Path("nowhere")


def folder(path: Path | str, **settings: str) -> Dataset:
    dataset = Folder()
    dataset.config = resolve(Folder, "folder", settings)
    return dataset.of(str(path))


def load(path: Path | str, size: int = 8, **settings: str) -> Splits:
    return folder(path, **settings).load(NOWHERE, size)


def draw(path: Path, level: int = 0, mode: str = "L", side: int = 8) -> Path:
    """Save a flat image of one level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side), level, np.uint8)).convert(mode).save(path)
    return path


def levels(images: torch.Tensor) -> list[int]:
    return images[:, 0, 0, 0].tolist()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes: cats at levels 0…9, dogs at 100…119."""
    for name, start, count in (("cat", 0, 10), ("dog", 100, 20)):
        for k in range(count):
            draw(tmp_path / f"pets/{name}/{k:02}.png", start + k)
    return tmp_path / "pets"


def test_class_folders_become_labels_and_each_gives_its_share_to_test(tree: Path):
    data = load(tree)
    assert levels(data.test.images) == [5, 105, 115]
    assert data.test.cond.tolist() == [0, 1, 1]
    assert levels(data.train.images) == [k for k in (*range(10), *range(100, 120)) if k not in (5, 105, 115)]
    assert data.train.cond.tolist() == [int(level >= 100) for level in levels(data.train.images)]
    assert data.spec("label").classes == 2
    assert (data.train.images.dtype, data.train.cond.dtype) == (torch.uint8, torch.int64)
    assert "0.1 of each class" in data.protocol["split"]


@pytest.mark.parametrize(
    "names", [["a.png", "b.png", "x/c.png", "y/d.png"], ["x/a.png", "x/b.png"], ["x/a.png", "y/b.png"]]
)
def test_there_are_no_labels_unless_every_image_lies_in_one_of_several_classes(tmp_path: Path, names: list[str]):
    for k, name in enumerate(names):
        draw((tmp_path / name).with_suffix(".png"), k)
    data = load(tmp_path)
    assert data.train.cond is None
    assert data.test.cond is None
    assert sorted(levels(data.train.images) + levels(data.test.images)) == list(range(len(names)))


@pytest.mark.parametrize("other", ["test", "val"])
def test_folders_named_train_and_test_are_the_splits(tmp_path: Path, other: str):
    for k, name in enumerate(["train/b/0.png", "train/a/1.png", f"{other}/b/2.png", "train/a/3.png", "rest/4.png"]):
        draw(tmp_path / name, k)
    data = load(tmp_path)
    assert levels(data.train.images) == [1, 3, 0]
    assert data.train.cond.tolist() == [0, 0, 1]
    assert (levels(data.test.images), data.test.cond.tolist()) == ([2], [1])
    assert data.protocol["split"] == f"the folders train and {other}; 1 images elsewhere left out"


def test_a_class_that_is_only_tested_is_refused(tmp_path: Path):
    for name in ("train/a/0.png", "train/b/0.png", "test/c/0.png"):
        draw(tmp_path / name)
    with pytest.raises(UserError, match="class 'c' has no image in the train split"):
        load(tmp_path)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.5, 0.9])
def test_the_split_takes_its_share_of_each_class_and_spreads_it(share: float):
    labels = np.array([0] * 40 + [1] * 20 + [2] * 2 + [3])
    train, test, _ = divide(labels[::-1].copy(), share)
    assert sorted([*train, *test]) == list(range(len(labels)))
    counts = np.bincount(labels[::-1][test], minlength=4)
    for held_out, n in zip(counts, (40, 20, 2, 1), strict=True):
        assert held_out == min(max(1, round(n * share)), n - 1)
    rows = divide(np.zeros(100, int), 0.1)[1]
    assert np.diff(rows).tolist() == [10] * 9


def test_hidden_and_other_files_are_ignored_and_links_followed(tree: Path, tmp_path: Path):
    for name in ("cat/.DS_Store", "cat/notes.txt", "list.csv", ".hidden/9.png", "cat/.9.png"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text("not an image")
    draw(tmp_path / "elsewhere/one.PNG", 200)
    (tree / "dog/linked.png").symlink_to(tmp_path / "elsewhere/one.PNG")
    (tree / "emu").symlink_to(tmp_path / "elsewhere")
    (tree / "cat/up").symlink_to(tree)  # no endless walk
    names = sorted(image_names(tree))
    assert len(names) == 32
    assert names[-2:] == ["dog/linked.png", "emu/one.PNG"]
    assert load(tree).train.cond.bincount().tolist() == [9, 19, 1]


def test_grey_colour_transparent_and_16_bit_images_may_be_mixed(tmp_path: Path):
    for k, mode in enumerate(("L", "RGB", "RGBA", "LA", "P", "1")):
        draw(tmp_path / f"{k}.png", 255, mode)
    draw(tmp_path / "6.jpg", 255, "CMYK")
    Image.fromarray(np.full((8, 8), 65535, np.uint16)).save(tmp_path / "7.png")
    for channels, expected in (("auto", 3), ("grey", 1), ("colour", 3)):
        data = load(tmp_path, channels=channels)
        assert data.train.images.shape == (7, expected, 8, 8)
        assert data.train.images.min() >= 250
        assert data.protocol["channels"].startswith("grey" if expected == 1 else "colour")


def test_images_are_grey_where_none_has_colour(tree: Path):
    assert load(tree).train.images.shape[1] == 1
    draw(tree / "dog/99.png", 9, "RGB")
    assert load(tree).train.images.shape[1] == 3


@pytest.mark.parametrize(("sides", "expected"), [((16, 16), 16), ((48, 48), 64), ((16, 32), 64)])
def test_the_default_side_is_that_of_the_images_where_networks_can_have_it(tmp_path: Path, sides, expected: int):
    for k, side in enumerate(sides):
        draw(tmp_path / f"{k}.png", side=side)
    assert load(tmp_path, 0).train.images.shape == (1, 1, expected, expected)
    assert load(tmp_path, 8).train.images.shape == (1, 1, 8, 8)


def test_no_more_headers_are_read_than_needed():
    seen: list[int] = []

    def headers() -> Any:
        for k in range(100):
            seen.append(k)
            yield (8 + k, 8, 3)

    assert measure(headers(), "auto", 0) == (3, 64)
    assert len(seen) == 3


def test_two_folders_of_one_name_differ_by_fingerprint(tmp_path: Path):
    for place, level in (("a", 1), ("b", 2), ("c", 1)):
        for k in range(3):
            draw(tmp_path / place / f"faces/{k}.png", level)
    first, second, copy = (folder(tmp_path / place / "faces") for place in "abc")
    assert first.name == second.name == "folder:faces"
    prints = [dataset.load(NOWHERE, 8).fingerprint for dataset in (first, second, copy)]
    assert prints[0] == prints[2] != prints[1]
    assert first.load(NOWHERE, 16).fingerprint not in prints
    assert load(tmp_path / "a/faces", test_share="0.5").fingerprint not in prints


def test_a_changed_image_is_seen(tree: Path):
    before = load(tree)
    draw(tree / "cat/00.png", 77)
    after = load(tree)
    assert levels(after.train.images)[0] == 77
    assert after.fingerprint != before.fingerprint


def test_a_path_is_taken_from_here_else_from_the_data_root(tree: Path, monkeypatch: pytest.MonkeyPatch):
    root = tree.parent
    monkeypatch.chdir(root)
    expected = load(tree).fingerprint
    assert load("pets").fingerprint == load("./pets/").fingerprint == expected
    monkeypatch.chdir(tree)
    assert folder("pets").load(root, 8).fingerprint == load(".").fingerprint == expected
    assert folder(".").name == folder("../pets").name == folder("cat/..").name == "folder:pets"
    monkeypatch.setenv("HOME", str(root))
    assert load("~/pets").fingerprint == expected


@pytest.mark.parametrize("path", ["", "  "])
def test_folder_alone_asks_for_a_path(path: str):
    for dataset in (Folder(), folder(path)):
        with pytest.raises(UserError, match="write folder:PATH"):
            dataset.load(NOWHERE, 8)


def test_what_is_not_there_or_no_folder_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"folder:gone is not there: looked for .*gone and .*gone"):
        folder("gone").load(tmp_path, 8)
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(UserError, match=r"file\.txt is neither a folder of images nor an \.npz file"):
        load(tmp_path / "file.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds no images \(\.png"):
        load(tmp_path / "empty")
    draw(tmp_path / "single/a.png")
    with pytest.raises(UserError, match=r"single holds only one image, a\.png: at least two"):
        load(tmp_path / "single")
    with pytest.raises(UserError, match=r"test_share must be above 0"):
        load(tmp_path / "single", test_share="0")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder_is_named(tree: Path):
    (tree / "cat").chmod(0)
    try:
        with pytest.raises(UserError, match="cat cannot be read: Permission denied"):
            load(tree)
    finally:
        (tree / "cat").chmod(0o755)


def test_a_link_to_nowhere_is_named(tree: Path):
    (tree / "dog/lost.png").symlink_to(tree / "gone.png")
    with pytest.raises(UserError, match=r"dog/lost\.png cannot be read"):
        load(tree)


@pytest.mark.parametrize("content", [b"", b"not an image", "cut"])
def test_one_damaged_file_is_named_or_left_out_when_asked(tree: Path, content: bytes | str):
    bad = tree / "cat/03.png"
    bad.write_bytes(bad.read_bytes()[:45] if content == "cut" else content)
    for size in (0, 8):
        with pytest.raises(UserError, match=rf"{bad} (is not an image|cannot be decoded).*folder\.skip_damaged=true"):
            load(tree, size)
        data = load(tree, size, skip_damaged="true")
        assert len(data.train.images) + len(data.test.images) == 29
        assert 3 not in levels(data.train.images)
        assert data.train.cond.tolist() == [int(level >= 100) for level in levels(data.train.images)]
        assert data.protocol["damaged images left out"] == 1


def test_a_class_or_split_of_damaged_images_alone_is_refused(tmp_path: Path):
    for name in ("a/0.png", "a/1.png", "b/0.png", "b/1.png"):
        draw(tmp_path / name)
    for name in ("b/0.png", "b/1.png"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match="class 'b' has no image in the train split"):
        load(tmp_path, skip_damaged="true")
    (tmp_path / "a/1.png").write_bytes(b"")
    with pytest.raises(UserError, match="no image of the test split can be decoded"):
        load(tmp_path, skip_damaged="true")


@pytest.mark.parametrize("shape", [(20, 8, 8), (20, 8, 8, 1), (20, 8, 8, 3), (20, 8, 8, 4)])
def test_an_npz_of_images_is_read(tmp_path: Path, shape: tuple[int, ...]):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    if shape[-1] == 4:
        images[..., 3] = 255
    np.savez_compressed(tmp_path / "set.npz", images=images, labels=np.arange(20) % 2 + 5)
    data = load(tmp_path / "set.npz", 0)
    expected = images.reshape(20, 8, 8, -1)[..., :3].transpose(0, 3, 1, 2)
    held_out = [10, 11]  # number 5 of the ten of each class
    assert np.array_equal(data.test.images.numpy(), expected[held_out])
    assert np.array_equal(data.train.images.numpy(), np.delete(expected, held_out, 0))
    assert (data.test.cond.tolist(), data.spec().classes) == ([0, 1], 2)
    assert folder(tmp_path / "set.npz").name == "folder:set.npz"


def test_an_npz_may_name_its_images_otherwise_and_lack_labels(tmp_path: Path):
    np.savez(tmp_path / "set.npz", arr_0=np.zeros((4, 12, 9, 3), np.uint8), weights=np.ones(4))
    data = load(tmp_path / "set.npz")
    assert data.train.images.shape == (3, 3, 8, 8)
    assert data.train.cond is None


GOOD = np.zeros((4, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "fault"),
    [
        ({"images": GOOD.astype(np.float32)}, r"needs one array 'images', uint8 .* holds images: float32 \(4, 8, 8\)"),
        ({"images": GOOD[0]}, r"holds images: uint8 \(8, 8\)"),
        ({"images": np.zeros((4, 3, 8, 8), np.uint8)}, r"holds images: uint8 \(4, 3, 8, 8\)"),
        ({"images": np.zeros((4, 0, 8), np.uint8)}, r"holds images: uint8 \(4, 0, 8\)"),
        ({"a": GOOD, "b": GOOD}, r"holds a: uint8 \(4, 8, 8\), b: uint8 \(4, 8, 8\)"),
        ({}, "holds nothing"),
        ({"images": GOOD[:1]}, "holds only one image"),
        ({"images": np.array([None, {}])}, "is not a whole .npz file of plain arrays: Object arrays cannot be loaded"),
        ({"images": GOOD, "labels": np.array([None] * 4)}, "is not a whole .npz file of plain arrays"),
        ({"images": GOOD, "labels": np.arange(3)}, r"one for each of 4 images, but holds int64 \(3,\)"),
        ({"images": GOOD, "labels": np.ones(4)}, r"'labels' of integers, .* but holds float64 \(4,\)"),
    ],
)
def test_an_npz_of_something_else_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray], fault: str):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(UserError, match=rf"set\.npz .*{fault}"):
        load(tmp_path / "set.npz")


@pytest.mark.parametrize("keep", [0, 40, 200, -30])
def test_a_cut_npz_is_refused(tmp_path: Path, keep: int):
    path = tmp_path / "set.npz"
    np.savez(path, images=GOOD)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"set\.npz is not a whole \.npz file"):
        load(path)
    np.save(tmp_path / "bare.npy", GOOD)
    (tmp_path / "bare.npy").rename(path)
    with pytest.raises(UserError, match=r"set\.npz is a single array: write np\.savez"):
        load(path)


def test_real_faces_are_cropped_and_labelled_by_nothing(data_root: Path, tmp_path: Path):
    faces = data_root / "celeba/img_align_celeba"
    if not faces.is_dir():
        pytest.skip("no faces here")
    for k in range(1, 21):
        (tmp_path / f"{k:06}.jpg").symlink_to(faces / f"{k:06}.jpg")
    data = load(tmp_path, 0)
    assert data.train.images.shape == (18, 3, 64, 64)
    assert data.train.cond is None
    with Image.open(faces / "000001.jpg") as image:
        top = (image.height - image.width) // 2
        square = image.crop((0, top, image.width, top + image.width)).resize((64, 64), Image.Resampling.BICUBIC)
    assert np.array_equal(data.train.images[0].permute(1, 2, 0).numpy(), np.asarray(square))


def command(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["run", "--variants", "gan", "--seeds", "2", *arguments])


def test_what_was_taken_for_classes_and_splits_is_told_once_before_training(tree: Path, tmp_path: Path):
    (tree / "list.csv").touch()
    shared = ("--dataset", f"folder:{tree}", "--size", "8", "--batch", "4", "--results", str(tmp_path / "r"))
    dry = command(*shared, "--dry-run")
    assert dry.exit_code == 0, dry.output
    run = command(*shared, "--budget", "8-images", "--marks", "1", "--metrics", "grad-norm-g", "--jobs", "1")
    assert run.exit_code == 0, run.output
    for result in (dry, run):
        assert result.stderr.count("Note: folder:pets: 2 classes: 'cat', 'dog'\n") == 1
        assert result.stderr.count("Note: folder:pets: 30 images, no folders of splits") == 1
        assert result.stderr.count("Note: folder:pets: 1 file is left out: 1 .csv") == 1
        assert "Note:" not in result.stdout


def test_a_comma_in_a_path_can_be_given_to_the_command(tree: Path):
    tree.rename(tree.parent / "pets, mine")
    path = str(tree.parent / "pets, mine")
    found = command("--dataset", "folder:" + path.replace(",", "\\,"), "--batch", "4", "--dry-run")
    assert found.exit_code == 0, found.output
    assert "folder:pets, mine" in found.stdout
    refused = command("--dataset", f"folder:{path}", "--dry-run")
    assert refused.exit_code == 2
    assert "unknown dataset 'mine'" in refused.stderr
    assert "(a comma that belongs to a path is written \\, in quotes)" in refused.stderr


def test_a_test_split_of_one_image_is_told_by_its_name(tmp_path: Path):
    for k in range(4):
        draw(tmp_path / f"train/{k}.png", k)
    draw(tmp_path / "test/9.png", 9)
    result = command("--dataset", f"folder:{tmp_path}", "--batch", "2", "--dry-run")
    assert result.exit_code == 2
    assert f"Error: folder:{tmp_path.name}: its test split has one image" in result.stderr
    assert "--samples" not in result.stderr


def test_a_plugin_that_is_a_link_in_a_circle_is_one_sentence(tmp_path: Path):
    (tmp_path / "round.py").symlink_to("round.py")
    result = command("--dataset", "digits", "--plugin", str(tmp_path / "round.py"), "--dry-run")
    assert result.exit_code == 2
    assert "round.py cannot be read: Too many levels of symbolic links" in result.stderr


def test_a_path_that_is_no_utf_8_is_trained_once(tree: Path, tmp_path: Path):
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    tree.rename(place)
    shared = ("--dataset", f"folder:{place}", "--size", "8", "--batch", "4", "--results", str(tmp_path / "r"))
    shared += ("--budget", "8-images", "--marks", "1", "--metrics", "grad-norm-g", "--jobs", "1")
    assert command(*shared).exit_code == 0
    [first, second] = (tmp_path / "r").rglob("seed*.json")
    before = first.stat().st_mtime_ns, second.stat().st_mtime_ns
    assert command(*shared, "--dry-run").stdout.count("  done") == 2
    assert command(*shared).exit_code == 0
    assert (first.stat().st_mtime_ns, second.stat().st_mtime_ns) == before
