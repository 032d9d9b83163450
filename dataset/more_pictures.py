"""Make more pictures to train on, where there are few.

    leaves   shapes that hide each other, with colours and textures of the given pictures
    turned   copies of the given pictures, every one turned by an angle of its own, stretched and shrunk: training
             meets the same pixels less often, and learns less of them by heart

``python dataset/more_pictures.py leaves --pictures DIR --out dataset/leaves`` fills a folder, which
``div2h5.py --hr DIR dataset/leaves`` packs beside the given ones.

The dead leaves model (Matheron 1968; Lee, Mumford, Huang, "Occlusion models for natural images", IJCV 2001) lets
shapes of random place, size and colour fall on each other, as leaves do; training on such pictures alone restores
real ones nearly as well as training on real ones does (Achddou, Gousseau, Ladjal, "Synthetic images as a regularity
prior for image restoration neural networks", SSVM 2021). Such pictures have sharp edges at any angle, free of noise
and of traces of compression, so most of what their low-resolution version has lost can be told from it.

Each picture depends on its number and the given pictures alone. Those that are there already are left alone; what
they were made from is kept in made_from.json, and a folder with other pictures in it is left alone too.
"""

import argparse
import math
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataset import arguments, errors, images
from dataset.bicubic import imresize
from dataset.errors import InputError, Parser
from dataset.files import remove_leftovers, sha256_of
from dataset.make_benchmark import claim
from dataset.parallel import do_all

SEED = 7

# Of leaves.
FINER = 4  # drawn so many times as large, then shrunk: that is what makes edges smooth
PALETTE = 4  # real pictures that one picture takes its colours and textures from
LEAVES = (30, 800)  # in a picture, evenly by their number's logarithm
RADIUS = (4, 0.45)  # the smallest in pixels, the largest over the picture's side ...
STEEPNESS = 1.5  # ... and between them as often as radius ** -2.5
SOFT = 0.35  # of the leaves have a blurred edge, as things out of focus have,
BLUR = (0.5, 2.5)  # of a Gaussian of so many pixels
CLEAR = 0.2  # of the leaves let what is below shine through

# Of turned copies. Shrunk by 0.75 at least: what interpolation blurs is gone then.
TURN = (-45.0, 45.0)  # degrees; training's flips and turns make all angles of these
SHRINK = (0.3, 0.75)
STRETCH = (0.8, 1.25)  # height over width


def main() -> None:
    parser = Parser(__doc__, argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("leaves", "turned"), help="what to make")
    parser.add_argument("--pictures", type=Path, nargs="+", required=True, metavar="DIR", help="folders of real ones")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the new ones")
    count, side = arguments.whole_number(1, 10**6), arguments.whole_number(16, 2048)
    parser.add_argument("--count", type=count, default=3000, metavar="N", help="how many to make (default: 3000)")
    parser.add_argument("--side", type=side, default=256, metavar="N", help="of leaves, in pixels (default: 256)")
    arguments.add_workers(parser)
    args = parser.parse_args()

    if any(args.out.exists() and args.out.samefile(folder) for folder in args.pictures if folder.exists()):
        raise InputError(f"--out {args.out}: holds the given pictures; choose another folder")
    pictures = [picture for folder in args.pictures for picture in images.list_images(folder, needed=True)]
    side = {"side": args.side} if args.kind == "leaves" else {}
    others = [file.name for file in args.out.glob("[0-9]*.png")]
    claim(args.out, others, kind=args.kind, **side, sha256=[sha256_of(picture) for picture in pictures])
    remove_leftovers(args.out)
    files = [args.out / f"{number:05}.png" for number in range(args.count)]
    missing = [number for number, file in enumerate(files) if not file.exists()]
    draw = partial({"leaves": leaves, "turned": turned}[args.kind], pictures, **side)
    do_all(lambda number: images.write_rgb(files[number], draw(number)), missing, args.workers, unit="picture")
    print(f"{args.out}: {len(missing)} pictures made, {args.count - len(missing)} were there already")


def turned(pictures: list[Path], number: int) -> np.ndarray:
    """A copy of one of some pictures, which take turns: turned, stretched and shrunk; (H, W, 3) uint8.

    Raises:
        InputError: if the picture cannot be read.
    """
    angle, shrink, stretch = np.random.default_rng([SEED, number]).random(3)
    picture = turn(images.read_rgb(pictures[number % len(pictures)]), TURN[0] + (TURN[1] - TURN[0]) * angle)
    shrink = SHRINK[0] * (SHRINK[1] / SHRINK[0]) ** shrink
    root = math.sqrt(STRETCH[0] * (STRETCH[1] / STRETCH[0]) ** stretch)
    size = tuple(math.ceil(side * shrink * by) for side, by in zip(picture.shape, (root, 1 / root)))
    return imresize(picture, size=size, boundary="symmetric")


def turn(picture: np.ndarray, angle: float) -> np.ndarray:
    """Turn a picture, (H, W, 3) uint8, by -45 to 45 degrees, and cut the largest upright rectangle out of it."""
    height, width = picture.shape[:2]
    sin, cos = (abs(part(math.radians(angle))) for part in (math.sin, math.cos))
    short, long = sorted((height, width))
    if short <= 2 * sin * cos * long:  # two of its corners touch the long sides
        sides = short / 2 / sin, short / 2 / cos
        sides = sides if width >= height else sides[::-1]
    else:  # each corner touches a side
        square = cos * cos - sin * sin
        sides = (width * cos - height * sin) / square, (height * cos - width * sin) / square
    new_width, new_height = (max(1, math.floor(side) - 2) for side in sides)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1)
    matrix[:, 2] += ((new_width - width) / 2, (new_height - height) / 2)
    return cv2.warpAffine(picture, matrix, (new_width, new_height), None, cv2.INTER_LANCZOS4, cv2.BORDER_REFLECT)


def leaves(pictures: list[Path], number: int, side: int) -> np.ndarray:
    """One picture of leaves, (side, side, 3) uint8.

    Args:
        pictures: real ones, to take colours and textures from.
        number: of the picture to be drawn; other numbers give other pictures.
        side: its height and width in pixels.

    Raises:
        InputError: for a picture that cannot be read.
    """
    random = np.random.default_rng([SEED, number])
    palette = [images.read_rgb(pictures[i]) for i in random.integers(len(pictures), size=PALETTE)]
    canvas = np.array(_fill(palette, side * FINER, side * FINER, random), np.float32)
    for _ in range(int(np.exp(random.uniform(*np.log(LEAVES))))):
        _drop_leaf(canvas, palette, random)
    return imresize((canvas + 0.5).clip(0, 255).astype(np.uint8), 1 / FINER)


def _drop_leaf(canvas: np.ndarray, palette: list[np.ndarray], random: np.random.Generator) -> None:
    """Let one leaf fall on the canvas, a float32 (S, S, 3) picture in 0..255."""
    side = len(canvas)
    smallest, largest = (radius**-STEEPNESS for radius in (RADIUS[0] * FINER, RADIUS[1] * side))
    radius = (smallest + random.random() * (largest - smallest)) ** (-1 / STEEPNESS)
    outline = random.uniform(-0.05 * side, 1.05 * side, 2) + _outline(radius, random)
    blur = FINER * random.uniform(*BLUR) if random.random() < SOFT else 0
    margin = int(3 * blur) + 2
    left, top = np.maximum(np.floor(outline.min(0)).astype(int) - margin, 0)
    right, bottom = np.minimum(np.ceil(outline.max(0)).astype(int) + margin, side)
    if right - left < 3 or bottom - top < 3:
        return  # it fell beside the canvas
    cover = np.zeros((bottom - top, right - left), np.float32)
    cv2.fillPoly(cover, [np.round(outline - [left, top]).astype(np.int32)], 1)
    if blur:
        cover = cv2.GaussianBlur(cover, (0, 0), blur)
    if random.random() < CLEAR:
        cover *= random.uniform(0.2, 0.9)
    below = canvas[top:bottom, left:right]
    below += (_fill(palette, *cover.shape, random) - below) * cover[..., None]


def _outline(radius: float, random: np.random.Generator) -> np.ndarray:
    """Corners (N, 2), around the origin, of a random shape: ellipse, rectangle, polygon, blob or stroke."""
    kind = random.integers(5)
    if kind == 0:
        corners = _directions(np.linspace(0, 2 * math.pi, 48, endpoint=False)) * [1, random.uniform(0.3, 1)]
    elif kind == 1:
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [1, random.uniform(0.05, 1)]
    elif kind == 2:
        corners = _directions(np.sort(random.uniform(0, 2 * math.pi, random.integers(3, 8))))
    elif kind == 3:
        angle = np.linspace(0, 2 * math.pi, 64, endpoint=False)
        waves = [random.normal() * 0.5 / n * np.cos(n * angle + random.uniform(0, 7)) for n in range(2, 7)]
        corners = _directions(angle) * (1 + sum(waves))[:, None]
    else:
        width, x = random.uniform(0.01, 0.1), np.linspace(-1, 1, 24)
        y = random.normal() * 0.4 * x**2 + random.normal() * 0.3 * x**3
        corners = np.concatenate([np.stack([x, y - width], 1), np.stack([x, y + width], 1)[::-1]])
    cos, sin = radius * _directions(random.uniform(0, 2 * math.pi))
    return corners @ [[cos, sin], [-sin, cos]]


def _directions(angles: float | np.ndarray) -> np.ndarray:
    """Unit vectors (..., 2)."""
    return np.stack([np.cos(angles), np.sin(angles)], -1)


def _fill(palette: list[np.ndarray], height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """What a leaf is filled with, float32 (height, width, 3): a colour, a gradient or a piece of a picture."""
    picture = palette[random.integers(len(palette))]
    rows, columns = picture.shape[:2]

    def colour() -> np.ndarray:
        return picture[random.integers(rows), random.integers(columns)].astype(np.float32)

    kind = random.random()
    if kind < 0.35:
        return np.broadcast_to(colour(), (height, width, 3))
    if kind < 0.6:
        one, other = colour(), colour()
        cos, sin = _directions(random.uniform(0, 2 * math.pi))
        y, x = np.mgrid[:height, :width]
        way = cos * x + sin * y
        way = (way - way.min()) / max(1, np.ptp(way))
        return one + (other - one) * way[..., None].astype(np.float32)
    finer = FINER * random.uniform(0.35, 0.8)  # so the piece is shrunk in the end, and what blurs it here is gone
    tall, wide = (max(2, min(n, math.ceil(wanted / finer))) for n, wanted in ((rows, height), (columns, width)))
    top, left = random.integers(rows - tall + 1), random.integers(columns - wide + 1)
    piece = picture[top : top + tall, left : left + wide]
    return cv2.resize(piece, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)


if __name__ == "__main__":
    errors.run(main)
