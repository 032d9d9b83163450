"""Make a benchmark set from a folder of high-resolution pictures.

Writes xN/img_001_SRF_N_HR.png and _LR.png for each scale N, as Set5, Set14, B100 and Urban100 have them: HR
without the last rows and columns, so that both sides are multiples of N, and LR by MATLAB's bicubic. From
the HR pictures of those sets it makes their LR pictures, bit for bit. ``--downscale 0.5`` shrinks the given pictures
first, by bicubic: noise and traces of compression go, and the sharp detail of a benchmark set comes.

Run again after an interruption, it goes on where it was. What the set was made from is kept in
made_from.json; a folder with other pictures in it is left alone.
"""

import argparse
import hashlib
import json
import sys
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataset import arguments, errors, images  # noqa: E402
from dataset.errors import InputError, Parser, describe  # noqa: E402


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
    args = _arguments()
    sources = images.list_images(args.hr)
    if not sources:
        raise InputError(f"{args.hr}: has no pictures")
    made = make(sources, args.out, args.scales, args.boundary, args.keep_names, args.workers, args.downscale)
    asked = len(sources) * len(args.scales)
    print(
        f"{args.out}: {made} pairs made, {asked - made} were there already "
        f"({', '.join(f'x{scale}' for scale in args.scales)})"
    )


def make(
    sources: list[Path],
    out: Path,
    scales: list[int],
    boundary: str = "replicate",
    keep_names: bool = False,
    workers: int = 0,
    downscale: float = 1.0,
) -> int:
    """Make the pairs that are not there yet, with a progress bar; returns how many.

    Raises:
        InputError: for a picture that cannot be read or is smaller than a scale, if something cannot be
            written, or if ``out`` holds a set that was not made from the same pictures in the same way.
    """
    from dataset.parallel import do_all

    pairs = [pair for scale in scales for pair in _pairs(sources, out, scale, keep_names, downscale)]
    others = [folder.name for folder in out.glob("x[0-9]*") if folder.is_dir() and any(folder.iterdir())]
    shrunk = {"downscale": downscale} if downscale < 1 else {}
    hashes = {source.name: sha256(source) for source in sources}
    claim(out, others, boundary=boundary, keep_names=keep_names, sha256=hashes, **shrunk)
    images.remove_leftovers(out, recursive=True)
    missing = [pair for pair in pairs if not (pair.hr.exists() and pair.lr.exists())]
    do_all(partial(make_pair, boundary=boundary), missing, workers, unit="pair")
    return len(missing)


def make_pair(pair: Pair, boundary: str) -> None:
    """Make the two files of a pair, unless both are there; raises as :func:`make`."""
    if pair.hr.exists() and pair.lr.exists():
        return
    from dataset.bicubic import imresize, modcrop

    picture = images.read(pair.source)
    hr = images.to_uint8(picture.rgb)
    if pair.downscale < 1:
        hr = imresize(hr, pair.downscale, boundary=boundary)
    height, width = hr.shape[:2]
    hr = modcrop(hr, pair.scale)
    if not hr.size:
        shrunk = f", shrunk by {pair.downscale:g}," * (pair.downscale < 1)
        raise InputError(f"{pair.source}:{shrunk} has {width}x{height} pixels, too few for scale {pair.scale}")
    lr = imresize(hr, 1 / pair.scale, boundary=boundary)
    images.write(pair.hr, images.Picture(hr, grey=picture.grey))
    images.write(pair.lr, images.Picture(lr, grey=picture.grey))


def _pairs(sources: list[Path], out: Path, scale: int, keep_names: bool, downscale: float) -> list[Pair]:
    stems = [
        f"{source.stem if keep_names else f'img_{number:03}'}_SRF_{scale}"
        for number, source in enumerate(sources, start=1)
    ]
    twice = next((stem for stem, count in Counter(stems).items() if count > 1), None)
    if twice:
        raise InputError(
            f"{sources[stems.index(twice)]}: has the name of another picture but for the suffix; leave out --keep_names"
        )
    folder = out / f"x{scale}"
    return [
        Pair(source, scale, folder / f"{stem}_HR.png", folder / f"{stem}_LR.png", downscale)
        for source, stem in zip(sources, stems)
    ]


def claim(out: Path, others: list[str], **made_from) -> None:
    """Note in ``out``, as made_from.json, what a set is made from that is made there.

    Args:
        out: the set's folder, which may be missing yet.
        others: what is in it that such a set would have; without a note, somebody else has made it.
        made_from: all that the set depends on, as JSON can hold it.

    Raises:
        InputError: if the folder holds something else, or the note cannot be written.
    """
    note = out / "made_from.json"
    if note.exists():
        try:
            there = json.loads(note.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{note}: cannot be read: {describe(error)}; choose another --out") from None
        if there != made_from:
            raise InputError(
                f"{out}: holds a set made from other pictures or in another way ({note.name} "
                "tells which); choose another --out"
            )
        return
    if others:
        raise InputError(
            f"{out}: holds {', '.join(sorted(others)[:3])}, which this command has not made; choose another --out"
        )
    with images.written_whole(note) as temporary:
        temporary.write_text(json.dumps(made_from, indent=1))


def sha256(file: Path) -> str:
    """The SHA-256 of a file's content, hexadecimal.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {describe(error)}") from None


def _arguments() -> argparse.Namespace:
    parser = Parser(__doc__, argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hr", type=Path, required=True, metavar="DIR", help="folder of HR pictures")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the set, for example dataset/Set5"
    )
    arguments.add_scales(parser)
    parser.add_argument(
        "--keep_names", action="store_true", help="baby_SRF_2_HR.png instead of img_001_SRF_2_HR.png for baby.png"
    )
    arguments.add_boundary(parser, "replicate")
    parser.add_argument(
        "--downscale",
        type=float,
        default=1.0,
        metavar="F",
        help="shrink the pictures by this factor first (default: 1, not at all)",
    )
    arguments.add_workers(parser)
    args = parser.parse_args()
    args.scales = sorted(set(args.scales))
    if not 0 < args.downscale <= 1:
        parser.error("--downscale is above 0 and at most 1")
    return args


if __name__ == "__main__":
    errors.run(main)
