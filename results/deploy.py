"""What weights are worth by each runtime: ``python results/deploy.py --calibrate PICTURES``; see ``runtimes.py``."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import model
from dataset.errors import Parser, run
from dataset.files import locked
from results.measure import PAPER_SCALES
from solver.arguments import positive


def parser() -> Parser:
    parser = Parser("Measure the weights that ship by every runtime and precision that computes them.")
    add = parser.add_argument
    add("--networks", nargs="+", choices=model.names(), default=[], help="by default all of which weights ship")
    add("--scale", type=int, choices=PAPER_SCALES, help="by default all of the tables' scales that they have")
    add("--weights", type=Path, help="folder of weights (lesrcnn_x2.pth, ...) instead of what ships")
    add("--calibrate", type=Path, help="folder of training pictures, to make in int8 what does not ship so")
    add("--data", type=Path, nargs="+", default=[], help="folders of Set5 and Set14, beside dataset/")
    add("--rounds", type=positive, default=5, help="turns of each contender, after one more")
    add("--output", type=Path, default=ROOT / "results/deploy", help="files to write, less .csv, .md and .json")
    return parser


def main() -> None:
    args = parser().parse_args()
    from results import runtimes

    with locked(args.output.parent, "another command of results/"):
        runtimes.main(args)


if __name__ == "__main__":
    run(main)
