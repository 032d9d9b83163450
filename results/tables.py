"""The tables of a paper, with its own figures beside what was measured here."""

from collections.abc import Sequence
from pathlib import Path

import model
from dataset.files import readable

from . import papers
from .measure import NETWORKS, PAPER_SCALES, SAMPLE, label_of, mean
from .papers import LESRCNN, Ablation, Benchmark, Complexity, Paper, Runtime
from .shape import AMOUNT, COUNT, PSNR, SSIM, between, checked, fits, read_csv, read_json
from .table import Column, Row, Table, plain

RESULTS = Path(__file__).parent
ABLATION = RESULTS / "ablation/ablation.json"  # made by results/experiments.py ablation
PROTOCOLS = {
    name: f"the {name} protocol: output {output}, luma {luma}, as many pixels as the scale cut off every side"
    for name, output, luma in (
        ("published", "truncated to 8 bits", "rounded to 8 bits"),
        ("modern", "rounded to 8 bits", "kept as floating point"),
        ("luma", "not rounded, of an LR made from HR's luma", "rounded to 8 bits"),
    )
}

# What a file of ours must hold (see results/shape.py).
_TRAINED = {"network": tuple(NETWORKS), "psnr": PSNR, "ssim": (SSIM, None), "hours": AMOUNT}
_BUDGET = {"max_steps": COUNT, "batch_size": COUNT, "patch_size": COUNT, "loss_fn": str}
_ALL = sorted(NETWORKS)
_ABLATION = {"set": str, "scale": PAPER_SCALES, "budget": _BUDGET, "hardware": {"device": str}}
_ABLATION |= {"networks": lambda rows: fits(rows, [_TRAINED]) and sorted(row["network"] for row in rows) == _ALL}


def every(
    entries: list[dict], protocol: str, numbers: Sequence[int] | None = None, paper: Paper = LESRCNN
) -> list[Table]:
    """The tables of these numbers, by default all, then those of our own: ``Sample`` and the complexity in full.

    ``entries`` of :class:`results.measure.Memory` were measured with this protocol, or with the networks' own ones.
    """
    make = {
        Ablation: lambda table: ablation(),
        Runtime: lambda table: runtime(table.number, paper=paper),
        Complexity: lambda table: complexity(table.number, paper),
        Benchmark: lambda table: benchmark(table.set, entries, protocol, paper),
    }
    wanted = [table for table in paper.tables if numbers is None or table.number in numbers]
    tables, kinds = [make[type(table)](table) for table in wanted], {type(table) for table in wanted}
    if Benchmark in kinds:
        tables.append(benchmark(SAMPLE, entries, protocol, paper))
    if Complexity in kinds:
        tables.append(complexity_by_scale(paper))
    return tables


def benchmark(name: str, entries: list[dict], protocol: str, paper: Paper = LESRCNN) -> Table:
    """The table of this data set; of ``Sample`` the same without the paper's rows."""
    entries, table = [entry for entry in entries if entry["set"] == name], paper.benchmark(name)
    told = {row["method"]: row for row in papers.rows(table)} if table else {}
    scales = sorted({*PAPER_SCALES, *(entry["scale"] for entry in entries)})
    keys = [f"x{scale}_{figure}" for scale in scales for figure in ("psnr", "ssim")]
    rows = [Row((method, *(row.get(key) for key in keys))) for method, row in told.items()]
    ours = {("Bicubic", protocol): {}}
    for entry in sorted(
        entries, key=lambda e: (e["label"].startswith(paper.name), e["label"], e["protocol"] != protocol)
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
        if measured and method in told and by == own[method]:
            cells = (_difference(measured.get(key), told[method].get(key)) for key in keys)
            rows.append(Row((f"- difference to the paper's {method}", *cells), "difference"))
    forms = {"psnr": ".2f", "ssim": ".4f"}
    columns = [Column(key, f"x{key[1]} {key[3:].upper()}", forms[key[3:]]) for key in keys]
    number = str(table.number) if table else name.lower()
    title = f"PSNR and SSIM on {name}" + ("" if table else " (the pictures that come with this project)")
    notes = [f"{name} was not measured: it was not there."]
    if entries:
        notes = _benchmark_notes(set(ours), protocol, told, paper)
    notes += table.notes if table else ()
    return Table(number, title, [Column("method", "Method"), *columns], rows, notes, paper.roman)


def _benchmark_notes(ours: set[tuple[str, str]], protocol: str, told: dict[str, dict], paper: Paper) -> list[str]:
    """How the methods were measured, each by a protocol, beside those that the paper tells of."""
    labels = {method for method, _ in ours}
    notes = [f"Bold: measured here, with {PROTOCOLS[protocol]}. PSNR in dB, on luma."]
    if not labels & set(paper.labels):
        notes.append(f"No weights of {paper.name} were there, so it was not measured.")
    if "Bicubic" in told:
        notes.append(
            "Bicubic is measured too, on the same pictures and in the same way; the paper's row of it "
            "has the figures of earlier papers."
        )
    if any(by != protocol for _, by in ours):
        notes.append(f'"(ours, luma)": {PROTOCOLS["luma"]}; so do the papers of networks for luma.')
    notes += [note for label, note in paper.notes.items() if label in labels]
    return notes


def _difference(ours: float | None, paper: float | None) -> float | None:
    """Ours less the paper's, ours taken to the digits that the paper prints."""
    if ours is None or paper is None:
        return None
    digits = 4 if paper < 1 else 2  # SSIM or PSNR
    return round(round(ours, digits) - paper, digits)


def headline(entries: list[dict], paper: Paper = LESRCNN) -> Table:
    """Every set in one small table, as for the README: bicubic, ours, and the paper's, as PSNR/SSIM."""
    columns = [Column("set", "Set"), Column("scale", "Scale"), Column("bicubic", "Bicubic")]
    for label, what in zip(paper.labels, ("", ", blind")):
        key = label.lower().replace("-", "_")
        columns.append(Column(key, f"{label}{what} (ours)", "", True))
        columns += [Column(f"{key}_paper", f"{label}{what} (paper)")] * (label in paper.told)
    rows = []
    for name in (*paper.sets, SAMPLE):
        table = paper.benchmark(name)
        told = {row["method"]: row for row in papers.rows(table)} if table else {}
        for scale in PAPER_SCALES:
            ours = {e["label"]: e for e in entries if e["set"] == name and e["scale"] == scale}
            if not ours:
                continue
            entry = next(iter(ours.values()))
            cells = [name, f"x{scale}", _pair(mean(entry, "bicubic_psnr"), mean(entry, "bicubic_ssim"))]
            for label in paper.labels:
                own, row = ours.get(label), told.get(label)
                cells.append(own and _pair(mean(own, "psnr"), mean(own, "ssim")))
                if label in paper.told:
                    cells.append(row and _pair(row.get(f"x{scale}_psnr"), row.get(f"x{scale}_ssim")))
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
    paper = papers.rows(LESRCNN.table(1))
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


def runtime(number: int, folder: Path = RESULTS, paper: Paper = LESRCNN) -> Table:
    """A table of running times, in seconds for a picture.

    Args:
        folder: where ``results/benchmark.py sampling`` wrote its CSV files, one for each machine: see
            :class:`results.papers.Runtime`.

    Raises:
        InputError: if one is damaged.
    """
    table = paper.table(number)
    told = papers.rows(table)
    sizes = [name for name in told[0] if name != "method"]
    rows = [Row((row["method"], "the paper's machine", *(row[size] for size in sizes))) for row in told]
    for path in sorted(folder.glob(f"{table.measured}*.csv")):
        advice = f"make it again with {table.command}"
        lines = read_csv(path, advice)
        with readable(path, advice):
            rows += _timed(lines, table.scale, sizes)
    notes = ["Seconds of different machines cannot be compared; what can is one row with another of its machine."]
    if not any(row.kind == "ours" for row in rows):
        notes.append(f"Not measured here yet: `python {table.command}` does it.")
    columns = [Column("network", "Network"), Column("machine", "On"), *(Column(size, size, "g") for size in sizes)]
    title = f"Running time in seconds for a result of each size, x{table.scale}"
    return Table(str(number), title, columns, rows, notes, paper.roman)


def _timed(lines: list[dict[str, str]], scale: int, sizes: list[str]) -> list[Row]:
    """The rows of one machine: each network, form and precision, whole pictures at a time.

    Raises:
        LookupError, ValueError: if the lines are not those of a benchmark.
    """
    seconds, machine = {}, ""
    for line in lines:
        machine = f"{line['device']}, torch {line['torch']}"
        label = line["network"] if "network" in line else f"{_form(line['form'])}, {line['precision']}"
        own, width, height = (checked(int(line[name]), COUNT) for name in ("scale", "width", "height"))
        if own == scale and line["seconds"] and "pieces" not in label:
            time = checked(float(line["seconds"]), between(1e-9, 1e9))
            seconds.setdefault(label, {})[f"{width}x{height}"] = float(f"{time:.3g}")
    return [Row((label, machine, *(times.get(size) for size in sizes)), "ours") for label, times in seconds.items()]


def _form(form: str) -> str:
    """What a table calls a form of ``results/benchmark.py``: a network by its paper's name, or a form of LESRCNN."""
    network, comma, rest = form.partition(", ")
    if network in model.names():
        return label_of(network, blind=False) + comma + rest
    return form if network in (*NETWORKS, "bicubic") else f"LESRCNN, {form}"


def complexity(number: int, paper: Paper = LESRCNN) -> Table:
    """A table of complexity, at x2 for an LR patch of the paper's size."""
    from . import complexity as counts

    table = paper.table(number)
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
    for row in papers.rows(table):
        ours = (None,) * 4
        if row["method"] in table.counted:
            network, options = table.counted[row["method"]]
            count = counts.count(network, 2, table.side, **options)
            ours = count.paper_parameters, _giga(count.macs_without_up), count.parameters, _giga(count.macs)
        rows.append(Row((row["method"], row["parameters"], row["flops"], *ours)))
    notes = [
        "The paper counts the up-sampler's parameters as those of one 3x3 convolution from 64 to 64 "
        f"channels, and what it calls FLOPs are multiply-adds for an LR patch of {table.side}x{table.side} pixels.",
        *table.notes,
        "True: all trainable parameters, and half of what `torch.utils.flop_counter` counts in one forward "
        "pass of this project's network, which runs its up-sampler once for the sum of both inputs.",
    ]
    return Table(str(number), table.title, columns, rows, notes, paper.roman)


def complexity_by_scale(paper: Paper = LESRCNN) -> Table:
    """Parameters and multiply-adds of a paper's network, for the input that model zoos quote."""
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
    for label, multi_scale in zip(paper.labels, (False, True)):
        for scale in PAPER_SCALES:
            small, large = (counts.count(paper.network, scale, side, multi_scale=multi_scale) for side in (64, 128))
            macs = _giga(small.macs), _giga(large.macs)
            rows.append(Row((label, f"x{scale}", small.parameters, small.parameters / 1e6, *macs)))
    notes = [note for about, note in paper.notes.items() if about == "complexity"]
    return Table("complexity", "Complexity at every scale", columns, rows, notes)


def _giga(count: float) -> str:
    return f"{count / 1e9:.2f}G"
