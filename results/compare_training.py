"""Short trainings that differ in one setting, for the table in ``results/training.md``.

``python results/compare_training.py --train_data_path dataset/DIV2K_train.h5``: every run is x2 from scratch, with
``--recipe modern`` but for what it is named after, with the same seed, steps and patches, and is validated on
dataset/Sample. Interrupted, the same command goes on where it was; what has been run is not run again.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dataset.errors import (  # noqa: E402
    InputError,
    Parser,  # noqa: E402
    describe,
    run,
)
from solver.training.command import parse as parse_training  # noqa: E402

SCALE = 2
SAME = (
    "--recipe",
    "modern",
    "--batch_size",
    "16",
    "--patch_size",
    "24",
    "--precision",
    "bf16",
    "--max_steps",
    "500",
    "--print_interval",
    "250",
    "--cache",
    "device",
    "--num_gpu",
    "0",
    "--resume",
)
COMPARED = {
    "modern": (),
    "half the learning rate": ("--lr", "5e-4"),
    "twice the learning rate": ("--lr", "2e-3"),
    "Muon, 3e-3": ("--optimizer", "Muon", "--lr", "3e-3"),
    "Adam, 8e-4": ("--optimizer", "Adam", "--lr", "8e-4"),
    "silent units left silent": ("--revive", "0"),
    "default start": ("--init", "default"),
    "Charbonnier": ("--loss_fn", "Charbonnier"),
    "MSE": ("--loss_fn", "MSE"),
    "PSNR": ("--loss_fn", "PSNR"),
    "no average of the weights": ("--ema", "0"),
    "learning rate kept": ("--schedule", "step"),
    "pictures drawn alike": ("--weighting", "uniform"),
    "pictures drawn by their area": ("--weighting", "area"),
    "colour channels shuffled": ("--channel_shuffle",),
    "4 patches of 48x48": ("--patch_size", "48", "--batch_size", "4"),
    "36 patches of 16x16": ("--patch_size", "16", "--batch_size", "36"),
}


def main() -> int:
    parser = Parser(
        "Train x2 for a few hundred steps with each of several settings, and write the table. All other "
        "flags are those of x2/train.py, for all runs alike."
    )
    parser.add_argument(
        "--train_data_path", type=Path, default="dataset/DIV2K_train.h5", help="HDF5 file made by dataset/div2h5.py"
    )
    parser.add_argument("--ckpt_dir", type=Path, default="checkpoint/compared", help="the runs go into folders here")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=COMPARED,
        metavar="NAME",
        default=list(COMPARED),
        help=f"of these: {'; '.join(COMPARED)}",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results", help="folder of comparisons.json and training.md")
    args, training = parser.parse_known_args()
    rows = read(args.out)
    if "modern" not in {*rows, *args.only}:
        raise InputError(
            f"{args.out / 'comparisons.json'}: has no run called modern to compare with; --only modern first"
        )
    from results.ablation import finished

    for name in args.only:
        settings = settings_of(name, args, training)
        if not finished(settings):
            from solver.training.trainer import launch

            status = launch(settings)
            if status:
                return status
        rows[name] = summary(name, settings)
        write(args.out, rows)
    return 0


def settings_of(name: str, args: argparse.Namespace, training: list[str]) -> argparse.Namespace:
    """The training settings of one comparison.

    Raises:
        InputError: for flags that do not fit.
    """
    folder = args.ckpt_dir / "".join(c if c.isalnum() else "_" for c in name)
    settings = parse_training(
        SCALE,
        [
            *SAME,
            *training,
            *COMPARED[name],
            "--ckpt_dir",
            str(folder),
            "--ckpt_name",
            "lesrcnn_x2",
            "--train_data_path",
            str(args.train_data_path),
        ],
    )
    settings.val_data_dir = settings.val_data_dir or [ROOT / "dataset/Sample"]
    return settings


def read(folder: Path) -> dict[str, dict]:
    """The runs in ``comparisons.json``, none if there is no such file.

    Raises:
        InputError: if it is not what this command writes.
    """
    path = folder / "comparisons.json"
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {describe(error)}; delete it to start anew") from None


def summary(name: str, settings: argparse.Namespace) -> dict:
    """What is kept of a finished run."""
    with open(settings.ckpt_dir / "log.csv", newline="", encoding="utf-8") as file:
        psnr = {row["step"]: float(row["Sample_x2_psnr"]) for row in csv.DictReader(file)}
    run_record = json.loads((settings.ckpt_dir / "run.json").read_text(encoding="utf-8"))
    return {"flags": " ".join(COMPARED[name]), "psnr": psnr} | {
        key: run_record[key] for key in ("seconds", "commit", "hardware", "data")
    }


def write(folder: Path, rows: dict[str, dict]) -> None:
    """Write ``comparisons.json``, and the table anew."""
    from dataset.images import written_whole
    from results import readme

    with written_whole(folder / "comparisons.json") as temporary:
        temporary.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if "modern" in rows and (folder / "training.md").exists():
        readme.replace(folder / "training.md", "comparisons", table(rows))


def table(rows: dict[str, dict]) -> str:
    """The runs as a Markdown table, ``modern`` among them."""
    steps = list(rows["modern"]["psnr"])
    base = rows["modern"]["psnr"][steps[-1]]
    lines = [
        f"| setting | flags | {' | '.join(f'{step} steps' for step in steps)} | difference |",
        "| --- | --- |" + " --- |" * (len(steps) + 1),
    ]
    for name in filter(rows.get, COMPARED):
        psnr = rows[name]["psnr"]
        flags = f"`{rows[name]['flags']}`" if rows[name]["flags"] else ""
        lines.append(
            f"| {name} | {flags} | {' | '.join(f'{psnr[step]:.2f}' for step in steps)} "
            f"| {psnr[steps[-1]] - base:+.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
