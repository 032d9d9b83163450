"""Make a paper's tables and figures again: ``python results/reproduce.py``.

Of LESRCNN's paper Tables 1 to 9, Figures 1 to 5 and a report page, from the weights that ship (or others) and the data
sets that are there; ``--model cfsrcnn``: of CFSRCNN's paper. What has been measured before is not measured again.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from dataset.errors import InputError, Parser, describe, run, shown
from dataset.files import locked, remove_leftovers, write_text
from results import measure
from results.papers import LESRCNN, PAPERS, Ablation
from results.table import roman
from solver.arguments import add_protocol

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"


def parser() -> Parser:
    parser = Parser("Make a paper's tables and figures again, and a report page. Nothing is measured twice.")
    add = parser.add_argument
    add("--model", choices=PAPERS, default="lesrcnn", help="whose paper; another's than LESRCNN's into a folder in OUT")
    add("--weights", type=Path, help="folder of lesrcnn_x2.pth, ..., and lesrcnn.pth (by default what ships)")
    add("--data", type=Path, nargs="+", default=[], help="folders of Set5, Set14, B100, Urban100, beside dataset/")
    choice = {"nargs": "?", "const": "all", "default": "all"}
    add("--tables", help="which, as 4-7 or 1,4,5, or IV-VII; none for none", **choice)
    add("--figures", help="which; 3 to 5 compare pictures at x2, x3 and x4, 1 and 2 show LESRCNN", **choice)
    add("--page", action=argparse.BooleanOptionalAction, default=True, help="make the report page")
    add("--pictures", type=Path, default="dataset/Sample", help="the set that Figures 3 to 5 and the page show")
    add("--out", type=Path, help="by default results/ for what ships, else samples/results-WEIGHTS-PROTOCOL")
    add_protocol(parser)
    return parser


def numbers(flag: str, text: str, there: Sequence[int]) -> list[int]:
    """``4-7``, ``IV-VII``, ``1,4``, ``all`` or ``none`` -> those of the numbers that are there, sorted.

    Raises:
        InputError: for another text, which a flag had.
    """
    if text in ("all", "none"):
        return list(there) if text == "all" else []
    known = {name: number for number in there for name in (str(number), roman(number))}
    chosen = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        several = range(known.get(first, 0), known.get(last if dash else first, -1) + 1)
        if first not in known or not several:
            ends = f"{there[0]} to {there[-1]} (or {roman(there[0])} to {roman(there[-1])})"
            raise InputError(f"{flag} {text}: is not like 4-7, 1,4 or none; there are {ends}")
        chosen.update(several)
    return sorted(chosen)


def main() -> int:
    args = parser().parse_args()
    paper = PAPERS[args.model]
    args.tables = numbers("--tables", args.tables, [table.number for table in paper.tables])
    args.figures = numbers("--figures", args.figures, paper.figures)
    usual = args.weights is None and args.protocol == "published"
    weights = args.weights.resolve().name if args.weights else "shipped"
    args.out = args.out or (RESULTS if usual else Path(f"samples/results-{weights}-{args.protocol}"))
    return reproduce(args)


def reproduce(args: argparse.Namespace) -> int:
    """Measure what is not known yet, then write tables, figures and page.

    Returns:
        The exit status: 0, or 2 if something could not be measured or made, of which a line tells.
    """
    paper = PAPERS[args.model]
    methods, missing = measure.find_methods(args.weights, paper.network)
    for folder in args.data:
        if not folder.is_dir():
            raise InputError(f"--data {folder}: is no folder")
    if not args.out.resolve().name:
        raise InputError(f"--out {args.out}: is the root of all folders; give one of its own")
    scales = {scale for method in methods for scale in method.scales}
    sets, absent = measure.find_sets([*args.data, ROOT / "dataset"], paper.sets, scales)
    with locked(args.out, "another command of results/"):
        remove_leftovers(args.out, recursive=True)
        memory = measure.Memory(args.out / "measured.json")
        memory.write()  # or what is measured could not be kept
        known = {entry["set"] for entry in memory.complete(methods, args.protocol)}
        for line in missing + absent:
            kept = line.partition(":")[0] in known
            print(shown(line + "; what was measured of it before, with these weights, is kept" * kept))
        problems = measure_and_make(args, methods, sets, memory)
    for problem in problems:
        print(shown(f"left out: {problem}"))
    print(shown(f"written to {args.out if paper is LESRCNN else args.out / paper.network}"))
    return 2 if problems else 0


def measure_and_make(
    args: argparse.Namespace, methods: list[measure.Method], sets: list, memory: measure.Memory
) -> list[str]:
    """Measure every picture and make every product, each on its own; returns a line for each that could not be had."""
    from tqdm import tqdm

    plan, products, problems = measure.plan(methods, sets, args.protocol), list_products(args, methods, memory), []
    pictures = sum(len(pictures.items) for _, pictures, _ in plan)
    with tqdm(total=pictures + len(products), unit="step", disable=None) as bar:

        def counted(items: list) -> Iterator:
            for item in items:
                yield item
                bar.update()

        def say(line: str) -> None:
            bar.write(shown(line))

        for method, pictures, protocol in plan:
            bar.set_description(f"{pictures.name} x{pictures.scale}, {method.label}")
            problems += measure.measure(method, pictures, memory, protocol, counted, say)
        for file in memory.forget_others(methods):
            say(f"{file}: these weights have changed; what the old ones measured is dropped")
        memory.write()
        for name, make in products:
            bar.set_description(name)
            try:
                make()
            except (InputError, OSError, MemoryError) as error:
                problems.append(f"{name}: {describe(error)}")
            bar.update()
    return problems


def list_products(
    args: argparse.Namespace, methods: list[measure.Method], memory: measure.Memory
) -> list[tuple[str, Callable[[], None]]]:
    """What is to be written once everything is measured: a name and what makes it, in order."""
    from dataset import test_set
    from results import architecture, crops, network_table, page, readme, runtimes, table, tables
    from results.zoo import zoo

    paper = PAPERS[args.model]
    out = args.out if paper is LESRCNN else args.out / paper.network

    def entries() -> list[dict]:
        return memory.complete(methods, args.protocol)

    def all_tables(*numbers: list[int]) -> list[table.Table]:
        return tables.every(memory.for_tables(methods, args.protocol), args.protocol, *numbers, paper=paper)

    def compare(path: Path, scale: int, items: list[test_set.Item]) -> None:
        crops.draw(crops.rows(items, scale, methods, args.protocol, most=3), path)

    def write_page() -> None:
        compared = args.out / "networks.csv"  # by results/benchmark.py networks
        of_csv = {compared: network_table, args.out / "deploy.csv": runtimes}  # by results/deploy.py
        others = [module.table(module.read(path)) for path, module in of_csv.items() if path.exists()]
        shown = [tables.headline(entries(), paper), *all_tables(), *others]
        drawn = [(out / f"figures/figure{n}.png", architecture.CAPTIONS[n]) for n in paper.figures if n < 3]
        logs = {"The weights that ship": sorted((args.out / "curves").glob(paper.curves))}
        if any(isinstance(one, Ablation) for one in paper.tables):
            logs["The ablation"] = sorted((RESULTS / "ablation/curves").glob("*.csv"))
        drawn.append((compared.with_suffix(".png"), "Which network? PSNR over time"))
        figures = {caption: path for path, caption in drawn if path.exists()}
        page.write(out / "report/index.html", shown, methods, args.pictures, args.protocol, figures, logs, paper)

    def write_tables() -> None:
        table.write(all_tables(args.tables), out / "tables", paper.command)

    def write_zoo() -> None:
        own = [entry for method in methods for entry in memory.complete([method], method.own_protocol)]
        write_text(out / "zoo.md", zoo(methods, own).markdown())

    def update_readme() -> None:
        readme.replace(ROOT / "README.md", "results", readme.results_section(entries(), args.protocol))

    products = [("tables", write_tables)] if args.tables else []
    if args.tables and paper is LESRCNN:
        products.append(("zoo.md", write_zoo))
    own = {scale for method in methods if method.label in paper.labels for scale in method.scales}
    for number in args.figures:
        path, scale = out / "figures" / f"figure{number}.png", number - 1
        if number < 3:
            draw = {1: architecture.figure1, 2: architecture.figure2}[number]
            products.append((f"Figure {number}", partial(draw, path)))
        elif scale in own:
            items = test_set.find(args.pictures, scale).items
            products.append((f"Figure {number}", partial(compare, path, scale, items)))
    if args.page and own:
        products.append(("page", write_page))
    if args.out.resolve() == RESULTS and paper is LESRCNN:
        products.append(("README", update_readme))
    return products


if __name__ == "__main__":
    run(main)
