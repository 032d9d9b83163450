"""Ship the weights of a training run: ``python results/ship_weights.py --run checkpoint/lesrcnn_x2 --data dataset``.

Copies the run's final weights to where the paper's commands look for them (``x2/lesrcnn_x2.pth``, ...) and writes
their card beside them, a JSON file: what they were trained on and how, and what they reach on Set5 and Set14.

Weights that are there already are replaced only by better ones. Which are better is read off validation sets,
``dataset/Sample`` unless ``--validation`` names others, never off a test set: those are measured once, for the card.
Less than 0.02 dB is a tie: by as much does the mean of Sample's five pictures vary by chance.
"""

import csv
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dataset.errors import (  # noqa: E402
    InputError,
    Parser,  # noqa: E402
    describe,
    run,
)
from results import readme  # noqa: E402
from results.measure import DIGITS  # noqa: E402
from solver.arguments import SHIPPED  # noqa: E402
from solver.training.command import listed  # noqa: E402

TEST_SETS = {"Set5": "table4_set5.csv", "Set14": "table5_set14.csv"}
SAMPLE = ROOT / "dataset/Sample"
LEAST = 0.02  # dB on the validation sets by which new weights must be better


def main() -> None:
    parser = Parser("Copy a training run's weights to where the commands look for them, and write their card.")
    parser.add_argument("--run", type=Path, required=True, help="the run's folder (--ckpt_dir)")
    parser.add_argument("--data", type=Path, default=ROOT / "dataset", help="folder that holds Set5 and Set14")
    parser.add_argument("--pictures", required=True, help="what was trained on, in words, for the card")
    parser.add_argument(
        "--validation",
        type=Path,
        nargs="+",
        default=[SAMPLE],
        help="benchmark folders to decide by, of pictures that the run was not trained on (default: "
        "dataset/Sample); each picture counts alike",
    )
    parser.add_argument("--force", action="store_true", help="replace better weights too")
    args = parser.parse_args()
    target = ship(args.run, args.data, args.pictures, args.validation, args.force)
    print(f"{target.relative_to(ROOT)} and its card {target.with_suffix('.json').name}")


def ship(run_folder: Path, data: Path, pictures: str, validation_sets: Sequence[Path], force: bool = False) -> Path:
    """Copy and describe a finished run's weights; returns where they are now.

    Raises:
        InputError: if the run is not finished, a set is missing, or the present weights are as good.
    """
    record = read_json(run_folder / "run.json")
    settings = record["settings"]
    weights = run_folder / f"{settings['ckpt_name']}.pth"
    if record["steps"] < settings["max_steps"]:
        raise InputError(
            f"{run_folder}: has done {record['steps']} of {settings['max_steps']} steps; finish it with --resume"
        )
    target = ROOT / SHIPPED[settings["scale"]]
    validation = validate(weights, validation_sets)
    if target.exists() and not force:
        present = validate(target, validation_sets)
        if mean(validation) < mean(present) + LEAST:
            raise InputError(
                f"{weights}: reads {mean(validation):.3f} dB on {' and '.join(validation)}, and "
                f"{target.relative_to(ROOT)} reads {mean(present):.3f}: not better by {LEAST} dB, so not "
                "replaced (--force does it all the same)"
            )
    card = make_card(weights, target.name, record, pictures, validation, data)
    from dataset.images import written_whole

    with written_whole(target) as temporary:
        shutil.copyfile(weights, temporary)
    with written_whole(target.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    if (run_folder / "log.csv").exists():  # the report page draws it
        with written_whole(ROOT / "results/curves" / f"{target.stem}.csv") as temporary:
            shutil.copyfile(run_folder / "log.csv", temporary)
    readme.replace(ROOT / "README.md", "weights", readme.weights_section(cards()))
    return target


def cards() -> list[Path]:
    """The cards of the weights that ship, in the order x2, x3, x4, blind."""
    paths = [(ROOT / weights).with_suffix(".json") for weights in SHIPPED.values()]
    return [path for path in paths if path.exists()]


def make_card(weights: Path, name: str, record: dict, pictures: str, validation: dict, data: Path) -> dict:
    """Everything a user of the weights wants to know, as JSON can hold it."""
    from solver.checkpoint import load_network

    net, info = load_network(weights)
    return {
        "weights": name,
        "sha256": info.sha256,
        "network": info.network,
        "scales": info.scales,
        "blind": info.multi_scale,
        "trainable_parameters": sum(p.numel() for p in net.parameters() if p.requires_grad),
        "training": {
            "pictures": pictures,
            "data": {key: record["data"][key] for key in ("sha256", "bytes")},
            **stage(weights.parent, record),
            "started_from": earlier(weights.parent, record),
            "hardware": record["hardware"],
            "versions": record["versions"],
        },
        "protocol": "published",
        "validation": validation,
        "test": {
            test_set: {f"x{scale}": figures(weights, data / test_set, scale, info.multi_scale) for scale in info.scales}
            for test_set in TEST_SETS
        },
    }


def stage(run_folder: Path, record: dict) -> dict:
    """What one training run did."""
    done = {
        "commands": record["commands"],
        "steps": record["steps"],
        "hours": round(record["seconds"] / 3600, 2),
        "commit": record["commit"],
    }
    if teachers := listed(record["settings"].get("teacher")):
        hashes = listed(record.get("taken", {}).get("teacher")) or [file_hash(beside(run_folder, t)) for t in teachers]
        told = [teacher(beside(run_folder, t), sha256, record) for t, sha256 in zip(teachers, hashes, strict=True)]
        done["teacher"] = told if len(told) > 1 else told[0]
    if rest := record.get("taken", {}).get("rest"):
        done["rest"] = {"weights": Path(rest[0]).name, "sha256": rest[1]}
    return done


def teacher(weights: Path, sha256: str, record: dict) -> dict:
    """A teacher of a run, and, if it is another network than the student, what made it: no other card tells that."""
    run = weights.parent / "run.json"
    settings = read_json(run)["settings"] if run.exists() else record["settings"]
    network, student = (taken.get("model", "lesrcnn") for taken in (settings, record["settings"]))
    if network == student:
        return {"weights": weights.name, "sha256": sha256}
    return {"network": network} | origin(weights, sha256)


def beside(run_folder: Path, path: str) -> Path:
    """Where a weights file of another run is, if runs are beside each other, as ``checkpoint/NAME`` puts them."""
    return run_folder.parent / Path(path).parent.name / Path(path).name


def earlier(run_folder: Path, record: dict) -> dict | None:
    """The run that this one took its start from (``--init_from``), None if it started anew.

    Of several, whose mean it started from, the one with the most steps up to it, and the others as ``averaged_with``.

    Raises:
        InputError: if what made the start is not known, or is no longer what the run took.
    """
    starts = record.get("taken", {}).get("start")
    if not starts:  # older runs did not note the hash, and before took one file only
        starts = [(path, None) for path in listed(record["settings"].get("init_from"))]
    if not starts:
        return None
    origins = [origin(beside(run_folder, path), sha256) for path, sha256 in starts]
    last, *others = sorted(origins, key=lambda run: readme.total(run, "steps"), reverse=True)
    for other in others:
        del other["started_from"]
    return last | ({"averaged_with": others} if others else {})


def origin(weights: Path, sha256: str | None) -> dict:
    """Weights that a run took its start from, or a teacher, and what made them: a run, or what their card tells.

    Weights that ship, or a copy of them, have their card beside them instead of a run.

    Args:
        weights: the file.
        sha256: its hash when the run took it, if it is known.

    Raises:
        InputError: if there is neither, the card is of other weights, or the file has changed.
    """
    named = {"weights": weights.name, "sha256": file_hash(weights)}
    if sha256 not in (None, named["sha256"]):
        raise InputError(f"{weights}: is not what the run took any more; put back what it was")
    card = weights.with_suffix(".json")
    if not (weights.parent / "run.json").exists() and card.exists():
        told = read_json(card)
        if told["sha256"] != named["sha256"]:
            raise InputError(f"{card}: is the card of other weights than {weights.name} beside it")
        kept = ("commands", "steps", "hours", "commit", "teacher", "rest", "started_from")
        return named | {key: told["training"][key] for key in kept if key in told["training"]}
    before = read_json(weights.parent / "run.json")
    return named | stage(weights.parent, before) | {"started_from": earlier(weights.parent, before)}


def file_hash(path: Path) -> str:
    """SHA-256 of a weights file.

    Raises:
        InputError: if it cannot be read.
    """
    from solver import checkpoint

    try:
        return checkpoint.file_hash(path)
    except OSError as error:
        raise InputError(f"{path}: {describe(error)}; the card names it by its hash") from None


def figures(weights: Path, folder: Path, scale: int, blind: bool) -> dict:
    """PSNR and SSIM on a test set, beside bicubic's (measured) and the paper's rows of it."""
    scores = measure(weights, folder, scale)
    paper = paper_rows(folder.name, scale)
    return {
        "psnr": round(scores.psnr, DIGITS),
        "ssim": round(scores.ssim, DIGITS),
        "bicubic": [round(scores.mean(f"bicubic_{figure}"), DIGITS) for figure in ("psnr", "ssim")],
        **{method: paper[method] for method in ("SRCNN", "FSRCNN", "VDSR", "LESRCNN-S" if blind else "LESRCNN")},
    }


def paper_rows(test_set: str, scale: int) -> dict[str, list[float]]:
    """The paper's table of a set: method -> [PSNR, SSIM] at a scale."""
    with open(ROOT / "results/paper" / TEST_SETS[test_set], newline="", encoding="utf-8") as file:
        return {
            row["method"]: [float(row[f"x{scale}_psnr"]), float(row[f"x{scale}_ssim"])]
            for row in csv.DictReader(file)
            if row[f"x{scale}_psnr"]
        }


def validate(weights: Path, sets: Sequence[Path]) -> dict[str, dict]:
    """PSNR and SSIM on validation sets at each scale of the weights: ``{"Sample": {"x2": {"psnr": ...}}}``.

    Raises:
        InputError: for a test set, two sets of one name, or pictures without HR.
    """
    from solver.checkpoint import load_network

    scales = load_network(weights)[1].scales
    result = {}
    for folder in sets:
        if folder.name in TEST_SETS or folder.name in result:
            why = "given twice" if folder.name in result else "a test set, by which nothing may be chosen"
            raise InputError(f"--validation {folder}: {folder.name} is {why}; give another one")
        result[folder.name] = {}
        for scale in scales:
            scores = measure(weights, folder, scale)
            if any(row.psnr is None for row in scores.rows):
                raise InputError(f"--validation {folder}: its x{scale} pictures have no HR to compare with")
            result[folder.name][f"x{scale}"] = {
                "psnr": round(scores.psnr, DIGITS),
                "ssim": round(scores.ssim, DIGITS),
                "pictures": len(scores.rows),
            }
    return result


def measure(weights: Path, folder: Path, scale: int):
    """:class:`solver.measuring.evaluate.Scores` of a weights file on a set, beside bicubic's."""
    from dataset import test_set
    from solver.checkpoint import load_network
    from solver.measuring.evaluate import evaluate
    from solver.sampling.sampler import Sampler

    net, _ = load_network(weights, scale=scale)
    return evaluate(Sampler(net, scale), test_set.find(folder, scale), compare_bicubic=True)


def mean(validation: dict[str, dict]) -> float:
    """Mean PSNR over all pictures and scales."""
    entries = [entry for scales in validation.values() for entry in scales.values()]
    return sum(entry["psnr"] * entry["pictures"] for entry in entries) / sum(entry["pictures"] for entry in entries)


def read_json(path: Path) -> dict:
    """A JSON file.

    Raises:
        InputError: if it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; is this the folder of a training run?") from None
    except ValueError:
        raise InputError(f"{path}: is damaged") from None


if __name__ == "__main__":
    run(main)
