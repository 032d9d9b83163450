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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataset import arguments, errors, images  # noqa: E402
from dataset.errors import InputError, Parser  # noqa: E402
from dataset.make_benchmark import claim, sha256  # noqa: E402

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
    args = _arguments()
    pictures = [picture for folder in args.pictures for picture in images.list_images(folder)]
    if not pictures:
        raise InputError(f"{' '.join(map(str, args.pictures))}: has no pictures")
    side = {"side": args.side} if args.kind == "leaves" else {}
    others = [file.name for file in args.out.glob("[0-9]*.png")]
    claim(args.out, others, kind=args.kind, **side, sha256=[sha256(picture) for picture in pictures])
    draw = partial({"leaves": leaves, "turned": turned}[args.kind], pictures, **side)
    made = make(args.out, args.count, draw, args.workers)
    print(f"{args.out}: {made} pictures made, {args.count - made} were there already")


def make(out: Path, count: int, draw: Callable[[int], "np.ndarray"], workers: int = 0) -> int:
    """Make those of the pictures 00000.png, 00001.png, … that are not there, with a progress bar; returns how many.

    Args:
        out: their folder.
        count: how many there are to be.
        draw: makes a picture of its number: (H, W, 3) uint8.
        workers: threads, 0 for one per core.

    Raises:
        InputError: for a picture that cannot be read, or if something cannot be written.
    """
    from dataset.parallel import do_all

    images.remove_leftovers(out)
    missing = [number for number in range(count) if not (out / f"{number:05}.png").exists()]

    do_all(lambda number: images.write_rgb(out / f"{number:05}.png", draw(number)), missing, workers, unit="picture")
    return len(missing)


def turned(pictures: list[Path], number: int) -> "np.ndarray":
    """A copy of one of some pictures, which take turns: turned, stretched and shrunk; (H, W, 3) uint8.

    Raises:
        InputError: if the picture cannot be read.
    """
    from numpy.random import default_rng

    from dataset.bicubic import imresize

    angle, shrink, stretch = default_rng([SEED, number]).random(3)
    picture = turn(images.read_rgb(pictures[number % len(pictures)]), TURN[0] + (TURN[1] - TURN[0]) * angle)
    shrink = SHRINK[0] * (SHRINK[1] / SHRINK[0]) ** shrink
    root = math.sqrt(STRETCH[0] * (STRETCH[1] / STRETCH[0]) ** stretch)
    size = tuple(math.ceil(side * shrink * by) for side, by in zip(picture.shape, (root, 1 / root)))
    return imresize(picture, size=size, boundary="symmetric")


def turn(picture: "np.ndarray", angle: float) -> "np.ndarray":
    """Turn a picture, (H, W, 3) uint8, by -45 to 45 degrees, and cut the largest upright rectangle out of it."""
    if angle == 0:
        return picture
    import cv2

    height, width = picture.shape[:2]
    sin, cos = (abs(part(math.radians(angle))) for part in (math.sin, math.cos))
    short, long = sorted((height, width))
    if short <= 2 * sin * cos * long:  # two of its corners touch the long sides
        sides = short / 2 / sin, short / 2 / cos
        new_width, new_height = sides if width >= height else sides[::-1]
    else:  # each corner touches a side
        square = cos * cos - sin * sin
        new_width, new_height = (width * cos - height * sin) / square, (height * cos - width * sin) / square
    new_width, new_height = (max(1, math.floor(side) - 2) for side in (new_width, new_height))
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1)
    matrix[:, 2] += ((new_width - width) / 2, (new_height - height) / 2)
    return cv2.warpAffine(
        picture, matrix, (new_width, new_height), flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT
    )


def leaves(pictures: list[Path], number: int, side: int) -> "np.ndarray":
    """One picture of leaves, (side, side, 3) uint8.

    Args:
        pictures: real ones, to take colours and textures from.
        number: of the picture to be drawn; other numbers give other pictures.
        side: its height and width in pixels.

    Raises:
        InputError: for a picture that cannot be read.
    """
    import numpy as np

    from dataset.bicubic import imresize

    random = np.random.default_rng([SEED, number])
    palette = [images.read_rgb(pictures[i]) for i in random.integers(len(pictures), size=PALETTE)]
    canvas = np.array(_fill(palette, side * FINER, side * FINER, random), np.float32)
    for _ in range(int(np.exp(random.uniform(*np.log(LEAVES))))):
        _drop_leaf(canvas, palette, random)
    return imresize((canvas + 0.5).clip(0, 255).astype(np.uint8), 1 / FINER)


def _drop_leaf(canvas: "np.ndarray", palette: list, random: "np.random.Generator") -> None:
    """Let one leaf fall on the canvas, a float32 (S, S, 3) picture in 0..255."""
    import cv2
    import numpy as np

    side = len(canvas)
    smallest, largest = (radius**-STEEPNESS for radius in (RADIUS[0] * FINER, RADIUS[1] * side))
    radius = (smallest + random.random() * (largest - smallest)) ** (-1 / STEEPNESS)
    centre = random.uniform(-0.05 * side, 1.05 * side, 2)
    outline = _outline(radius, random) + centre
    blur = FINER * random.uniform(*BLUR) if random.random() < SOFT else 0
    margin = int(3 * blur) + 2
    left, top = np.maximum(np.floor(outline.min(0)).astype(int) - margin, 0)
    right, bottom = np.minimum(np.ceil(outline.max(0)).astype(int) + margin, side)
    if right - left < 3 or bottom - top < 3:
        return  # it fell beside the canvas
    leaf = np.zeros((bottom - top, right - left), np.uint8)
    cv2.fillPoly(leaf, [np.round(outline - [left, top]).astype(np.int32)], 255)
    cover = leaf.astype(np.float32) / 255
    if blur:
        cover = cv2.GaussianBlur(cover, (0, 0), blur)
    if random.random() < CLEAR:
        cover *= random.uniform(0.2, 0.9)
    below = canvas[top:bottom, left:right]
    below += (_fill(palette, *leaf.shape, random) - below) * cover[..., None]


def _outline(radius: float, random: "np.random.Generator") -> "np.ndarray":
    """Corners (N, 2), around the origin, of a random shape: ellipse, rectangle, polygon, blob or stroke."""
    import numpy as np

    kind = random.integers(5)
    if kind == 0:
        angle = np.arange(48) * 2 * math.pi / 48
        corners = np.stack([np.cos(angle), np.sin(angle) * random.uniform(0.3, 1)], 1)
    elif kind == 1:
        height = random.uniform(0.05, 1)
        corners = np.array([[-1, -height], [1, -height], [1, height], [-1, height]])
    elif kind == 2:
        angle = np.sort(random.uniform(0, 2 * math.pi, random.integers(3, 8)))
        corners = np.stack([np.cos(angle), np.sin(angle)], 1)
    elif kind == 3:
        angle = np.arange(64) * 2 * math.pi / 64
        reach = np.ones(64)
        for wave in range(2, 7):
            reach += random.normal() * 0.5 / wave * np.cos(wave * angle + random.uniform(0, 7))
        corners = np.stack([np.cos(angle), np.sin(angle)], 1) * reach[:, None]
    else:
        width, x = random.uniform(0.01, 0.1), np.linspace(-1, 1, 24)
        y = random.normal() * 0.4 * x**2 + random.normal() * 0.3 * x**3
        corners = np.concatenate([np.stack([x, y - width], 1), np.stack([x, y + width], 1)[::-1]])
    turn = random.uniform(0, 2 * math.pi)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return corners @ rotation.T * radius


def _fill(palette: list, height: int, width: int, random: "np.random.Generator") -> "np.ndarray":
    """What a leaf is filled with, float32 (height, width, 3): a colour, a gradient or a piece of a picture."""
    import cv2
    import numpy as np

    picture = palette[random.integers(len(palette))]

    def colour() -> "np.ndarray":
        return picture[random.integers(picture.shape[0]), random.integers(picture.shape[1])].astype(np.float32)

    kind = random.random()
    if kind < 0.35:
        return np.broadcast_to(colour(), (height, width, 3))
    if kind < 0.6:
        one, other = colour(), colour()
        angle = random.uniform(0, 2 * math.pi)
        y, x = np.mgrid[:height, :width]
        way = np.cos(angle) * x + np.sin(angle) * y
        way = (way - way.min()) / max(1, np.ptp(way))
        return one + (other - one) * way[..., None].astype(np.float32)
    finer = FINER * random.uniform(0.35, 0.8)  # so the piece is shrunk in the end, and what blurs it here is gone
    tall, wide = (
        max(2, min(there, math.ceil(wanted / finer))) for there, wanted in zip(picture.shape, (height, width))
    )
    top, left = (random.integers(there - side + 1) for there, side in zip(picture.shape, (tall, wide)))
    piece = picture[top : top + tall, left : left + wide]
    return cv2.resize(piece, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)


def _arguments() -> argparse.Namespace:
    parser = Parser(__doc__, argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("leaves", "turned"), help="what to make")
    parser.add_argument(
        "--pictures", type=Path, nargs="+", required=True, metavar="DIR", help="folders of real pictures"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the new ones")
    count, side = arguments.whole_number(1), arguments.whole_number(16)
    parser.add_argument("--count", type=count, default=3000, metavar="N", help="how many to make (default: 3000)")
    parser.add_argument(
        "--side", type=side, default=256, metavar="N", help="height and width of leaves in pixels (default: 256)"
    )
    arguments.add_workers(parser)
    return parser.parse_args()


if __name__ == "__main__":
    errors.run(main)
