"""Several pictures of a file, enlarged one by one, in one file again: frames of an animation, pages of a TIFF."""

from collections.abc import Iterable
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dataset import images
from dataset.errors import InputError, describe
from dataset.files import written_whole
from dataset.metadata import Metadata
from dataset.streams import png_metadata, write_pages
from dataset.test_set import Item

_PAGES, _FRAMES = (".tif", ".tiff"), {".png": ("PNG", {}), ".webp": ("WEBP", {"lossless": True})}
_MOST_BYTES = 2**30  # of an animation's frames, which its writer has in memory


def join(items: Iterable[Item], results: dict[Item, Path], whole: dict[Item, Path]) -> tuple[set[Item], list[str]]:
    """Put the results of pictures of one file together, where the format holds several and all of them are there.

    Args:
        items: what was enlarged, pages of a file one after the other.
        results: the file of each result; those that are put together are removed.
        whole: the file that each is to be a part of.

    Returns:
        Those that are in one file now, and a line for each file whose result cannot be written.
    """
    together, notes = set(), []
    for source, pages in groupby((item for item in items if item.page is not None), lambda item: item.lr):
        pages = list(pages)
        parts = [results[page] for page in pages]
        if not all(part.exists() for part in parts):
            continue
        try:
            joined = _join(parts, whole[pages[0]], source)
        except (InputError, OSError, ValueError) as error:
            joined, notes = False, [*notes, f"{source}: its pictures stay apart: {describe(error)}"]
        if joined:
            together.update(pages)
            for part in parts:
                part.unlink()
    return together, notes


def _join(parts: list[Path], path: Path, source: Path) -> bool:
    """Write one file of several; whether the format and memory are for that."""
    if path.suffix in _PAGES:
        write_pages(path, (images.read(part) for part in parts), 2 * sum(images.held_bytes(part) for part in parts))
        return True
    film = images.film(source) if path.suffix in _FRAMES else None
    if film is None or sum(images.held_bytes(part) for part in parts) > _MOST_BYTES:
        return False
    (kind, options), (times, loop) = _FRAMES[path.suffix], film
    apart = len(times) < len(parts)  # the first is no frame
    with ExitStack() as stack, written_whole(path) as temporary:
        if apart and kind == "WEBP":  # which has no picture but the frames
            parts = parts[1:]
        first, *others = (stack.enter_context(Image.open(part, formats=(kind,))) for part in parts)
        beside = {name: value for name in ("icc_profile", "exif", "xmp", "dpi") if (value := first.info.get(name))}
        several = {"save_all": True, "append_images": others, "duration": times, "loop": loop}
        if kind == "PNG":
            several |= {"default_image": apart, "pnginfo": _chunks(images.read(parts[0]).metadata)}
        first.save(temporary, kind, **several, **options, **beside)
    return True


def _chunks(metadata: Metadata) -> PngInfo:
    """What Pillow is to write beside a PNG's pixels, of what it does not know by other names."""
    chunks = PngInfo()
    for kind, content in png_metadata(metadata):
        chunks.add(kind, content)
    return chunks
