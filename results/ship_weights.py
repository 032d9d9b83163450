"""Ship the weights of a training run: ``python results/ship_weights.py --run checkpoint/lesrcnn_x2 --data dataset``.

Puts the run's final weights where the commands look for them (``x2/lesrcnn_x2.pth``, ...) and writes their card
beside them, a JSON file: what they were trained on and how, and what they reach on Set5 and Set14. They are rounded to
float16, which halves the file and changes PSNR by some 0.002 dB; all figures are those of the rounded ones.

Weights of this network that are there already are replaced only by better ones. Which are better is read off
validation sets, ``dataset/Sample`` unless ``--validation`` names others, never off a test set: those are measured once,
for the card. Less than 0.02 dB is a tie: by as much does the mean of Sample's five pictures vary by chance.
"""

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import model
from dataset import test_set
from dataset.errors import InputError, Parser, run
from dataset.files import locked, read_text, readable, sha256_of, write_text, written_whole
from results import measure, papers, readme
from results.measure import SCALES
from results.shape import AMOUNT, COUNT, checked, fits, read_json, some

TEST_SETS = ("Set5", "Set14")
SAMPLE = ROOT / "dataset/Sample"
LEAST = 0.02  # dB on the validation sets by which new weights must be better


def _pair(value) -> bool:
    """A shape: the path of weights that a run took, and their SHA-256."""
    return fits(value, [str]) and len(value) == 2


# What a run's record must hold, and a card that tells what is behind weights (see results/shape.py).
_SETTINGS = {"ckpt_name": re.compile("[^/]+"), "max_steps": COUNT, "model": tuple(model.names()), "scale": (0, *SCALES)}
_SETTINGS |= {"teacher": ([str], None)}
_RUN = {"settings": _SETTINGS, "steps": COUNT, "seconds": AMOUNT, "commands": some([str])}
_RUN |= {"taken": {"start": ([_pair], None), "teacher": ([str], None)}}
_RUN |= {"data": {"bytes": COUNT, "sha256": (str, None)}, "commit": (str, None), "hardware": {"device": str}}
_RUN |= {"versions": some({str: str})}
_CARD = {"sha256": str, "training": {"steps_in_all": COUNT, "hours_in_all": AMOUNT}}


def main() -> None:
    parser = Parser("Copy a training run's weights to where the commands look for them, and write their card.")
    add = parser.add_argument
    add("--run", type=Path, required=True, help="the run's folder (--ckpt_dir)")
    add("--data", type=Path, default=ROOT / "dataset", help="folder that holds Set5 and Set14")
    add("--pictures", required=True, help="what was trained on, in words, for the card")
    add("--validation", type=Path, nargs="+", default=[SAMPLE], help="sets to decide by, not trained on")
    add("--force", action="store_true", help="replace better weights too")
    args = parser.parse_args()
    with locked(ROOT / "results", "another command of results/"):
        target = ship(args.run, args.data, args.pictures, args.validation, args.force)
    print(f"{target.relative_to(ROOT)} and its card {target.with_suffix('.json').name}")


def ship(run_folder: Path, data: Path, pictures: str, validation_sets: Sequence[Path], force: bool = False) -> Path:
    """Copy and describe a finished run's weights; returns where they are now.

    Raises:
        InputError: if the run is not finished, a set is missing, or the present weights are as good.
    """
    import torch

    from solver.checkpoint import load_network, save_weights

    record = read_run(run_folder)
    settings = record["settings"]
    weights = run_folder / f"{settings['ckpt_name']}.pth"
    done, wanted = record["steps"], settings["max_steps"]
    if done < wanted:
        raise InputError(f"{run_folder}: has done {done} of {wanted} steps; finish it with --resume")
    target = ROOT / model.shipped(settings["model"], settings["scale"])
    with tempfile.TemporaryDirectory() as folder:
        rounded = Path(folder) / target.name
        save_weights(load_network(weights)[0], rounded, dtype=torch.float16)
        net, info = load_network(rounded)
        validation = validate(rounded, info.scales, validation_sets)
        if target.exists() and not force and sha256_of(target) != info.sha256:  # or only its card may be missing
            new, present = mean(validation), mean(validate(target, info.scales, validation_sets))
            if new < present + LEAST:
                raise InputError(
                    f"{weights}: reads {new:.3f} dB on {' and '.join(validation)}, {target.relative_to(ROOT)} "
                    f"{present:.3f}: not better by {LEAST} dB, so not replaced (--force does it all the same)"
                )
        card = make_card(net, info, weights, record, pictures, validation, data)
        log = run_folder / "log.csv"
        with readable(log, "is it this run's?"):
            curve = read_text(log) if log.exists() else None
        with written_whole(target) as temporary:
            shutil.copyfile(rounded, temporary)
    write_text(target.with_suffix(".json"), compact(card) + "\n")
    if curve is not None and "_psnr" in curve:  # the report page draws it
        write_text(ROOT / "results/curves" / f"{target.stem}.csv", curve)
    readme.replace(ROOT / "README.md", "weights", readme.weights_section(cards(), ROOT))
    return target


def read_run(folder: Path) -> dict:
    """What a training run tells of itself, its ``taken`` as path and SHA-256 of each start and each teacher.

    Raises:
        InputError: if there is no record, if it is damaged, or if it is an older one, which does not tell all.
    """
    path, advice = folder / "run.json", "is this the folder of a training run?"
    record = read_json(path, {}, advice)
    if "taken" not in record:
        raise InputError(f"{folder}: is a run of an older version, which did not note what weights it took")
    with readable(path, advice):
        record["settings"] = {"teacher": None} | record["settings"]
        record["taken"] = {"start": None, "teacher": None} | record["taken"]
        checked(record, _RUN)
        teachers = zip(record["settings"]["teacher"] or [], record["taken"]["teacher"] or [], strict=True)
        record["taken"] = {"start": record["taken"]["start"] or [], "teacher": list(teachers)}
    return record


def cards() -> list[Path]:
    """The cards of the weights that ship: LESRCNN's in the order x2, x3, x4, blind, then the other networks'."""
    networks = sorted(model.names(), key=lambda name: name != "lesrcnn")
    paths = [ROOT / model.shipped(network, scale) for network in networks for scale in (*SCALES, 0)]
    return [path.with_suffix(".json") for path in paths if path.with_suffix(".json").exists()]


def make_card(net, info, weights: Path, record: dict, pictures: str, validation: dict, data: Path) -> dict:
    """Everything a user of the weights wants to know, as JSON can hold it; ``weights`` are those of the run."""
    steps, hours = effort(weights, sha256_of(weights))
    tests = {test: {f"x{s}": figures(info, data / test, s, net.protocol) for s in info.scales} for test in TEST_SETS}
    return {
        "weights": info.path.name,
        "sha256": info.sha256,
        "network": info.network,
        "scales": info.scales,
        "blind": info.multi_scale,
        "trainable_parameters": sum(p.numel() for p in net.parameters() if p.requires_grad),
        "training": {
            "pictures": pictures,
            "data": {key: record["data"][key] for key in ("sha256", "bytes")},
            "command": record["commands"][-1],
            "steps_in_all": steps,
            "hours_in_all": round(hours, 2),
            "teachers": teachers(weights.parent, record),
            **{key: record[key] for key in ("commit", "hardware", "versions")},
        },
        "protocol": net.protocol,
        "validation": validation,
        "test": tests,
    }


def effort(weights: Path, sha256: str, later: tuple[Path, ...] = ()) -> tuple[int, float]:
    """Steps and hours behind weights: of their run and all runs before it, or what the card beside them tells.

    Of several weights, whose mean a run started from, those with the most steps count.

    Args:
        later: the folders of the runs that started from these weights.

    Raises:
        InputError: if what made them is not known, or is no longer what the run took.
    """
    folder, card = weights.parent, weights.with_suffix(".json")
    if card.exists() and not (folder / "run.json").exists():
        told = read_json(card, _CARD, "it tells what made the weights beside it")
        if told["sha256"] != sha256:
            raise InputError(f"{card}: is the card of other weights than {weights.name} beside it")
        return told["training"]["steps_in_all"], told["training"]["hours_in_all"]
    if folder in later:
        raise InputError(f"{folder}: started from weights of its own, so what is behind them is not known")
    record = read_run(folder)
    starts = [(find(folder, path, taken), taken) for path, taken in record["taken"]["start"]]
    before = [effort(path, taken, (*later, folder)) for path, taken in starts]
    steps, hours = max(before, default=(0, 0.0))
    return record["steps"] + steps, record["seconds"] / 3600 + hours


def teachers(run_folder: Path, record: dict) -> list[dict]:
    """Network and SHA-256 of each of a run's teachers."""
    from solver.checkpoint import load_network

    infos = [load_network(find(run_folder, path, sha256))[1] for path, sha256 in record["taken"]["teacher"]]
    return [{"network": info.network, "sha256": info.sha256} for info in infos]


def find(run_folder: Path, path: str, sha256: str) -> Path:
    """The weights file that a run took, unchanged: where it was, or beside the run as ``checkpoint/`` puts others."""
    places = [ROOT / path, run_folder.parent / Path(path).parent.name / Path(path).name]
    for place in places:
        if place.is_file() and sha256_of(place) == sha256:
            return place
    raise InputError(f"{path}: is not what the run in {run_folder} took any more; put back the file {sha256[:12]}...")


def figures(info, folder: Path, scale: int, protocol: str) -> dict:
    """PSNR and SSIM on a test set, beside bicubic's (measured) and the paper's (None if it has no such network)."""
    scores = measure.scores(info.path, test_set.find(folder, scale), protocol)
    paper = papers.figures(measure.label_of(info.network, info.multi_scale), folder.name, scale)
    bicubic = list(measure.rounded(scores, ("bicubic_psnr", "bicubic_ssim")).values())
    return measure.rounded(scores) | {"bicubic": bicubic, "paper": paper}


def compact(value, indent: int = 0, width: int = 150) -> str:
    """JSON with whatever fits into a line on one line."""
    line = json.dumps(value)
    if not isinstance(value, dict) or len(line) + indent <= width and indent:
        return line
    rows = [f"{' ' * (indent + 1)}{json.dumps(key)}: {compact(part, indent + 1)}" for key, part in value.items()]
    return "{\n" + ",\n".join(rows) + "\n" + " " * indent + "}"


def validate(weights: Path, scales: Sequence[int], sets: Sequence[Path]) -> dict[str, dict]:
    """PSNR and SSIM on validation sets at these scales: ``{"Sample": {"x2": {"psnr": ...}}}``; none is a test set."""
    result = {}
    for folder in sets:
        if folder.name in TEST_SETS or folder.name in result:
            why = "given twice" if folder.name in result else "a test set, by which nothing may be chosen"
            raise InputError(f"--validation {folder}: {folder.name} is {why}; give another one")
        result[folder.name] = {}
        for scale in scales:
            scores = measure.scores(weights, test_set.find(folder, scale))
            if any(row.psnr is None for row in scores.rows):
                raise InputError(f"--validation {folder}: its x{scale} pictures have no HR to compare with")
            result[folder.name][f"x{scale}"] = measure.rounded(scores) | {"pictures": len(scores.rows)}
    return result


def mean(validation: dict[str, dict]) -> float:
    """Mean PSNR over all pictures and scales."""
    entries = [entry for scales in validation.values() for entry in scales.values()]
    return sum(entry["psnr"] * entry["pictures"] for entry in entries) / sum(entry["pictures"] for entry in entries)


if __name__ == "__main__":
    run(main)
