"""The command line that all scripts share: the published flags, and ours beside them.

Nothing heavy is imported before the arguments have been read, so ``--help`` answers at once.
"""

import os
from pathlib import Path

from dataset.arguments import whole_number
from dataset.encoding import CODECS
from dataset.errors import InputError, Parser, run
from dataset.files import ours_otherwise
from dataset.images import WRITTEN
from model import shipped

from ..arguments import (
    BACKENDS,
    add_device,
    add_figures,
    add_group,
    add_model,
    add_protocol,
    box,
    memory,
    natural,
    positive,
    positive_number,
    tile,
    weights_meant,
)


def sample_main(weights: int) -> None:
    """Run ``tcw_sample.py``: enlarge pictures and measure them against their HR.

    Args:
        weights: whose defaults to take: scale 2, 3 or 4, or 0 for the blind network.
    """

    def main() -> int:
        args = sample_parser(weights).parse_args()
        if (args.protocol, args.channel) == ("luma", "rgb"):
            raise InputError("--channel rgb: --protocol luma compares luma alone; leave one of them out")
        args.ckpt_path = weights_meant(args.ckpt_path, args.model or "lesrcnn", weights)
        args.test_data_dir = ours_otherwise(args.test_data_dir)
        args.size = wanted_size(args)
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that wait leave their cores to those beside
        from . import sample

        return sample.run(args)

    run(main)


def sample_parser(weights: int) -> Parser:
    parser = Parser(
        "Enlarge the pictures of a folder with a trained network; where their originals (HR) are there too, measure "
        "PSNR and SSIM beside bicubic interpolation's."
    )
    published = parser.add_argument_group("published flags")
    add_model(published)
    add = published.add_argument
    what = (
        "weights: ours, the paper's released ones, a training checkpoint, or an exported network (.onnx, .xml); by "
        f"default {shipped('lesrcnn', weights)}"
    )
    add("--ckpt_path", type=Path, help=what)
    what = (
        "a benchmark folder (x2/img_001_SRF_2_{HR,LR}.png, or HR beside LR_bicubic/X2 and the like), a DIV2K folder, "
        "a folder of LR pictures and videos, or one of them"
    )
    add("--test_data_dir", type=Path, default="dataset/Sample", help=what)
    what = "results go to SAMPLE_DIR/<weights' name>/<data set>/x<scale>/"
    add("--sample_dir", type=Path, default="samples", help=what)
    add("--scale", type=positive, default=weights or 2, help="enlargement factor")
    add("--cuda", action="store_true", help="compute on the GPU")
    add_group(published)
    what = "LR pixels of surroundings that a tile gets at least; the network's reach it gets anyway (published: 20)"
    add("--shave", type=natural, default=0, help=what)
    add = (ours := parser.add_argument_group("further flags")).add_argument
    add_protocol(ours, double=True)
    add("--channel", choices=("luma", "rgb"), default="luma", help="what PSNR and SSIM compare")
    add_figures(ours)
    what = "take the pictures of the folder's folders too; the results lie in the same ones"
    add("--recursive", action="store_true", help=what)
    what = "of an animation or a file of several pages, enlarge the first picture or all; png, webp or tif hold them"
    add("--pages", choices=("first", "all"), default="first", help=what)
    what = "take the pictures as originals (HR): measure with the LR that benchmark sets would have of them"
    add("--make_lr", action="store_true", help=what)
    what = "go on with what an interrupted run has left: what is done, with the same weights and flags, stays"
    add("--resume", action="store_true", help=what)
    what = "textures that tile: what lies beyond an edge is the opposite one"
    add("--wrap", action="store_true", help=what)
    what = "EXIF, XMP, dpi and texts of pictures, titles and places of videos; colour profiles are kept in any case"
    add("--metadata", choices=("keep", "strip"), default="keep", help=what)
    what = "file format of the results; png and tif keep 16 bits and alpha"
    add("--format", choices=sorted(s[1:] for s in WRITTEN), default="png", help=what)
    add_size(parser.add_argument_group("any size, instead of --scale"))
    add_coding(parser.add_argument_group("videos"))
    add = (speed := parser.add_argument_group("speed and memory")).add_argument
    add_sampler(speed)
    add_device(speed)
    what = "the mean over the eight flips and turns of a picture: eight times the work for 0.15 dB (Set5 x4)"
    add("--self_ensemble", action="store_true", help=what)
    what = "split the pictures over so many GPUs; for more machines, or processes on CPUs, start this with torchrun"
    add("--num_gpu", type=positive, default=1, help=what)
    return parser


def add_coding(group) -> None:
    """How videos are written, see :func:`dataset.encoding.coding`."""
    what = "of the results: h264 plays everywhere, ffv1 is lossless, and goes into MKV"
    group.add_argument("--codec", choices=CODECS, default="h264", help=what)
    what = "the quality that is kept, 0 to 51: 17 is hardly told from the best, 6 more halve the file"
    group.add_argument("--crf", type=whole_number(0, 51), default=17, help=what)
    what = (
        "the layout of samples, by FFmpeg's name, as yuv444p; by default yuv420p, of 10 bits where the video has them"
    )
    group.add_argument("--pix_fmt", help=what)


def add_size(group) -> None:
    """Flags of :class:`solver.sampling.sizing.Size`."""
    what = "results that fit into so many pixels, as 1920x1080, in the picture's shape"
    group.add_argument("--size", type=box, metavar="WxH", help=what)
    what = "results so wide; the height keeps the shape, or is --height, whatever the shape"
    group.add_argument("--width", type=positive, help=what)
    group.add_argument("--height", type=positive, help="results so high")
    what = "results so many times as large, as 2.5; all four are made by the next scale that the weights have, shrunk"
    group.add_argument("--factor", type=positive_number, help=what)


def wanted_size(args):
    """The size that the flags ask for, or None; raises InputError for flags that contradict each other."""
    sides = args.width or args.height
    given = {"--size": args.size, "--width or --height": sides, "--factor": args.factor}
    given = [flag for flag, value in given.items() if value]
    if not given:
        return None
    for flag, value in {given[-1]: len(given) > 1, "--wrap": args.wrap, "--make_lr": args.make_lr}.items():
        if value:
            raise InputError(f"{given[0]} and {flag}: do not go together; leave one of them out")
    from .sizing import Size

    width, height = args.size or (args.width, args.height)
    return Size(args.factor, width, height, within=args.size is not None)


def add_sampler(group) -> None:
    """Flags of :class:`solver.sampling.sampler.Sampler`."""
    what = (
        "how pictures are cut, the result is the same: auto, by the memory, on the CPU into strips that flow through "
        "the network; none, in one piece; or a number, tiles of at most so many LR pixels a side"
    )
    group.add_argument("--tile", type=tile, default="auto", help=what)
    what = (
        "what the whole process may take, as 2G or 800M (on a GPU: what the network may take there); by default half "
        "of what is free; large results are written as they are made"
    )
    group.add_argument("--memory", type=memory, help=what)
    what = (
        "bf16 is twice as fast where it is known, and within 0.03 dB; int8 is the file beside the weights that "
        "solver/export.py --to int8 makes, and faster still where the CPU has VNNI; fp16 is for GPUs; auto is the "
        "fastest within 0.05 dB"
    )
    group.add_argument("--precision", choices=("fp32", "bf16", "fp16", "int8", "auto"), default="fp32", help=what)
    what = "what computes: torch or, exported networks (solver/export.py), OpenVINO or ONNX Runtime; auto is the faster"
    group.add_argument("--backend", choices=BACKENDS, default="auto", help=what)
    what = "torch.compile the network: a minute at the start, again for each new size; on a CPU it gains nothing"
    group.add_argument("--compile", action="store_true", help=what)
