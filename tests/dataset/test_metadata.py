"""What a file says beside its pixels, read and written again."""

import io
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, PngImagePlugin

from dataset import images
from dataset.formats import losses
from dataset.images import Picture
from dataset.metadata import Metadata
from dataset.picture import Bands

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif() -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112], tags[0x010F], tags[0x0100] = 6, "A maker", 30
    tags[0x013B] = "Zo##"
    tags[0x011A] = tags[0x011B] = 300.0
    tags.get_ifd(0x8769).update(
        {0x9003: "2019:07:14 12:30:00", 0xA002: 30, 0xA003: 20, 0x829A: 0.01, 0xA433: "M##ller"}
    )
    tags.get_ifd(0x8825).update({1: "N", 2: (52.0, 30.0, 1.5)})
    return tags


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_exif_is_carried_over(kind, suffix, tmp_path):
    xmp = b"<x tiff:Orientation='%d' exif:PixelXDimension='%d'><tiff:ImageLength>%d</tiff:ImageLength></x>"
    xmp, turned, text = xmp % (6, 30, 20), xmp % (1, 40, 60), PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp.decode())
    beside = {"pnginfo": text} if kind == "png" else {"xmp": xmp}
    tags = exif().tobytes().replace(b"Zo##", "Zoë".encode()).replace(b"M##", "Mö".encode())  # EXIF knows ASCII alone
    Image.fromarray(RGB).save(tmp_path / f"a.{kind}", exif=tags, **beside)
    picture = images.read(tmp_path / f"a.{kind}")
    large = np.repeat(np.repeat(picture.rgb, 2, 0), 2, 1)
    images.write(tmp_path / f"b{suffix}", Picture(large, metadata=picture.metadata.enlarged(60, 40, 2)))
    assert images.read(tmp_path / f"b{suffix}").metadata.xmp == turned
    with Image.open(tmp_path / f"b{suffix}") as image:
        found = image.getexif()
        camera, place = found.get_ifd(0x8769), found.get_ifd(0x8825)
        assert image.size == (40, 60) and found.get(0x0112, 1) == 1 and found[0x010F] == "A maker"
        assert found[0x011A] == 600 and found[0x0100] == 40
        assert (camera[0x9003], camera[0xA002], camera[0xA003]) == ("2019:07:14 12:30:00", 40, 60)
        assert [text.encode("latin-1").decode() for text in (found[0x013B], camera[0xA433])] == ["Zoë", "Möller"]
        assert (float(camera[0x829A]), place[1], place[2]) == (0.01, "N", (52.0, 30.0, 1.5))


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_a_tiff_of_any_order_tells_its_profile_and_dpi(byteorder, bigtiff, tmp_path):
    options = {"photometric": "rgb", "byteorder": byteorder, "bigtiff": bigtiff, "iccprofile": SRGB}
    deep = RGB.astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "a.tif", deep, resolution=(100, 100), resolutionunit="centimeter", **options)
    picture = images.read(tmp_path / "a.tif")
    assert picture.metadata.icc == SRGB and picture.metadata.dpi == pytest.approx((254, 254)) and not picture.notes
    assert b"shape" not in (picture.metadata.exif or b"")  # tifffile's own note of the pixels


@pytest.mark.parametrize(
    "chunks, others",
    [
        ({b"gAMA": 45455}, False),
        ({b"gAMA": 100000}, True),
        ({b"gAMA": 100000, b"sRGB": 0}, False),
        ({b"cICP": 0x09100001}, True),  # BT.2020 and PQ
    ],
)
def test_what_a_png_tells_of_its_colours_is_kept_or_told(chunks, others, tmp_path):
    info, lengths = PngImagePlugin.PngInfo(), {b"sRGB": 1}
    for kind, number in chunks.items():
        info.add(kind, number.to_bytes(lengths.get(kind, 4)))
    Image.fromarray(RGB).save(tmp_path / "a.png", pnginfo=info)
    picture = images.read(tmp_path / "a.png")
    stripped = replace(picture, metadata=picture.metadata.colours_alone())
    images.write(tmp_path / "b.png", stripped)
    assert dict(images.read(tmp_path / "b.png").metadata.colours).keys() == chunks.keys()
    assert any("gamma" in loss for loss in losses(Bands.of(picture), ".webp")) == others
    assert not losses(Bands.of(picture), ".png")


def test_no_empty_list_of_tags_is_added(tmp_path):
    tags = Image.Exif()
    tags[0x010F] = "A maker"
    large = Metadata(exif=tags.tobytes()).enlarged(40, 60, 2)
    tags.load(large.exif)
    assert dict(tags) == {0x010F: "A maker"}


def test_text_is_kept_in_a_png(tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "A title")
    text.add_itxt("Comment", "Übung \u2603")
    Image.fromarray(RGB).save(tmp_path / "a.png", pnginfo=text, dpi=(300, 300))
    images.write(tmp_path / "b.png", images.read(tmp_path / "a.png"))
    with Image.open(tmp_path / "b.png") as image:
        assert image.text == {"Title": "A title", "Comment": "Übung \u2603"}
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)


def test_grey_with_a_profile_of_rgb_becomes_rgb_and_a_profile_that_is_cut_off_is_told_of(tmp_path):
    Image.fromarray(RGB[..., 0]).save(tmp_path / "a.jpg", icc_profile=SRGB)
    picture = images.read(tmp_path / "a.jpg")
    assert not picture.grey and picture.metadata.icc == SRGB
    Image.fromarray(RGB).save(tmp_path / "b.png", icc_profile=SRGB[:200])
    picture = images.read(tmp_path / "b.png")
    assert picture.metadata.icc is None and picture.notes


def test_a_format_without_profiles_gets_colours_as_srgb(tmp_path):
    images.write(tmp_path / "a.bmp", Picture(RGB, metadata=Metadata(icc=SRGB)))
    assert abs(images.read_rgb(tmp_path / "a.bmp").astype(int) - RGB).max() <= 1  # it is sRGB already


def test_a_jpeg_without_a_resolution_gets_none(tmp_path):
    tags = Image.Exif()
    tags[0x010F] = "A maker"
    Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=tags)
    assert images.read(tmp_path / "a.jpg").metadata.dpi is None


def test_exif_that_a_jpeg_cannot_hold_is_left_out(tmp_path):
    tags = Image.Exif()
    tags[0x010E] = "x" * 70_000
    images.write(tmp_path / "a.jpg", Picture(RGB, metadata=replace(Metadata(), exif=tags.tobytes())))
    assert Image.open(io.BytesIO((tmp_path / "a.jpg").read_bytes())).size == (30, 20)
    assert images.read(tmp_path / "a.jpg").metadata.exif is None
