import struct

import numpy as np
import pytest
import tifffile
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
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "o.png", exif=exif)
    assert np.array_equal(images.read(tmp_path / "o.png").rgb, upright)


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


def twelve_bits(grey):
    """A TIFF of (H, W) numbers below 4096, two of them in three bytes."""
    height, width = grey.shape
    bits = np.unpackbits(grey.astype(">u2").view(np.uint8).reshape(height, width, 2), axis=2)[:, :, 4:]
    data = np.packbits(bits.reshape(height, -1), axis=1).tobytes()
    tags = {256: width, 257: height, 258: 12, 259: 1, 262: 1, 273: 0, 277: 1, 278: height, 279: len(data)}
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


@pytest.mark.parametrize("dtype", "int8 int16 int32 int64 uint32 uint64 float16 float32 float64".split())
@pytest.mark.parametrize("channels", [1, 3])
def test_numbers_that_would_come_out_wrong_are_refused(dtype, channels, tmp_path, picture):
    grey = (picture(6, 8)[..., :channels] / 255).squeeze()
    pixels = grey if dtype.startswith("float") else grey * np.iinfo(dtype).max
    photometric = "rgb" if channels == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", pixels.astype(dtype), photometric=photometric)
    with pytest.raises(InputError, match="a.tif: not a readable picture: .*8 or 16 bits unsigned") as caught:
        images.read(tmp_path / "a.tif")
    assert "\n" not in str(caught.value)


def test_twelve_bits_and_planes_and_other_formats_are_refused(tmp_path, picture):
    rgb = picture(6, 8)
    (tmp_path / "twelve.tif").write_bytes(twelve_bits(rgb[..., 0].astype(int) * 16))
    planes = np.moveaxis(rgb.astype(np.uint16) * 257, 2, 0)
    tifffile.imwrite(tmp_path / "planes.tif", planes, photometric="rgb", planarconfig="separate")
    Image.fromarray(planes[0]).save(tmp_path / "deep.png", format="PPM")
    Image.fromarray(rgb[..., 0] / np.float32(255)).save(tmp_path / "float.png", format="PPM")
    Image.fromarray(planes[0]).save(tmp_path / "jp2.png", format="JPEG2000")
    for name in ("twelve.tif", "planes.tif", "deep.png", "float.png", "jp2.png"):
        with pytest.raises(InputError, match=f"{name}: not a readable picture: .*(save it)"):
            images.read(tmp_path / name)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiffs_whose_white_is_zero_are_no_negatives(dtype, tmp_path, picture):
    grey = picture(6, 8)[..., 0].astype(dtype) * (257 if dtype == np.uint16 else 1)
    peak = np.iinfo(dtype).max
    tifffile.imwrite(tmp_path / "a.tif", peak - grey, photometric="miniswhite")
    again = images.read(tmp_path / "a.tif")
    assert again.grey and np.array_equal(again.rgb[..., 2], grey)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_of_grey_and_palettes(bits, tmp_path):
    levels = np.arange(2**bits, dtype=np.uint8)[None].repeat(3, axis=0)
    palette = Image.fromarray(levels, "P")
    palette.putpalette(sum([[7 * level, 255 - level, level] for level in range(2**bits)], []))
    palette.save(tmp_path / "palette.png", bits=bits)
    assert images.read(tmp_path / "palette.png").rgb[1].tolist() == [[7 * n, 255 - n, n] for n in range(2**bits)]
    height, width = levels.shape
    packed = np.packbits(np.unpackbits(levels[..., None], axis=2)[:, :, 8 - bits :].reshape(height, -1), axis=1)
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 122, 277: 1, 278: height, 279: packed.size}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    (tmp_path / "grey.tif").write_bytes(b"II*\0" + struct.pack("<IH", 8, 9) + entries + bytes(4) + packed.tobytes())
    again = images.read(tmp_path / "grey.tif")
    assert again.grey and again.rgb[0, :, 0].tolist() == [round(255 * n / (2**bits - 1)) for n in range(2**bits)]
