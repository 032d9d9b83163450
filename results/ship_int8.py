"""Make the files of 8 bits that ship: ``python results/ship_int8.py --calibrate PICTURES --validation SETS``.

Each lies beside its weights (``x2/lesrcnn_x2_int8.onnx``), with a card that tells what it loses to float32. Everything
about them is chosen by training and validation pictures; Set5 and Set14 are measured once, for the card.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import model
from dataset import test_set
from dataset.errors import InputError, Parser, run
from dataset.files import locked, sha256_of, write_text
from results import measure, readme
from results.measure import PAPER_SCALES as SCALES
from results.ship_weights import SAMPLE, TEST_SETS, compact

NETWORKS = ("lesrcnn", "espcn")


def main() -> None:
    parser = Parser("Make the files of 8 bits that ship, measure them beside float32, and write their cards.")
    add = parser.add_argument
    add("--calibrate", type=Path, required=True, help="folder of training pictures")
    add("--pictures", required=True, help="what these are, in words, for the card")
    add("--networks", nargs="+", choices=model.names(), default=NETWORKS, help="of which weights for one scale ship")
    add("--data", type=Path, default=ROOT / "dataset", help="folder that holds Set5 and Set14")
    add("--validation", type=Path, nargs="+", default=[SAMPLE], help="sets to measure on beside them")
    args = parser.parse_args()
    for folder in args.validation:
        if folder.name in TEST_SETS:
            raise InputError(
                f"--validation {folder}: {folder.name} is a test set, which is measured beside in any case"
            )
    with locked(ROOT / "results", "another command of results/"):
        for network in args.networks:
            for scale in SCALES:
                ship(network, scale, args)
        readme.replace(ROOT / "README.md", "int8", readme.int8_section(cards(), ROOT))


def ship(network: str, scale: int, args) -> None:
    """Make one file and its card.

    Raises:
        InputError: if there are no weights, or if it is too far from float32.
    """
    from solver import graph
    from solver.checkpoint import load_network
    from solver.exporting import export
    from solver.sampling.backends.torch import Torch

    weights = ROOT / model.shipped(network, scale)
    net, info = load_network(weights, network, scale)
    path = graph.beside(info, scale, ".onnx", "int8")
    said = export.say(net, info, scale, "int8")
    error = export.write_int8(path, Torch(net, scale, export.CPU), said, export.lr_patches(args.calibrate, scale))
    figures = {}
    for folder in [*args.validation, *(args.data / name for name in TEST_SETS)]:
        pictures = test_set.find(folder, scale)
        exact, coarse = (measure.rounded(measure.scores(one, pictures, net.protocol)) for one in (weights, path))
        lost = {name: round(exact[name] - coarse[name], 6) for name in exact}
        figures[folder.name] = coarse | {"lost": lost, "pictures": len(pictures.items)}
    card = {
        "file": path.name,
        "sha256": sha256_of(path),
        "weights": {"file": weights.name, "sha256": info.sha256},
        "network": network,
        "scale": scale,
        "protocol": net.protocol,
        "calibration": {"pictures": args.pictures, "patches": export.PATCHES, "side": export.SIDE},
        "loss": max(entry["lost"]["psnr"] for entry in figures.values()),
        "grey_levels": round(error, 4),
        "figures": figures,
    }
    write_text(path.with_suffix(".json"), compact(card) + "\n")
    told = ", ".join(f"{name} {entry['lost']['psnr']:.3f}" for name, entry in figures.items())
    print(f"{path.relative_to(ROOT)}: {told} dB less than float32", flush=True)


def cards() -> list[Path]:
    """The cards of the files of 8 bits that ship."""
    paths = [ROOT / model.shipped(network, scale) for network in NETWORKS for scale in SCALES]
    cards = [path.with_name(f"{path.stem}_int8.json") for path in paths]
    return [path for path in cards if path.exists()]


if __name__ == "__main__":
    run(main)
