"""``zoo.md``: every network whose weights ship, beside its paper and beside a collection that reproduced the papers."""

from collections import defaultdict
from pathlib import Path

from dataset.files import readable

from . import papers
from .measure import BENCHMARKS, SETS, Method, mean
from .shape import AMOUNT, checked, read_csv, read_json
from .table import Column, Row, Table

COLLECTION = papers.FOLDER / "zoo_collection.csv"
_SETS = {"BSD100": "B100"}  # what the collection calls them otherwise
_CARD = {"training": {"pictures": str}}
_FIGURES = ("psnr", "ssim")

Key = tuple[str, str, int]  # network, set and scale


def zoo(methods: list[Method], entries: list[dict]) -> Table:
    """A row for each network, set and scale.

    Args:
        methods: the weights.
        entries: of :class:`results.measure.Memory`, of these weights, each measured by its network's own protocol.

    Raises:
        InputError: if a card or a file of figures is damaged.
    """
    told, pictures = collection(), {method.sha256: trained_on(method.path) for method in methods}
    order = [method.label for method in methods]
    rows = []
    for entry in sorted(entries, key=lambda e: (order.index(e["label"]), SETS.index(e["set"]), e["scale"])):
        key = (entry["label"].removesuffix("-S"), entry["set"], entry["scale"])
        ours = [mean(entry, figure) for figure in _FIGURES]
        if entry["set"] in BENCHMARKS and None not in ours:
            theirs = [f"{_pair(figures)} ({source})" for source, figures in told[key].items() if source != "paper"]
            paper = _of_paper(entry) or told[key].get("paper")
            names = (entry["label"], entry["set"], f"x{entry['scale']}", entry["protocol"], pictures[entry["weights"]])
            rows.append(Row((*names, *ours, paper and _pair(paper), ", ".join(theirs) or None)))
    columns = [
        Column("network", "Network"),
        Column("set", "Set"),
        Column("scale", "Scale"),
        Column("protocol", "Protocol"),
        Column("trained_on", "Ours was trained on"),
        Column("psnr", "PSNR (ours)", ".2f", True),
        Column("ssim", "SSIM (ours)", ".4f", True),
        Column("paper", "its paper"),
        Column("collection", "a collection's reproduction (trained on)"),
    ]
    notes = [
        "The protocols are those of `--protocol`; `luma` is the one of the papers of networks for luma. "
        "Theirs are not all told: ESPCN's paper, for one, tells neither the LR nor the rounding.",
        "What its paper has: of LESRCNN and CFSRCNN first-hand, of the others as a collection tells; LESRCNN's authors "
        "cite other figures of some, which stand in their tables.",
        "The collection's figures are those of its own README. Its 26.90 for VDSR's paper (B100, x4) is a slip: the "
        "paper has 27.29.",
    ]
    return Table("zoo", "The networks whose weights ship", columns, rows, notes)


def trained_on(weights: Path) -> str:
    """What the card beside weights says they were trained on, in short."""
    card = weights.with_suffix(".json")
    told = read_json(card, _CARD, "make it again with results/ship_weights.py") if card.exists() else None
    return told["training"]["pictures"].partition(":")[0] if told else "not told"


def collection() -> dict[Key, dict[str, list[float]]]:
    """The collection's figures: by network, set and scale, by whose they are (``paper``, ``91-images``), PSNR and SSIM.

    Raises:
        InputError: if the file is missing or damaged.
    """
    advice = "it came with this project: put it back"
    found = defaultdict(lambda: defaultdict(lambda: [None, None]))
    rows = read_csv(COLLECTION, advice)
    with readable(COLLECTION, advice):
        for row in rows:
            if row["figure"] in ("PSNR", "SSIM"):
                key = (row["network"], _SETS.get(row["set"], row["set"]), int(row["scale"].removeprefix("x")))
                value = checked(float(row["value"]), AMOUNT)
                found[key][row["source"]][_FIGURES.index(row["figure"].lower())] = value
    return found


def _of_paper(entry: dict) -> list[float] | None:
    """What the papers whose tables are made here have of their own networks, first-hand."""
    own = any(entry["label"] in paper.told for paper in papers.PAPERS.values())
    return papers.figures(entry["label"], entry["set"], entry["scale"]) if own else None


def _pair(figures: list[float | None]) -> str:
    psnr, ssim = figures
    return " / ".join(f"{value:{form}}" if value else "-" for value, form in ((psnr, ".2f"), (ssim, ".4f")))
