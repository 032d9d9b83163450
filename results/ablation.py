"""Train the five networks of the paper's Table 1 alike, and measure them.

``python results/ablation.py --train_data_path dataset/DIV2K_train.h5 --max_steps 5000 --batch_size 16``: the
flags that this command does not know itself are those of ``x4/train.py``, the same for all five networks.
They are trained one after the other; interrupted, the same command goes on where it was.
"""

import argparse
import csv
import json
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dataset.errors import (  # noqa: E402
    InputError,
    Parser,  # noqa: E402
    run,
)
from results.measure import DIGITS  # noqa: E402
from solver.arguments import SCALES, add_protocol  # noqa: E402
from solver.training.command import parse as parse_training  # noqa: E402

# The paper's names, from the least to the whole network -> what train.py calls them.
NETWORKS = {name: ("--model", "ablation", "--variant", name) for name in ("SN", "HN", "IEEB", "IEEB+RB")} | {
    "LESRCNN": ("--model", "lesrcnn")
}
_OURS = ("--model", "--variant", "--ckpt_dir", "--ckpt_name", "--resume", "--overwrite")
# What a reader needs to know of the training, of train.py's settings.
_BUDGET = (
    "max_steps",
    "batch_size",
    "patch_size",
    "recipe",
    "loss_fn",
    "lr",
    "optimizer",
    "schedule",
    "decay",
    "warmup",
    "ema",
    "weighting",
    "channel_shuffle",
    "init",
    "precision",
    "seed",
)


def parser() -> Parser:
    parser = Parser(
        "Train the five networks of the paper's ablation (Table 1) under the same budget and measure them; "
        "interrupted, the same command goes on. All other flags are those of x4/train.py, for all alike: "
        "--train_data_path, --max_steps, --batch_size, --patch_size, --recipe, --precision and so on."
    )
    add = parser.add_argument
    add("--scale", type=int, choices=SCALES, default=4, help="enlargement factor; the paper's is 4")
    add("--test_data_dir", type=Path, default="dataset/Set5", help="the set that the final weights are measured on")
    add("--ckpt_dir", type=Path, default="checkpoint/ablation", help="the five runs go into folders here")
    add(
        "--out",
        type=Path,
        default=ROOT / "results/ablation",
        help="where the figures and the runs' logs go: ablation.json and curves/",
    )
    add_protocol(parser)
    return parser


def main() -> int:
    args, training = parser().parse_known_args()
    taken = [flag for flag in _OURS if any(t == flag or t.startswith(f"{flag}=") for t in training)]
    if taken:
        raise InputError(f"{taken[0]}: is set by this command itself, for each network its own")
    from dataset import test_set

    pictures = test_set.find(args.test_data_dir, args.scale)
    if pictures.problems or any(item.hr is None for item in pictures.items):
        raise InputError(f"{args.test_data_dir}: needs an HR for every LR to measure with")
    rows = []
    for name, settings in {name: settings_of(name, args, training) for name in NETWORKS}.items():
        if not finished(settings):
            from solver.training.trainer import launch

            status = launch(settings)
            if status:
                return status
        rows.append(measure(name, settings, pictures, args.protocol))
        psnr, ssim = rows[-1]["psnr"], rows[-1]["ssim"]
        print(f"{name}: {psnr:.2f} dB / {ssim:.4f} on {pictures.name} x{args.scale}", flush=True)
    write(args, rows, pictures.name)
    print(f"written to {args.out}")
    return 0


def settings_of(name: str, args: argparse.Namespace, training: list[str]) -> argparse.Namespace:
    """The training settings of one network.

    Raises:
        InputError: for flags that do not fit.
    """
    settings = parse_training(
        args.scale,
        [
            *training,
            *NETWORKS[name],
            "--scale",
            str(args.scale),
            "--ckpt_dir",
            str(args.ckpt_dir / name),
            "--ckpt_name",
            name,
            "--resume",
        ],
    )
    if settings.num_gpu > 1:
        raise InputError(f"--num_gpu {settings.num_gpu}: the ablation trains on one GPU, or with 0 on the CPU")
    settings.val_data_dir = settings.val_data_dir or [ROOT / "dataset/Sample"]
    return settings


def finished(settings: argparse.Namespace) -> bool:
    """Whether a run with these settings has been trained to its end."""
    try:
        record = json.loads((settings.ckpt_dir / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    alike = all(record["settings"].get(name) == getattr(settings, name) for name in _BUDGET)
    weights = settings.ckpt_dir / f"{settings.ckpt_name}.pth"
    return alike and record["steps"] == settings.max_steps and weights.exists()


def measure(name: str, settings: argparse.Namespace, pictures, protocol: str) -> dict:
    """Figures of a finished run's last weights, and what the run took."""
    from solver.checkpoint import load_network
    from solver.measuring.evaluate import evaluate
    from solver.sampling.sampler import Sampler

    record = json.loads((settings.ckpt_dir / "run.json").read_text(encoding="utf-8"))
    net, info = load_network(settings.ckpt_dir / f"{name}.pth", scale=pictures.scale)
    scores = evaluate(Sampler(net, pictures.scale), pictures, protocol)
    return {
        "network": name,
        "psnr": round(scores.psnr, DIGITS),
        "ssim": round(scores.ssim, DIGITS),
        "sha256": info.sha256,
        "steps": record["steps"],
        "hours": round(record["seconds"] / 3600, 2),
        **{key: record[key] for key in ("settings", "hardware", "commit", "data")},
    }


def write(args: argparse.Namespace, rows: list[dict], set_name: str) -> None:
    """Write ``ablation.json``, ``ablation.csv`` and the runs' logs."""
    from dataset.images import written_whole

    first = rows[0]
    settings = [row.pop("settings") for row in rows]
    content = {
        "set": set_name,
        "scale": args.scale,
        "protocol": args.protocol,
        "budget": {name: settings[0].get(name) for name in _BUDGET},
        "hardware": first["hardware"],
        "commit": first["commit"],
        "data": first["data"],
        "networks": [{k: row[k] for k in ("network", "psnr", "ssim", "steps", "hours", "sha256")} for row in rows],
    }
    with written_whole(args.out / "ablation.json") as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    with written_whole(args.out / "ablation.csv") as temporary:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(content["networks"][0]), lineterminator="\n")
            table.writeheader()
            table.writerows(content["networks"])
    for row in rows:
        with written_whole(args.out / "curves" / f"{row['network']}.csv") as temporary:
            shutil.copyfile(args.ckpt_dir / row["network"] / "log.csv", temporary)


if __name__ == "__main__":
    run(main)
