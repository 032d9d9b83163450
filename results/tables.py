"""The paper's Tables 1 to 9, with the paper's own figures beside what was measured here."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from dataset.files import readable

from .measure import BENCHMARKS, NETWORKS, SAMPLE, SCALES, SETS, mean
from .shape import AMOUNT, COUNT, PSNR, SSIM, between, checked, fits, read_csv, read_json
from .table import Column, Row, Table, plain

RESULTS = Path(__file__).parent
PAPER = RESULTS / "paper"
ABLATION = RESULTS / "ablation/ablation.json"  # made by results/experiments.py ablation
PAPER_SETS = {name: f"table{number}_{name.lower()}" for number, name in enumerate(BENCHMARKS, start=4)}
PROTOCOLS = {
    name: f"the {name} protocol: output {output}, luma {luma}, as many pixels as the scale cut off every side"
    for name, output, luma in (
        ("published", "truncated to 8 bits", "rounded to 8 bits"),
        ("modern", "rounded to 8 bits", "kept as floating point"),
        ("luma", "not rounded, of an LR made from HR's luma", "rounded to 8 bits"),
    )
}

# What the paper's files and ours must hold (see results/shape.py).
_WORDS = {"method", "sr_size", "parameters", "flops"}  # the paper's columns that are no plain numbers
_FIGURES = {f"x{s}_{figure}": (test, None) for s in SCALES for figure, test in (("psnr", PSNR), ("ssim", SSIM))}
_PAPER = {"table1": {"method": str, "psnr": PSNR, "ssim": SSIM}}
_PAPER |= dict.fromkeys(("table2", "table8"), {"sr_size": str})
_PAPER |= dict.fromkeys(("table3", "table9"), {"method": str, "parameters": str, "flops": str})
_PAPER |= dict.fromkeys(("table4", "table5", "table6", "table7"), {"method": str} | _FIGURES)
_TRAINED = {"network": tuple(NETWORKS), "psnr": PSNR, "ssim": (SSIM, None), "hours": AMOUNT}
_BUDGET = {"max_steps": COUNT, "batch_size": COUNT, "patch_size": COUNT, "loss_fn": str}
_ALL = sorted(NETWORKS)
_ABLATION = {"set": str, "scale": SCALES, "budget": _BUDGET, "hardware": {"device": str}}
_ABLATION |= {"networks": lambda rows: fits(rows, [_TRAINED]) and sorted(row["network"] for row in rows) == _ALL}


def every(entries: list[dict], protocol: str, numbers: Sequence[int] = range(1, 10)) -> list[Table]:
    """The tables of these numbers, then those of our own: ``Sample`` and the complexity in full.

    ``entries`` of :class:`results.measure.Memory` were measured with this protocol, or with the networks' own ones.
    """
    make = {1: ablation, 2: partial(runtime, "2"), 3: partial(complexity, "3")}
    make |= {n: partial(benchmark, name, entries, protocol) for n, name in enumerate(BENCHMARKS, start=4)}
    make |= {8: partial(runtime, "8"), 9: partial(complexity, "9")}
    tables = [make[number]() for number in numbers]
    if {4, 5, 6, 7} & set(numbers):
        tables.append(benchmark(SAMPLE, entries, protocol))
    if {3, 9} & set(numbers):
        tables.append(complexity_by_scale())
    return tables


def paper_rows(name: str) -> list[dict]:
    """A CSV file of the paper's figures; numbers become floats, empty cells None.

    Raises:
        InputError: if it is missing or damaged.
    """

    def value(column: str, text: str) -> float | str | None:
        return text if column in _WORDS else checked(float(text), AMOUNT) if text else None

    path, advice = PAPER / f"{name}.csv", "it came with this project: put it back"
    rows = read_csv(path, advice)
    with readable(path, advice):
        rows = [{column: value(column, text) for column, text in row.items()} for row in rows]
        return checked(rows, [_PAPER[name.partition("_")[0]]])


def benchmark(name: str, entries: list[dict], protocol: str) -> Table:
    """Tables 4 to 7, of this data set; of ``Sample`` the same without the paper's rows."""
    entries = [entry for entry in entries if entry["set"] == name]
    paper = {row["method"]: row for row in paper_rows(PAPER_SETS[name])} if name in PAPER_SETS else {}
    keys = [f"x{scale}_{figure}" for scale in SCALES for figure in ("psnr", "ssim")]
    rows = [Row((method, *(row[key] for key in keys))) for method, row in paper.items()]
    ours = {("Bicubic", protocol): {}}
    for entry in sorted(
        entries, key=lambda e: (e["label"].startswith("LESRCNN"), e["label"], e["protocol"] != protocol)
    ):
        for figure in ("psnr", "ssim"):
            key = f"x{entry['scale']}_{figure}"
            ours.setdefault((entry["label"], entry["protocol"]), {})[key] = mean(entry, figure)
            if entry["protocol"] == protocol:
                ours["Bicubic", protocol][key] = mean(entry, f"bicubic_{figure}")
    own = dict(ours.keys())  # of each method the protocol that comes last: its own paper's
    for (method, by), measured in ours.items():
        if measured:
            label = "ours" if by == protocol else f"ours, {by}"
            rows.append(Row((f"{method} ({label})", *(measured.get(key) for key in keys)), "ours"))
        if measured and method in paper and by == own[method]:
            cells = (_difference(measured.get(key), paper[method][key]) for key in keys)
            rows.append(Row((f"- difference to the paper's {method}", *cells), "difference"))
    notes = [f"{name} was not measured: it was not there."]
    if entries:
        notes = [f"Bold: measured here, with {PROTOCOLS[protocol]}. PSNR in dB, on luma."]
    if entries and paper:
        notes.append(
            "Bicubic is measured too, on the same pictures and in the same way; the paper's row of it "
            "has the figures of earlier papers."
        )
    if any(by != protocol for _, by in ours):
        notes.append(f'"(ours, luma)": {PROTOCOLS["luma"]}; so do the papers of networks for luma.')
    forms = {"psnr": ".2f", "ssim": ".4f"}
    columns = [Column(key, f"x{key[1]} {key[3:].upper()}", forms[key[3:]]) for key in keys]
    number = str(4 + BENCHMARKS.index(name)) if paper else name.lower()
    title = f"PSNR and SSIM on {name}" + ("" if paper else " (the pictures that come with this project)")
    return Table(number, title, [Column("method", "Method"), *columns], rows, notes)


def _difference(ours: float | None, paper: float | None) -> float | None:
    """Ours less the paper's, ours taken to the digits that the paper prints."""
    if ours is None or paper is None:
        return None
    digits = 4 if paper < 1 else 2  # SSIM or PSNR
    return round(round(ours, digits) - paper, digits)


def headline(entries: list[dict]) -> Table:
    """Every set in one small table for the README: bicubic, ours, and the paper's, as PSNR/SSIM."""
    columns = [
        Column("set", "Set"),
        Column("scale", "Scale"),
        Column("bicubic", "Bicubic"),
        Column("lesrcnn", "LESRCNN (ours)", "", True),
        Column("lesrcnn_paper", "LESRCNN (paper)"),
        Column("lesrcnn_s", "LESRCNN-S, blind (ours)", "", True),
        Column("lesrcnn_s_paper", "LESRCNN-S, blind (paper)"),
    ]
    rows = []
    for name in SETS:
        paper = {row["method"]: row for row in paper_rows(PAPER_SETS[name])} if name in PAPER_SETS else {}
        for scale in SCALES:
            ours = {e["label"]: e for e in entries if e["set"] == name and e["scale"] == scale}
            if not ours:
                continue
            entry = next(iter(ours.values()))
            cells = [name, f"x{scale}", _pair(mean(entry, "bicubic_psnr"), mean(entry, "bicubic_ssim"))]
            for label in ("LESRCNN", "LESRCNN-S"):
                own, row = ours.get(label), paper.get(label)
                cells.append(own and _pair(mean(own, "psnr"), mean(own, "ssim")))
                cells.append(row and _pair(row[f"x{scale}_psnr"], row[f"x{scale}_ssim"]))
            rows.append(Row(tuple(cells)))
    return Table("headline", "In short: PSNR (dB) / SSIM on luma", columns, rows)


def _pair(psnr: float | None, ssim: float | None) -> str | None:
    return None if psnr is None or ssim is None else f"{psnr:.2f}/{ssim:.4f}"


def ablation(path: Path = ABLATION) -> Table:
    """Table 1: the paper's networks, each lacking one idea more, beside the ones trained here alike.

    Args:
        path: what ``results/experiments.py ablation`` wrote; if it is not there, only the paper's figures are shown.

    Raises:
        InputError: if it is damaged.
    """
    paper = paper_rows("table1_ablation_set5_x4")
    ours, where, notes = {}, "Set5, x4", ["Not trained here yet: `python results/experiments.py ablation` does it."]
    if path.exists():
        trained = read_json(path, _ABLATION, "make it again with results/experiments.py ablation")
        ours = {row["network"]: row for row in trained["networks"]}
        where, notes = f"{plain(trained['set'])}, x{trained['scale']}", _ablation_notes(trained)
    columns = [
        Column("network", "Network"),
        Column("paper_psnr", "PSNR (paper)", ".2f"),
        Column("paper_ssim", "SSIM (paper)", ".4f"),
        Column("paper_gap", "below LESRCNN (paper)", ".2f"),
        Column("psnr", "PSNR (ours)", ".2f", True),
        Column("ssim", "SSIM (ours)", ".4f", True),
        Column("gap", "below LESRCNN (ours)", ".2f", True),
    ]
    whole = paper[-1]["psnr"]
    rows = []
    for row in paper:
        mine = ours.get(row["method"])
        cells = (None,) * 3 if mine is None else (mine["psnr"], mine["ssim"], ours["LESRCNN"]["psnr"] - mine["psnr"])
        rows.append(Row((row["method"], row["psnr"], row["ssim"], round(whole - row["psnr"], 2), *cells)))
    title = f"The ablation on {where}" + (" (the paper: Set5, x4)" if where != "Set5, x4" else "")
    return Table("1", title, columns, rows, notes)


def _ablation_notes(trained: dict) -> list[str]:
    """The budget that all five had, and whether their order is the paper's."""
    budget, hours = trained["budget"], sum(row["hours"] for row in trained["networks"])
    by_psnr = sorted(trained["networks"], key=lambda row: row["psnr"])
    order = " < ".join(row["network"] for row in by_psnr)
    return [
        f"Ours: {budget['max_steps']:,} steps of {budget['batch_size']} patches of {budget['patch_size']}x"
        f"{budget['patch_size']} LR pixels for each, {plain(budget['loss_fn'])} loss, the same start, seed and "
        f"pictures; {hours:.1f} hours for all five on {plain(trained['hardware']['device']).removeprefix('the ')}. "
        "The paper's: 600,000 steps of 64 patches of 64x64, so its absolute figures are out of reach here; "
        "order and gaps can be compared.",
        f"Order by PSNR: the paper's is HN < SN < IEEB < IEEB+RB < LESRCNN, ours is {order}.",
    ]


def runtime(number: str, folder: Path = RESULTS) -> Table:
    """Table 2 (SN and HN, x4) or Table 8 (LESRCNN among others, x2), in seconds for a picture.

    Args:
        folder: where ``results/benchmark.py sampling`` wrote its CSV files, one for each machine: ``runtime*.csv``
            (Table 2) and ``benchmark*.csv`` (Table 8).

    Raises:
        InputError: if one is damaged.
    """
    file, scale, measured, command = {
        "2": ("table2_runtime_x4_seconds", 4, "runtime", "results/benchmark.py sampling --networks SN HN"),
        "8": ("table8_runtime_x2_seconds", 2, "benchmark", "results/benchmark.py sampling"),
    }[number]
    paper = paper_rows(file)
    sizes = [row["sr_size"] for row in paper]
    rows = [Row((name, "the paper's machine", *(row[name] for row in paper))) for name in paper[0] if name != "sr_size"]
    for path in sorted(folder.glob(f"{measured}*.csv")):
        advice = f"make it again with {command}"
        lines = read_csv(path, advice)
        with readable(path, advice):
            rows += _timed(lines, scale, sizes)
    notes = ["Seconds of different machines cannot be compared; what can is one row with another of its machine."]
    if not any(row.kind == "ours" for row in rows):
        notes.append(f"Not measured here yet: `python {command}` does it.")
    columns = [Column("network", "Network"), Column("machine", "On"), *(Column(size, size, "g") for size in sizes)]
    return Table(number, f"Running time in seconds for a result of each size, x{scale}", columns, rows, notes)


def _timed(lines: list[dict[str, str]], scale: int, sizes: list[str]) -> list[Row]:
    """The rows of one machine: each network, or form and precision of LESRCNN, whole pictures at a time.

    Raises:
        LookupError, ValueError: if the lines are not those of a benchmark.
    """
    seconds, machine = {}, ""
    for line in lines:
        machine = f"{line['device']}, torch {line['torch']}"
        label = line["network"] if "network" in line else f"{line['form']}, {line['precision']}"
        if "network" not in line and line["form"] not in NETWORKS:
            label = f"LESRCNN, {label}"
        own, width, height = (checked(int(line[name]), COUNT) for name in ("scale", "width", "height"))
        if own == scale and line["seconds"] and "pieces" not in label:
            time = checked(float(line["seconds"]), between(1e-9, 1e9))
            seconds.setdefault(label, {})[f"{width}x{height}"] = float(f"{time:.3g}")
    return [Row((label, machine, *(times.get(size) for size in sizes)), "ours") for label, times in seconds.items()]


def complexity(number: str) -> Table:
    """Table 3 (SN and HN) or Table 9 (LESRCNN among others), at x2 for a 64x64 LR patch."""
    from . import complexity as counts

    file, title, remark = {
        "3": (
            "table3_complexity",
            "Complexity of SN and HN, x2",
            "Its 3.06G for the SN is the true count; its 1.38G for the HN leaves the up-sampler out.",
        ),
        "9": (
            "table9_complexity_x2",
            "Complexity, x2",
            "Its 3.08G for LESRCNN is no count that we find: the 17 layers at LR size take 1.35G and "
            "the five of the refinement block 2.44G.",
        ),
    }[number]
    columns = [
        Column("method", "Network"),
        Column("paper_parameters", "Parameters (paper)", "s"),
        Column("paper_flops", "FLOPs (paper)", "s"),
        Column("parameters_as_paper", "Parameters, counted its way", ",d", True),
        Column("macs_without_up", "Multiply-adds without the up-sampler", "s", True),
        Column("parameters", "True parameters", ",d", True),
        Column("macs", "True multiply-adds", "s", True),
    ]
    rows = []
    for row in paper_rows(file):
        ours = (None,) * 4
        if row["method"] in NETWORKS:
            count = counts.of(row["method"])
            ours = count.paper_parameters, _giga(count.macs_without_up), count.parameters, _giga(count.macs)
        rows.append(Row((row["method"], row["parameters"], row["flops"], *ours)))
    notes = [
        "The paper counts the up-sampler's parameters as those of one 3x3 convolution from 64 to 64 "
        "channels, and what it calls FLOPs are multiply-adds for an LR patch of 64x64 pixels.",
        remark,
        "True: all trainable parameters, and half of what `torch.utils.flop_counter` counts in one forward "
        "pass of this project's network, which runs its up-sampler once for the sum of both inputs.",
    ]
    return Table(number, title, columns, rows, notes)


def complexity_by_scale() -> Table:
    """Parameters and multiply-adds of every network that ships, for the input that model zoos quote."""
    from . import complexity as counts

    columns = [
        Column("network", "Network"),
        Column("scale", "Scale"),
        Column("parameters", "Parameters", ",d", True),
        Column("megaparameters", "in millions", ".3f", True),
        Column("macs_64", "Multiply-adds, 3x64x64 input", "s", True),
        Column("macs_128", "Multiply-adds, 3x128x128 input", "s", True),
    ]
    rows = []
    for label, multi_scale in (("LESRCNN", False), ("LESRCNN-S", True)):
        for scale in SCALES:
            small, large = (counts.count("lesrcnn", scale, side, multi_scale=multi_scale) for side in (64, 128))
            macs = _giga(small.macs), _giga(large.macs)
            rows.append(Row((label, f"x{scale}", small.parameters, small.parameters / 1e6, *macs)))
    notes = [
        "Model zoos publish 0.626 M parameters (x2) and 0.774 M (x4) with a 3x128x128 LR input; some of them "
        "call a multiply-add two FLOPs."
    ]
    return Table("complexity", "Complexity at every scale", columns, rows, notes)


def _giga(count: float) -> str:
    return f"{count / 1e9:.2f}G"
