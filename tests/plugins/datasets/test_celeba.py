"""CelebA: whole, in part or at half size, cropped as stated, split as published or by id; each fault in a sentence."""

import gzip
import io
import lzma
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from ganbench_plugins.datasets.celeba import CelebA, attribute, partition
from PIL import Image

from ganbench import Splits, UserError
from ganbench.runs.options import resolve

COUNT = 20  # images that a whole set has here
PARTS = [0] * 12 + [1] * 4 + [2] * 4
NAMES = ["Bald", "Male", "Smiling"]


def celeba(**settings: str) -> CelebA:
    dataset = CelebA()
    dataset.count, dataset.config = COUNT, resolve(CelebA, "celeba", settings)
    return dataset


def load(root: Path, size: int = 32, **settings: str) -> Splits:
    return celeba(**settings).load(root, size)


def face(number: int, width: int, height: int) -> bytes:
    """Encode a picture whose centre has the level of its number, in a frame of 20 pixels above and below."""
    pixels = np.full((height, width, 3), 255, np.uint8)
    margin = (height - width) // 2
    pixels[margin : height - margin] = 10 * number
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95)
    return out.getvalue()


def lay_out(root: Path, ids=range(1, COUNT + 1), *, width: int = 178, height: int = 218, lists: bool = True) -> Path:
    folder = root / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    for k in ids:
        (folder / f"img_align_celeba/{k:06}.jpg").write_bytes(face(k, width, height))
    if lists:
        (folder / "list_eval_partition.txt").write_text("".join(f"{k + 1:06}.jpg {p}\n" for k, p in enumerate(PARTS)))
        rows = (f"{k + 1:06}.jpg  1 {'-1 ' if k % 3 else ' 1 '} -1\n" for k in range(COUNT))
        (folder / "list_attr_celeba.txt").write_text(f"{COUNT}\n{' '.join(NAMES)} \n{''.join(rows)}")
    return folder


def numbers(images: torch.Tensor) -> list[int]:
    return [round(level / 10) for level in images[:, 0].double().mean((1, 2)).tolist()]


def test_a_whole_set_has_the_official_train_and_test_and_no_labels(tmp_path: Path):
    lay_out(tmp_path)
    data = load(tmp_path, 64)
    assert (numbers(data.train.images), numbers(data.test.images)) == ([*range(1, 13)], [*range(17, 21)])
    assert (data.train.images.dtype, data.train.images.shape) == (torch.uint8, (12, 3, 64, 64))
    assert data.train.cond is None
    assert data.protocol == {
        "crop": "central 178² of 178×218",
        "resize": "Pillow bicubic, antialiased",
        "split": "official train and test",
    }


def test_without_official_test_images_the_last_by_id_are_test(tmp_path: Path):
    lay_out(tmp_path, range(1, 11))
    data = load(tmp_path)
    assert (numbers(data.train.images), numbers(data.test.images)) == ([*range(1, 10)], [10])
    assert data.protocol["split"] == "the last 10% by id are test, because no image here is of the official test split"
    assert data.protocol["subset"] == "n=10, 178×218"


def test_without_a_partition_file_the_last_by_id_are_test(tmp_path: Path):
    lay_out(tmp_path, lists=False)
    data = load(tmp_path)
    assert (numbers(data.train.images), numbers(data.test.images)) == ([*range(1, 19)], [19, 20])
    assert data.protocol["split"] == "the last 10% by id are test, because there is no list_eval_partition.txt"
    assert "subset" not in data.protocol


def test_a_part_with_official_test_images_keeps_the_official_split(tmp_path: Path):
    lay_out(tmp_path, (2, 3, 14, 18, 20))
    data = load(tmp_path)
    assert (numbers(data.train.images), numbers(data.test.images)) == ([2, 3], [18, 20])
    assert data.protocol["subset"] == "n=5, 178×218"


def test_another_partition_of_the_same_images_is_another_data_set(tmp_path: Path):
    folder = lay_out(tmp_path)
    before = load(tmp_path)
    text = (folder / "list_eval_partition.txt").read_text()
    (folder / "list_eval_partition.txt").write_text(text.replace("000013.jpg 1", "000013.jpg 2"))
    after = load(tmp_path)
    assert numbers(after.test.images) == [13, 17, 18, 19, 20]
    assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize(("width", "height"), [(178, 218), (89, 109)])
@pytest.mark.parametrize("crop", [178, 160, 100])
def test_the_crop_is_central_and_scales_with_the_files(tmp_path: Path, width: int, height: int, crop: int):
    folder = lay_out(tmp_path, range(1, 3), width=width, height=height)
    rng = np.random.default_rng(0)
    for k in (1, 2):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"img_align_celeba/{k:06}.jpg")
    data = load(tmp_path, 32, crop=str(crop))
    side = crop * width // 178
    with Image.open(folder / "img_align_celeba/000001.jpg") as image:
        left, top = (width - side) // 2, (height - side) // 2
        expected = image.crop((left, top, left + side, top + side)).resize((32, 32), Image.Resampling.BICUBIC)
    assert np.array_equal(data.train.images[0].permute(1, 2, 0), np.asarray(expected))
    assert data.protocol["crop"] == f"central {side}² of {width}×{height}"
    assert data.protocol["subset"] == f"n=2, {width}×{height}"


def test_size_crop_and_labels_are_in_the_fingerprint(tmp_path: Path):
    lay_out(tmp_path)
    loaded = [load(tmp_path), load(tmp_path, 64), load(tmp_path, crop="160"), load(tmp_path, labels="Male")]
    assert len({data.fingerprint for data in loaded}) == 4
    assert load(tmp_path).fingerprint == loaded[0].fingerprint


def test_an_attribute_gives_the_labels(tmp_path: Path):
    lay_out(tmp_path)
    data = load(tmp_path, labels="Male")
    assert data.train.cond.tolist() == [int(k % 3 == 0) for k in range(12)]
    assert data.test.cond.tolist() == [int(k % 3 == 0) for k in range(16, 20)]
    assert data.train.cond.dtype == torch.int64
    assert data.spec("label").classes == 2


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_packed_lists_are_read(tmp_path: Path, suffix: str, pack):
    folder = lay_out(tmp_path)
    plain = load(tmp_path, labels="Male")
    for name in ("list_eval_partition.txt", "list_attr_celeba.txt"):
        (folder / f"{name}{suffix}").write_bytes(pack((folder / name).read_bytes()))
        (folder / name).unlink()
    assert load(tmp_path, labels="Male").fingerprint == plain.fingerprint
    (folder / f"list_eval_partition.txt{suffix}").write_bytes(pack(b"000001.jpg 0\n" * 99)[:-9])
    with pytest.raises(UserError, match=rf"list_eval_partition\.txt{suffix} cannot be read"):
        load(tmp_path)


def test_the_archive_is_read_without_unpacking(tmp_path: Path):
    folder = lay_out(tmp_path)
    expected = load(tmp_path)
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        archive.writestr("__MACOSX/img_align_celeba/._000001.jpg", b"not an image")
        for path in (folder / "img_align_celeba").iterdir():
            archive.write(path, f"img_align_celeba/{path.name}")
    shutil.rmtree(folder / "img_align_celeba")
    data = load(tmp_path)
    assert torch.equal(data.train.images, expected.train.images)
    assert torch.equal(data.test.images, expected.test.images)
    assert data.protocol == expected.protocol
    assert sorted(path.suffix for path in folder.iterdir()) == [".txt", ".txt", ".zip"]
    (folder / "img_align_celeba.zip").write_bytes((folder / "img_align_celeba.zip").read_bytes()[:-100])
    with pytest.raises(UserError, match=r"img_align_celeba\.zip is neither a folder nor a whole zip archive"):
        load(tmp_path)


def test_a_damaged_member_of_the_archive_is_named(tmp_path: Path):
    folder = lay_out(tmp_path)
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        for k in range(1, 6):
            archive.writestr(f"img_align_celeba/{k:06}.jpg", face(k, 178, 218))
        start = archive.getinfo("img_align_celeba/000003.jpg").header_offset
    shutil.rmtree(folder / "img_align_celeba")
    content = bytearray((folder / "img_align_celeba.zip").read_bytes())
    content[start + 400] ^= 255
    (folder / "img_align_celeba.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"img_align_celeba\.zip/img_align_celeba/000003\.jpg cannot be unpacked"):
        load(tmp_path)


def test_without_images_it_says_what_to_put_where(tmp_path: Path):
    (tmp_path / "celeba").mkdir()
    with pytest.raises(
        UserError, match=r"put img_align_celeba\.zip .*list_eval_partition\.txt .* into .*celeba: there"
    ):
        load(tmp_path)
    (tmp_path / "celeba/img_align_celeba").mkdir()
    with pytest.raises(UserError, match="holds 0 of CelebA's images: at least two"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["000021.jpg", "000000.jpg", "1.jpg", "000003.png", "photo.jpg"])
def test_an_image_that_is_none_of_celebas_is_named(tmp_path: Path, name: str):
    folder = lay_out(tmp_path, range(1, 4)) / "img_align_celeba"
    shutil.copy(folder / "000001.jpg", folder / name)
    with pytest.raises(UserError, match=rf"{name} is none of CelebA's images, 000001\.jpg to 000020\.jpg"):
        load(tmp_path)


def test_an_image_that_is_there_twice_is_named(tmp_path: Path):
    folder = lay_out(tmp_path, range(1, 4)) / "img_align_celeba"
    (folder / "more").mkdir()
    shutil.copy(folder / "000003.jpg", folder / "more/000003.jpg")
    with pytest.raises(UserError, match=r"holds one image twice: 000003\.jpg and more/000003\.jpg"):
        load(tmp_path)


def test_an_image_of_another_size_among_the_others_is_named(tmp_path: Path):
    folder = lay_out(tmp_path) / "img_align_celeba"
    (folder / "000007.jpg").write_bytes(face(7, 89, 109))
    for skip in ("false", "true"):
        with pytest.raises(UserError, match=r"000007\.jpg is 89×109, but 000001\.jpg is 178×218: all must be of one"):
            load(tmp_path, skip_damaged=skip)


def test_images_that_were_cropped_already_are_refused(tmp_path: Path):
    lay_out(tmp_path, width=64, height=64)
    with pytest.raises(UserError, match=r"000001\.jpg is 64×64, which is not 178×218 scaled: .*folder:"):
        load(tmp_path)


@pytest.mark.parametrize("number", [1, 7])
def test_a_truncated_image_is_named_or_left_out(tmp_path: Path, number: int):
    path = lay_out(tmp_path) / f"img_align_celeba/{number:06}.jpg"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(UserError, match=rf"{path.name} cannot be decoded .*celeba\.skip_damaged=true"):
        load(tmp_path)
    data = load(tmp_path, skip_damaged="true", labels="Male")
    kept = [k for k in range(1, 13) if k != number]
    assert numbers(data.train.images) == kept
    assert data.train.cond.tolist() == [int(k % 3 == 1) for k in kept]
    assert data.protocol["damaged images left out"] == 1


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda text: "", "has 0 lines instead of 20, one for each image"),
        (lambda text: text[:-13], "has 19 lines instead of 20"),
        (lambda text: text + "000021.jpg 2\n", "has 21 lines instead of 20"),
        (
            lambda text: text.replace("000005.jpg 0", "000005.jpg"),
            r"line 5, is '000005.jpg' instead of '000005\.jpg' and",
        ),
        (lambda text: text.replace("000005.jpg 0", "000005.jpg 3"), "line 5, is '000005.jpg 3' instead of"),
        (lambda text: text.replace("000005.jpg 0", "000006.jpg 0"), "line 5, is '000006.jpg 0' instead of"),
        (lambda text: text.replace("000005.jpg 0", ""), "line 5, is '' instead of"),
        (lambda text: text.replace("000005.jpg", "00000é.jpg"), "cannot be read"),
    ],
)
def test_a_wrong_partition_file_is_named(tmp_path: Path, change, fault: str):
    path = lay_out(tmp_path) / "list_eval_partition.txt"
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError, match=rf"list_eval_partition\.txt.? {fault}"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda text: "", "has 0 lines and begins with '', instead of 22 lines"),
        (
            lambda text: text.replace("20\n", "19\n", 1),
            "has 22 lines and begins with '19', instead of 22 lines: the number 20",
        ),
        (lambda text: text[: text.rindex("000020")], "has 21 lines and begins with '20', instead of 22 lines"),
        (lambda text: text.replace("000004.jpg  1", "000004.jpg  2"), "line 6, is '000004.jpg  2 .*3 times 1 or -1"),
        (lambda text: text.replace("000004.jpg  1", "000004.jpg  "), "line 6, is '000004.jpg "),
        (lambda text: text.replace("000004.jpg", "000005.jpg"), r"line 6, is '000005.jpg .* instead of '000004\.jpg'"),
    ],
)
def test_a_wrong_attribute_file_is_named_where_labels_are_wanted(tmp_path: Path, change, fault: str):
    path = lay_out(tmp_path) / "list_attr_celeba.txt"
    path.write_text(change(path.read_text()))
    assert load(tmp_path).train.cond is None
    with pytest.raises(UserError, match=rf"list_attr_celeba\.txt.? {fault}"):
        load(tmp_path, labels="Male")


def test_labels_that_cannot_be_had_are_explained(tmp_path: Path):
    folder = lay_out(tmp_path)
    with pytest.raises(UserError, match=r"has no attribute 'male': did you mean 'Male'\?"):
        load(tmp_path, labels="male")
    with pytest.raises(UserError, match=r"has no attribute 'Xyz' \(it has Bald, Male, Smiling\)"):
        load(tmp_path, labels="Xyz")
    (folder / "list_attr_celeba.txt").unlink()
    with pytest.raises(UserError, match=r"celeba\.labels=Male needs list_attr_celeba\.txt in .*celeba, which is not"):
        load(tmp_path, labels="Male")


def test_sizes_and_crops_it_does_not_have_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="celeba comes at 32, 64, 128 pixels a side, but 48 was asked for"):
        load(tmp_path, 48)
    for crop in ("179", "0", "wide"):
        with pytest.raises(UserError, match=r"celeba\.crop: "):
            celeba(crop=crop)


def test_the_official_lists_are_read(data_root: Path):
    parts = partition(data_root / "celeba", 202_599)
    assert np.bincount(parts).tolist() == [162_770, 19_867, 19_962]
    male = attribute(data_root / "celeba", "Male", 202_599)
    assert (len(male), round(male.mean(), 3), male[:6].tolist()) == (202_599, 0.417, [0, 0, 1, 0, 0, 0])


@pytest.fixture
def faces(data_root: Path, tmp_path: Path) -> Path:
    """Two hundred of the real images, linked, and the real lists."""
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    names = [f"img_align_celeba/{k:06}.jpg" for k in range(1, 201)]
    for name in (*names, "list_eval_partition.txt.gz", "list_attr_celeba.txt.xz"):
        (folder / name).symlink_to(data_root / "celeba" / name)
    return tmp_path


def test_real_faces_are_a_stated_subset(faces: Path):
    dataset = CelebA()
    dataset.config = resolve(CelebA, "celeba", {"labels": "Male"})
    data = dataset.load(faces, 64)
    assert (data.train.images.shape, data.test.images.shape) == ((180, 3, 64, 64), (20, 3, 64, 64))
    assert data.protocol["subset"] == "n=200, 89×109"
    assert data.protocol["crop"] == "central 89² of 89×109"
    assert "no image here is of the official test split" in data.protocol["split"]
    assert data.train.cond[:6].tolist() == [0, 0, 1, 0, 0, 0]
    with Image.open(faces / "celeba/img_align_celeba/000003.jpg") as image:
        expected = image.crop((0, 10, 89, 99)).resize((64, 64), Image.Resampling.BICUBIC)
    assert np.array_equal(data.train.images[2].permute(1, 2, 0), np.asarray(expected))


@pytest.mark.slow
def test_all_real_faces_at_hand_are_read(data_root: Path):
    data = CelebA().load(data_root, 32)
    assert (len(data.train.images), len(data.test.images)) == (9000, 1000)
    assert data.protocol["subset"] == "n=10000, 89×109"


def as_on_kaggle(folder: Path) -> None:
    """Replace the published lists by those of the data set on Kaggle."""
    for name, header in (
        ("list_eval_partition", "image_id,partition"),
        ("list_attr_celeba", "image_id," + ",".join(NAMES)),
    ):
        path = folder / f"{name}.txt"
        lines = path.read_text().splitlines()[2 if "attr" in name else 0 :]
        path.unlink()
        path.with_suffix(".csv").write_text("\n".join([header, *(",".join(line.split()) for line in lines)]) + "\n")


def test_the_lists_of_kaggle_and_blank_last_lines_give_the_same_data(tmp_path: Path):
    published = load(lay_out(tmp_path / "a").parent, labels="Male")
    as_on_kaggle(lay_out(tmp_path / "b"))
    blank = lay_out(tmp_path / "c")
    for name in ("list_eval_partition.txt", "list_attr_celeba.txt"):
        (blank / name).write_bytes((blank / name).read_bytes().replace(b"\n", b"\r\n") + b"\r\n  \r\n\n")
    packed = lay_out(tmp_path / "d")
    as_on_kaggle(packed)
    for path in packed.glob("*.csv"):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    for folder in "bcd":
        data = load(tmp_path / folder, labels="Male")
        assert data.fingerprint == published.fingerprint
        assert data.train.cond.tolist() == published.train.cond.tolist()


@pytest.mark.parametrize(
    ("name", "change", "fault"),
    [
        (
            "list_eval_partition",
            lambda text: text.replace("image_id", "name"),
            "begins with 'name,partition' instead of",
        ),
        (
            "list_eval_partition",
            lambda text: text.replace("000003.jpg,0", "000003.jpg"),
            "line 4, is '000003.jpg' instead",
        ),
        ("list_eval_partition", lambda text: text.replace("000003.jpg,0\n", ""), "has 19 lines instead of 20"),
        ("list_attr_celeba", lambda text: text.replace("image_id,", ""), "begins with 'Bald,Male,Smiling' instead of"),
        (
            "list_attr_celeba",
            lambda text: text.replace("000020.jpg", "000021.jpg"),
            "line 21, is '000021 1 -1 -1'|line 21",
        ),
        (
            "list_attr_celeba",
            lambda text: text.replace("Male", "Female"),
            r"has no attribute 'Male': did you mean 'Female'\?",
        ),
    ],
)
def test_a_wrong_list_of_kaggle_is_named(tmp_path: Path, name: str, change, fault: str):
    folder = lay_out(tmp_path)
    as_on_kaggle(folder)
    (folder / f"{name}.csv").write_text(change((folder / f"{name}.csv").read_text()))
    with pytest.raises(UserError, match=rf"{name}\.csv.*(?:{fault})"):
        load(tmp_path, labels="Male")


def test_a_packed_list_that_unpacks_to_too_much_is_refused(tmp_path: Path):
    folder = lay_out(tmp_path)
    (folder / "list_eval_partition.txt").unlink()
    (folder / "list_eval_partition.txt.gz").write_bytes(gzip.compress(bytes(2**26 + 1), 1))
    with pytest.raises(UserError, match=r"list_eval_partition.txt.gz is no list of CelebA: it has more than"):
        load(tmp_path)


def test_what_is_used_and_left_out_is_said(tmp_path: Path):
    folder = lay_out(tmp_path)
    (folder / "img_align_celeba/list.csv").write_text("")
    used, left = load(tmp_path).notes
    assert used == "20 images, official train and test; no labels: celeba.labels names none"
    assert left.startswith("1 file is left out: 1 .csv")
