"""The README's generated parts, between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``: nothing there is typed.

``results`` is made from ``results/measured.json``, ``weights`` from the cards beside the weights that ship; a test
compares them.
"""

from pathlib import Path

from dataset.errors import InputError, shown
from dataset.files import read_text, readable, write_text
from solver.measuring.metrics import PROTOCOLS

from . import tables
from .measure import SCALES
from .shape import AMOUNT, COUNT, PSNR, SSIM, read_json, some
from .table import in_markdown

# What a card must hold (see results/shape.py).
_SCORE = {"psnr": PSNR, "ssim": SSIM, "paper": ([(PSNR, SSIM)], None)}
_TRAINING = {"steps_in_all": COUNT, "hours_in_all": AMOUNT, "hardware": {"device": str}}
_CARD = {"scales": some([SCALES]), "protocol": PROTOCOLS, "training": _TRAINING, "test": {str: {str: _SCORE}}}
_LOST = {"lost": {"psnr": float, "ssim": float}}
_INT8_CARD = {"sha256": str, "figures": {"Set5": _LOST, "Set14": _LOST}}


def results_section(entries: list[dict], protocol: str) -> str:
    """What the README shows, as Markdown, of the entries (:class:`results.measure.Memory`) of the weights that ship."""
    table = "\n".join(tables.headline(entries).markdown().splitlines()[2:])
    note = "`Sample` is what was validated on during training."
    return f"{table}\n\nBold: the weights that ship, measured with {tables.PROTOCOLS[protocol]}; {note}"


def weights_section(cards: list[Path], root: Path) -> str:
    """How the weights that ship were trained and what they reach, read off their cards, as a Markdown table.

    Raises:
        InputError: if a card is damaged.
    """
    lines = [
        "| weights | scale | protocol | Set5 PSNR / SSIM | Set14 PSNR / SSIM | LESRCNN's authors have | trained |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for path in cards:
        advice = "make it again with results/ship_weights.py"
        weights = path.with_suffix(".pth")
        card = read_json(path, _CARD | {"weights": weights.name}, advice)
        training, name = card["training"], weights.relative_to(root)
        how = f"{training['steps_in_all']:,} steps in all, {training['hours_in_all']:.1f} h"
        how += f", last on {in_markdown(shown(training['hardware']['device']))}"
        for scale in card["scales"]:
            with readable(path, advice):
                found = [card["test"][test_set][f"x{scale}"] for test_set in ("Set5", "Set14")]
            ours = " | ".join(f"{figures['psnr']:.2f} / {figures['ssim']:.4f}" for figures in found)
            paper = ", ".join(f"{figures['paper'][0]:.2f}" for figures in found if figures["paper"]) or "-"
            linked = f"[`{name}`]({name.with_suffix('.json')})"
            lines.append(f"| {linked} | x{scale} | {card['protocol']} | {ours} | {paper} | {how} |")
    return "\n".join(lines)


def int8_section(cards: list[Path], root: Path) -> str:
    """What the files of 8 bits that ship lose to float32, read off their cards, as a Markdown table.

    Raises:
        InputError: if a card is damaged.
    """
    lines = ["| file | Set5, dB | Set14, dB | SSIM |", "| --- | --- | --- | --- |"]
    for path in cards:
        card = read_json(
            path, _INT8_CARD | {"file": path.with_suffix(".onnx").name}, "make it again with results/ship_int8.py"
        )
        name = path.with_suffix(".onnx").relative_to(root)
        lost = [card["figures"][test_set]["lost"] for test_set in ("Set5", "Set14")]
        decibels = " | ".join(f"{one['psnr']:.3f}" for one in lost)
        similarity = max(one["ssim"] for one in lost)
        lines.append(f"| [`{name}`]({name.with_suffix('.json')}) | {decibels} | {similarity:.4f} |")
    return "\n".join(lines)


def replace(path: Path, name: str, section: str) -> None:
    """Put a section between the markers of that name; a file without them is left as it is.

    Raises:
        InputError: if one of the two markers is missing, or the file cannot be read or written.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    with readable(path, "it is where results are shown"):
        text = read_text(path)
    if begin not in text and end not in text:
        return
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise InputError(f"{path}: has one of the markers {begin} and {end} without the other")
    new = f"{before}{begin}\n{section}\n{end}{after}"
    if new != text:
        write_text(path, new)
