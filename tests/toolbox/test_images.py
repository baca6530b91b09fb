"""Decoding: every kind of file becomes the uint8 image that was meant, and a damaged one is named."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganbench.errors import UserError
from ganbench.toolbox.images import image_header, in_threads, read_image, write_images

RAMP = np.linspace(0, 255, 96, dtype=np.uint8).reshape(8, 12)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_grey_becomes_colour_by_repetition_and_colour_becomes_grey_by_luma(tmp_path: Path):
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    grey = read_image(saved(tmp_path / "a.png", Image.fromarray(RAMP)), 3)
    assert np.array_equal(grey, np.repeat(RAMP[:, :, None], 3, 2))
    luma = read_image(saved(tmp_path / "b.png", Image.fromarray(colour)), 1)
    assert luma.shape == (8, 8, 1)
    assert np.abs(luma[..., 0] - colour @ np.array([0.299, 0.587, 0.114])).max() <= 1


def test_sixteen_bit_grey_is_scaled_not_cut(tmp_path: Path):
    values = np.array([[0, 128, 129, 255, 256, 65535, 65279, 30000]], dtype=np.uint16)
    for name in ("a.png", "a.tif"):
        path = saved(tmp_path / name, Image.fromarray(values))
        assert read_image(path, 1)[..., 0].tolist() == [[round(int(v) / 257) for v in values[0]]]
        assert image_header(path) == (8, 1, 1)
    assert read_image(tmp_path / "a.png", 3).shape == (1, 8, 3)


@pytest.mark.parametrize("most", [1, 200, 255])
def test_a_32_bit_tiff_that_may_be_of_8_bits_is_refused_and_not_made_black(tmp_path: Path, most: int):
    values = np.linspace(0, most, 64).astype(np.int32).reshape(8, 8)
    path = saved(tmp_path / "a.tif", Image.fromarray(values))
    with pytest.raises(
        UserError, match=rf"a\.tif cannot be decoded \(its pixels are 32-bit integers up to {most}, of un"
    ):
        read_image(path, 1)


def test_a_32_bit_tiff_that_fills_16_bits_or_is_black_is_read(tmp_path: Path):
    values = np.array([[0, 257, 30000, 65535]], dtype=np.int32)
    path = saved(tmp_path / "a.tif", Image.fromarray(values))
    assert read_image(path, 1).flatten().tolist() == [0, 1, 117, 255]
    assert not read_image(saved(tmp_path / "b.tif", Image.fromarray(values * 0)), 1).any()
    with pytest.raises(UserError, match="do not fit into 16 bits"):
        read_image(saved(tmp_path / "c.tif", Image.fromarray(values + 1)), 1)


def test_dark_images_of_16_bits_are_scaled_as_others(tmp_path: Path):
    for name in ("a.png", "a.tif"):
        path = saved(tmp_path / name, Image.fromarray(np.full((4, 4), 200, np.uint16)))
        assert set(read_image(path, 1).flatten()) == {1}
    (tmp_path / "a.pgm").write_bytes(b"P5\n2 1\n65535\n" + struct.pack(">HH", 0, 200))
    assert read_image(tmp_path / "a.pgm", 1).flatten().tolist() == [0, 1]


def test_ten_bit_pgm_uses_the_whole_range(tmp_path: Path):
    (tmp_path / "a.pgm").write_bytes(b"P5\n3 1\n1023\n" + struct.pack(">HHH", 0, 512, 1023))
    assert read_image(tmp_path / "a.pgm", 1).flatten().tolist() == [0, 128, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str):
    image = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        image.putpixel((x, 0), (100, 100, 100, alpha))
    path = saved(tmp_path / "a.png", image.convert(mode))
    expected = [round(255 + (100 - 255) * alpha / 255) for alpha in (0, 128, 255)]
    assert np.abs(read_image(path, 1).flatten().astype(int) - expected).max() <= 1
    assert image_header(path)[2] == (1 if mode == "LA" else 3)


def test_palettes_keep_their_colours_and_transparency(tmp_path: Path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    assert read_image(saved(tmp_path / "a.png", image), 3)[0].tolist() == [[255, 0, 0], [0, 255, 0]]
    path = saved(tmp_path / "b.png", image, transparency=b"\x00\xff")
    assert read_image(path, 3)[0].tolist() == [[255, 255, 255], [0, 255, 0]]
    assert image_header(path) == (2, 1, 3)
    image.putpalette([7, 7, 7, 200, 200, 200])
    assert image_header(saved(tmp_path / "c.png", image)) == (2, 1, 1)


def test_cmyk_bilevel_and_animations_are_read(tmp_path: Path):
    cmyk = read_image(saved(tmp_path / "a.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), quality=95), 3)
    assert np.abs(cmyk.astype(int) - [255, 0, 0]).max() < 8
    assert set(read_image(saved(tmp_path / "b.png", Image.new("1", (2, 2), 1)), 1).flatten()) == {255}
    frames = [Image.new("L", (4, 4), level) for level in (10, 200)]
    path = saved(tmp_path / "c.gif", frames[0], save_all=True, append_images=frames[1:])
    assert set(read_image(path, 1).flatten()) == {10}


def test_images_are_turned_upright(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: turn it by 90° clockwise
    path = saved(tmp_path / "a.png", Image.fromarray(RAMP), exif=exif)
    assert np.array_equal(read_image(path, 1)[..., 0], np.rot90(RAMP, -1))


def test_the_crop_is_central_and_the_resize_antialiased(tmp_path: Path):
    wide = np.zeros((4, 10), np.uint8)
    wide[:, 3:7] = np.arange(16).reshape(4, 4) * 10
    path = saved(tmp_path / "a.png", Image.fromarray(wide))
    assert np.array_equal(read_image(path, 1, 4)[..., 0], wide[:, 3:7])
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))  # finer than the target can show
    assert np.abs(read_image(stripes, 1, 8)[:, 1:-1].astype(int) - 127.5).max() < 4


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 3), (4, 6, 4)])
def test_arrays_are_read_like_files(shape: tuple[int, ...]):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    if shape[-1] == 4:
        array[..., 3] = 255
    expected = array.reshape(4, 6, -1)[..., :3]
    channels = expected.shape[2]
    assert np.array_equal(read_image(array, channels), expected)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif", "webp", "ppm"])
def test_a_cut_file_is_named(tmp_path: Path, suffix: str):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path / f"cut.{suffix}", Image.fromarray(noise))
    assert read_image(path, 3).shape == (64, 64, 3)
    content = path.read_bytes()
    for keep in (len(content) * 2 // 3, 40, 0):
        path.write_bytes(content[:keep])
        with pytest.raises(UserError, match=rf"cut\.{suffix} (is not an image|cannot be decoded)"):
            read_image(path, 3)


def test_what_is_no_image_is_named(tmp_path: Path):
    (tmp_path / "a.png").write_text("not an image")
    with pytest.raises(UserError, match=r"a\.png is not an image, whatever its name says"):
        read_image(tmp_path / "a.png", 3)
    with pytest.raises(UserError, match=r"gone\.png cannot be read: No such file"):
        image_header(tmp_path / "gone.png")
    (tmp_path / "b.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(UserError, match="is not an image"):  # and no PostScript interpreter is started
        read_image(tmp_path / "b.png", 3)


def test_a_decompression_bomb_is_refused(tmp_path: Path):
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    (tmp_path / "bomb.png").write_bytes(bomb + chunk(b"IEND", b""))
    for read in (image_header, lambda path: read_image(path, 3, 64)):
        with pytest.raises(UserError, match=r"bomb\.png cannot be decoded .*3600000000 pixels"):
            read(tmp_path / "bomb.png")


def test_floating_point_pixels_are_refused(tmp_path: Path):
    path = saved(tmp_path / "a.tif", Image.fromarray(np.ones((2, 2), np.float32)))
    with pytest.raises(UserError, match="floating-point numbers of unknown range"):
        read_image(path, 1)


def test_images_are_streamed_in_order_and_gaps_closed(tmp_path: Path):
    def read(k: int) -> np.ndarray | None:
        return None if k % 7 == 3 else np.full((2, 3, 3), k % 256, np.uint8)

    kept = write_images(tmp_path / "a.npy", range(2000), read)
    array = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert kept == [k for k in range(2000) if k % 7 != 3]
    assert array.shape == (len(kept), 3, 2, 3)
    assert array[:, 0, 0, 0].tolist() == [k % 256 for k in kept]


def test_a_row_of_another_shape_is_an_error(tmp_path: Path):
    with pytest.raises(ValueError, match="image 1 is uint8"):
        write_images(tmp_path / "a.npy", [2, 3], lambda side: np.zeros((side, side, 1), np.uint8))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_an_error_and_not_a_crash():
    with pytest.raises(OSError, match="No space left"):
        write_images(Path("/dev/full"), range(100), lambda _: np.zeros((64, 64, 3), np.uint8))


def test_the_first_failure_in_order_is_the_one_raised():
    def fail(k: int) -> int:
        if k in (5, 6):
            raise UserError(f"item {k}")
        return k

    with pytest.raises(UserError, match="item 5"):
        list(in_threads(fail, range(1000)))
