"""Pictures of runs: only what is a picture, made small, within the room that a page has."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from ganbench.reports.page.pictures import SIDE, Picture, Room, pictures_of


def noise(path: Path, width: int, height: int, seed: int = 0) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def pixels_of(picture: Picture) -> np.ndarray:
    content = base64.b64decode(picture.uri.removeprefix("data:image/webp;base64,"))
    return np.asarray(Image.open(io.BytesIO(content), formats=["WEBP"]).convert("RGB"))


def test_small_pictures_lose_nothing_and_large_ones_are_made_small(tmp_path: Path) -> None:
    small = noise(tmp_path / "a.png", 60, 40)
    noise(tmp_path / "b.png", 1500, 500)
    found, large = (Room(10**9).take(tmp_path / f"{name}.png", SIDE) for name in "ab")
    assert found and large
    np.testing.assert_array_equal(pixels_of(found), small)
    assert (large.width, large.height) == (SIDE, round(SIDE / 3)) == pixels_of(large).shape[1::-1]


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_a_picture_of_large_pixels_is_shown_with_one_for_each(tmp_path: Path, factor: int) -> None:
    pixels = noise(tmp_path / "a.png", 36, 20)
    Image.fromarray(pixels.repeat(factor, 0).repeat(factor, 1)).save(tmp_path / "b.png")
    found = Room().take(tmp_path / "b.png", SIDE)
    assert found
    np.testing.assert_array_equal(pixels_of(found), pixels)


def test_what_hides_in_a_file_does_not_come_along(tmp_path: Path) -> None:
    words = PngImagePlugin.PngInfo()
    words.add_text("Comment", "<script>hacked</script>")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=words)
    with (tmp_path / "a.png").open("ab") as file:
        file.write(b"<script>hacked</script>")
    found = Room().take(tmp_path / "a.png", SIDE)
    assert found and b"hacked" not in base64.b64decode(found.uri.partition(",")[2])


@pytest.mark.parametrize("content", [b"", b"GIF89a\x01\x00", b"<svg/>", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_what_is_no_png_is_told_of(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "100.png").write_bytes(content)
    room = Room()
    assert room.take(tmp_path / "100.png", SIDE) is None
    assert len(room.problems) == 1 and "100.png" in room.problems[0] and "\n" not in room.problems[0]


def test_a_jpeg_with_the_name_of_a_png_is_none(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", "JPEG")
    assert Room().take(tmp_path / "a.png", SIDE) is None


def test_last_samples_of_all_runs_come_before_anything_else(tmp_path: Path) -> None:
    folders = [tmp_path / f"{number}.samples" for number in range(3)]
    for number, folder in enumerate(folders):
        for name in ("020", "100", "nearest"):
            noise(folder / f"{name}.png", 50, 50, number)
    room = Room(left=40_000)  # each takes about ten thousand
    shown = pictures_of(folders, room)
    assert all(each.last and each.last.share == 100 for each in shown)
    assert sum(len(each.others) + len(each.strip) for each in shown) + room.dropped == 9
    assert room.dropped > 5 and room.left >= 0


def test_a_folder_that_is_not_there_has_no_pictures_and_says_why_where_it_knows(tmp_path: Path) -> None:
    (tmp_path / "a.samples").mkdir()
    (tmp_path / "a.samples" / "left-out.txt").write_text("nearest.png: no training images\n\n")
    there, missing = pictures_of([tmp_path / "a.samples", tmp_path / "b.samples"], Room())
    assert there.left_out == ["nearest.png: no training images"] and there.last is None
    assert missing.left_out == [] and missing.last is None and missing.strip == []
