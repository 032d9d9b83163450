"""Look for test pictures among the training pictures: a network that has seen them proves nothing.

A copy is found turned, flipped, rescaled and compressed, and so is a picture that is a part of the other, or
shares a part with it. Every leak is one line, and the exit status is 1. Two fingerprints are compared:

- the whole picture: correlation of small grey thumbnails in all eight turns and flips;
- parts: SIFT features (Lowe 2004) of both pictures, and of the test picture's mirror image, give the affine
  map that lays one on the other; then the pixels that lie on each other decide, by their correlation.

Measured with Set5 and Set14, each picture turned or flipped, rescaled by 0.5 to 1.3 and a JPEG of quality 40
to 95: found are 76 of 76 whole copies, 72 of 76 parts of 0.4 to 0.8 of the sides, and 76 of 76 that are a
part of a picture 1.1 to 1.6 times as large. None of 1,305 other pictures is taken for one of them.

Not found are parts that are smooth, under about 100 pixels wide or a twentieth of the test picture, copies
with their brightness inverted, and other photographs of the same scene, which are no copies.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import h5py
import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataset import arguments, errors, images, test_set
from dataset.errors import Parser, shown
from dataset.hyperslabs import open_file, picture_sizes, readable
from dataset.parallel import good_ones
from dataset.transparency import read_seen

SIDE = 320  # pixels; larger pictures are shrunk to it before they are compared
THUMBNAIL = 24  # pixels a side
FEATURES = 300  # of a picture at most, those with the most contrast
ALIKE = 0.9  # scalar product of two features, from which they may be the same spot
MATCHES = 6  # so many must agree on a map
MAGNIFIED = 7  # factor between the two pictures at most
OVERLAP = 0.05  # so much of the test picture must be laid on
# Correlations from which pictures are the same. Unrelated ones of the measurement above reach 0.91 and 0.85.
SAME_WHOLE, SAME_PART = 0.95, 0.88

Source = tuple[str, Callable[[], np.ndarray]]  # a picture's name, and how to read its (H, W, 3) uint8


class Fingerprint(NamedTuple):
    """What is compared of a picture.

    Attributes:
        name: for the user.
        grey: (H, W) uint8, shrunk to ``SIDE``.
        thumbnail: (24, 24) float32, of zero mean and unit length.
        points: (N, 2) float32, x and y of the features in ``grey``.
        features: (N, 128) float32, of unit length: RootSIFT (Arandjelovic and Zisserman 2012).
    """

    name: str
    grey: np.ndarray
    thumbnail: np.ndarray
    points: np.ndarray
    features: np.ndarray


class Leak(NamedTuple):
    """A training picture that shows a test picture: how much of it, and how alike they are."""

    train: str
    test: str
    share: float
    correlation: float

    def __str__(self) -> str:
        shows = f"{shown(self.train)} shows {self.share:.0%} of {shown(self.test)}"
        return f"leak: {shows} (correlation {self.correlation:.3f})"


def main() -> int:
    parser = Parser(__doc__, argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, nargs="+", required=True, metavar="PATH", help="HDF5 files, or folders")
    parser.add_argument("--test", type=Path, nargs="+", required=True, metavar="DIR", help="benchmark or other folders")
    arguments.add_skip_bad(parser)
    arguments.add_workers(parser)
    args = parser.parse_args()

    train = [source for path in args.train for source in training_sources(path)]
    tests = [source for path in args.test for source in benchmark_sources(path)]
    bad = {"workers": args.workers, "skip_bad": args.skip_bad}
    finder = Finder([one for _, one in good_ones(lambda source: fingerprint(*source), tests, **bad)])
    count = 0
    for _, leaks in good_ones(lambda source: finder.find(fingerprint(*source)), train, **bad, unit="picture"):
        for leak in leaks:
            tqdm.write(str(leak), file=sys.stdout)
        count += len(leaks)
    pictures = f"{len(train)} training pictures, {len(finder.pictures)} test pictures"
    print(f"{pictures}: {count or 'no'} leak{'s' * (count != 1)}")
    return int(count > 0)


def training_sources(path: Path) -> list[Source]:
    """The pictures of a folder, or the HR pictures of an HDF5 file without their down-scaled copies.

    Raises:
        InputError: if there are none, or the file cannot be read.
    """
    if path.is_dir():
        files = images.list_images(path, needed=True)
        return [(f"{file.parent.name}/{file.name}", partial(_read, file)) for file in files]
    with readable(path):
        file = open_file(path)
        pictures = [file["HR"][str(index)] for index in range(len(picture_sizes(file, path, ())["HR"]))]

    def read(picture: h5py.Dataset) -> np.ndarray:
        with readable(path):
            return picture[()]

    originals = [picture for picture in pictures if "downscale" not in picture.attrs]
    return [(str(one.attrs.get("name", f"picture {one.name}")), partial(read, one)) for one in originals]


def benchmark_sources(path: Path) -> list[Source]:
    """The HR pictures of a benchmark folder (of its smallest scale), or all pictures of another folder.

    Raises:
        InputError: if there are none.
    """
    scale = next((scale for scale in arguments.SCALES if (path / f"x{scale}").is_dir()), 2)
    found = test_set.find(path, scale)
    files = [item.hr or item.lr for item in found.items]
    return [(f"{found.name}/{file.name}", partial(_read, file)) for file in files]


def _read(file: Path) -> np.ndarray:
    return read_seen(file).rgb


def fingerprint(name: str, read: Callable[[], np.ndarray]) -> Fingerprint:
    """A picture's fingerprint.

    Raises:
        InputError: if it cannot be read.
    """
    return _fingerprint(name, cv2.cvtColor(read(), cv2.COLOR_RGB2GRAY))


def _fingerprint(name: str, grey: np.ndarray) -> Fingerprint:
    shrink = SIDE / max(grey.shape)
    if shrink < 1:
        size = [max(1, round(shrink * side)) for side in reversed(grey.shape)]
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    thumbnail = cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32)
    thumbnail -= thumbnail.mean()
    thumbnail /= max(np.linalg.norm(thumbnail), 1e-6)
    points, features = cv2.SIFT_create(FEATURES).detectAndCompute(grey, None)
    if not points:
        return Fingerprint(name, grey, thumbnail, np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32))
    # More than FEATURES come where some are equally strong.
    points, features = np.float32([point.pt for point in points[:FEATURES]]), features[:FEATURES]
    return Fingerprint(name, grey, thumbnail, points, np.sqrt(features / features.sum(axis=1, keepdims=True)))


class Finder:
    """The test pictures, to find in training pictures.

    Args:
        pictures: their fingerprints.
    """

    def __init__(self, pictures: list[Fingerprint]) -> None:
        self.pictures = pictures
        # SIFT does not know a turned picture from an upright one, but a mirrored one.
        self._sides = [(one, _fingerprint(one.name, one.grey[:, ::-1].copy())) for one in pictures]

    def find(self, train: Fingerprint) -> list[Leak]:
        """The test pictures that a training picture shows."""
        leaks = []
        for sides in self._sides:
            alike = max(np.vdot(np.rot90(one.thumbnail, n), train.thumbnail) for one in sides for n in range(4))
            alike, share = (alike, 1.0) if alike > SAME_WHOLE else max(_part(train, one) for one in sides)
            if alike > SAME_PART:
                leaks.append(Leak(train.name, sides[0].name, share, float(alike)))
        return leaks


def _part(train: Fingerprint, test: Fingerprint) -> tuple[float, float]:
    """Lay the training picture on the test picture: how alike they are, and the share that it covers."""
    matches = train.features @ test.features.T > ALIKE
    if matches.any(axis=1).sum() < MATCHES:
        return 0.0, 0.0
    here, there = np.divmod(np.flatnonzero(matches), len(test.points))
    here, there = train.points[here], test.points[there]
    affine, agree = cv2.estimateAffine2D(here, there, ransacReprojThreshold=4)
    if affine is None or len({*map(tuple, here[agree.ravel() > 0].tolist())}) < MATCHES:
        return 0.0, 0.0
    if not 1 / MAGNIFIED**2 < abs(np.linalg.det(affine[:, :2])) < MAGNIFIED**2:
        return 0.0, 0.0
    size = test.grey.shape[::-1]
    covered = cv2.warpAffine(np.full_like(train.grey, 255), affine, size) == 255
    if covered.mean() < OVERLAP:
        return 0.0, 0.0
    # Blurred, because the map is true to a pixel or so.
    both = cv2.warpAffine(train.grey, affine, size), test.grey
    laid, below = (cv2.GaussianBlur(grey, (0, 0), 2)[covered] for grey in both)
    if min(laid.std(), below.std()) < 1:
        return 0.0, 0.0
    return np.corrcoef(laid, below)[0, 1], covered.mean()


if __name__ == "__main__":
    errors.run(main)
