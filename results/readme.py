"""The README's results: generated, not typed. A test compares them with ``results/measured.json``."""

from pathlib import Path

from dataset.errors import InputError
from dataset.images import written_whole

from . import tables

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def section(entries: list[dict], protocol: str) -> str:
    """What the README shows of the measurements, as Markdown.

    Args:
        entries: of :class:`results.measure.Memory`, of the weights that ship.
        protocol: what they were measured with.
    """
    table = tables.headline(entries)
    return "\n".join([*table.markdown().splitlines()[2:], f"Bold: the weights that ship, measured with "
                      f"{tables.PROTOCOLS[protocol]}; `Sample` is what was validated on during training."])


def update(path: Path, entries: list[dict], protocol: str) -> None:
    """Put the section between the README's markers; a README without them is left as it is.

    Raises:
        InputError: if one of the two markers is missing, or the file cannot be read or written.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror.lower()}") from None
    if BEGIN not in text and END not in text:
        return
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{path}: has one of the markers {BEGIN} and {END} without the other")
    new = f"{before}{BEGIN}\n{section(entries, protocol)}\n{END}{after}"
    if new != text:
        with written_whole(path) as temporary:
            temporary.write_text(new, encoding="utf-8")
