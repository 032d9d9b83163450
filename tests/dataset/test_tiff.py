"""Each kind of TIFF comes out as it is meant, or is refused by name."""

import io
import os
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from dataset import images
from dataset.errors import InputError

Y, X = np.mgrid[0:23, 0:37]
RGB = np.stack([6 * X % 256, 10 * Y % 256, (3 * X + 5 * Y) % 256], axis=2)
GREY = RGB[:, :, :1]
ALPHA = np.clip(30 + 6 * X, 0, 255)[:, :, None]
PALETTE = np.stack([np.arange(256), 255 - np.arange(256), 77 * np.arange(256) % 256], axis=1)


def by_hand(samples, bits=8, colours=1, order="<", extra=(), deflate=False, **more) -> bytes:
    """A TIFF of one strip, of (H, W, channels) numbers of any bits; ``more`` are tags, as t317=[2]."""
    height, width, channels = np.atleast_3d(samples).shape
    lines = np.asarray(samples, np.uint64).reshape(height, -1)
    if bits % 8 == 0 and bits != 24:
        data = lines.astype(f"{order}u{bits // 8}").tobytes()
    else:
        ones = lines[:, :, None] >> np.arange(bits - 1, -1, -1, dtype=np.uint64) & np.uint64(1)
        data = np.packbits(ones.astype(np.uint8).reshape(height, -1), axis=1).tobytes()
    data = zlib.compress(data) if deflate else data
    tags = {256: [width], 257: [height], 258: [bits] * channels, 259: [8 if deflate else 1], 262: [colours], 273: [0]}
    tags |= {277: [channels], 278: [height], 279: [len(data)], 284: [1], 338: extra}
    tags |= {int(name[1:]): values for name, values in more.items()}
    tags = {tag: list(values) for tag, values in sorted(tags.items()) if len(values)}
    place = 8 + 2 + 12 * len(tags) + 4
    entries, beyond = b"", b""
    tags[273] = [place + sum(4 * len(values) for values in tags.values() if len(values) > 1)]
    for tag, values in tags.items():
        content = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            content, beyond = struct.pack(f"{order}I", place + len(beyond)), beyond + content
        entries += struct.pack(f"{order}HHI", tag, 4, len(values)) + content
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return head + entries + bytes(4) + beyond + data


def by_tifffile(samples, bits=8, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, np.asarray(samples, f"u{bits // 8}").squeeze(), metadata=None, **options)
    return file.getvalue()


def by_pillow(samples, mode=None, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.asarray(samples, np.uint8).squeeze()).convert(mode).save(file, "TIFF", **options)
    return file.getvalue()


def by_opencv(samples) -> bytes:
    """Of 16 bits, compressed by LZW."""
    pixels = np.asarray(samples, np.uint16)
    return cv2.imencode(".tif", pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]] if pixels.shape[2] > 1 else pixels)[
        1
    ].tobytes()


def stacked(*channels, by=1):
    return np.concatenate(channels, axis=2) * by


def premultiplied(colours, alpha, peak):
    return np.concatenate([np.round(colours * alpha * (peak / 255) ** 2 / peak), alpha * (peak // 255)], axis=2)


def planes(samples):
    return np.moveaxis(samples, 2, 0)


def understood():
    """Name, file, the colours and the alpha that are meant (of 255), and how far off they may be."""
    for bits, by in ((8, 1), (16, 257)):
        peak, un = 255 * by, {"extrasamples": ["unassalpha"]}
        layouts = {
            "strips": {"rowsperstrip": 5},
            "tiles": {"tile": (16, 32)},
            "big-endian BigTIFF": {"byteorder": ">", "bigtiff": True},
            "deflate": {"compression": "zlib", "rowsperstrip": 6},
            "deflate of differences": {"compression": "zlib", "predictor": True, "tile": (16, 16), "byteorder": ">"},
        }
        for name, layout in layouts.items():
            rgb = {"photometric": "rgb"} | layout
            yield f"RGB {bits}, {name}", by_tifffile(RGB * by, bits, **rgb), RGB, None, 0
            yield f"grey {bits}, {name}", by_tifffile(GREY * by, bits, **layout), GREY, None, 0
            apart = by_tifffile(planes(stacked(RGB, ALPHA, by=by)), bits, planarconfig="separate", **un, **rgb)
            yield f"RGB and alpha apart {bits}, {name}", apart, RGB, ALPHA, 0
        rgb = {"photometric": "rgb"}
        yield f"RGB apart {bits}", by_tifffile(planes(RGB * by), bits, planarconfig="separate", **rgb), RGB, None, 0
        white = by_tifffile(peak - GREY * by, bits, photometric="miniswhite")
        yield f"white is zero {bits}", white, GREY, None, 0
        together = by_tifffile(stacked(RGB, ALPHA, by=by), bits, **un, **rgb)
        yield f"RGB and alpha {bits}", together, RGB, ALPHA, 0
        bare = by_hand(stacked(RGB, ALPHA, by=by), bits, 2)
        yield f"RGB and what is not told {bits}", bare, RGB, ALPHA, 0
        grey = by_hand(stacked(GREY, ALPHA, by=by), bits, 1, extra=[2])
        yield f"grey and alpha {bits}", grey, GREY, ALPHA, 0
        spare = by_hand(stacked(RGB, GREY, by=by), bits, 2, extra=[0])
        yield f"RGB and something {bits}", spare, RGB, None, 0
        later = by_hand(stacked(RGB, GREY, ALPHA, by=by), bits, 2, extra=[0, 2])
        yield f"RGB, something and alpha {bits}", later, RGB, ALPHA, 0
        off = 255 / ALPHA / by
        multiplied = by_hand(premultiplied(RGB, ALPHA, peak), bits, 2, extra=[1])
        yield f"RGB multiplied by alpha {bits}", multiplied, RGB, ALPHA, off
        multiplied = by_hand(premultiplied(GREY, ALPHA, peak), bits, 1, extra=[1])
        yield f"grey multiplied by alpha {bits}", multiplied, GREY, ALPHA, off
    for bits in (1, 2, 4):
        peak = 2**bits - 1
        few = GREY * peak // 255
        for order in "<>":
            yield f"grey {bits} {order}", by_hand(few, bits, 1, order), few * 255 / peak, None, 0.5
            yield f"white is zero {bits} {order}", by_hand(peak - few, bits, 0, order), few * 255 / peak, None, 0.5
        colours = by_hand(few, bits, 3, t320=(PALETTE[: peak + 1].T * 257).ravel().tolist())
        yield f"palette {bits}", colours, PALETTE[few[:, :, 0]], None, 0
    palette = by_hand(GREY, 8, 3, t320=(PALETTE.T * 257).ravel().tolist())
    yield "palette 8", palette, PALETTE[GREY[:, :, 0]], None, 0
    yield (
        "fax",
        by_pillow(GREY, "1", compression="group4"),
        np.asarray(Image.open(io.BytesIO(by_pillow(GREY, "1")))) * 255,
        None,
        0,
    )
    yield "LZW 8", by_pillow(RGB, compression="tiff_lzw"), RGB, None, 0
    yield "LZW with alpha 8", by_pillow(stacked(RGB, ALPHA), compression="tiff_lzw"), RGB, ALPHA, 0
    yield "PackBits 8", by_pillow(GREY, compression="packbits"), GREY, None, 0
    yield "JPEG", by_pillow(GREY, compression="jpeg", quality=100), GREY, None, 3
    yield "LZW grey 16", by_opencv(GREY * 257), GREY, None, 0
    yield "LZW RGB 16", by_opencv(RGB * 257), RGB, None, 0
    yield "LZW with alpha 16", by_opencv(stacked(RGB, ALPHA, by=257)), RGB, ALPHA, 0
    yield "bits from right to left 16", by_hand(RGB * 257, 16, 2, t266=[2])[:-5106] + reversed_bits(RGB), RGB, None, 0
    inks = stacked(255 - RGB, 0 * GREY)
    yield "CMYK", by_hand(inks, 8, 5), RGB, None, 0
    yield "CMYK, deflate", by_hand(inks, 8, 5, ">", deflate=True), RGB, None, 0
    yield "YCbCr, deflate", by_hand(ycc(), 8, 6, deflate=True, t530=[1, 1]), RGB, None, 3
    yield "CIELab", by_hand(np.dstack([GREY, 0 * GREY, 0 * GREY]), 8, 8), shades_of_lab(GREY), None, 2


def reversed_bits(samples):
    data = (samples * 257).astype("<u2").view(np.uint8)
    return np.packbits(np.unpackbits(data, bitorder="little")).tobytes()


def ycc():
    """ITU-R BT.601, full range."""
    luma = RGB @ [0.299, 0.587, 0.114]
    blue, red = (RGB[:, :, 2] - luma) / 1.772 + 128, (RGB[:, :, 0] - luma) / 1.402 + 128
    return np.stack([luma, blue, red], axis=2).round().clip(0, 255)


def shades_of_lab(lightness):
    """sRGB of L* in 255ths without colour (CIE 1976, IEC 61966-2-1)."""
    light = lightness / 2.55
    linear = np.where(light > 8, ((light + 16) / 116) ** 3, light / 903.3)
    return 255 * np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)


UNDERSTOOD = {name: case for name, *case in understood()}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_a_kind_comes_out_as_it_is_meant(name, tmp_path):
    data, colours, alpha, off = UNDERSTOOD[name]
    (tmp_path / "a.tif").write_bytes(data)
    picture = images.read(tmp_path / "a.tif")
    peak = np.iinfo(picture.rgb.dtype).max
    assert picture.rgb.shape == RGB.shape and picture.notes == () and peak == (65535 if "16" in name else 255)
    assert (np.abs(picture.rgb * (255 / peak) - np.atleast_3d(colours)) <= off + 1e-9).all()
    assert picture.grey == any(word in name for word in ("grey", "white", "fax", "PackBits", "JPEG"))
    assert (picture.alpha is None) == (alpha is None)
    assert alpha is None or np.abs(picture.alpha * (255 / peak) - alpha[:, :, 0]).max() < 1e-9


def test_there_are_enough_kinds():
    assert len(UNDERSTOOD) + len(REFUSED) > 100


REFUSED = {
    **{f"grey {bits}": by_hand(GREY, bits) for bits in (3, 6, 10, 12, 14, 24, 32, 64)},
    **{f"RGB {bits}": by_hand(RGB % 2**bits, bits, 2) for bits in (1, 2, 4, 12, 32)},
    **{
        f"numbers {kind} of {bits}": by_hand(GREY, bits, t339=[kind])
        for bits in (8, 16, 32)
        for kind in (2, 3, 4, 5, 6)
    },
    "RGB of signed numbers": by_hand(RGB, 16, 2, t339=[2, 2, 2]),
    "bits that differ": by_hand(RGB, 8, 2, t258=[5, 6, 5]),
    "palette 16": by_hand(GREY, 16, 3, t320=[0] * 3 * 65536),
    "mask": by_hand(GREY, 8, 4),
    "three channels of brightness": by_hand(RGB, 8, 1, extra=[0, 0]),
    "three of 16": by_hand(RGB * 257, 16, 1, extra=[0, 0]),
    "grey and what is not told": by_hand(stacked(GREY, ALPHA), 8, 1),
    "white is zero, multiplied by alpha": by_hand(stacked(GREY, ALPHA), 8, 0, extra=[1]),
    "CMYK 16": by_hand(stacked(RGB, GREY), 16, 5),
    "other inks": by_hand(stacked(RGB, GREY), 8, 5, t332=[2]),
    "YCbCr of 2x2, not told": by_hand(ycc(), 8, 6, deflate=True),
    "YCbCr, not compressed": by_hand(ycc(), 8, 6, t530=[1, 1]),
    "YCbCr 16": by_hand(ycc(), 16, 6, t530=[1, 1]),
    "ICCLab": by_hand(RGB, 8, 9),
    "colour filters": by_hand(GREY, 16, 32803),
    "JPEG 2000": by_hand(RGB, 8, 2, t259=[34712]),
    "old JPEG": by_hand(RGB, 8, 6, t259=[6]),
    "PackBits of differences": by_hand(GREY, 8, 1, t259=[32773], t317=[2]),
    "differences of floats": by_hand(GREY, 8, 1, t259=[5], t317=[3]),
    "Zstandard 16": by_hand(GREY, 16, 1, t259=[50000]),
    "LZW of grey and alpha 16": by_hand(stacked(GREY, ALPHA), 16, 1, extra=[2], t259=[5]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_kind_that_would_come_out_wrong_is_refused_by_name(name, tmp_path):
    (tmp_path / "a.tif").write_bytes(REFUSED[name])
    with pytest.raises(InputError) as caught:
        images.read(tmp_path / "a.tif")
    kind = "TIFF of this kind is not supported (.* bits .* channels.*); save it as grey or RGB of 8 or 16 bits unsigned"
    caught.match(f"^{tmp_path}/a.tif: not a readable picture: {kind}$".replace("(", r"\(").replace(")", r"\)"))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation, deflate, bits, tmp_path):
    stored = RGB * (257 if bits == 16 else 1)
    turned = images.read(save(tmp_path / "a.tif", by_hand(stored, bits, 2, t274=[orientation], deflate=deflate)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB.astype(np.uint8)).save(tmp_path / "a.png", exif=exif)  # see test_images.py
    assert np.array_equal(images.to_uint8(turned.rgb), images.read(tmp_path / "a.png").rgb)


@pytest.mark.parametrize(
    "name",
    ["RGB 8, strips", "grey 16, deflate of differences", "LZW 8", "LZW RGB 16", "palette 4", "RGB 16, tiles", "JPEG"],
)
def test_a_file_that_is_cut_off_is_refused(name, tmp_path):
    data = UNDERSTOOD[name][0]
    whole = images.read(save(tmp_path / "a.tif", data)).rgb
    for end in range(0, len(data), max(1, len(data) // 40)):
        try:
            again = images.read(save(tmp_path / "a.tif", data[:end])).rgb
        except InputError:
            continue
        np.testing.assert_array_equal(again, whole)  # what is missing is no part of the picture


def save(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("damage", [{"t270": [0] * 9}, {"t34665": [1] * 9}, {"t282": [7] * 9}, {"t700": [1] * 9}])
def test_tags_that_make_no_pixels_may_be_damaged(damage, tmp_path):
    data = by_hand(RGB, 8, 2, **damage)
    tag = struct.pack("<HHI", int(next(iter(damage))[1:]), 4, 9)
    kind = data.index(tag)
    for broken in (tag[:2] + b"\xff\xff" + tag[4:], tag[:4] + b"\xff\xff\xff\x0f"):  # of no type, beyond the file
        picture = images.read(save(tmp_path / "a.tif", data[:kind] + broken + data[kind + 8 :]))
        assert np.array_equal(picture.rgb, RGB) and "metadata" in picture.notes[0]


def test_an_orientation_that_cannot_be_read_is_upright(tmp_path):
    data = by_hand(RGB, 8, 2, t274=[6])
    place = data.index(struct.pack("<HHI", 274, 4, 1))
    picture = images.read(save(tmp_path / "a.tif", data[:place] + struct.pack("<HHI", 274, 99, 1) + data[place + 8 :]))
    assert np.array_equal(picture.rgb, RGB) and "metadata" in picture.notes[0]


@pytest.mark.parametrize("tag", [256, 257, 258, 259, 273, 277, 278, 322, 323, 324])
def test_what_makes_the_pixels_may_not_be_nothing(tag, tmp_path):
    """A length of nothing, or a place before all data, as programs leave for tiles that they have not written."""
    data = bytearray(by_hand(GREY, 8, 1, **{"t322": [16], "t323": [16], "t324": [200] * 6} if tag > 300 else {}))
    place = data.index(struct.pack("<HH", tag, 4)) + 8
    if tag == 324:
        (place,) = struct.unpack_from("<I", data, place)
    struct.pack_into("<I", data, place, 0)
    with pytest.raises(InputError, match="a.tif: not a readable picture: "):
        images.read(save(tmp_path / "a.tif", data))


def test_other_pages_are_told_of(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([GREY, GREY])[..., 0].astype(np.uint8), photometric="minisblack")
    assert "it holds 2 pictures" in images.read(tmp_path / "a.tif").notes[0]


def test_no_more_is_read_than_the_picture(tmp_path):
    """Files of a terabyte in a few blocks: what is read of them is little, or nothing."""
    far = io.BytesIO()
    tifffile.imwrite(far, RGB.astype(np.uint8), photometric="rgb", bigtiff=True, metadata=None)
    data = bytearray(far.getvalue())
    strip = data.index(RGB.astype(np.uint8).tobytes())
    place = data.index(struct.pack("<HHQQ", 273, 16, 1, strip)) + 12
    with open(tmp_path / "far.tif", "wb") as file:  # its strip lies at the end
        struct.pack_into("<Q", data, place, 10**12)
        file.write(data[:strip])
        file.seek(10**12)
        file.write(data[strip:])
    tracemalloc.start()
    assert np.array_equal(images.read(tmp_path / "far.tif").rgb, RGB)
    for tag, count in ((273, 2**31), (279, 2**33), (700, 2**35)):
        broken = bytearray(by_hand(RGB, 8, 2, t700=[0] * 9))
        place = broken.index(struct.pack("<HH", tag, 4))
        struct.pack_into("<II", broken, place + 4, min(count, 2**32 - 1), 9)
        os.truncate(save(tmp_path / "many.tif", broken), 10**12)
        try:
            assert np.array_equal(images.read(tmp_path / "many.tif").rgb, RGB) and tag == 700
        except InputError:
            assert tag != 700
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


def test_a_strip_inflates_to_no_more_than_the_picture(tmp_path):
    data = by_hand(RGB, 8, 2, deflate=True)
    strip = zlib.compress(RGB.astype(np.uint8).tobytes() + bytes(2**27))
    start = len(data) - len(zlib.compress(RGB.astype(np.uint8).tobytes()))
    count = data.index(struct.pack("<HHI", 279, 4, 1)) + 8
    save(tmp_path / "a.tif", data[:count] + struct.pack("<I", len(strip)) + data[count + 4 : start] + strip)
    tracemalloc.start()
    assert np.array_equal(images.read(tmp_path / "a.tif").rgb, RGB)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
