"""The command line that all scripts share: the published flags, and ours beside them.

Nothing heavy is imported before the arguments have been read, so ``--help`` answers at once.
"""

import argparse
from pathlib import Path

import model
from dataset.errors import InputError, Parser, run
from dataset.images import SUFFIXES

SCALES = (2, 3, 4)
SHIPPED = {2: "x2/lesrcnn_x2.pth", 3: "x3/lesrcnn_x3.pth", 4: "x4/lesrcnn_x4.pth", 0: "lesrcnn_b/lesrcnn.pth"}


def sample_main(weights: int) -> None:
    """Run ``tcw_sample.py``: enlarge pictures and measure them against their HR.

    Args:
        weights: whose defaults to take: scale 2, 3 or 4, or 0 for the blind network.
    """
    def main() -> int:
        args = sample_parser(weights).parse_args()
        check_sample(args)
        from . import sample
        return sample.run(args)
    run(main)


def sample_parser(weights: int) -> Parser:
    parser = Parser("Enlarge the pictures of a folder with a trained network; where their originals (HR) are "
                    "there too, measure PSNR and SSIM beside bicubic interpolation's.")
    published = parser.add_argument_group("published flags")
    add_model(published)
    published.add_argument("--ckpt_path", type=Path, default=SHIPPED[weights],
                           help="weights: ours, the paper's released ones, or a training checkpoint")
    published.add_argument("--test_data_dir", type=Path, default="dataset/Sample",
                           help="a benchmark folder (x2/img_001_SRF_2_{HR,LR}.png), a DIV2K folder, a folder of "
                                "low-resolution pictures without HR, or one picture")
    published.add_argument("--sample_dir", type=Path, default="samples",
                           help="results go to SAMPLE_DIR/<weights' name>/<data set>/x<scale>/")
    published.add_argument("--scale", type=int, choices=SCALES, default=weights or 2, help="enlargement factor")
    published.add_argument("--cuda", action="store_true", help="compute on the GPU")
    add_group(published)
    published.add_argument("--shave", type=int, default=20,
                           help="LR pixels that tiles overlap at least, when a picture is cut into tiles")
    ours = parser.add_argument_group("further flags")
    add_protocol(ours)
    ours.add_argument("--channel", choices=("luma", "rgb"), default="luma", help="what PSNR and SSIM compare")
    ours.add_argument("--format", choices=sorted(s[1:] for s in SUFFIXES), default="png",
                      help="file format of the results; png and tif keep 16 bits and alpha")
    return parser


def check_sample(args: argparse.Namespace) -> None:
    """Raise InputError for what the parser alone cannot see."""
    if args.shave < 0:
        raise InputError(f"--shave {args.shave}: must be 0 or more")


def add_model(group) -> None:
    group.add_argument("--model", choices=model.names(), default="lesrcnn", help="network, a file in model/")


def add_group(group) -> None:
    group.add_argument("--group", type=int, default=1,
                       help="accepted as published; the released LESRCNN does not use it, and neither do we")


def add_protocol(group) -> None:
    group.add_argument("--protocol", choices=("published", "modern"), default="published",
                       help="published: truncate the output, luma as uint8; modern: round, luma as float")
