"""Fetch the public data sets and the paper's released weights, checked, to where the commands expect them.

    DIV2K              training and validation pictures, from the data set's site (about 6 GB),
                       into dataset/DIV2K
    benchmarks         Set5, Set14, B100 and Urban100, from the SelfExSR repository, into dataset/Set5
                       and so on; the names of single sets are accepted too
    released-weights   from the authors' LESRCNN repository into checkpoint/released

Run again after an interruption, it goes on where it was. Torchvision's downloader is not used: it begins anew
every time, and gives a file its name before it is whole.
"""

import argparse
import contextlib
import hashlib
import http.client
import shutil
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dataset import errors, images
from dataset.bicubic import imresize
from dataset.errors import InputError, Parser, describe
from dataset.make_benchmark import Pair, make_pair, pair_files
from dataset.parallel import do_all

DIV2K_SITE = "https://data.vision.ee.ethz.ch/cvl/DIV2K"
SELFEXSR = "https://raw.githubusercontent.com/jbhuang0604/SelfExSR/HEAD/data"
LESRCNN = "https://raw.githubusercontent.com/hellloxiaotian/LESRCNN/HEAD"

TRIES, PAUSE, TIMEOUT = 4, 1.0, 30.0  # per file; seconds before the second try, then doubled; seconds
LONGEST_PAUSE = 120.0  # seconds, if a server asks for one
CONNECTIONS = 8


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
    parser.add_argument("--mirror", metavar="URL", help="fetch from this server, which has the same paths")
    args = parser.parse_args()
    if args.mirror and not args.mirror.startswith(("http://", "https://")):
        parser.error("--mirror begins with http:// or https://")

    for what in args.what:
        if what == "DIV2K":
            for archive in DIV2K:
                fetch_archive(archive, args.root / "dataset" / "DIV2K", args.mirror)
        elif what == "released-weights":
            fetch_weights(args.root / "checkpoint" / "released", args.mirror)
        else:
            for name in BENCHMARKS if what == "benchmarks" else [what]:
                fetch_benchmark(name, args.root / "dataset" / name, args.mirror)


def fetch_archive(archive: Archive, out: Path, mirror: str | None = None) -> None:
    """Fetch and unpack an archive; its folder appears in ``out`` when all of its pictures are there.

    Raises:
        InputError: as :func:`fetch`, or if the archive does not hold what it should.
    """
    folder = out / archive.folder
    if folder.is_dir():
        print(f"{folder}: is there already")
        return
    file = out / archive.name
    fetch(_address(f"{DIV2K_SITE}/{archive.name}", mirror), file, ("md5", archive.md5), progress=True)
    unpacked = out / f"{archive.name}.part"
    print(f"{folder}: unpacking {archive.count} pictures")
    try:
        shutil.rmtree(unpacked, ignore_errors=True)
        shutil.unpack_archive(file, unpacked)
        found = len(images.list_images(unpacked / archive.folder))
        if found != archive.count:
            raise InputError(f"{file}: has {found} pictures, expected {archive.count}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        (unpacked / archive.folder).rename(folder)
        file.unlink()
    except OSError as error:
        raise InputError(f"{folder}: cannot be unpacked: {describe(error)}") from None
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def fetch_weights(out: Path, mirror: str | None = None) -> None:
    """Fetch the paper's weight files; raises as :func:`fetch`."""
    for path, sha256 in WEIGHTS.items():
        file = out / Path(path).name
        fetch(_address(f"{LESRCNN}/{path}", mirror), file, ("sha256", sha256))
        print(f"{file}: as published (SHA-256 {sha256[:16]}…)")


def fetch_benchmark(name: str, out: Path, mirror: str | None = None) -> None:
    """Fetch a benchmark set in the form ``xN/img_001_SRF_N_{HR,LR}.png``, and check it.

    Checked is that every LR picture is MATLAB's bicubic of its HR picture, bit for bit, and for Set5 and
    Set14 that the HR pictures are those of the published tables.

    Raises:
        InputError: as :func:`fetch`, or for pictures that are not as published.
    """
    published_name, count, scales = BENCHMARKS[name]
    pairs = [(scale, number) for scale in scales for number in range(1, count + 1)]
    do_all(partial(_fetch_pair, published_name, out, mirror), pairs, CONNECTIONS, unit="pair", desc=name)
    for scale in scales:
        if (name, scale) in HR_PIXELS and _hr_pixels(out / f"x{scale}") != HR_PIXELS[name, scale]:
            wrong = "its HR pictures are not those of the published tables; remove the folder and run again"
            raise InputError(f"{out / f'x{scale}'}: {wrong}")
    if name == "Urban100":
        names = [f"img_{number:03}" for number in range(1, count + 1)]
        others = [Pair(pair_files(out, 4, name)[0], n, *pair_files(out, n, name)) for n in (2, 3) for name in names]
        do_all(partial(make_pair, boundary="replicate"), others, unit="pair", desc="Urban100 x2, x3 from x4's HR")
    print(f"{out}: {count} pictures at x2, x3, x4, checked")


def fetch(url: str, path: Path, digest: tuple[str, str] | None = None, progress: bool = False) -> bool:
    """Fetch one file, unless it is there. It gets its name when it is whole and as published.

    What has arrived is kept in ``<name>.part`` and continued, now or at the next run.

    Args:
        url: the address.
        path: the file to make.
        digest: an algorithm of hashlib and the hexadecimal digest that the file must have, if known.
        progress: show a bar.

    Returns:
        Whether it was fetched.

    Raises:
        InputError: if the file is not there, the connection fails too often, the digest is another, or the
            file cannot be written.
    """
    if path.exists():
        return False
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(TRIES):
            try:
                _receive(url, part, progress)
                break
            except (TimeoutError, ConnectionError, http.client.HTTPException, urllib.error.URLError) as error:
                code = getattr(error, "code", 500)  # of an HTTPError
                if code < 500 and code not in (408, 429):
                    by_hand = f"if it has moved, get it by hand and save it as {path}"
                    raise InputError(f"{url}: {code} {error.reason}; {by_hand}") from None
                reason = describe(getattr(error, "reason", error))
                if attempt + 1 < TRIES:
                    time.sleep(max(PAUSE * 2**attempt, min(_pause_asked_for(error), LONGEST_PAUSE)))
        else:
            raise InputError(f"{url}: cannot be fetched: {reason}; run again to go on") from None
        if digest:
            algorithm, wanted = digest
            with part.open("rb") as file:
                found = hashlib.file_digest(file, algorithm).hexdigest()
            if found != wanted:
                part.unlink()
                wrong = f"is not the published file: its {algorithm.upper()} is {found}, not {wanted}"
                raise InputError(f"{url}: {wrong}; run again, or get it elsewhere and save it as {path}")
        part.replace(path)
        return True
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {describe(error)}") from None


def _receive(url: str, part: Path, progress: bool) -> None:
    """Receive a file, or the rest of it, to the end; raises ConnectionError if it is cut off."""
    there = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={there}-"} if there else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        if error.headers["Content-Range"] == f"bytes */{there}":
            return  # it is whole already
        part.unlink()
        raise ConnectionError("what was there already was longer") from None
    with answer:
        if answer.status != http.client.PARTIAL_CONTENT:
            there = 0
        length = answer.headers["Content-Length"]
        total = there + int(length) if length else None
        hidden = None if progress else True
        bar = tqdm(total=total, initial=there, unit="B", unit_scale=True, desc=part.stem, disable=hidden)
        with part.open("ab" if there else "wb") as file, bar:
            while block := answer.read(1 << 20):
                there += file.write(block)
                bar.update(len(block))
    if total is not None and there < total:
        raise ConnectionError(f"cut off after {there:,} of {total:,} bytes")


def _pause_asked_for(error: Exception) -> float:
    """The seconds that a busy server's Retry-After asks for (RFC 9110, 10.2.3: a number or a date), or 0."""
    asked = getattr(error, "headers", {}).get("Retry-After", "")
    if asked.isdecimal():
        return float(asked)
    with contextlib.suppress(ValueError):
        return parsedate_to_datetime(asked).timestamp() - time.time()
    return 0.0


def _fetch_pair(published_name: str, out: Path, mirror: str | None, pair: tuple[int, int]) -> None:
    """Fetch one HR and LR picture, and check that they belong together."""
    scale, number = pair
    files = pair_files(out, scale, f"img_{number:03}")
    folder = f"{SELFEXSR}/{published_name}/image_SRF_{scale}"
    new = [file for file in files if fetch(_address(f"{folder}/{file.name}", mirror), file)]
    try:
        hr, lr = (images.read_rgb(file) for file in files)
        same = hr.shape[0] % scale == hr.shape[1] % scale == 0 and (imresize(hr, 1 / scale) == lr).all()
    except (InputError, ValueError):
        same = False
    if not same:
        for file in new:
            file.unlink()
        wrong = f"is not the bicubic of {files[0].name}, as it is in the published set"
        raise InputError(f"{files[1]}: {wrong}; {'run again' if new else 'remove both and run again'}")


def _hr_pixels(folder: Path) -> str:
    """The digest of a folder's HR pictures, as in :data:`HR_PIXELS`."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*_HR.png")):
        rgb = images.read_rgb(file)
        digest.update(repr(rgb.shape).encode() + rgb.tobytes())
    return digest.hexdigest()


def _address(url: str, mirror: str | None) -> str:
    """The same path below ``mirror`` instead of the public host."""
    return url if mirror is None else mirror.rstrip("/") + urlsplit(url).path


if __name__ == "__main__":
    errors.run(main)
