"""Trainings that differ in one thing alone, one after the other; interrupted, the same command goes on where it was.

``python results/experiments.py ablation --train_data_path dataset/DIV2K_train.h5 --max_steps 5000 --batch_size 16``
trains the five networks of the paper's Table 1 alike and measures them, for ``results/ablation``.

``python results/experiments.py settings --train_data_path dataset/DIV2K_train.h5`` trains x2 from scratch for a few
hundred steps with each of several settings, the rest as ``--recipe modern`` has it, validated on ``dataset/Sample``,
for ``results/comparisons.json`` and its table in ``results/training.md``.
"""

import argparse
import functools
import re
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dataset import sources, test_set
from dataset.errors import InputError, Parser, run, shown
from dataset.files import locked, read_text, readable, sha256_of, write_csv, write_json, write_text
from results import measure, readme
from results.measure import NETWORKS, PAPER_SCALES
from results.shape import AMOUNT, COUNT, PSNR, checked, read_csv, read_json, some
from solver.arguments import add_protocol
from solver.training.command import parse as parse_training
from solver.training.settings import differing

SHORT = shlex.split(  # what the compared settings have in common
    "--recipe modern --batch_size 16 --patch_size 24 --precision bf16 --max_steps 500 --print_interval 250 "
    "--cache device --num_gpu 0"
)
SETTINGS = {
    "modern": "",
    "Muon, 3e-3": "--optimizer Muon --lr 3e-3",
    "Adam, 8e-4": "--optimizer Adam --lr 8e-4",
    "silent units left silent": "--revive 0",
    "default start": "--init default",
    "MSE": "--loss_fn MSE",
    "pictures drawn alike": "--weighting uniform",
    "pictures drawn by their area": "--weighting area",
    "4 patches of 48x48": "--patch_size 48 --batch_size 4",
}
_OURS = ("--model", "--variant", "--scale", "--ckpt_dir", "--ckpt_name", "--resume", "--overwrite")
# What a reader of Table 1 needs to know of the training, of train.py's settings.
_BUDGET = "max_steps batch_size patch_size recipe loss_fn lr optimizer schedule decay warmup ema weighting init".split()
_BUDGET += ["precision", "seed"]
_ANEW = "delete the folder to train anew"
# What a run's record must hold at its start and at its end, and a row of comparisons.json (see results/shape.py).
_RUN = {"settings": {}, "data": {"file": str, "bytes": COUNT, "sha256": (str, None)}}
_FINISHED = _RUN | {"steps": COUNT, "seconds": AMOUNT, "hardware": {"device": str}, "commit": (str, None)}
_ROW = {"flags": re.compile(r"[\w .-]*"), "psnr": some({str: PSNR}), "data": {"sha256": (str, None)}}


hash_of = functools.cache(sources.hash_of)  # found once: training files are large


def parser() -> Parser:
    parser = Parser(
        "Train alike but for one thing, and compare: the five networks of the paper's ablation (Table 1), or settings "
        "of x2's training. All other flags are those of train.py, as "
        "--train_data_path and --max_steps, for all runs alike."
    )
    add = parser.add_argument
    add("what", choices=("ablation", "settings"), help="what is compared")
    add("--ckpt_dir", type=Path, help="the runs go into folders here (by default checkpoint/WHAT)")
    add("--out", type=Path, help="where the figures go (by default results/ablation, and for settings results)")
    add("--scale", type=int, choices=PAPER_SCALES, default=4, help="of the ablation; the paper's is 4")
    add("--test_data_dir", type=Path, default="dataset/Set5", help="set to measure the ablation's weights on")
    add("--only", nargs="+", choices=SETTINGS, metavar="NAME", default=list(SETTINGS), help="these settings")
    add_protocol(parser)
    return parser


def main() -> int:
    args, flags = parser().parse_known_args()
    taken = [flag for flag in _OURS if any(given.split("=")[0] == flag for given in flags)]
    if taken:
        raise InputError(f"{taken[0]}: is set by this command itself, for each run its own")
    args.ckpt_dir = args.ckpt_dir or Path("checkpoint") / args.what
    args.out = args.out or ROOT / {"ablation": "results/ablation", "settings": "results"}[args.what]
    with locked(args.out, "another command of results/"):
        return {"ablation": compare_networks, "settings": compare_settings}[args.what](args, flags)


def settings_of(folder: Path, name: str, scale: int, flags: list[str]) -> argparse.Namespace:
    """The training settings of one run; raises InputError for flags that do not fit."""
    ours = ["--scale", str(scale), "--ckpt_dir", str(folder), "--ckpt_name", name, "--resume"]
    args = parse_training(scale, [*flags, *ours])
    if args.num_gpu > 1:
        raise InputError(f"--num_gpu {args.num_gpu}: each run trains on one GPU, or with 0 on the CPU")
    args.val_data_dir = args.val_data_dir or [ROOT / "dataset/Sample"]
    return args


def trained(args: argparse.Namespace) -> int:
    """Train to the end, unless that has been done; returns the exit status. Raises InputError beside another run."""
    if (args.ckpt_dir / "run.json").exists():
        record, paths = record_of(args, _RUN), tuple(args.train_data_path)
        others, data = differing(record["settings"], args), record["data"]
        if sources.size_of(paths) != data["bytes"] or data["sha256"] not in (None, hash_of(paths)):
            others.append(f"its training file was another {data['file']}")
        if others:
            told = "; ".join(others)
            raise InputError(f"{args.ckpt_dir}: holds another run: {told}; delete it, or give another --ckpt_dir")
        if record.get("steps") == args.max_steps and weights_of(args).exists():
            return 0
    from solver.training.trainer import launch

    return launch(args)


def record_of(args: argparse.Namespace, shape: dict = _FINISHED) -> dict:
    """What a run tells of itself; raises InputError if it is damaged."""
    return read_json(args.ckpt_dir / "run.json", shape, _ANEW)


def weights_of(args: argparse.Namespace) -> Path:
    return args.ckpt_dir / f"{args.ckpt_name}.pth"


def compare_networks(args: argparse.Namespace, flags: list[str]) -> int:
    pictures = test_set.find(args.test_data_dir, args.scale)
    if pictures.problems or any(item.hr is None for item in pictures.items):
        raise InputError(f"{args.test_data_dir}: needs an HR for every LR to measure with")
    runs = {}
    for name, (network, options) in NETWORKS.items():
        network_flags = [f"--model={network}", *(f"--{option}={value}" for option, value in options.items())]
        runs[name] = settings_of(args.ckpt_dir / name, name, args.scale, [*flags, *network_flags])
    rows = []
    for name, own in runs.items():
        if status := trained(own):
            return status
        figures, record = measure.rounded(measure.scores(weights_of(own), pictures, args.protocol)), record_of(own)
        if None in figures.values():
            raise InputError(f"{args.test_data_dir}: its pictures are too small to be measured")
        effort = {"steps": record["steps"], "hours": round(record["seconds"] / 3600, 2)}
        rows.append({"network": name} | figures | effort | {"sha256": sha256_of(weights_of(own))})
        told = f"{name}: {figures['psnr']:.2f} dB / {figures['ssim']:.4f} on {pictures.name} x{args.scale}"
        print(shown(told), flush=True)
        with readable(log := own.ckpt_dir / "log.csv", _ANEW):
            curve = read_text(log)
        write_text(args.out / "curves" / f"{name}.csv", curve)
    content = {"set": pictures.name, "scale": args.scale, "protocol": args.protocol}
    content["budget"] = {name: record["settings"].get(name) for name in _BUDGET}
    content |= {key: record[key] for key in ("hardware", "commit", "data")}
    write_json(args.out / "ablation.json", content | {"networks": rows})
    write_csv(args.out / "ablation.csv", rows)
    print(shown(f"written to {args.out}"))
    return 0


def compare_settings(args: argparse.Namespace, flags: list[str]) -> int:
    path = args.out / "comparisons.json"
    rows = read_json(path, {str: _ROW}, "delete it to start anew") if path.exists() else {}
    if "modern" not in {*rows, *args.only}:
        raise InputError(f"{path}: has no run called modern to compare with; --only modern first")
    usual, changed = (settings_of(args.ckpt_dir, "lesrcnn_x2", 2, own) for own in (SHORT, [*SHORT, *flags]))
    common = differing(vars(usual), changed)
    for name in args.only:
        folder = args.ckpt_dir / "".join(c if c.isalnum() else "_" for c in name)
        own = settings_of(folder, "lesrcnn_x2", 2, [*SHORT, *flags, *shlex.split(SETTINGS[name])])
        if status := trained(own):
            return status
        row = summary(name, own) | {"changed": common}
        unlike = [other for other, kept in rows.items() if budget(kept) != budget(row)]
        for other in unlike:
            if other not in args.only:
                raise InputError(f"{path}: {other} had another file, other steps or flags; delete it to start anew")
        rows = {other: kept for other, kept in rows.items() if other not in unlike} | {name: row}
        write_json(path, rows)
        if (args.out / "training.md").exists() and "modern" in rows:
            readme.replace(args.out / "training.md", "comparisons", table(rows))
    return 0


def summary(name: str, settings: argparse.Namespace) -> dict:
    """What is kept of a finished run."""
    rows = read_csv(log := settings.ckpt_dir / "log.csv", _ANEW)
    with readable(log, _ANEW):
        psnr = {str(int(row["step"])): checked(float(row["Sample_x2_psnr"]), PSNR) for row in rows}
    record = record_of(settings)
    kept = {key: record[key] for key in ("seconds", "commit", "hardware", "data")}
    return {"flags": SETTINGS[name], "psnr": psnr} | kept


def budget(row: dict) -> tuple[str, list[str], list[str]]:
    """What two runs must have had alike to be compared: the training file, the log's steps, and the common flags."""
    return row["data"]["sha256"], list(row["psnr"]), row.get("changed", [])


def table(rows: dict[str, dict]) -> str:
    """The runs as a Markdown table, ``modern`` among them."""
    steps = list(rows["modern"]["psnr"])
    base = rows["modern"]["psnr"][steps[-1]]
    head = ["setting", "flags", *(f"{step} steps" for step in steps), "difference"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for name in filter(rows.get, SETTINGS):
        psnr, flags = rows[name]["psnr"], rows[name]["flags"]
        figures = " | ".join(f"{psnr[step]:.2f}" for step in steps)
        lines.append(f"| {name} | {f'`{flags}`' if flags else ''} | {figures} | {psnr[steps[-1]] - base:+.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
