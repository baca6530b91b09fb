"""Folders and archives of images: links, bombs, odd names; nothing outside is touched."""

import io
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ganbench_plugins.datasets.folder import Folder
from ganbench_plugins.datasets.imagenet import ImageNet
from PIL import Image

from ganbench import UserError, image_files, image_tree, read_image


def picture(level: int = 0) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8), level, np.uint8)).save(out, "PNG")
    return out.getvalue()


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_link_in_a_circle_is_named(tmp_path: Path):
    put(tmp_path / "a/0.png", picture())
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(UserError, match=r"round, a link to round, cannot be read: Too many levels of symbolic links"):
        image_tree(tmp_path)
    for dataset, size in ((Folder(), 8), (ImageNet(), 32)):
        for path in (tmp_path / "round", tmp_path / "round/deeper"):
            with pytest.raises(UserError, match=rf"{dataset.name}:{path} cannot be read: Too many levels"):
                dataset.of(str(path)).load(tmp_path, size)
        with pytest.raises(UserError, match="round, a link to round, cannot be read"):
            dataset.of(str(tmp_path)).load(tmp_path, size)


def test_links_to_each_other_and_to_a_folder_above_end(tmp_path: Path):
    put(tmp_path / "a/0.png", picture())
    put(tmp_path / "b/1.png", picture())
    (tmp_path / "a/other").symlink_to(tmp_path / "b")
    (tmp_path / "b/other").symlink_to(tmp_path / "a")
    (tmp_path / "a/up").symlink_to(tmp_path)
    names = image_tree(tmp_path).names
    assert names == ["a/0.png", "a/other/1.png", "b/1.png", "b/other/0.png"]


def test_a_deep_tree_is_walked(tmp_path: Path):
    place = tmp_path
    for _ in range(1100):  # deeper than Python may call itself
        place = place / "d"
        place.mkdir()
    put(place / "0.png", picture())
    try:
        assert len(image_tree(tmp_path).names) == 1
    finally:  # too deep for what clears temporary folders
        for folder in (place, *list(place.parents)[:1099]):
            for left in folder.glob("*.png"):
                left.unlink()
            folder.rmdir()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_link_into_a_forbidden_folder_is_named(tmp_path: Path):
    put(tmp_path / "closed/in/0.png", picture())
    put(tmp_path / "open/1.png", picture())
    (tmp_path / "open/link").symlink_to(tmp_path / "closed/in")
    (tmp_path / "closed").chmod(0)
    try:
        with pytest.raises(UserError, match=r"open/link, a link to .*closed/in, cannot be read: Permission denied"):
            image_tree(tmp_path / "open")
        for dataset, size in ((Folder(), 8), (ImageNet(), 32)):
            with pytest.raises(UserError, match="cannot be read: Permission denied"):
                dataset.of(str(tmp_path / "closed/in")).load(tmp_path, size)
    finally:
        (tmp_path / "closed").chmod(0o755)


def test_a_folder_that_is_a_link_is_called_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put(tmp_path / "real/0.png", picture(0))
    put(tmp_path / "real/1.png", picture(1))
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "gone").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    link, real = Folder().of("link"), Folder().of("real")
    assert (link.name, ImageNet().of("./link/").name) == ("folder:link", "imagenet:link")
    assert link.load(tmp_path, 8).fingerprint == real.load(tmp_path, 8).fingerprint
    (tmp_path / "real/1.png").write_bytes(b"")
    with pytest.raises(UserError, match=f"{tmp_path}/link/1.png is not an image"):
        link.load(tmp_path, 8)
    with pytest.raises(UserError, match="folder:gone is a link to nowhere, which is not there"):
        Folder().of("gone").load(tmp_path, 8)


def test_links_to_nowhere_are_counted(tmp_path: Path):
    put(tmp_path / "0.png", picture())
    (tmp_path / "cats").symlink_to("nowhere")
    assert dict(image_tree(tmp_path).others) == {"that are no files": 1}


def test_a_path_that_is_no_utf_8_gives_a_name_that_records_can_hold(tmp_path: Path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    for k in range(2):
        put(Path(path) / f"{k}.png", picture(k))
    dataset = Folder().of(path)
    assert dataset.name == "folder:caf\\xe9"
    assert dataset.name.encode().decode() == dataset.name
    assert len(dataset.load(tmp_path, 8).train.images) == 1


def test_a_comma_in_a_path_is_written_with_a_backslash(tmp_path: Path):
    for k in range(2):
        put(tmp_path / f"a,b/{k}.png", picture(k))
    dataset = Folder().of(str(tmp_path / "a\\,b"))
    assert dataset.name == "folder:a,b"
    assert dataset.load(tmp_path, 8).fingerprint == Folder().of(str(tmp_path / "a,b")).load(tmp_path, 8).fingerprint


def test_members_of_an_archive_stay_in_it_whatever_they_are_called(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for name in (
            "../up.png",
            "/etc/abs.png",
            "a/../../b.png",
            "a/ok.png",
            "a/.hidden.png",
            "@eaDir/x.png",
            "a/n.txt",
        ):
            archive.writestr(name, picture())
        archive.writestr("folder.png/", b"")
    before = sorted(tmp_path.rglob("*"))
    with image_files(tmp_path / "in.zip") as files:
        assert files.names == ["/etc/abs.png", "a/ok.png"]
        assert read_image(files.find("/etc/abs.png"), 1).shape == (8, 8, 1)
        assert files.notes[0].startswith("1 file is left out: 1 .txt")
    assert sorted(tmp_path.rglob("*")) == before


BOMBS = """
import re, sys
from pathlib import Path
from ganbench import UserError, image_files, read_image
from ganbench_plugins.datasets.folder import Folder
path = Path(sys.argv[1])
try:
    if path.suffix == ".npz":
        Folder().of(str(path)).load(path.parent, 8)
    else:
        with image_files(path) as files:
            for name in files.names:
                read_image(files.find(name), 1, 8)
except UserError as error:
    print(error)
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def told(path: Path) -> tuple[str, int]:
    """Return the sentence about a bomb, and the most memory in MB that a process of its own took to say it."""
    done = subprocess.run([sys.executable, "-c", BOMBS, path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    *sentence, memory = done.stdout.splitlines()
    return " ".join(sentence), int(memory)


def zeros(path: Path, member: str, size: int, *, start: bytes = b"", lie: int | None = None, method: int = 8) -> Path:
    """Pack `size` zeros after `start` into a zip; `lie`: what its directory says of the size instead."""
    with zipfile.ZipFile(path, "w", method) as archive, archive.open(member, "w", force_zip64=True) as file:
        file.write(start)
        for _ in range(size >> 20):
            file.write(bytes(2**20))
    if lie is not None:
        with zipfile.ZipFile(path, "a") as archive:
            archive.getinfo(member).file_size = lie
            archive.comment = b"rewritten"
    return path


def test_a_zip_bomb_is_refused_in_little_memory(tmp_path: Path):
    sentence, memory = told(zeros(tmp_path / "a.zip", "a.png", 2**29))
    assert "a.zip/a.png unpacks to 536,870,912 bytes, which no image has: remove it" in sentence
    assert memory < 800
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        sentence, memory = told(zeros(tmp_path / "b.zip", "a.png", 2**29, lie=1000, method=method))
        assert "a.png" in sentence
        assert memory < 800


def header(shape: tuple[int, ...], dtype: type = np.uint8) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        out, {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    )
    return out.getvalue()


@pytest.mark.parametrize(
    ("start", "fault"),
    [
        (header((2**13, 256, 256)), "images.npy unpacks from .* to 536,870,912 bytes"),
        (header((2**11, 256, 256), np.float32), "images.npy unpacks from"),
        (header((4, 8, 8)), "images.npy holds 536,870,912 bytes of the 256 that its header tells"),
        (header((2**20, 256, 256)), "images.npy holds 536,870,912 bytes of the 68,719,476,736"),
    ],
)
def test_an_npz_bomb_is_refused_in_little_memory(tmp_path: Path, start: bytes, fault: str):
    sentence, memory = told(zeros(tmp_path / "a.npz", "images.npy", 2**29, start=start))
    assert re.search(fault, sentence), sentence
    assert memory < 800


def test_an_archive_of_very_many_members_is_read(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for k in range(20_000):
            archive.writestr(f"{k}.txt", b"")
        archive.writestr("0.png", picture())
    sentence, memory = told(tmp_path / "many.zip")
    assert (sentence, memory < 800) == ("", True)


def test_an_archive_with_damage_in_its_directory_is_one_sentence(tmp_path: Path):
    content = bytearray(zeros(tmp_path / "a.zip", "a.png", 2**20).read_bytes())
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 5):
            damaged[place] = rng.integers(256)
        put(tmp_path / "b.zip", bytes(damaged))
        try:
            with image_files(tmp_path / "b.zip") as files:
                for name in files.names:
                    files.find(name)
        except UserError as error:
            assert "b.zip" in str(error)
