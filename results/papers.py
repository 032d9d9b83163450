"""The papers whose tables are made again, as data: which tables each has, what they show, and the paper's own figures.

The tables are made by :mod:`results.tables`. The figures are files in ``results/paper/``.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataset.files import readable

from .measure import BENCHMARKS, NETWORKS, PAPER_SCALES, label_of
from .shape import AMOUNT, PSNR, SSIM, checked, read_csv

FOLDER = Path(__file__).parent / "paper"


@dataclass(frozen=True)
class PaperTable:
    """What all tables have: the paper's number, the file of its figures, and notes of ours about them."""

    number: int
    file: str
    notes: tuple[str, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class Benchmark(PaperTable):
    """PSNR and SSIM on a data set, of the name that its folder has in ``dataset/``."""

    set: str


@dataclass(frozen=True)
class Runtime(PaperTable):
    """Seconds for a picture, at a scale. Ours: the files ``<measured>*.csv`` in ``results/``, made by ``command``."""

    scale: int
    measured: str
    command: str


@dataclass(frozen=True)
class Complexity(PaperTable):
    """Parameters and multiply-adds at x2, for an LR patch of ``side`` x ``side`` pixels.

    ``counted``: of which of its networks ours are counted, as name and options in ``model/``.
    """

    title: str
    side: int
    counted: dict[str, tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Ablation(PaperTable):
    """Networks that lack one idea more each, trained alike."""


@dataclass(frozen=True)
class Paper:
    """A paper.

    Attributes:
        network: its network's name in ``model/``.
        title, authors: as one quotes them.
        tables: those that are made again.
        told: which of its network's labels (see :func:`results.measure.label_of`) have figures in its tables.
        roman: whether it counts its tables I, II, III.
        figures: which of Figures 1 to 5 are drawn: 3 to 5 compare pictures at x2, x3 and x4.
        notes: of ours, by what they are about: a label, ``complexity`` for the complexity at every scale.
        curves: which files in ``results/curves/`` are its network's.
    """

    network: str
    title: str
    authors: str
    tables: tuple[PaperTable, ...]
    told: tuple[str, ...]
    roman: bool = False
    figures: tuple[int, ...] = (3, 4, 5)
    notes: dict[str, str] = field(default_factory=dict)
    curves: str = "*.csv"

    @property
    def labels(self) -> tuple[str, str]:
        """What its network is called, and what the blind one."""
        return label_of(self.network, blind=False), label_of(self.network, blind=True)

    @property
    def name(self) -> str:
        return self.labels[0]

    @property
    def command(self) -> str:
        """The command that makes its tables."""
        return "python results/reproduce.py" + (f" --model {self.network}" if self is not LESRCNN else "")

    @property
    def sets(self) -> tuple[str, ...]:
        """The data sets that it measures on."""
        return tuple(table.set for table in self.tables if isinstance(table, Benchmark))

    def table(self, number: int) -> PaperTable:
        return next(table for table in self.tables if table.number == number)

    def benchmark(self, name: str) -> Benchmark | None:
        """The table of this data set, None if there is none."""
        return next((table for table in self.tables if isinstance(table, Benchmark) and table.set == name), None)


LESRCNN = Paper(
    network="lesrcnn",
    title="Lightweight image super-resolution with enhanced CNN",
    authors="Tian et al., 2020",
    tables=(
        Ablation(1, "table1_ablation_set5_x4"),
        Runtime(2, "table2_runtime_x4_seconds", 4, "runtime", "results/benchmark.py sampling --networks SN HN"),
        Complexity(
            3,
            "table3_complexity",
            "Complexity of SN and HN, x2",
            64,
            NETWORKS,
            notes=("Its 3.06G for the SN is the true count; its 1.38G for the HN leaves the up-sampler out.",),
        ),
        *(Benchmark(n, f"table{n}_{name.lower()}", name) for n, name in enumerate(BENCHMARKS, start=4)),
        Runtime(8, "table8_runtime_x2_seconds", 2, "benchmark", "results/benchmark.py sampling"),
        Complexity(
            9,
            "table9_complexity_x2",
            "Complexity, x2",
            64,
            NETWORKS,
            notes=(
                "Its 3.08G for LESRCNN is no count that we find: the 17 layers at LR size take 1.35G and "
                "the five of the refinement block 2.44G.",
            ),
        ),
    ),
    told=("LESRCNN", "LESRCNN-S"),
    figures=(1, 2, 3, 4, 5),
    notes={
        "complexity": "Model zoos publish 0.626 M parameters (x2) and 0.774 M (x4) with a 3x128x128 LR input; some of "
        "them call a multiply-add two FLOPs."
    },
)

CFSRCNN = Paper(
    network="cfsrcnn",
    title="Coarse-to-Fine CNN for Image Super-Resolution",
    authors="Tian et al., 2021",
    tables=(
        Benchmark(
            4,
            "cfsrcnn_table4_set5",
            "Set5",
            notes=("The paper's 0.9255 for CARN-M (x3 SSIM) is a slip: it is CARN's; CARN-M has 0.9236.",),
        ),
        Benchmark(
            5,
            "cfsrcnn_table5_set14",
            "Set14",
            notes=("The paper's x3 figures of LapSRN are a slip: they are RCN's; LapSRN has no network for x3.",),
        ),
        Benchmark(6, "cfsrcnn_table6_b100", "B100"),
        Benchmark(7, "cfsrcnn_table7_u100", "Urban100"),
        Benchmark(
            8,
            "cfsrcnn_table8_720p",
            "720p",
            notes=(
                "The paper does not tell what pictures its 720p set has. "
                "`python dataset/make_benchmark.py --hr my_720p_pictures --out dataset/720p` makes such a set "
                "of yours; figures of other pictures cannot be compared with the paper's.",
            ),
        ),
        Runtime(
            9,
            "cfsrcnn_table9_runtime",
            2,
            "cfsrcnn/runtime",
            "results/benchmark.py sampling --networks cfsrcnn --scale 2 --sizes 256 512 1024",
        ),
        Complexity(
            10,
            "cfsrcnn_table10_complexity",
            "Complexity, x2",
            77,
            {"CFSRCNN": ("cfsrcnn", {})},
            notes=(
                "Its 11.08G for CFSRCNN is the true count of one pass of the up-sampler; its own code makes two, "
                "which is 11.95G.",
            ),
        ),
    ),
    told=("CFSRCNN",),
    roman=True,
    notes={
        "CFSRCNN-S": "CFSRCNN-S: blind weights, one network for all scales. The paper has no figures of such and no "
        "name for them; they are called as those of LESRCNN are."
    },
    curves="cfsrcnn*.csv",
)

PAPERS = {paper.network: paper for paper in (LESRCNN, CFSRCNN)}

# What a file of figures must hold (see results/shape.py).
_WORDS = {"method", "sr_size", "parameters", "flops"}  # columns that are no plain numbers
_FIGURES = {f"x{s}_{figure}": (test, None) for s in PAPER_SCALES for figure, test in (("psnr", PSNR), ("ssim", SSIM))}
_SHAPES = {
    Ablation: {"method": str, "psnr": PSNR, "ssim": SSIM},
    Runtime: ({"sr_size": str}, {"method": str}),
    Complexity: {"method": str, "parameters": str, "flops": str},
    Benchmark: {"method": str} | _FIGURES,
}


def rows(table: PaperTable) -> list[dict]:
    """The paper's figures in a table, a row for each ``method``; numbers are floats, empty cells None.

    Raises:
        InputError: if their file is missing or damaged.
    """

    def value(column: str, text: str) -> float | str | None:
        return text if column in _WORDS else checked(float(text), AMOUNT) if text else None

    path, advice = FOLDER / f"{table.file}.csv", "it came with this project: put it back"
    lines = read_csv(path, advice)
    with readable(path, advice):
        lines = [{"method" if name == "model" else name: text for name, text in line.items()} for line in lines]
        lines = [{column: value(column, text) for column, text in line.items()} for line in lines]
        return _by_method(checked(lines, [_SHAPES[type(table)]]))


def _by_method(lines: list[dict]) -> list[dict]:
    """Of lines for a size each, lines for a method each; others as they are."""
    if "sr_size" not in lines[0]:
        return lines
    methods = [name for name in lines[0] if name != "sr_size"]
    return [{"method": name} | {line["sr_size"]: line[name] for line in lines} for name in methods]


def figures(label: str, test_set: str, scale: int) -> list[float] | None:
    """PSNR and SSIM that a paper has for a network: its own paper, or else LESRCNN's; None if it has none.

    Args:
        label: of :func:`results.measure.label_of`.
    """
    paper = next((paper for paper in PAPERS.values() if label in paper.labels), LESRCNN)
    found = [row for row in rows(paper.benchmark(test_set)) if row["method"] == label]
    told = [row.get(f"x{scale}_{figure}") for row in found for figure in ("psnr", "ssim")]
    return told if told and None not in told else None
