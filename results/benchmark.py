"""How fast this machine samples, trains and reads: ``python results/benchmark.py sampling``, ``training``, ``loader``.

Each of them lets its contenders take turns within one run, the published form first; see ``results/turns.py``.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataset.errors import Parser, run
from results import loader_speed, sampling_speed, training_speed
from solver.arguments import positive

BENCHMARKS = {"sampling": sampling_speed, "training": training_speed, "loader": loader_speed}


class _Command(Parser):
    def __init__(self, prog: str, description: str, **_) -> None:
        super().__init__(description)
        self.prog = prog


def parser() -> Parser:
    parser = Parser(
        "Measure how fast pictures are super-resolved (sampling), training steps are made (training) or patches are "
        "read (loader), each beside the published way, in one run. Each has a --help of its own."
    )
    commands = parser.add_subparsers(dest="what", required=True, parser_class=_Command)
    for name, benchmark in BENCHMARKS.items():
        command = commands.add_parser(name, help=benchmark.WHAT, description=benchmark.WHAT)
        command.add_argument("--device", choices=("cpu", "cuda"), help="by default a GPU where there is one")
        command.add_argument("--rounds", type=positive, default=5, help="turns of each contender, after one more")
        benchmark.add_flags(command)
    return parser


def main() -> int | None:
    args = parser().parse_args()
    return BENCHMARKS[args.what].main(args)


if __name__ == "__main__":
    run(main)
