"""The command line that all scripts share: the published flags, and ours beside them.

Nothing heavy is imported before the arguments have been read, so ``--help`` answers at once.
"""

import argparse
from pathlib import Path

from dataset.errors import InputError, Parser, run
from dataset.images import SUFFIXES

from ..arguments import SHIPPED, add_group, add_model, add_protocol, memory, positive, tile


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
    parser = Parser(
        "Enlarge the pictures of a folder with a trained network; where their originals (HR) are "
        "there too, measure PSNR and SSIM beside bicubic interpolation's."
    )
    published = parser.add_argument_group("published flags")
    add_model(published)
    published.add_argument(
        "--ckpt_path",
        type=Path,
        default=SHIPPED[weights],
        help="weights: ours, the paper's released ones, or a training checkpoint",
    )
    published.add_argument(
        "--test_data_dir",
        type=Path,
        default="dataset/Sample",
        help="a benchmark folder (x2/img_001_SRF_2_{HR,LR}.png), a DIV2K folder, a folder "
        "of low-resolution pictures without HR, or one picture",
    )
    published.add_argument(
        "--sample_dir",
        type=Path,
        default="samples",
        help="results go to SAMPLE_DIR/<weights' name>/<data set>/x<scale>/",
    )
    published.add_argument("--scale", type=positive, default=weights or 2, help="enlargement factor")
    published.add_argument("--cuda", action="store_true", help="compute on the GPU")
    add_group(published)
    published.add_argument(
        "--shave",
        type=int,
        default=0,
        help="LR pixels of surroundings that a tile gets at least, when a picture is cut "
        "into tiles; the network's own reach, which makes tiles exact, it gets anyway "
        "(published: 20)",
    )
    ours = parser.add_argument_group("further flags")
    add_protocol(ours)
    ours.add_argument("--channel", choices=("luma", "rgb"), default="luma", help="what PSNR and SSIM compare")
    ours.add_argument(
        "--format",
        choices=sorted(s[1:] for s in SUFFIXES),
        default="png",
        help="file format of the results; png and tif keep 16 bits and alpha",
    )
    speed = parser.add_argument_group("speed and memory")
    add_sampler(speed)
    speed.add_argument(
        "--self_ensemble",
        action="store_true",
        help="the mean over the eight flips and turns of a picture: eight times the work for 0.15 dB (Set5 x4)",
    )
    speed.add_argument(
        "--num_gpu",
        type=int,
        default=1,
        help="split the pictures over so many GPUs of this machine; for more machines, or "
        "several processes on CPUs, start this script with torchrun",
    )
    return parser


def add_sampler(group) -> None:
    """Flags of :class:`solver.sampling.sampler.Sampler`."""
    group.add_argument(
        "--tile",
        type=tile,
        default="auto",
        help="how pictures are cut, the result is the same: auto, by the memory, on the CPU into "
        "strips that flow through the network; none, in one piece; or a number, tiles of "
        "at most so many LR pixels a side",
    )
    group.add_argument(
        "--memory",
        type=memory,
        help="what the whole process may take, as 2G or 800M (on a GPU: what the network may "
        "take there); by default half of what is free; large results are written as they "
        "are made",
    )
    group.add_argument(
        "--precision",
        choices=("fp32", "bf16", "fp16", "auto"),
        default="fp32",
        help="of the network's arithmetic; bf16 (recent CPUs and GPUs) is twice as fast and "
        "within 0.02 dB, fp16 is for GPUs",
    )
    group.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile the network: a minute at the start, again for each new size of "
        "picture; on a CPU it gains nothing",
    )


def check_sample(args: argparse.Namespace) -> None:
    """Raise InputError for what the parser alone cannot see."""
    if args.shave < 0:
        raise InputError(f"--shave {args.shave}: must be 0 or more")
    if args.num_gpu < 1:
        raise InputError(f"--num_gpu {args.num_gpu}: must be 1 or more")
