"""Fetch the public data sets and the paper's released weights, checked, to where the commands expect them.

    DIV2K              training and validation pictures, from the data set's site (about 6 GB),
                       into dataset/DIV2K
    benchmarks         Set5, Set14, B100 and Urban100, from the SelfExSR repository, into dataset/Set5
                       and so on; the names of single sets are accepted too
    released-weights   from the authors' LESRCNN repository into checkpoint/released

Run again after an interruption, it goes on where it was; what is there already is checked. Torchvision's downloader
is not used: it begins anew every time, and gives a file its name before it is whole.
"""

import argparse
import hashlib
import lzma
import shutil
import sys
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dataset import errors, images
from dataset.bicubic import imresize, modcrop
from dataset.errors import InputError, Parser, describe, shown
from dataset.fetching import REMOVE, address, alone, fetch, is_there
from dataset.files import locked, opened
from dataset.make_benchmark import Pair, pair_files
from dataset.parallel import do_all

DIV2K_SITE = "https://data.vision.ee.ethz.ch/cvl/DIV2K"
SELFEXSR = "https://raw.githubusercontent.com/jbhuang0604/SelfExSR/HEAD/data"
LESRCNN = "https://raw.githubusercontent.com/hellloxiaotian/LESRCNN/HEAD"

CONNECTIONS = 8
LARGEST_ARCHIVE = 5 << 30  # bytes, packed and unpacked; DIV2K_train_HR.zip has about 3.5 GB


@dataclass(frozen=True)
class Archive:
    """A zip file of pictures: what it is called, its MD5, the folder in it and how many pictures that has."""

    name: str
    md5: str
    folder: str
    count: int


# The MD5s are those that several public data loaders agree on.
DIV2K = (
    Archive("DIV2K_train_HR.zip", "bdc2d9338d4e574fe81bf7d158758658", "DIV2K_train_HR", 800),
    Archive("DIV2K_train_LR_bicubic_X2.zip", "9a637d2ef4db0d0a81182be37fb00692", "DIV2K_train_LR_bicubic/X2", 800),
    Archive("DIV2K_train_LR_bicubic_X3.zip", "ad80b9fe40c049a07a8a6c51bfab3b6d", "DIV2K_train_LR_bicubic/X3", 800),
    Archive("DIV2K_train_LR_bicubic_X4.zip", "76c43ec4155851901ebbe8339846d93d", "DIV2K_train_LR_bicubic/X4", 800),
    Archive("DIV2K_valid_HR.zip", "9fcdda83005c5e5997799b69f955ff88", "DIV2K_valid_HR", 100),
    Archive("DIV2K_valid_LR_bicubic_X2.zip", "1512c9a3f7bde2a1a21a73044e46b9cb", "DIV2K_valid_LR_bicubic/X2", 100),
    Archive("DIV2K_valid_LR_bicubic_X3.zip", "18b1d310f9f88c13618c287927b29898", "DIV2K_valid_LR_bicubic/X3", 100),
    Archive("DIV2K_valid_LR_bicubic_X4.zip", "21962de700c8d368c6ff83314480eff0", "DIV2K_valid_LR_bicubic/X4", 100),
)

# Our name -> its name in the SelfExSR repository, number of pictures, scales to fetch. Urban100's x2 folder
# is usually passed around with HR pictures of half the size: x2 and x3 are made from the HR pictures of x4.
BENCHMARKS = {
    "Set5": ("Set5", 5, (2, 3, 4)),
    "Set14": ("Set14", 14, (2, 3, 4)),
    "B100": ("BSD100", 100, (2, 3, 4)),
    "Urban100": ("Urban100", 100, (4,)),
}

# SHA-256 over shape and RGB pixels of all HR pictures, as far as a trusted copy was at hand.
HR_PIXELS = {
    ("Set5", 2): "aedfc4429ce4c2a6d9fc84562ef72fa5374131c88e7f5e6455127b43648296fd",
    ("Set5", 3): "48ea44123b9388784368f89209ddab54f60fe4b0298674a7b6bdfb059b9bca36",
    ("Set5", 4): "aedfc4429ce4c2a6d9fc84562ef72fa5374131c88e7f5e6455127b43648296fd",
    ("Set14", 2): "d6f9ecc77561cbe19fdf10d03a3cd70f0b850005bfc3e334d61cfbcaf7c1e8dc",
    ("Set14", 3): "bfb86a7eb5e669bfe963772b217d79af68dd8482fc479a54ddfd1e87002bb90c",
    ("Set14", 4): "c48fae3b100f885bd6c1b7cb23de22bb194952f216a6dcf9d728f5515325b2cf",
}

# Path in the LESRCNN repository -> SHA-256.
WEIGHTS = {
    "x2/lesrcnn_x2.pth": "66b4b2ddb268486f78a3d49758a016417e64f602ef963667b5ce34039200bcde",
    "x3/lesrcnn_x3.pth": "95cbabcbd243e5582118d3bba44fd751a80dd19a291d5f3b1ebd7c9b3b61346a",
    "x4/lesrcnn_x4.pth": "1de9d0e1b1817de43fba3ce9c4b966fd8cde81e160d7432a844d6a2296f90cbc",
}


def main() -> None:
    parser = Parser(__doc__, argparse.RawDescriptionHelpFormatter)
    choices = ["DIV2K", "benchmarks", "released-weights", *BENCHMARKS]
    parser.add_argument("what", nargs="+", choices=choices, metavar="WHAT", help=", ".join(choices))
    root = "where dataset/ and checkpoint/ are (default: in the repository)"
    parser.add_argument("--root", type=Path, default=ROOT, metavar="DIR", help=root)
    mirror = "fetch from this server, which has the same paths"
    parser.add_argument("--mirror", type=address, metavar="URL", help=mirror)
    args = parser.parse_args()

    for what in args.what:
        for name in BENCHMARKS if what == "benchmarks" else [what]:
            out = args.root / ("checkpoint/released" if name == "released-weights" else f"dataset/{name}")
            with locked(out, "another download"):
                if name == "DIV2K":
                    for archive in DIV2K:
                        fetch_archive(archive, out, args.mirror)
                elif name == "released-weights":
                    fetch_weights(out, args.mirror)
                else:
                    fetch_benchmark(name, out, args.mirror)


def fetch_archive(archive: Archive, out: Path, mirror: str | None = None) -> None:
    """Fetch and unpack an archive; its folder appears in ``out`` when all of its pictures are there.

    Raises:
        InputError: as :func:`fetch` and :func:`unpack`, or if the folder is there without all of its pictures.
    """
    folder, file = out / archive.folder, out / archive.name
    if is_there(folder):
        _expect(archive.count, len(images.list_images(folder)), folder)
        print(shown(f"{folder}: is there already"))
        return
    url = _at(f"{DIV2K_SITE}/{archive.name}", mirror)
    fetch(url, file, ("md5", archive.md5), progress=True, largest=LARGEST_ARCHIVE)
    print(shown(f"{folder}: unpacking {archive.count} pictures"))
    unpack(file, archive, folder)


def unpack(file: Path, archive: Archive, folder: Path) -> None:
    """Make ``folder`` of an archive's pictures, when all of them are out, and remove the archive.

    Raises:
        InputError: if the archive does not hold what it should or is damaged, another command has it, or the pictures
            cannot be written.
    """
    try:
        with opened(file) as data, zipfile.ZipFile(data) as packed:
            alone(data, file)
            pictures = _pictures_in(packed, archive.folder)
            _expect(archive.count, len(pictures), file)
            if sum(entry.file_size for entry in pictures.values()) > LARGEST_ARCHIVE:
                raise InputError(f"{file}: would unpack to more than {LARGEST_ARCHIVE:,} bytes; {REMOVE}")
            with _scratch(file.with_name(f"{file.name}.unpacking")) as scratch:
                for name, entry in pictures.items():
                    with packed.open(entry) as source, open(scratch / name, "xb") as target:
                        shutil.copyfileobj(source, target)
                folder.parent.mkdir(parents=True, exist_ok=True)
                scratch.rename(folder)
            file.unlink()
    except OSError as error:
        raise InputError(f"{folder}: cannot be unpacked: {describe(error)}") from None
    except _DAMAGED as error:
        raise InputError(f"{file}: cannot be unpacked: {describe(error)}; {REMOVE}") from None


_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, LookupError, RuntimeError, ValueError)


def _pictures_in(packed: zipfile.ZipFile, folder: str) -> dict[str, zipfile.ZipInfo]:
    """The pictures directly in a folder of an archive by their names alone, wherever else its paths lead."""
    files = {PurePosixPath(entry.filename): entry for entry in packed.infolist() if not entry.is_dir()}
    inside = {path.name: entry for path, entry in files.items() if path.parent == PurePosixPath(folder)}
    return {name: entry for name, entry in inside.items() if name.lower().endswith(images.SUFFIXES)}


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A new folder, which is gone afterwards; so is one that a command which was killed has left."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fetch_weights(out: Path, mirror: str | None = None) -> None:
    """Fetch the paper's weight files; raises as :func:`fetch`."""
    for path, sha256 in WEIGHTS.items():
        file = out / Path(path).name
        fetch(_at(f"{LESRCNN}/{path}", mirror), file, ("sha256", sha256))
        print(shown(f"{file}: as published (SHA-256 {sha256[:16]}…)"))


def fetch_benchmark(name: str, out: Path, mirror: str | None = None) -> None:
    """Fetch a benchmark set in the form ``xN/img_001_SRF_N_{HR,LR}.png``, and check it.

    Checked is that every LR picture is MATLAB's bicubic of its HR picture, bit for bit, that no pictures are there
    but these, and for Set5 and Set14 that the HR pictures are those of the published tables.

    Raises:
        InputError: as :func:`fetch`, or for pictures that are not as published.
    """
    published_name, count, scales = BENCHMARKS[name]
    pairs = [(scale, number) for scale in scales for number in range(1, count + 1)]
    with ThreadPool(CONNECTIONS) as pool:  # its threads are not waited for after Ctrl-C, however slow a server is
        fetched = pool.imap(partial(_fetch_pair, published_name, out, mirror), pairs)
        deque(tqdm(fetched, total=len(pairs), disable=None, unit="pair", desc=name), maxlen=0)
    if name == "Urban100":
        names = [f"img_{number:03}" for number in range(1, count + 1)]
        others = [Pair(pair_files(out, 4, name)[0], n, *pair_files(out, n, name)) for n in (2, 3) for name in names]
        do_all(_make_pair, others, unit="pair", desc="Urban100 x2, x3 from x4's HR")
        scales = (2, 3, 4)
    for scale in scales:
        folder = out / f"x{scale}"
        _expect(2 * count, len(images.list_images(folder)), folder)
        if (name, scale) in HR_PIXELS and _hr_pixels(folder) != HR_PIXELS[name, scale]:
            wrong = "its HR pictures are not those of the published tables; remove the folder and run again"
            raise InputError(f"{folder}: {wrong}")
    print(shown(f"{out}: {count} pictures at x2, x3, x4, checked"))


def _fetch_pair(published_name: str, out: Path, mirror: str | None, pair: tuple[int, int]) -> None:
    """Fetch one HR and LR picture, and check that they belong together."""
    scale, number = pair
    files = pair_files(out, scale, f"img_{number:03}")
    folder = f"{SELFEXSR}/{published_name}/image_SRF_{scale}"
    new = [file for file in files if fetch(_at(f"{folder}/{file.name}", mirror), file)]
    try:
        hr, lr = (images.read_rgb(file) for file in files)
        same = np.array_equal(hr, modcrop(hr, scale)) and np.array_equal(lr, imresize(hr, 1 / scale))
    except (InputError, ValueError):
        same = False
    if not same:
        for file in new:
            file.unlink()
        wrong = f"is not the bicubic of {files[0].name}, as it is in the published set"
        raise InputError(f"{files[1]}: {wrong}; {'run again' if len(new) == 2 else 'remove both and run again'}")


def _make_pair(pair: Pair) -> None:
    """Make the two files of a pair; one that is there must hold what would be made."""
    picture = images.read(pair.source)
    hr = modcrop(images.to_uint8(picture.rgb), pair.scale)
    for file, rgb in ((pair.hr, hr), (pair.lr, imresize(hr, 1 / pair.scale))):
        if not is_there(file):
            images.write(file, images.Picture(rgb, grey=picture.grey))
        elif not np.array_equal(images.read_rgb(file), rgb):
            raise InputError(f"{file}: is not made from {pair.source.name}, as it should be; {REMOVE}")


def _expect(count: int, found: int, where: Path) -> None:
    if found != count:
        raise InputError(f"{where}: has {found} pictures, expected {count}; {REMOVE}")


def _hr_pixels(folder: Path) -> str:
    """The digest of a folder's HR pictures, as in :data:`HR_PIXELS`."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*_HR.png")):
        rgb = images.read_rgb(file)
        digest.update(repr(rgb.shape).encode() + rgb.tobytes())
    return digest.hexdigest()


def _at(url: str, mirror: str | None) -> str:
    """The same path below ``mirror`` instead of the public host."""
    return url if mirror is None else mirror.rstrip("/") + urlsplit(url).path


if __name__ == "__main__":
    errors.run(main)
