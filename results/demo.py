"""A page to try the networks on: ``python results/demo.py``, which needs Gradio (``requirements-demo.txt``).

A picture is dropped, enlarged, compared with bicubic interpolation by a wipe, and downloaded: the file that
``tcw_sample.py`` makes of it, byte for byte.
"""

import os
import shutil
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import model
from dataset.errors import InputError, Parser, describe, run
from solver.arguments import memory, positive, weights_meant

SCALES = (2, 3, 4)
PRECISIONS = ("fp32", "bf16", "auto")
_PREVIEW = 2**24  # pixels of a result that is shown


def parser() -> Parser:
    parser = Parser("Try the networks on a page in the browser: drop a picture, wipe, download.")
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="who may see it; by default this machine alone, 0.0.0.0 is everyone")
    add("--port", type=positive, default=7860)
    add("--memory", type=memory, help="what the whole process may take, as 2G or 800M; by default half of what is free")
    return parser


def main() -> None:
    args = parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="lesrcnn-") as folder:
        # Gradio asks for these when it is imported: what is uploaded lies there, and nothing is told to its makers.
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        page, settings = build(Path(folder), args.memory)
        print(f"http://{args.host}:{args.port}, until Ctrl-C", flush=True)
        try:
            page.launch(server_name=args.host, server_port=args.port, share=False, **settings)
        except OSError as error:
            raise InputError(f"--host {args.host} --port {args.port}: {describe(error)}; give another") from None


def build(folder: Path, memory: int | None = None):
    """The page.

    Args:
        folder: where results lie until the next one of the same visitor is made, or the process ends.
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
        if last:
            shutil.rmtree(Path(last).parent.parent, ignore_errors=True)
        try:
            if path is None:
                raise InputError("drop a picture first")
            result, wipe, told = enlarged(Path(path), network, scale, precision, folder, memory)
        except InputError as error:
            why = str(error).replace(f"{path}:", f"{Path(path or '').name}:")
            raise gradio.Error(why, print_exception=False) from None
        ready = gradio.DownloadButton(f"Download {result.name}", value=str(result), interactive=True)
        return wipe, ready, told, str(result)

    def scales_of(network: str, scale: int):
        scales = networks[network]
        return gradio.Radio(scales, value=scale if scale in scales else scales[0])

    first = "lesrcnn" if "lesrcnn" in networks else next(iter(networks))
    with gradio.Blocks(title="LESRCNN", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gradio.Markdown("# Super-resolution\nDrop a picture, and wipe between bicubic interpolation and the network.")
        last = gradio.State(None)
        with gradio.Row():
            with gradio.Column(scale=1):
                picture = gradio.File(label="Picture", type="filepath", elem_id="picture")
                network = gradio.Dropdown(list(networks), value=first, label="Network", elem_id="network")
                scale = gradio.Radio(networks[first], value=networks[first][0], label="Scale", elem_id="scale")
                precision = gradio.Radio(PRECISIONS, value="fp32", label="Precision", elem_id="precision")
                button = gradio.Button("Enlarge", variant="primary", elem_id="enlarge")
            with gradio.Column(scale=3):
                wipe = gradio.ImageSlider(
                    label="Bicubic | network", interactive=False, format="png", elem_id="wipe", max_height=800
                )
                told = gradio.Markdown(elem_id="told")
                download = gradio.DownloadButton("Download", interactive=False, elem_id="download")
        network.change(scales_of, [network, scale], scale)
        button.click(enlarge, [picture, network, scale, precision, last], [wipe, download, told, last])
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # none from elsewhere
    return page, {"theme": gradio.themes.Default(**fonts), "footer_links": [], "quiet": True}


def enlarged(path: Path, network: str, scale: int, precision: str, folder: Path, memory: int | None):
    """A picture enlarged.

    Returns:
        The result's file, in a new folder in ``folder``; bicubic's and its pixels to look at, (H, W, 3) uint8, or None
        if they are too many; and a line that tells of it.

    Raises:
        InputError: if it is no picture, is too large for the memory, or the network is not made for this.
    """
    import time

    import numpy as np

    from dataset import bicubic, images, test_set
    from solver.sampling.output import Output

    [item] = test_set.find(path, scale).items or [None]
    if item is None:
        raise InputError(f"{path}: is a video; tcw_sample.py enlarges it")
    sampler, start = _sampler(network, scale, precision, memory), time.perf_counter()
    picture = images.read(item.lr)
    if sampler.too_large(picture.rgb.nbytes):
        raise InputError(f"{path}: is too large for a page; tcw_sample.py enlarges it in parts")
    result = sampler.enlarge(picture)
    output = Output(Path(tempfile.mkdtemp(dir=folder)), ".png")
    output.write(item, result)
    height, width = result.rgb.shape[:2]
    seconds = time.perf_counter() - start
    told = f"{width}x{height} pixels after {seconds:.1f} s, by {network} x{scale} in {sampler.precision}"
    wipe = None
    if height * width <= _PREVIEW:
        both = bicubic.enlarge(picture.rgb, scale), result.rgb
        wipe = tuple(images.from_float(rgb / np.iinfo(rgb.dtype).max) for rgb in both)
    return output.path(item), wipe, told


@lru_cache(maxsize=4)
def _sampler(network: str, scale: int, precision: str, memory: int | None):
    from solver.checkpoint import load_network
    from solver.sampling.sampler import Sampler

    net, _ = load_network(weights_meant(None, network, scale), network, scale)
    return Sampler(net, scale, precision=precision, memory=memory)


def _scales(network: str) -> list[int]:
    """The scales for which weights of a network are there."""
    return [scale for scale in SCALES if weights_meant(None, network, scale).exists()]


if __name__ == "__main__":
    run(main)
