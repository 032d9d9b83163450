"""Cut pictures into pairs of patches, low and high resolution, as the papers of small networks trained on them.

    python dataset/data_aug.py --input T91 --output fsrcnn_x2.h5 -uf 2 --width 20 --height 20 --stride 2 \\
        --scales 1.0 0.9 0.8 0.7 0.6 --rotations 0 90 180 270 --single_y --use_h5py           # FSRCNN
    python dataset/data_aug.py --input T91 --output srcnn_x3.h5 -uf 3 --width 33 --height 33 --stride 14 \\
        --same_size --target 21 --single_y --use_h5py                                         # SRCNN, 9-1-5

Every picture is shrunk by each of ``--scales``, turned by each of ``--rotations`` (degrees anticlockwise) and flipped
by each of ``--flips`` (0 not, 1 left-right, 2 up-down, 3 both), and its last rows and columns are dropped, so that both
sides are multiples of the factor. From this picture MATLAB's bicubic makes the whole LR picture, and both are cut into
patches on one grid: HR patches of ``--width`` x ``--height`` pixels, ``--stride`` apart, and the LR patches at the same
places. A shrunk picture has whole pixels alone: 0.9 of 55 are 49. With ``--same_size`` LR is enlarged to the size of HR
again, as SRCNN and VDSR are fed. ``--target 21`` leaves the centre of each HR patch, which is what convolutions without
padding make of an LR patch (33 to 21 in SRCNN 9-1-5, to 17 in 9-5-5).

With FSRCNN's scales and turns (Dong et al., "Accelerating the super-resolution convolutional neural network", ECCV
2016) the field's 91 pictures make 14,632,248 pairs at x2 (patches of 20 at stride 2, 7.3 GB), 6,473,984 at x3 (21 at 3)
and 3,546,584 at x4 (24 at 4), the numbers that are passed around.

With ``--use_h5py`` the output is an HDF5 file, or several, OUT_x2.h5, OUT_x3.h5, … for OUT.h5: each of several factors
has one of its own, unless ``--same_size`` makes all pairs of one size, as for VDSR's one network. Its data sets ``lr``
and ``hr`` are uint8 (N, C, h, w), where C is 1 with ``--single_y`` and else 3; its attributes say what it was made
from. Without the flag the patches are PNG files of the same names in OUT/lr and OUT/hr, or in OUT/x2/lr, ….

Run again after an interruption, it goes on where it was, and ends with the same pairs. An HDF5 file grows in
OUT.h5.unfinished until it is whole: all of its space is laid out first, so that no later write moves anything, and how
many pairs are in it for certain is written beside it.
"""

import argparse
import hashlib
import itertools
import math
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataset import arguments, errors, images
from dataset.bicubic import enlarge, imresize, modcrop
from dataset.div2h5 import Disk, folder_names
from dataset.errors import InputError, Parser, describe
from dataset.files import locked, read_json, remove_leftovers, sha256_of, write_json, written_whole
from dataset.hyperslabs import open_file, readable
from dataset.make_benchmark import claim
from dataset.parallel import do_all, in_order, with_progress
from dataset.picture import luma
from dataset.signals import StopRequest, noting

VERSION = 1  # of what the attributes say
SLAB = 2**24  # bytes of patches that are in memory at once, about

# Bytes of a chunk, about: what is read for one pair. In one trial with pairs of 20x20, read in any order, 512 bytes to
# 32 KiB differed little, 256 KiB took twice as long, and 512 bytes took six times as long to write.
CHUNK = 2**14

ADVICE = "choose another --output, or remove this one"

_WIDTH = 40  # of a patch, in HR pixels, at most, where none is given


@dataclass(frozen=True)
class Recipe:
    """How pictures become pairs of one size.

    Attributes:
        factors: HR pixels to an LR pixel, each way; several only if LR is enlarged again.
        width, height, stride: of the HR patches in pixels.
        scales, rotations, flips: see the flags.
        upsampling: how LR is enlarged again, "nearest" or "bicubic", or both; none if it is not.
        target: side of the centre of an HR patch that is kept; 0 keeps all.
        single_y: whether luma alone is taken.
    """

    factors: list[int]
    width: int
    height: int
    stride: int
    scales: list[float]
    rotations: list[int]
    flips: list[int]
    upsampling: list[str]
    target: int
    single_y: bool

    @property
    def lr_factor(self) -> int:
        """HR pixels to a pixel of what is paired with it."""
        return 1 if self.upsampling else self.factors[0]

    @property
    def shapes(self) -> dict[str, tuple[int, int, int]]:
        """(C, h, w) of the patches ``lr`` and ``hr``."""
        channels = 1 if self.single_y else 3
        lr = channels, self.height // self.lr_factor, self.width // self.lr_factor
        return {"lr": lr, "hr": (channels, self.target or self.height, self.target or self.width)}

    def pairs(self, height: int, width: int, factor: int) -> int:
        """How many pairs a picture of this size makes at a factor, each time that it is turned and flipped."""
        rows, columns = (
            len(range(0, side - side % factor - patch + 1, self.stride))
            for side, patch in ((height, self.height), (width, self.width))
        )
        return rows * columns


@dataclass(frozen=True)
class View:
    """A picture as it is cut up: shrunk, turned, flipped, and its LR enlarged in one way, or ("") not at all.

    Of all pairs it makes ``count``, from number ``first`` on.
    """

    source: Path
    scale: float
    factor: int
    rotation: int
    flip: int
    upsampling: str
    first: int
    count: int


def main() -> None:
    args = _arguments()
    sources = [source for folder in args.input for source in images.list_images(folder, needed=True)]
    sources = list(dict.fromkeys(sources))[: args.number or None]
    looked = list(with_progress(_look, sources, args.workers, unit="picture", desc="looking"))
    sizes = dict(zip(sources, (size for size, _ in looked)))
    pictures = hashlib.sha256("".join(digest for _, digest in looked).encode()).hexdigest()
    for recipe in args.recipes:
        views = plan(sizes, recipe)
        if not views:
            what = f"every picture is smaller than a patch of {recipe.width}x{recipe.height} pixels"
            raise InputError(f"{args.input[0]}: {what}; choose a smaller --width and --height")
        made_from = {"pictures": len(sources), "sha256": pictures, **asdict(recipe)}
        out = _output(args, recipe)
        if args.use_h5py:
            made = make_file(out, views, recipe, made_from, args.workers)
        else:
            made = make_folder(out, views, recipe, made_from, args.workers)
        factors = ", ".join(f"x{factor}" for factor in recipe.factors)
        shapes = ", ".join(f"{key} {width}x{height}" for key, (_, height, width) in recipe.shapes.items())
        print(f"{out}: {_count(views):,} pairs at {factors} ({shapes}), {made:,} of them made now")
    small = [source for source, size in sizes.items() if any(_lacks(size, recipe) for recipe in args.recipes)]
    if small:
        some = f"{len(small)} of {len(sources)} pictures, the first of them {small[0]}"
        print(f"note: smaller than a patch at one of the scales, and left out there: {some}")


def _arguments() -> argparse.Namespace:
    """The command line, and as ``recipes`` one for each size of pairs."""
    parser = Parser(__doc__, argparse.RawDescriptionHelpFormatter)
    pixels, count, side = arguments.whole_number(1, 2**16), arguments.whole_number(0, 10**12), "in HR pixels"
    add = parser.add_argument
    add("--input", type=Path, nargs="+", required=True, metavar="DIR", help="folders of pictures")
    add("--output", type=Path, required=True, metavar="PATH", help="the HDF5 file, or the folder of PNG files")
    add("--use_h5py", action="store_true", help="write HDF5 (default: PNG)")
    add("--number", type=count, default=0, metavar="N", help="take the first N pictures (default: all)")
    add("--width", type=pixels, metavar="W", help=f"of a patch, {side} (default: 40, or what is below it and fits)")
    add("--height", type=pixels, metavar="H", help=f"of a patch, {side} (default: --width)")
    add("--stride", type=pixels, metavar="S", help=f"from patch to patch, {side} (default: --width)")
    factor = {"type": int, "nargs": "+", "choices": arguments.SCALES, "default": [2], "metavar": "N"}
    add("-uf", "--upscale_factor", **factor, help="factors from LR to HR, 2 to 9 (default: 2)")
    scale = {"type": arguments.at_most_1, "nargs": "+", "default": [1.0], "metavar": "F"}
    add("--scales", **scale, help="shrink pictures by these first, 0.01 to 1 (default: 1)")
    turn = {"type": int, "nargs": "+", "choices": (0, 90, 180, 270), "default": [0], "metavar": "DEG"}
    add("--rotations", **turn, help="turn them anticlockwise by 0, 90, 180, 270 (default: 0)")
    flip = {"type": int, "nargs": "+", "choices": range(4), "default": [0], "metavar": "N"}
    add("--flips", **flip, help="0 none, 1 left-right, 2 up-down, 3 both (default: 0)")
    add("--same_size", action="store_true", help="enlarge LR to the size of HR again")
    enlarged = {"nargs": "+", "choices": ("nearest", "bicubic")}
    add("--upsampling", **enlarged, help="how --same_size does it; both make pairs of each (default: bicubic)")
    add("--target", type=pixels, default=0, metavar="N", help="keep so wide a centre of HR patches (default: all)")
    add("--single_y", action="store_true", help="luma alone (BT.601, 16 to 235); LR is made from it")
    arguments.add_workers(parser)
    args = parser.parse_args()
    if args.upsampling and not args.same_size:
        parser.error("--upsampling: is how --same_size enlarges; add that, or leave this out")
    upsampling = list(dict.fromkeys(args.upsampling or ["bicubic"])) if args.same_size else []
    args.upscale_factor = sorted(set(args.upscale_factor))
    step = _step(args)
    args.width = args.width or max(step, _WIDTH // step * step)
    args.height, args.stride = args.height or args.width, args.stride or args.width
    several = {key: list(dict.fromkeys(getattr(args, key))) for key in ("scales", "rotations", "flips")}
    single = {key: getattr(args, key) for key in ("width", "height", "stride", "target", "single_y")}
    alike = [args.upscale_factor] if args.same_size else [[factor] for factor in args.upscale_factor]
    args.recipes = [Recipe(factors, **several, **single, upsampling=upsampling) for factors in alike]
    if problem := _misfit(args):
        parser.error(problem)
    return args


def _step(args: argparse.Namespace) -> int:
    """HR pixels of which sizes are multiples."""
    return 1 if args.same_size else math.lcm(*args.upscale_factor)


def _misfit(args: argparse.Namespace) -> str | None:
    """What is wrong with the sizes, or None."""
    step = _step(args)
    factors = " and ".join(map(str, args.upscale_factor))
    for flag in ("width", "height", "stride"):
        value = getattr(args, flag)
        if value % step:
            near = " or ".join(str(near) for near in (value // step * step, value // step * step + step) if near)
            return f"--{flag} {value}: is no multiple of the factor {factors}; take {near}, or --same_size"
    for flag in ("width", "height"):
        value = getattr(args, flag)
        if args.target > value or (value - args.target) % 2 and args.target:
            what = f"--target {args.target}: a patch of --{flag} {value} has no such centre"
            near = [side for side in (args.target - 1, args.target + 1) if 0 < side <= value] or [value]
            return f"{what}; take {' or '.join(map(str, near))}"
    return None


def _output(args: argparse.Namespace, recipe: Recipe) -> Path:
    """Where the pairs of a recipe go."""
    if len(args.recipes) == 1:
        return args.output
    (factor,) = recipe.factors
    if args.use_h5py:
        return args.output.with_name(f"{args.output.stem}_x{factor}{args.output.suffix}")
    return args.output / f"x{factor}"


def _look(source: Path) -> tuple[tuple[int, int], str]:
    """A picture's upright (height, width), and the SHA-256 of its file; all of it is decoded, to see that it can be."""
    return images.read(source).rgb.shape[:2], sha256_of(source)


# -- what is cut ---------------------------------------------------------------------------------------


def plan(sizes: dict[Path, tuple[int, int]], recipe: Recipe) -> list[View]:
    """All views that hold a patch, in their order.

    Args:
        sizes: (height, width) of each picture.
    """
    views, first = [], 0
    turns = list(itertools.product(recipe.factors, recipe.rotations, recipe.flips, recipe.upsampling or [""]))
    for (source, size), scale in itertools.product(sizes.items(), recipe.scales):
        for factor, rotation, flip, upsampling in turns:
            count = recipe.pairs(*_shrunk(size, scale)[:: -1 if rotation % 180 else 1], factor)
            if count:
                views.append(View(source, scale, factor, rotation, flip, upsampling, first, count))
                first += count
    return views


def _count(views: list[View]) -> int:
    return views[-1].first + views[-1].count


def _shrunk(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """The whole pixels of a shrunk picture."""
    return tuple(int(side * scale) for side in size)


def _lacks(size: tuple[int, int], recipe: Recipe) -> bool:
    """Whether a picture is smaller than a patch at one of the scales."""
    shrunk = [_shrunk(size, scale) for scale in recipe.scales]
    turned = [sides[:: -1 if turn % 180 else 1] for sides in shrunk for turn in recipe.rotations]
    return not all(recipe.pairs(*sides, factor) for sides in turned for factor in recipe.factors)


def pixels(views: list[View], recipe: Recipe, workers: int = 0) -> Iterator[tuple[View, np.ndarray, np.ndarray]]:
    """Each view with its LR and HR picture, (H, W, C) uint8, a few of them ahead.

    Raises:
        InputError: for a picture that cannot be read.
    """
    groups = [(key, list(group)) for key, group in itertools.groupby(views, lambda view: (view.source, view.scale))]
    copies = in_order(lambda group: _copy(*group[0], recipe.single_y), groups, workers)
    for (_, group), copy in zip(groups, copies):
        for view, (lr, hr) in zip(group, in_order(partial(view_of, copy), group, workers)):
            yield view, lr, hr


def _copy(source: Path, scale: float, single_y: bool) -> np.ndarray:
    """A picture, or its luma, shrunk: (H, W, C) uint8. What a file of grey alone has is taken as luma as it is."""
    picture = images.read(source)
    rgb = images.to_uint8(picture.rgb)
    if single_y:
        rgb = rgb[:, :, :1] if picture.grey else np.round(luma(rgb)).astype(np.uint8)[:, :, None]
    height, width = _shrunk(rgb.shape[:2], scale)
    return imresize(rgb, scale, boundary="symmetric")[:height, :width]


def view_of(copy: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
    """LR and HR pictures, (H, W, C) uint8, of a picture that is shrunk already."""
    hr = np.rot90(copy, view.rotation // 90)
    hr = hr[:: -1 if view.flip & 2 else 1, :: -1 if view.flip & 1 else 1]
    hr = np.ascontiguousarray(modcrop(hr, view.factor))
    lr = imresize(hr, 1 / view.factor, boundary="symmetric")
    if view.upsampling == "nearest":
        lr = lr.repeat(view.factor, axis=0).repeat(view.factor, axis=1)
    elif view.upsampling == "bicubic":
        lr = enlarge(lr, view.factor)
    return lr, hr


def slabs(view: View, lr: np.ndarray, hr: np.ndarray, recipe: Recipe) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """A view's pairs, some rows of them at a time: the first one's number, and the patches, (N, C, h, w) uint8 each."""
    by = recipe.lr_factor
    lr = _grid(lr, recipe.height // by, recipe.width // by, recipe.stride // by)
    hr = _grid(hr, recipe.height, recipe.width, recipe.stride)
    if recipe.target:
        top, left = (recipe.height - recipe.target) // 2, (recipe.width - recipe.target) // 2
        hr = hr[..., top : top + recipe.target, left : left + recipe.target]
    step = max(1, SLAB // (lr[0].size + hr[0].size))
    for row in range(0, len(hr), step):
        both = (grid[row : row + step].reshape(-1, *grid.shape[2:]) for grid in (lr, hr))
        yield view.first + row * hr.shape[1], *both


def _grid(picture: np.ndarray, height: int, width: int, stride: int) -> np.ndarray:
    """A picture's patches by row and column, (rows, columns, C, height, width), without a copy."""
    return sliding_window_view(picture, (height, width), axis=(0, 1))[::stride, ::stride]


# -- where it goes -------------------------------------------------------------------------------------


def make_folder(out: Path, views: list[View], recipe: Recipe, made_from: dict, workers: int = 0) -> int:
    """Make all pairs as PNG files, but for those that are there; returns how many are made.

    Raises:
        InputError: if the folder holds something else, a picture cannot be read, or a file cannot be written.
    """
    kinds = tuple(recipe.shapes)

    def missing(number: int) -> bool:
        return not all((out / kind / f"{number:08}.png").exists() for kind in kinds)

    def write(pair: tuple[int, np.ndarray, np.ndarray]) -> None:
        number, *patches = pair
        for kind, patch in zip(kinds, patches):
            rgb = np.broadcast_to(patch.transpose(1, 2, 0), (*patch.shape[1:], 3))
            images.write(out / kind / f"{number:08}.png", images.Picture(rgb, grey=recipe.single_y))

    made = 0
    with locked(out, "another command"):
        claim(out, [kind for kind in kinds if (out / kind).exists()], ADVICE, **made_from)
        remove_leftovers(out, recursive=True)
        todo = [view for view in views if any(map(missing, range(view.first, view.first + view.count)))]
        for view, lr, hr in pixels(todo, recipe, workers):
            for first, *both in slabs(view, lr, hr, recipe):
                pairs = [pair for pair in zip(itertools.count(first), *both) if missing(pair[0])]
                do_all(write, pairs, workers, unit="pair", leave=False)
                made += len(pairs)
    return made


def make_file(path: Path, views: list[View], recipe: Recipe, made_from: dict, workers: int = 0) -> int:
    """Make all pairs in one HDF5 file, but for those of an interrupted run; returns how many are made.

    Memory holds a few pictures per worker and ``SLAB`` of patches. A signal to stop is obeyed between two slabs.

    Raises:
        InputError: if there is something else, a picture cannot be read, or the file cannot be written.
    """
    work = path.with_name(f"{path.name}.unfinished")
    if path.exists():
        _check(path, made_from)
        return 0
    stop = StopRequest()
    with locked(work, "another command"), noting(stop):
        unfinished, progress = work / "pairs.h5", work / "progress.json"
        claim(work, [file.name for file in (unfinished, progress) if file.exists()], ADVICE, **made_from)
        remove_leftovers(work)
        if not unfinished.exists():
            write_json(progress, {"pairs": 0})
            _lay_out(unfinished, _count(views), recipe.shapes, made_from, [view.source for view in views])
        done = read_json(progress, f"remove {work}, and all is made again")["pairs"]
        _fill(unfinished, progress, [view for view in views if view.first >= done], recipe, workers, stop)
        stop.obey()
        os.replace(unfinished, path)
        shutil.rmtree(work)
    return _count(views) - done


def _check(path: Path, made_from: dict) -> None:
    """InputError unless a file is what these flags make of these pictures."""
    with readable(path), open_file(path) as file:
        said = {key: value.tolist() if hasattr(value, "tolist") else value for key, value in file.attrs.items()}
    if any(said.get(key) != value for key, value in made_from.items()):
        raise InputError(f"{path}: is there, made from other pictures or in another way; {ADVICE}")


def _lay_out(path: Path, count: int, shapes: dict, made_from: dict, sources: list[Path]) -> None:
    """Write the HDF5 file with the places of all pairs, and nothing in them yet: later writes fill those alone."""
    needed, free = count * sum(map(math.prod, shapes.values())), shutil.disk_usage(path.parent).free
    if needed > free:
        what = f"needs {needed / 1e9:.1f} GB, and {free / 1e9:.1f} are free there"
        raise InputError(f"{path}: {what}; take a larger --stride, or another --output")
    with written_whole(path) as temporary, Disk(temporary) as disk, h5py.File(disk, "w") as file:
        file.attrs.update(version=VERSION, made_by="dataset/data_aug.py of LESRCNN", **made_from)
        if len(made_from["factors"]) == 1:
            file.attrs["scale"] = made_from["factors"][0]
        file.attrs["folders"] = folder_names(sources, 1)
        for key, shape in shapes.items():
            laid_out = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            laid_out.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            laid_out.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            chunk = (max(1, CHUNK // math.prod(shape)), *shape)
            whole, most = (count, *shape), (None, *shape)
            file.create_dataset(key, whole, np.uint8, chunks=chunk, maxshape=most, dcpl=laid_out)


def _fill(path: Path, progress: Path, views: list[View], recipe: Recipe, workers: int, stop: StopRequest) -> None:
    """Write the views' pairs to their places, and after each view how many are there for certain, until a stop."""
    try:
        with closing(pixels(views, recipe, workers)) as made, _bar(views) as bar:
            with Disk(path, "r+b") as disk, h5py.File(disk, "r+") as file:
                for view, lr, hr in made:
                    for first, *both in slabs(view, lr, hr, recipe):
                        for key, patches in zip(recipe.shapes, both):
                            file[key][first : first + len(patches)] = patches
                        bar.update(len(patches))
                        if disk.error or stop.signal:
                            return
                    file.flush()
                    if disk.error:
                        return
                    write_json(progress, {"pairs": view.first + view.count})
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {describe(error)}") from None


def _bar(views: list[View]) -> tqdm:
    first = views[0].first if views else 0
    return tqdm(initial=first, total=_count(views) if views else 0, unit="pair", disable=None)


if __name__ == "__main__":
    errors.run(main)
