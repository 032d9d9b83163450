"""What becomes of a picture from each format into each: the table in ``dataset/formats.md`` is what is measured here.

``python tests/dataset/test_formats.py`` writes it.
"""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from dataset import images, rarer
from dataset.picture import Picture
from dataset.test_set import Item
from solver.sampling.pages import join

OUT = (".png", ".tif", ".webp", ".jpg", ".bmp")
IN = (*OUT, ".gif", ".tga", ".ppm", ".jp2", ".avif")
TABLE = ROOT / "dataset" / "formats.md"
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
EXIF = Image.Exif()
EXIF[0x010F] = "A maker"
# What each format can have, as Pillow and tifffile write it.
DEEP = (".png", ".tif", ".ppm", ".jp2")
CLEAR = (".png", ".tif", ".webp", ".gif", ".tga", ".avif")
TOLD = (".png", ".tif", ".webp", ".jpg", ".avif")
FILMS = (".png", ".webp", ".gif", ".avif")


def rgb(side: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)


def saved(pixels: np.ndarray, suffix: str, path: Path, **options) -> Path:
    path = path / f"in{suffix}"
    if pixels.dtype == np.uint16 and suffix == ".tif":
        tifffile.imwrite(path, pixels, photometric="rgb")
    elif pixels.dtype == np.uint16:  # Pillow writes no other of so many bits than grey
        Image.fromarray(pixels[..., 0]).save(path)
    else:
        Image.fromarray(pixels).save(path, **({"quality": 100} if suffix in (".jpg", ".avif") else {}), **options)
    return path


def through(source: Path, suffix: str, path: Path) -> Picture:
    images.write(path / f"out{suffix}", images.read(source))
    return images.read(path / f"out{suffix}")


def deep(kind, suffix, path):
    result = through(saved(rgb().astype(np.uint16) * 257, kind, path), suffix, path)
    return "kept" if result.rgb.dtype == np.uint16 else "8 bits"


def grey(kind, suffix, path):
    return "kept" if through(saved(rgb()[..., 0], kind, path), suffix, path).grey else "RGB"


def alpha(kind, suffix, path):
    pixels = np.dstack([rgb() // 2, np.full((16, 16), 255, np.uint8)])
    pixels[:8, :, 3] = 0
    result = through(saved(pixels, kind, path), suffix, path)
    if result.alpha is not None:
        return "kept" if not result.alpha[:8].any() and result.alpha[8:].all() else "wrong"
    return "on white" if result.rgb[:6].min() > 250 and result.rgb[8:].mean() < 100 else "wrong"


def profile(kind, suffix, path):
    result = through(saved(rgb(), kind, path, icc_profile=PROFILE), suffix, path)
    return "kept" if result.metadata.icc == PROFILE else "as sRGB"


def exif(kind, suffix, path):
    found = through(saved(rgb(), kind, path, exif=EXIF), suffix, path).metadata.exif
    tags = Image.Exif()
    tags.load(found or b"")
    return "kept" if tags.get(0x010F) == "A maker" else "left out"


def several(kind, suffix, path):
    source, frames = path / f"in{kind}", [Image.fromarray(np.roll(rgb(), n, 1)) for n in range(3)]
    frames[0].save(source, save_all=True, append_images=frames[1:])
    items = [Item(f"out_{n}", source, page=n, whole="out") for n in range(3)]
    results = {item: path / f"{item.name}{suffix}" for item in items}
    for item, result in results.items():
        images.write(result, images.read(source, item.page))
    join(items, results, dict.fromkeys(items, path / f"out{suffix}"))
    if (path / f"out{suffix}").exists():
        assert images.pages(path / f"out{suffix}") == 3 and len(list(path.glob("out*"))) == 1
        return "kept" if kind in FILMS and suffix in FILMS else "pages"
    return "files" if len(list(path.glob("out_*"))) == 3 else "wrong"


COLUMNS = {
    "16 bits": (DEEP, deep),
    "grey": (tuple(kind for kind in IN if kind not in (".webp", ".gif", ".avif")), grey),
    "transparency": (CLEAR, alpha),
    "profile": (TOLD, profile),
    "EXIF": (TOLD, exif),
    "several pictures": ((*FILMS, ".tif"), several),
}


def row(kind: str, suffix: str, path: Path) -> str:
    cells = []
    for name, (having, measure) in COLUMNS.items():
        folder = path / f"{kind}{suffix}{name}"
        folder.mkdir()
        cells.append(measure(kind, suffix, folder) if kind in having else "-")
    return f"| {kind[1:]} | {suffix[1:]} | {' | '.join(cells)} |"


@pytest.mark.parametrize("suffix", OUT)
@pytest.mark.parametrize("kind", IN)
def test_the_table_is_what_is_measured(kind, suffix, tmp_path):
    if kind not in images.SUFFIXES:
        pytest.skip("the Pillow that is installed does not read it")
    line = row(kind, suffix, tmp_path)
    assert "wrong" not in line and line in TABLE.read_text().splitlines()


@pytest.mark.parametrize("kind", rarer.SUFFIXES)
def test_a_rarer_format_is_cut_off_in_one_line(kind, tmp_path):
    if kind == ".jxl":
        pytest.skip("made by no library that is installed")
    buffer = io.BytesIO()
    names = {".tga": "TGA", ".gif": "GIF", ".avif": "AVIF", ".jp2": "JPEG2000", ".j2k": "JPEG2000"}
    Image.fromarray(rgb(64)).save(buffer, names.get(kind, "PPM"))
    for part in (9, 30):
        (tmp_path / f"a{kind}").write_bytes(buffer.getvalue()[:part])
        with pytest.raises(images.InputError, match=f"a{kind}: not a readable picture: ") as caught:
            images.read(tmp_path / f"a{kind}")
        assert "\n" not in str(caught.value)


if __name__ == "__main__":
    import tempfile

    head = TABLE.read_text().partition("| from |")[0] if TABLE.exists() else ""
    names = " | ".join(COLUMNS)
    lines = [f"| from | to | {names} |", "| --- " * (2 + len(COLUMNS)) + "|"]
    with tempfile.TemporaryDirectory() as folder:
        lines += [row(kind, suffix, Path(folder)) for kind in IN for suffix in OUT]
    TABLE.write_text(head + "\n".join(lines) + "\n")
