"""Make a benchmark set from a folder of high-resolution pictures.

Writes xN/img_001_SRF_N_HR.png and _LR.png for each scale N, as Set5, Set14, B100 and Urban100 have them: HR
without the last rows and columns, so that both sides are multiples of N, and LR by MATLAB's bicubic. From
the HR pictures of those sets it makes their LR pictures, bit for bit. ``--downscale 0.5`` shrinks the given pictures
first, by bicubic: noise and traces of compression go, and the sharp detail of a benchmark set comes.

Of a video it makes xN/clip_SRF_N_HR.mkv and _LR.mkv, lossless (FFV1), with the video's times: of each frame what it
would make of a picture in 8 bits.

Run again after an interruption, it goes on where it was. What the set was made from is kept in
made_from.json; a folder with other pictures in it is left alone.
"""

import argparse
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataset import arguments, encoding, errors, images, remux, segments, video
from dataset.bicubic import imresize, modcrop
from dataset.errors import InputError, Parser
from dataset.files import read_json, remove_leftovers, sha256_of, write_json
from dataset.parallel import good_ones
from dataset.segments import Segments
from dataset.test_set import is_video
from dataset.transparency import read_seen


@dataclass(frozen=True)
class Pair:
    """A picture to be degraded, and the two files to be made of it at one scale.

    With ``downscale``, below 1, HR is the picture shrunk by this factor.
    """

    source: Path
    scale: int
    hr: Path
    lr: Path
    downscale: float = 1.0


def main() -> None:
    parser = Parser(__doc__, argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hr", type=Path, required=True, metavar="DIR", help="folder of HR pictures, or a video")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the set's folder, as dataset/Set5")
    arguments.add_scales(parser)
    parser.add_argument("--keep_names", action="store_true", help="baby_SRF_2_HR.png, not img_001_…, for baby.png")
    arguments.add_boundary(parser, "replicate")
    parser.add_argument(
        "--downscale", type=arguments.shrinking, default=1.0, metavar="F", help="shrink the pictures by this first"
    )
    arguments.add_skip_bad(parser)
    arguments.add_workers(parser)
    args = parser.parse_args()
    args.scales = sorted(set(args.scales))

    if line := video.unread(args.hr):
        raise InputError(line)
    one, out = is_video(args.hr), args.out
    sources = [args.hr] if one else images.list_images(args.hr, needed=True)
    names = [source.stem if args.keep_names or one else f"img_{n:03}" for n, source in enumerate(sources, start=1)]
    for name, count in Counter(names).items():
        if count > 1:
            raise InputError(f"{args.hr}: has {count} pictures of the name {name}; leave out --keep_names")
    others = [folder.name for folder in out.glob("x[0-9]*") if folder.is_dir() and any(folder.iterdir())]
    less = {"downscale": args.downscale} if args.downscale < 1 else {}
    hashes = {source.name: sha256_of(source) for source in sources}
    claim(out, others, boundary=args.boundary, keep_names=args.keep_names, sha256=hashes, **less)
    remove_leftovers(out, recursive=True)
    pairs = [
        [Pair(source, scale, *pair_files(out, scale, name, video=one), args.downscale) for scale in args.scales]
        for source, name in zip(sources, names)
    ]
    made = []

    def make(pairs: list[Pair]) -> list[bool]:
        return [make_pair(pair, args.boundary) for pair in pairs]

    for _, new in good_ones(make, pairs, args.workers, args.skip_bad, unit="picture"):
        made += new
    scales = ", ".join(f"x{scale}" for scale in args.scales)
    print(f"{out}: {sum(made)} pairs made, {len(made) - sum(made)} were there already ({scales})")
    if films := [] if one else [file for file in args.hr.iterdir() if is_video(file)]:
        print(f"{args.hr}: {len(films)} videos are left out, as {min(films).name}; give --hr one of them at a time")


def pair_files(out: Path, scale: int, name: str, video: bool = False) -> tuple[Path, Path]:
    """The HR and LR files of a set's picture or video, for example ``Set5/x2/img_001_SRF_2_HR.png``."""
    suffix = ".mkv" if video else ".png"
    return tuple(out / f"x{scale}" / f"{name}_SRF_{scale}_{kind}{suffix}" for kind in ("HR", "LR"))


def make_pair(pair: Pair, boundary: str) -> bool:
    """Make the two files of a pair, unless both are there; returns whether they were made.

    Raises:
        InputError: if the picture cannot be read or has too few pixels, or a file cannot be written.
    """
    if pair.hr.exists() and pair.lr.exists():
        return False

    def hr(rgb: np.ndarray) -> np.ndarray:
        return modcrop(shrunk(rgb, pair.downscale, boundary, pair.source, pair.scale), pair.scale)

    def lr(rgb: np.ndarray) -> np.ndarray:
        return imresize(hr(rgb), 1 / pair.scale, boundary=boundary)

    picture = None if is_video(pair.source) else read_seen(pair.source)
    for path, change in ((pair.hr, hr), (pair.lr, lr)):
        if picture is None:
            write_changed(path, pair.source, change)
        else:
            images.write(path, images.Picture(change(picture.rgb), grey=picture.grey))
    return True


def write_changed(path: Path, source: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """A video whose frames, (H, W, 3) uint8, are changed, lossless; see :mod:`dataset.segments`.

    Raises:
        InputError: if it cannot be read, or the result cannot be written.
    """
    of = video.look(source)
    size = change(images.from_float(next(video.frames(of)).rgb)).shape[:2]
    coding = encoding.coding(of, size, "ffv1", pix_fmt="gbrp10le")  # FFV1 has no RGB of 8 bits, but 10 hold them
    parts = Segments(segments.folder_of(path), of, coding)
    changed = ((frame.time, change(images.from_float(frame.rgb))) for frame in video.frames(of, skip=parts.frames))
    parts.write((time, coding.samples(rgb / np.float32(255))) for time, rgb in changed)
    remux.join(path, parts.files, of, coding)
    shutil.rmtree(segments.folder_of(path))


def shrunk(hr: np.ndarray, factor: float, boundary: str, file: Path, scale: int) -> np.ndarray:
    """A file's picture, (H, W, 3) uint8, shrunk by a factor if that is below 1.

    Raises:
        InputError: if it has too few pixels for the scale.
    """
    if factor < 1:
        hr = imresize(hr, factor, boundary=boundary)
    height, width = hr.shape[:2]
    if min(height, width) < scale:
        before = f"shrunk by {factor:g}, " * (factor < 1)
        raise InputError(f"{file}: {before}has {width}x{height} pixels, too few for scale {scale}")
    return hr


def claim(out: Path, others: list[str], advice: str = "choose another --out", **made_from) -> None:
    """Note in ``out``, as made_from.json, what a set is made from that is made there.

    Args:
        out: the set's folder, which may be missing yet.
        others: what is in it that such a set would have; without a note, somebody else has made it.
        advice: what to do if it is something else.
        made_from: all that the set depends on, as JSON can hold it.

    Raises:
        InputError: if the folder holds something else, or the note cannot be written.
    """
    note = out / "made_from.json"
    if note.exists():
        if read_json(note, advice) != made_from:
            what = f"a set made from other pictures or in another way ({note.name} tells which)"
            raise InputError(f"{out}: holds {what}; {advice}")
        return
    if others:
        what = f"{', '.join(sorted(others)[:3])}, which this command has not made"
        raise InputError(f"{out}: holds {what}; {advice}")
    write_json(note, made_from)


if __name__ == "__main__":
    errors.run(main)
