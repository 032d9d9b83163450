import io
import os
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from dataset import images
from dataset.errors import InputError


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp", ".jpg"])
def test_rgb_files(suffix, picture, tmp_path):
    rgb = picture(17, 23)
    path = tmp_path / f"ünï 画像{suffix}"
    images.write_rgb(path, rgb)
    again = images.read(path)
    assert again.alpha is None and not again.grey and again.rgb.dtype == np.uint8
    if suffix == ".jpg":
        assert np.abs(again.rgb.astype(int) - rgb).mean() < 4
    else:
        assert np.array_equal(again.rgb, rgb)
    assert images.size(path) == (17, 23)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("with_alpha", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_depth_grey_and_alpha_survive(suffix, grey, with_alpha, dtype, tmp_path):
    rng = np.random.default_rng(0)
    peak = np.iinfo(dtype).max
    rgb = rng.integers(0, peak + 1, (6, 5, 3)).astype(dtype)
    if grey:
        rgb = np.repeat(rgb[:, :, :1], 3, axis=2)
    alpha = rng.integers(0, peak + 1, (6, 5)).astype(dtype) if with_alpha else None
    images.write(tmp_path / f"a{suffix}", images.Picture(rgb, alpha, grey))
    again = images.read(tmp_path / f"a{suffix}")
    assert again.rgb.dtype == dtype and np.array_equal(again.rgb, rgb)
    assert (again.alpha is None) if alpha is None else np.array_equal(again.alpha, alpha)
    if not (dtype == np.uint16 and with_alpha):  # 16-bit grey with alpha is stored as RGBA
        assert again.grey == grey


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (4, 3))
    image.putpalette([255, 0, 0, 0, 255, 0] + [0] * 762)
    image.putpixel((1, 1), 1)
    image.save(tmp_path / "p.png", transparency=1)
    picture = images.read(tmp_path / "p.png")
    assert picture.rgb[0, 0].tolist() == [255, 0, 0] and picture.rgb[1, 1].tolist() == [0, 255, 0]
    assert picture.alpha[1, 1] == 0 and picture.alpha[0, 0] == 255


def test_one_bit_and_cmyk(tmp_path):
    Image.new("1", (3, 3), 1).save(tmp_path / "bit.png")
    assert images.read(tmp_path / "bit.png").rgb.min() == 255
    Image.new("CMYK", (3, 3), (0, 255, 255, 0)).save(tmp_path / "c.jpg")
    red = images.read(tmp_path / "c.jpg").rgb[0, 0]
    assert red[0] > 200 and red[1:].max() < 60


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation, picture, tmp_path):
    upright = picture(6, 9)
    # how each orientation stores an upright picture (EXIF 2.3, tag 0x0112: where row 0 and column 0 lie)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: np.rot90(upright, 2).swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for suffix in (".png", ".webp", ".tif", ".jpg"):
        path = tmp_path / f"o{suffix}"
        Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, lossless=True)
        assert images.read(path).rgb.shape == upright.shape == images.shape(path)
        assert suffix == ".jpg" or np.array_equal(images.read(path).rgb, upright)


def test_sixteen_to_eight_bits():
    deep = np.array([0, 128, 129, 257, 65535 - 129, 65535 - 128, 65535], np.uint16)
    assert images.to_uint8(deep).tolist() == [round(v / 257) for v in deep.tolist()]


def test_tensors_round_trip(picture):
    rgb = picture(5, 7)
    for pixels in (rgb, rgb.astype(np.uint16) * 257):
        tensor = images.to_tensor(pixels)
        assert tensor.shape == (1, 3, 5, 7) and 0 <= tensor.min() and tensor.max() <= 1
        # a quarter of a level above: truncated and rounded alike; a quarter below: not
        level = 1 / np.iinfo(pixels.dtype).max
        assert np.array_equal(images.quantise(tensor + level / 4, pixels.dtype).numpy(), pixels)
        assert np.array_equal(images.quantise(tensor - level / 4, pixels.dtype, "round").numpy(), pixels)
    import torch

    assert images.quantise(torch.tensor([-0.5, 1.5, 254.9 / 255]).view(1, 3, 1, 1)).tolist() == [[[0, 255, 254]]]


def test_listing_is_natural_and_skips_the_rest(picture, tmp_path):
    for name in ("img_10.png", "img_2.PNG", "notes.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(b"x")
    assert [f.name for f in images.list_images(tmp_path)] == ["img_2.PNG", "img_10.png"]
    with pytest.raises(InputError, match="no such folder"):
        images.list_images(tmp_path / "none")
    with pytest.raises(InputError, match="is a file"):
        images.list_images(tmp_path / "notes.txt")


def test_bad_files_are_one_clear_line(bad_files, tmp_path):
    for name, message in bad_files(tmp_path).items():
        with pytest.raises(InputError, match=message) as caught:
            images.read(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no such file"):
        images.read(tmp_path / "none.png")


@pytest.mark.parametrize("format", ["TGA", "PCX", "ICO", "SGI", "DDS"])
def test_other_formats_are_refused_whatever_they_are_called(format, picture, tmp_path):
    Image.fromarray(picture(16, 16)).save(tmp_path / "a.png", format=format)
    for look in (images.read, images.size, images.decoding_bytes, images.held_bytes):
        with pytest.raises(
            InputError, match="a.png: not a readable picture: it is none of png.*; save it as one of them"
        ):
            look(tmp_path / "a.png")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_of_grey_and_palettes(bits, tmp_path):
    levels = np.arange(2**bits, dtype=np.uint8)[None].repeat(3, axis=0)
    palette = Image.fromarray(levels, "P")
    palette.putpalette(sum([[7 * level, 255 - level, level] for level in range(2**bits)], []))
    palette.save(tmp_path / "palette.png", bits=bits)
    assert images.read(tmp_path / "palette.png").rgb[1].tolist() == [[7 * n, 255 - n, n] for n in range(2**bits)]


ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(samples, bits, colour, *more, interlaced=False) -> bytes:
    """A PNG by hand (its specification): of (H, W, channels) numbers of any bits, and chunks before the pixels."""
    samples = np.atleast_3d(samples)
    data = b""
    for top, left, down, across in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        for line in samples[top::down, left::across] if samples.shape[1] > left else ():
            ones = line.reshape(-1, 1) >> np.arange(bits - 1, -1, -1) & 1
            data += b"\0" + np.packbits(ones.astype(np.uint8)).tobytes()
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], bits, colour, 0, 0, interlaced)
    chunks = [chunk(b"IHDR", header), *more, chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


Y, X = np.mgrid[0:11, 0:13]
RGB = np.stack([19 * X % 256, 23 * Y % 256, (9 * X + 5 * Y) % 256], axis=2)
GREY, ALPHA = RGB[:, :, :1], np.clip(21 * X, 0, 255)[:, :, None]
KEY = RGB[5, 6]
IS_KEY, IS_GREY_KEY = (RGB == KEY).all(axis=2)[:, :, None], GREY == KEY[0]
PALETTE = np.stack([np.arange(256), 255 - np.arange(256), 77 * np.arange(256) % 256], axis=1)


def png_kinds():
    """Name, samples, bits, colour type and chunks; the colours and the alpha that are meant, of 255."""
    for bits, by in ((8, 1), (16, 257)):
        yield f"RGB {bits}", (RGB * by, bits, 2), RGB, None
        yield f"grey {bits}", (GREY * by, bits, 0), GREY, None
        yield f"grey and alpha {bits}", (np.dstack([GREY, ALPHA]) * by, bits, 4), GREY, ALPHA
        yield f"RGB and alpha {bits}", (np.dstack([RGB, ALPHA]) * by, bits, 6), RGB, ALPHA
        key = chunk(b"tRNS", struct.pack(">3H", *KEY * by))
        yield f"RGB and a key {bits}", (RGB * by, bits, 2, key), RGB, 255 - 255 * IS_KEY
        key = chunk(b"tRNS", struct.pack(">H", KEY[0] * by))
        yield f"grey and a key {bits}", (GREY * by, bits, 0, key), GREY, 255 - 255 * IS_GREY_KEY
        gamma = chunk(b"gAMA", struct.pack(">I", 100000))
        yield f"RGB and gamma {bits}", (RGB * by, bits, 2, gamma), RGB, None
    near = np.array([[0x1200, 0x1201, 0x12FF]])  # 16 bits that are alike in 8
    for channels, colour in ((1, 0), (3, 2)):
        samples, key = np.dstack([near] * channels), chunk(b"tRNS", struct.pack(">H", 0x1201) * channels)
        yield (
            f"near the key {channels} 16",
            (samples, 16, colour, key),
            samples / 257,
            255 * (near != 0x1201)[:, :, None],
        )
    for bits in (1, 2, 4, 8):
        peak = 2**bits - 1
        few = GREY * peak // 255
        if bits < 8:
            key = chunk(b"tRNS", struct.pack(">H", few[5, 6, 0]))
            yield f"grey {bits}", (few, bits, 0), few * 255 / peak, None
            yield f"grey and a key {bits}", (few, bits, 0, key), few * 255 / peak, 255 * (few != few[5, 6])
        colours = chunk(b"PLTE", PALETTE[: peak + 1].astype(np.uint8).tobytes())
        yield f"palette {bits}", (few, bits, 3, colours), PALETTE[few[:, :, 0]], None
        fading = chunk(b"tRNS", bytes(range(peak + 1)))
        yield f"palette and alpha {bits}", (few, bits, 3, colours, fading), PALETTE[few[:, :, 0]], few


PNGS = {name: case for name, *case in png_kinds()}


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("name", PNGS)
def test_a_kind_of_png_comes_out_as_it_is_meant(name, interlaced, tmp_path):
    what, colours, alpha = PNGS[name]
    (tmp_path / "a.png").write_bytes(png(*what, interlaced=interlaced))
    again = images.read(tmp_path / "a.png")
    peak = np.iinfo(again.rgb.dtype).max
    assert peak == (65535 if name.endswith("16") else 255) and again.notes == ()
    assert np.abs(again.rgb * (255 / peak) - colours).max() <= 0.5 and (again.alpha is None) == (alpha is None)
    assert alpha is None or np.abs(again.alpha * (255 / peak) - alpha[:, :, 0]).max() < 1e-9


def test_a_second_header_does_not_count(tmp_path):
    """Or its size would not be held against what is accepted."""
    second = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(png(RGB, 8, 2, second))
    with pytest.raises(InputError, match="two sizes"):
        images.read(tmp_path / "a.png")


def bmp(bits, pixels, *masks, header=40) -> bytes:
    """A BMP by hand, of (H, W) numbers of 16 or 32 bits."""
    height, width = pixels.shape
    lines = [row.astype(f"<u{bits // 8}").tobytes() for row in pixels[::-1]]
    data = b"".join(line + bytes(-len(line) % 4) for line in lines)
    more = struct.pack(f"<{len(masks)}I", *masks)
    more += bytes(header - 40 - len(more)) if header > 40 else b""
    fields = (header, width, height, 1, bits, 3 if masks else 0, len(data), 0, 0, 0, 0)
    head = struct.pack("<2sIIIIiiHHIIiiII", b"BM", 54 + len(more) + len(data), 0, 54 + len(more), *fields)
    return head + more + data


def packed(samples, *widths):
    """Channels of so many bits in one number, the first highest."""
    number = np.zeros(samples.shape[:2], np.int64)
    for channel, bits in enumerate(widths):
        number = number << bits | samples[:, :, channel] * (2**bits - 1) // 255
    return number


ARGB = np.dstack([ALPHA, RGB])
BMPS = {
    "555": (bmp(16, packed(RGB, 5, 5, 5)), (5, 5, 5), None),
    "565": (bmp(16, packed(RGB, 5, 6, 5), 0xF800, 0x7E0, 0x1F), (5, 6, 5), None),
    "32": (bmp(32, packed(ARGB, 8, 8, 8, 8)), (8, 8, 8), None),  # whose fourth byte is nothing
    "alpha": (bmp(32, packed(ARGB, 8, 8, 8, 8), 0xFF0000, 0xFF00, 0xFF, 0xFF000000, header=108), (8, 8, 8), ALPHA),
}


@pytest.mark.parametrize("name", BMPS)
def test_a_kind_of_bmp_comes_out_as_it_is_meant(name, tmp_path):
    data, bits, alpha = BMPS[name]
    (tmp_path / "a.bmp").write_bytes(data)
    again = images.read(tmp_path / "a.bmp")
    peaks = 2 ** np.array(bits) - 1
    assert np.abs(again.rgb - (RGB * peaks // 255) * 255 / peaks).max() < 1
    assert (again.alpha is None) == (alpha is None) and (alpha is None or np.array_equal(again.alpha, alpha[:, :, 0]))


def jpeg(samples, mode, **options) -> bytes:
    file = io.BytesIO()
    Image.frombytes(mode, samples.shape[1::-1], np.asarray(samples, np.uint8).tobytes()).save(
        file, options.pop("format", "JPEG"), quality=100, **options
    )
    return file.getvalue()


def ycck():
    """A JPEG as Adobe's programs make them for print: YCbCr of inverted inks; made of a CMYK one by its mark."""
    inks = Image.fromarray(255 - RGB.astype(np.uint8)).convert("YCbCr")
    data = jpeg(255 - np.dstack([np.asarray(inks), 0 * GREY + 255]), "CMYK")
    mark = data.index(b"Adobe") + 11
    return data[:mark] + b"\2" + data[mark + 1 :]


def phone():
    """A JPEG with another picture behind it, as phones make them."""
    other = Image.new("RGB", (9, 9), "red")
    return jpeg(RGB, "RGB", format="MPO", subsampling=0, save_all=True, append_images=[other])


JPEGS = {
    "YCbCr": jpeg(RGB, "RGB", subsampling=0),
    "progressive": jpeg(RGB, "RGB", subsampling=0, progressive=True),
    "CMYK": jpeg(np.dstack([255 - RGB, 0 * GREY]), "CMYK"),
    "YCCK": ycck(),
    "MPO": phone(),
}


@pytest.mark.parametrize("name", JPEGS)
def test_a_kind_of_jpeg_comes_out_as_it_is_meant(name, tmp_path):
    (tmp_path / "a.jpg").write_bytes(JPEGS[name])
    again = images.read(tmp_path / "a.jpg")
    assert np.abs(again.rgb.astype(int) - RGB).mean() < 3 and again.notes == () and again.alpha is None


@pytest.mark.parametrize("suffix", [".webp", ".png"])
def test_of_an_animation_the_first_picture_is_read_and_the_others_told_of(suffix, tmp_path):
    first = Image.fromarray(np.dstack([RGB, ALPHA.clip(1)]).astype(np.uint8))
    others = [Image.new("RGBA", (13, 11), colour) for colour in ("red", "blue")]
    lossless = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    first.save(tmp_path / f"a{suffix}", save_all=True, append_images=others, duration=50, **lossless)
    again = images.read(tmp_path / f"a{suffix}")
    assert np.array_equal(np.dstack([again.rgb, again.alpha]), np.asarray(first)) and "3 pictures" in again.notes[0]


# -- metadata ------------------------------------------------------------------------------------------


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    data = b"WEBP" + b"".join(kind + struct.pack("<I", len(c)) + c + bytes(len(c) % 2) for kind, c in chunks)
    return b"RIFF" + struct.pack("<I", len(data)) + data


MEBIBYTE = zlib.compress(bytes(2**20 - 1))
INFLATED = zlib.compress(bytes(2**25))
DAMAGED_CHUNKS = {
    "text of 2 MiB": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**21))),
    "text that inflates": chunk(b"zTXt", b"a\0\0" + INFLATED),
    "international text that inflates": chunk(b"iTXt", b"a\0\1\0\0\0" + INFLATED),
    "many texts that inflate": b"".join(chunk(b"zTXt", b"a%d\0\0" % n + MEBIBYTE) for n in range(100)),
    "long text": chunk(b"tEXt", b"a\0" + bytes(2**23)),
    "profile that inflates": chunk(b"iCCP", b"a\0\0" + INFLATED),
    "profile of another method": chunk(b"iCCP", b"a\0\7abc"),
    "no profile": chunk(b"iCCP", b""),
    "damaged profile": chunk(b"iCCP", b"a\0\0abc"),
    "damaged EXIF": chunk(b"eXIf", b"garbage!"),
    "no EXIF": chunk(b"eXIf", b""),
    "EXIF as text, damaged": chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 12\nzz"),
    "checksum": chunk(b"tEXt", b"a\0b")[:-1] + b"!",
    "resolution": chunk(b"pHYs", b"1"),
    "gamma": chunk(b"gAMA", b""),
    "frames": chunk(b"fcTL", b"1"),
}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", DAMAGED_CHUNKS)
def test_a_png_is_read_without_its_damaged_metadata(name, bits, tmp_path):
    samples = RGB * (257 if bits == 16 else 1)
    (tmp_path / "a.png").write_bytes(png(samples, bits, 2, DAMAGED_CHUNKS[name]))
    tracemalloc.start()
    again = images.read(tmp_path / "a.png")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    assert np.array_equal(again.rgb, samples) and len(again.notes) == 1 and "metadata" in again.notes[0]
    assert images.size(tmp_path / "a.png") == (11, 13)


def test_metadata_behind_the_pixels_may_be_cut_off_and_the_pixels_not(tmp_path):
    data = png(RGB, 8, 2)
    behind = data[:-12] + chunk(b"tEXt", b"a\0" + bytes(99))
    (tmp_path / "a.png").write_bytes(behind[:-50])
    assert np.array_equal(images.read(tmp_path / "a.png").rgb, RGB)
    for end in range(33, len(data) - 16, 40):
        (tmp_path / "a.png").write_bytes(png(RGB, 8, 2, chunk(b"pHYs", bytes(9)))[: end + 21])
        with pytest.raises(InputError):
            images.read(tmp_path / "a.png")


DAMAGED_SEGMENTS = {
    "JFIF": segment(0xE0, b"JFIF\0"),
    "Adobe": segment(0xEE, b"Adobe"),
    "profile": segment(0xE2, b"ICC_PROFILE\0"),
    "part of a profile": segment(0xE2, b"ICC_PROFILE\0\1\3abc"),
    "EXIF": segment(0xE1, b"Exif\0\0garbage!"),
    "no EXIF": segment(0xE1, b"Exif\0\0"),
    "much": segment(0xE5, bytes(60000)) * 80,
    "EXIF of many parts": segment(0xE1, b"Exif\0\0" + bytes(60000)) * 60,
    "other pictures": segment(0xE2, b"MPF\0garbage"),
    "resources": segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\377"),
}
PASSED_OVER = ("other pictures", "resources")  # by Pillow too, without a word


@pytest.mark.parametrize("kind", ["progressive", "CMYK"])
@pytest.mark.parametrize("name", DAMAGED_SEGMENTS)
def test_a_jpeg_is_read_without_its_damaged_metadata(name, kind, tmp_path):
    data = JPEGS[kind]
    (tmp_path / "good.jpg").write_bytes(data)
    (tmp_path / "a.jpg").write_bytes(data[:2] + DAMAGED_SEGMENTS[name] + data[2:])
    again = images.read(tmp_path / "a.jpg")
    assert np.array_equal(again.rgb, images.read(tmp_path / "good.jpg").rgb)
    assert name in PASSED_OVER or len(again.notes) == 1 and "metadata" in again.notes[0]


def test_a_webp_is_read_without_its_damaged_metadata(tmp_path):
    Image.fromarray(RGB.astype(np.uint8)).save(tmp_path / "a.webp", lossless=True)
    data = (tmp_path / "a.webp").read_bytes()
    pixels = (b"VP8L", data[20:])
    extended = (b"VP8X", bytes([0x08, 0, 0, 0, 12, 0, 0, 10, 0, 0]))
    for broken in (
        riff(extended, pixels, (b"EXIF", b"garbage!")),
        riff(extended, pixels)[:-1] + b"\0EXIF\xff\xff\0\0",
        riff(extended, pixels, (b"EXIF", b"")),
    ):
        (tmp_path / "a.webp").write_bytes(broken[:4] + struct.pack("<I", len(broken) - 8) + broken[8:])
        again = images.read(tmp_path / "a.webp")
        assert np.array_equal(again.rgb, RGB) and images.size(tmp_path / "a.webp") == (11, 13)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_of_damaged_metadata_the_orientation_is_kept(suffix, tmp_path):
    if suffix == ".png":
        good = png(RGB, 8, 2, chunk(b"eXIf", exif(6)[6:]))
        bad = png(RGB, 8, 2, chunk(b"iCCP", b""), chunk(b"eXIf", exif(6)[6:]))
    else:
        good = jpeg(RGB, "RGB", exif=exif(6))
        bad = good[:2] + DAMAGED_SEGMENTS["profile"] + good[2:]
    pictures = []
    for name, data in (("good", good), ("bad", bad)):
        (tmp_path / f"{name}{suffix}").write_bytes(data)
        pictures.append(images.read(tmp_path / f"{name}{suffix}"))
    assert np.array_equal(pictures[0].rgb, pictures[1].rgb) and pictures[0].rgb.shape == (13, 11, 3)
    assert not pictures[0].notes and "metadata" in pictures[1].notes[0]


# -- what is no picture --------------------------------------------------------------------------------


def test_no_program_is_run(tmp_path, command):
    """Pillow would give what is PostScript to Ghostscript, by whatever name."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/trace\n")
    (tmp_path / "gs").chmod(0o755)
    (tmp_path / "holiday.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    script = f"from dataset import images; images.read({str(tmp_path / 'holiday.png')!r})"
    done = command("-c", script, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert "holiday.png: not a readable picture: it is none of png" in done.stderr and not (tmp_path / "trace").exists()


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "zero.png", "folder.png"):
        for look in (images.read, images.size, images.decoding_bytes):
            with pytest.raises(InputError, match=f"{name}: is a .*, expected a file"):
                look(tmp_path / name)


@pytest.mark.parametrize(
    "data",
    [
        png(RGB * 257, 16, 2),
        png(RGB, 8, 2)[:33] + struct.pack(">I4s", 2**31 - 1, b"tEXt"),
        png(RGB, 8, 2)[:33] + struct.pack(">I4s", 2**31 - 1, b"IDAT"),
        JPEGS["progressive"][:400],
        JPEGS["YCbCr"],
        b"\xff\xd8\xff",
        b"\xff\xd8" + b"\xff" * 10**5,
        bmp(32, packed(ARGB, 8, 8, 8, 8)),
        b"RIFF\xff\xff\xff\xffWEBPVP8L\xff\xff\xff\xff\x2f\x0c\x80\x02\x00",
    ],
)
def test_a_sparse_file_of_a_terabyte_is_refused_at_once(data, tmp_path):
    (tmp_path / "a.png").write_bytes(data)
    os.truncate(tmp_path / "a.png", 10**12)
    tracemalloc.start()
    for look in (images.read, images.size, images.decoding_bytes):
        with pytest.raises(InputError, match="a.png: not a readable picture: (it has 1,0|its header tells no size)"):
            look(tmp_path / "a.png")
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


# -- memory --------------------------------------------------------------------------------------------


def test_decoding_takes_what_it_is_said_to(tmp_path, command):
    rgb = np.random.default_rng(0).integers(0, 256, (48, 2000, 3), np.uint8).repeat(32, axis=0)
    whole = Image.fromarray(rgb)
    whole.save(tmp_path / "a.png", compress_level=1)
    whole.convert("RGBA").save(tmp_path / "alpha.png", compress_level=1)
    whole.convert("L").save(tmp_path / "grey.png", compress_level=1)
    whole.save(tmp_path / "progressive.jpg", progressive=True, subsampling=0)
    whole.save(tmp_path / "turned.jpg", exif=exif(6))
    whole.save(tmp_path / "a.bmp")
    whole.save(tmp_path / "a.webp", method=0, quality=10)
    whole.save(tmp_path / "lzw.tif", compression="tiff_lzw")
    images.write_rgb(tmp_path / "a.tif", rgb)
    images.write_rgb(tmp_path / "deep.png", rgb.astype(np.uint16) * 257)
    script = """if True:
        import ctypes, sys
        from pathlib import Path
        import cv2, PIL.Image
        from dataset import images
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 2**16)  # what is freed, is given back
        def now(line):
            return int(Path("/proc/self/status").read_text().split(line)[1].split()[0]) * 1024
        PIL.Image.init()
        for file in sorted(Path(sys.argv[1]).iterdir()):
            before = now("VmRSS:")
            Path("/proc/self/clear_refs").write_text("5")
            picture = images.read(file)
            arrays = picture.rgb.nbytes + (0 if picture.alpha is None else picture.alpha.nbytes)
            print(file.name, now("VmHWM:") - before, images.decoding_bytes(file), arrays, images.held_bytes(file))
            del picture
            libc.malloc_trim(0)
    """
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("the peak of memory cannot be measured here")
    done = command("-c", script, tmp_path)
    assert done.returncode == 0, done.stderr
    for name, *numbers in map(str.split, done.stdout.splitlines()):
        peak, decoding, arrays, held = map(int, numbers)
        assert peak <= decoding + 2**20 <= 1.5 * peak + 2**24, name
        assert arrays <= held <= arrays * 4 / 3, name
    assert len(done.stdout.splitlines()) == 10


def test_names_with_odd_digits_are_sorted(tmp_path):
    names = ["1²2.png", "1.png", "١٢.png", "a²¹.png", "A1.png", "a1.png"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    assert {file.name for file in images.list_images(tmp_path)} == set(names)


PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def grey_or_rgb_png(pixels: np.ndarray, passes: tuple, less: int = 0) -> bytes:
    """A PNG of grey or RGB pixels, interlaced or not, whose data are so many bytes too short."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    parts = (pixels[y::down, x::across] for x, y, across, down in passes)
    data = b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)
    header = struct.pack(">IIBBBBB", *pixels.shape[1::-1], 8, 2 if pixels.ndim == 3 else 0, 0, 0, len(passes) > 1)
    data = zlib.compress(data[: len(data) - less])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("passes", [((0, 0, 1, 1),), PASSES], ids=["plain", "interlaced"])
@pytest.mark.parametrize("size", [(37, 29), (1, 1), (2, 300)])
def test_a_png_whose_data_end_early_is_refused(picture, tmp_path, passes, size):
    """Well-formed, but for fewer lines than the header tells: Pillow alone makes the others up."""
    for pixels in (picture(*size), picture(*size)[:, :, 0]):
        (tmp_path / "a.png").write_bytes(grey_or_rgb_png(pixels, passes))
        rgb = images.read(tmp_path / "a.png").rgb
        assert np.array_equal(rgb if pixels.ndim == 3 else rgb[:, :, 0], pixels)
        (tmp_path / "b.png").write_bytes(grey_or_rgb_png(pixels, passes, less=1))
        with pytest.raises(InputError, match="b.png: not a readable picture: image file is truncated"):
            images.read(tmp_path / "b.png")


def test_a_packed_bmp_of_few_bytes_and_many_pixels_is_refused(tmp_path):
    header = struct.pack("<IiiHHIIiiII", 40, 14_000, 14_000, 1, 8, 1, 0, 0, 0, 0, 0)
    (tmp_path / "a.bmp").write_bytes(b"BM" + struct.pack("<IHHI", 60_000, 0, 0, 54 + 1024) + header + bytes(59_000))
    with pytest.raises(InputError, match="more pixels than it can hold"):
        images.read(tmp_path / "a.bmp")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_a_picture_in_memory_is_read_as_its_file(tmp_path, suffix):
    data = images.encode(images.Picture(RGB.astype(np.uint8)), suffix)
    assert np.array_equal(images.decode(data, "a name").rgb, RGB)
    for bad in (b"", data[: len(data) // 2]):
        with pytest.raises(InputError, match="a name: not a readable picture"):
            images.decode(bad, "a name")


def test_the_shape_of_a_picture_tells_whether_it_is_grey(tmp_path):
    for grey in (True, False):
        images.write(tmp_path / "a.png", images.Picture(np.repeat(RGB[:, :, :1], 3, 2).astype(np.uint8), grey=grey))
        assert images.shape(tmp_path / "a.png") == (*RGB.shape[:2], 1 if grey else 3)
