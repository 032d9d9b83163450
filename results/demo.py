"""A page to try the networks on: ``python results/demo.py``, which needs Gradio (``requirements-demo.txt``).

A picture is dropped, enlarged, compared with bicubic interpolation by a wipe, and downloaded: the file that
``tcw_sample.py`` makes of it, byte for byte.
"""

import html
import os
import shutil
import socket
import sys
import tempfile
import threading
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import model
from dataset.arguments import whole_number
from dataset.errors import InputError, Parser, describe, run, shown
from solver.arguments import memory, weights_meant

SCALES = (2, 3, 4)
PRECISIONS = ("fp32", "bf16", "int8", "auto")
_PREVIEW = 2**24  # pixels of a result that is shown


def parser() -> Parser:
    parser = Parser("Try the networks on a page in the browser: drop a picture, wipe, download.")
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="who may see it; by default this machine alone, 0.0.0.0 is everyone")
    add("--port", type=whole_number(1, 65535), default=7860, help="where the page is")
    add("--memory", type=memory, help="what the whole process may take, as 2G or 800M; by default half of what is free")
    return parser


def main() -> None:
    args = parser().parse_args()
    check_address(args.host, args.port)
    with tempfile.TemporaryDirectory(prefix="lesrcnn-", ignore_cleanup_errors=True) as folder:
        # Gradio asks for these when it is imported: what is uploaded lies there, and nothing is told to its makers.
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        page, settings = build(Path(folder), args.memory)
        host = f"[{args.host}]" if ":" in args.host else args.host  # as IPv6 is written in an address
        page.launch(server_name=host, server_port=args.port, share=False, prevent_thread_lock=True, **settings)
        print(f"http://{host}:{args.port}, until Ctrl-C", flush=True)
        try:
            threading.Event().wait()  # a signal ends it
        finally:
            page.close(verbose=False)


def check_address(host: str, port: int) -> None:
    """Raise InputError if no page can be at a host and a port, for example because another one is."""
    if not host:
        raise InputError("--host: is empty; give a name or an address, as 127.0.0.1")
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except (OSError, TypeError) as error:  # TypeError is of a host that is no name
        why = describe(error).partition(" (")[0]  # the address follows, once more
        raise InputError(f"--host {host} --port {port}: {why}; give another") from None


def build(folder: Path, memory: int | None = None):
    """The page.

    Args:
        folder: where results lie until the same visitor's next one is made, an hour after they have gone, or until the
            process ends.
        memory: bytes that the process may take, see :class:`solver.sampling.sampler.Sampler`.

    Returns:
        Gradio's Blocks, and what its ``launch`` is to be given.

    Raises:
        InputError: if Gradio is not installed, or no weights are there.
    """
    try:
        import gradio
    except ImportError:
        raise InputError("gradio is not installed: pip install -r requirements-demo.txt") from None
    networks = {name: scales for name in model.names() if (scales := _scales(name))}
    if not networks:
        raise InputError(f"{ROOT}: no weights are there; git checkout brings them back")

    def enlarge(path: str | None, network: str, scale: int, precision: str, last: str | None):
        try:
            if path is None:
                raise InputError("drop a picture first")
            result, wipe, told = enlarged(Path(path), network, scale, precision, folder, memory)
        except InputError as error:  # what was made before stays
            return gradio.skip(), gradio.skip(), f"<strong>{as_html([str(error)], path)}</strong>", last
        forget(last)
        ready = gradio.DownloadButton(f"Download {result.name}", value=str(result), interactive=True)
        return wipe, ready, as_html(told, path), str(result)

    def scales_of(network: str, scale: int):
        scales = networks[network]
        return gradio.Radio(scales, value=scale if scale in scales else scales[0])

    first = "lesrcnn" if "lesrcnn" in networks else next(iter(networks))
    with gradio.Blocks(title="LESRCNN", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gradio.Markdown("# Super-resolution\nDrop a picture, and wipe between bicubic interpolation and the network.")
        last = gradio.State(None, delete_callback=forget)  # an hour after the visitor has gone
        with gradio.Row():
            with gradio.Column(scale=1):
                picture = gradio.File(label="Picture", type="filepath", elem_id="picture")
                network = gradio.Dropdown(list(networks), value=first, label="Network", elem_id="network")
                scale = gradio.Radio(networks[first], value=networks[first][0], label="Scale", elem_id="scale")
                precision = gradio.Radio(PRECISIONS, value="fp32", label="Precision", elem_id="precision")
                button = gradio.Button("Enlarge", variant="primary", elem_id="enlarge")
                told = gradio.HTML(elem_id="told")
                download = gradio.DownloadButton("Download", interactive=False, elem_id="download")
            with gradio.Column(scale=3):
                wipe = gradio.ImageSlider(
                    label="Bicubic | network",
                    interactive=False,
                    format="png",
                    elem_id="wipe",
                    max_height="calc(100vh - 180px)",  # all of it is seen, beside what it is made by
                    buttons=["fullscreen"],  # its own download would be the preview
                )
        network.change(scales_of, [network, scale], scale)
        results, chosen = [wipe, download, told, last], [picture, network, scale, precision, last]
        at_once = {"outputs": button, "queue": False, "show_progress": "hidden"}
        begun = button.click(lambda: gradio.Button("Enlarging …", interactive=False), **at_once)
        ended = begun.then(enlarge, chosen, results, concurrency_limit=1, show_progress_on=wipe)
        ended.then(lambda: gradio.Button("Enlarge", interactive=True), **at_once)
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # none from elsewhere
    return page, {"theme": gradio.themes.Default(**fonts), "footer_links": [], "quiet": True}


def enlarged(path: Path, network: str, scale: int, precision: str, folder: Path, memory: int | None):
    """A picture enlarged.

    Returns:
        The result's file, in a new folder in ``folder``; bicubic's and its pixels to look at, (H, W, 3) uint8, or None
        if they are too many; and lines that tell of it.

    Raises:
        InputError: if it is no picture, is too large for the memory, or the network is not made for this.
    """
    from dataset import bicubic, images, test_set
    from solver.measuring.evaluate import evaluate
    from solver.sampling.output import Output

    if not path.is_file():  # a request may say more than the page lets a visitor say
        raise InputError(f"{path}: is no file; drop a picture")
    pictures = test_set.find(path, scale)
    if pictures.videos:
        raise InputError(f"{path}: is a video; tcw_sample.py enlarges it")
    sampler = _sampler(network, scale, precision, memory)
    output = Output(Path(tempfile.mkdtemp(dir=folder)), ".png")
    result = output.path(pictures.items[0])
    try:
        scores = evaluate(sampler, pictures, on_picture=output.write)
    except InputError:
        forget(str(result))
        raise
    [row] = scores.rows
    told = f"{row.width}x{row.height} pixels in {row.seconds:.1f} s, by {network} x{scale} in {sampler.precision}"
    wipe = None
    if row.height * row.width <= _PREVIEW and not sampler.too_large(images.held_bytes(path)):
        wipe = bicubic.enlarge(_seen(path), scale), _seen(result)
    large = ["it is too large to be shown here, but not to be downloaded"] * (wipe is None)
    return result, wipe, [told, *large, *scores.notes, *output.notes]


def _seen(path: Path):
    """A picture as a screen shows it, (H, W, 3) uint8: on white, and in sRGB."""
    from dataset import formats, images

    picture = images.read(path)
    alpha = None if picture.alpha is None else images.to_uint8(picture.alpha)
    picture = images.Picture(images.to_uint8(picture.rgb), alpha, metadata=picture.metadata)
    return formats.fitted(images.Bands.of(picture), ".bmp").joined().rgb


def as_html(lines: list[str], path: str | None) -> str:
    """Lines in which no name means anything to a browser, and without the folder that an upload lies in."""
    where = f"{shown(Path(path).parent)}{os.sep}" if path else ""
    return "<br>".join(html.escape(shown(line).replace(where, "") if where else line) for line in lines)


def forget(result: str | None) -> None:
    """Remove a result, and the folder that was made for it."""
    if result:
        shutil.rmtree(Path(result).parents[1], ignore_errors=True)


@lru_cache(maxsize=4)
def _sampler(network: str, scale: int, precision: str, memory: int | None):
    import torch

    from solver.checkpoint import load_network
    from solver.sampling.eight_bits import in_int8
    from solver.sampling.sampler import Sampler

    net, weights = load_network(weights_meant(None, network, scale), network, scale)
    net = in_int8(net, weights, scale, precision, device=torch.device("cpu"))
    sampler = Sampler(net, scale, precision=precision, memory=memory)
    if line := sampler.budget.take_the_least():
        print(line, file=sys.stderr)
    return sampler


def _scales(network: str) -> list[int]:
    """The scales for which weights of a network are there."""
    return [scale for scale in SCALES if weights_meant(None, network, scale).exists()]


if __name__ == "__main__":
    try:
        run(main)
    except SystemExit as end:
        sys.stdout.flush()
        os._exit(end.code)  # Python would wait for a network at work, and then abort
