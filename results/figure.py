"""A figure like the paper's 3 to 5 for any pictures, box and weights.

``python results/figure.py --test_data_dir dataset/Sample --pictures img_002 --scale 4 --out figure.pdf``
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataset.errors import InputError, Parser, run, shown
from results.measure import SCALES
from solver.arguments import add_protocol

FORMATS = (".png", ".pdf", ".svg")


def parser() -> Parser:
    parser = Parser(
        "Show a box of a picture as HR, bicubic and each network make it, with the whole picture's figures."
    )
    add = parser.add_argument
    add("--test_data_dir", type=Path, default="dataset/Sample", help="folder of HR/LR pairs: a benchmark's or DIV2K's")
    add("--pictures", nargs="+", default=[], help="such as img_002; by default three in which the methods differ most")
    add("--scale", type=int, choices=SCALES, default=4, help="enlargement factor")
    add("--weights", type=Path, nargs="+", help="of this scale or blind (by default the ones that ship)")
    add("--labels", nargs="+", help="what to call them (by default their files' names)")
    sides = ("TOP", "LEFT", "HEIGHT", "WIDTH")
    add("--box", type=int, nargs=4, metavar=sides, help="in HR pixels (by default where the methods differ most)")
    add("--out", type=Path, default="samples/figure.png", help="a .png, .pdf or .svg file")
    add_protocol(parser)
    return parser


def main() -> None:
    args = parser().parse_args()
    if args.out.suffix.lower() not in FORMATS:
        raise InputError(f"--out {args.out}: ends in none of {', '.join(FORMATS)}")
    from dataset import test_set
    from results import crops

    methods = find_methods(args)
    items = test_set.find(args.test_data_dir, args.scale).items
    if args.pictures:
        items = [find_item(name, items, args.test_data_dir) for name in args.pictures]
    box, most = args.box and crops.Box(*args.box), None if args.pictures else 3
    rows = crops.rows(items, args.scale, methods, args.protocol, box, most)
    crops.draw(rows, args.out)
    for name, _, box in rows:
        print(f"{shown(name)}: box {' '.join(map(str, box))}")
    print(shown(args.out))


def find_methods(args: argparse.Namespace) -> tuple:
    """The weights to compare, with their labels; raises InputError for some that are not of this scale."""
    from results.measure import Method, find_methods
    from solver.graph import load

    if args.weights is None:
        if args.labels:
            raise InputError("--labels: says what --weights are called, so give those too")
        methods = tuple(method for method in find_methods(None)[0] if args.scale in method.scales)
        if not methods:
            raise InputError(f"--scale {args.scale}: no weights that ship enlarge by it; name some with --weights")
        return methods
    labels = args.labels or [path.stem for path in args.weights]
    if len(labels) != len(args.weights) or len(set(labels)) < len(labels):
        raise InputError(f"--labels: {len(labels)} for {len(args.weights)} weights; each needs one of its own")
    taken = {"HR", "Bicubic"} & set(labels)
    if taken:
        raise InputError(f"--labels: {taken.pop()} is what is compared with; call these weights otherwise")
    infos = [load(path, scale=args.scale)[1] for path in args.weights]
    return tuple(Method(label, info.path, info.scales, info.multi_scale) for label, info in zip(labels, infos))


def find_item(name: str, items: list, folder: Path):
    """The picture whose name is ``name`` or starts with it; raises InputError if there are none or several."""
    found = [item for item in items if item.name == name] or [item for item in items if item.name.startswith(name)]
    if len(found) != 1:
        many, names = "several" if found else "no", ", ".join(item.name for item in (found or items)[:8])
        raise InputError(f"--pictures {name}: {many} such pictures in {folder}; there are {names}")
    return found[0]


if __name__ == "__main__":
    run(main)
