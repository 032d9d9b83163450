import contextlib
import json
import os
import re
import shutil

import pytest
import torch

import model
from dataset import bicubic, images
from dataset.errors import InputError
from dataset.files import locked, sha256_of
from model import shipped
from results import readme, ship_weights
from solver.checkpoint import save_weights


@pytest.fixture
def house(tmp_path, monkeypatch, picture, root):
    """A root with Sample, Held, Set5 and Set14 of one small picture each, the paper's tables and a README."""
    monkeypatch.setattr(ship_weights, "ROOT", tmp_path)
    for seed, name in enumerate(("Sample", "Set5", "Set14", "Held")):
        hr = picture(48, 48, seed)
        images.write_rgb(tmp_path / f"dataset/{name}/x2/a_HR.png", hr)
        images.write_rgb(tmp_path / f"dataset/{name}/x2/a_LR.png", bicubic.imresize(hr, 1 / 2))
    (tmp_path / "results").mkdir()
    (tmp_path / "results/paper").symlink_to(root / "results/paper")
    (tmp_path / "README.md").write_text("before\n<!-- weights:begin -->\nold\n<!-- weights:end -->\nafter\n")
    return tmp_path


def ship(house, run, data="dataset", validation=("Sample",), force=False):
    return ship_weights.ship(run, house / data, "a picture", [house / "dataset" / name for name in validation], force)


def finished_run(folder, spoil=0.0, steps=6, network="lesrcnn", starts=(), teachers=()):
    """A run that took its starts and teachers from the folders of other runs."""
    torch.manual_seed(0)
    net = model.build(network, 2)
    with torch.no_grad():
        if network == "lesrcnn":
            net.init_identity()
            net.irb.last.weight += spoil
    weights = folder / f"{network}_x2.pth"
    save_weights(net, weights, "release" if network == "lesrcnn" else "own")
    start = [(str(path), sha256_of(path)) for path in starts]
    (folder / "run.json").write_text(
        json.dumps(
            {
                "settings": {
                    "ckpt_name": weights.stem,
                    "max_steps": 6,
                    "scale": 2,
                    "model": network,
                    "teacher": [str(path) for path in teachers],
                },
                "taken": {"start": start, "teacher": [sha256_of(path) for path in teachers]},
                "steps": steps,
                "seconds": 5400,
                "data": {"file": "train.h5", "sha256": "0", "bytes": 1},
                "commands": ["x2/train.py --max_steps 6"],
                "hardware": {"device": "CPU (2 threads)", "processor": "Abacus"},
                "versions": {"torch": "2"},
                "commit": "abc",
            }
        )
    )
    return folder


def is_rounded(weights, run):
    """Whether they are a run's, in float16."""
    own, rounded = torch.load(run / weights.name), torch.load(weights)
    assert own.keys() == rounded.keys() and weights.stat().st_size < 0.55 * (run / weights.name).stat().st_size
    return all(torch.equal(rounded[name].half(), value.half()) for name, value in own.items())


def test_weights_card_and_readme(house):
    run = finished_run(house / "run")
    target = ship(house, run)
    assert target == house / "x2/lesrcnn_x2.pth" and is_rounded(target, run)
    card = json.loads((house / "x2/lesrcnn_x2.json").read_text())
    assert card["trainable_parameters"] == 626_304 and card["training"]["hours_in_all"] == 1.5
    set5 = card["test"]["Set5"]["x2"]
    assert set5["paper"] == [37.65, 0.9586] and 15 < set5["psnr"] < 60
    assert len((house / "x2/lesrcnn_x2.json").read_text().splitlines()) < 45
    text = (house / "README.md").read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert (
        f"{set5['psnr']:.2f} / {set5['ssim']:.4f}" in text and "6 steps in all, 1.5 h, last on CPU (2 threads)" in text
    )


def test_another_network_s_weights_have_a_place_of_their_own(house):
    ship(house, finished_run(house / "first"))
    before = (house / "x2/lesrcnn_x2.pth").read_bytes(), (house / "x2/lesrcnn_x2.json").read_bytes()
    target = ship(house, finished_run(house / "edsr", network="edsr"))
    assert target == house / shipped("edsr", 2) != house / "x2/lesrcnn_x2.pth"
    assert before == ((house / "x2/lesrcnn_x2.pth").read_bytes(), (house / "x2/lesrcnn_x2.json").read_bytes())
    card = json.loads(target.with_suffix(".json").read_text())
    assert card["network"] == "edsr" and card["test"]["Set5"]["x2"]["paper"] is None
    rows = [line for line in (house / "README.md").read_text().splitlines() if ".pth" in line]
    assert "x2/lesrcnn_x2.json" in rows[0] and shipped("edsr", 2) in rows[1] and "| - |" in rows[1]


def test_card_sums_the_runs_before(house):
    first = finished_run(house / "checkpoint/first")
    second = finished_run(house / "checkpoint/second", starts=[first / "lesrcnn_x2.pth"])
    third = finished_run(house / "checkpoint/third", starts=[second / "lesrcnn_x2.pth"])
    both = [run / "lesrcnn_x2.pth" for run in (second, third)]
    last = finished_run(house / "checkpoint/last", starts=both)  # of a mean, the longer of both histories counts
    training = json.loads(ship(house, last).with_suffix(".json").read_text())["training"]
    assert (training["steps_in_all"], training["hours_in_all"]) == (24, 6.0) and training["teachers"] == []
    assert training["command"] == "x2/train.py --max_steps 6" and "24 steps in all, 6.0 h" in (
        house / "README.md"
    ).read_text(encoding="utf-8")


def test_card_names_the_teachers(house):
    teachers = [finished_run(house / name, network=name) / f"{name}_x2.pth" for name in ("edsr", "lesrcnn")]
    target = ship(house, finished_run(house / "run", teachers=teachers))
    told = json.loads(target.with_suffix(".json").read_text())["training"]["teachers"]
    assert told == [{"network": path.stem[:-3], "sha256": sha256_of(path)} for path in teachers]


def test_a_start_from_weights_that_ship_is_told_by_their_card(house):
    target = ship(house, finished_run(house / "first", spoil=0.02))
    run = finished_run(house / "checkpoint/second", starts=[target])
    record = json.loads((run / "run.json").read_text())
    record["taken"]["start"][0][0] = "x2/lesrcnn_x2.pth"  # as it is given on the command line, from the root
    (run / "run.json").write_text(json.dumps(record))
    copy = shutil.copytree(target.parent, house / "copies/x2")
    training = json.loads(ship(house, run, force=True).with_suffix(".json").read_text())["training"]
    assert (training["steps_in_all"], training["hours_in_all"]) == (12, 3.0)
    other = finished_run(house / "copies/third", starts=[copy / "lesrcnn_x2.pth"])
    shutil.copy(target.with_suffix(".json"), copy)  # of the weights that have just been shipped
    with pytest.raises(InputError, match="lesrcnn_x2.json: is the card of other weights"):
        ship(house, other, force=True)


def test_the_card_tells_what_the_run_took_not_what_is_there_now(house):
    start = finished_run(house / "checkpoint/first")
    run = finished_run(house / "checkpoint/second", starts=[start / "lesrcnn_x2.pth"])
    moved = shutil.move(
        house / "checkpoint", house / "elsewhere"
    )  # all runs together: they are beside each other still
    ship(house, moved / "second")
    finished_run(moved / "first", spoil=0.02)
    with pytest.raises(InputError, match="first/lesrcnn_x2.pth: is not what the run .* took any more"):
        ship(house, moved / "second", force=True)
    assert not run.exists()


def test_only_better_weights_replace(house):
    good, bad = finished_run(house / "good"), finished_run(house / "bad", spoil=0.02)
    ship(house, bad)
    ship(house, good)
    with pytest.raises(InputError, match="not replaced"):
        ship(house, bad)
    target = house / "x2/lesrcnn_x2.pth"
    assert is_rounded(target, good)
    ship(house, bad, force=True)
    assert is_rounded(target, bad)


@pytest.mark.parametrize("gain, better", [(0.015, False), (0.025, True)])
def test_a_tie_does_not_replace(house, monkeypatch, gain, better):
    run, target = finished_run(house / "run", spoil=0.02), house / "x2/lesrcnn_x2.pth"
    ship(house, finished_run(house / "first"))

    def validate(path, scales, sets):
        return {"Sample": {"x2": {"psnr": 30.0 if path == target else 30.0 + gain, "pictures": 5}}}

    monkeypatch.setattr(ship_weights, "validate", validate)
    with contextlib.nullcontext() if better else pytest.raises(InputError, match="0.02"):
        ship(house, run)


def test_every_validation_picture_counts_alike(house):
    ship(house, finished_run(house / "run"), validation=("Sample", "Held"))
    validation = json.loads((house / "x2/lesrcnn_x2.json").read_text())["validation"]
    assert [validation[name]["x2"]["pictures"] for name in ("Sample", "Held")] == [1, 1]
    assert validation["Sample"]["x2"]["psnr"] != validation["Held"]["x2"]["psnr"]
    assert (
        ship_weights.mean({"A": {"x2": {"psnr": 30.0, "pictures": 1}}, "B": {"x2": {"psnr": 36.0, "pictures": 5}}})
        == 35
    )


def test_what_is_no_validation_set(house):
    run = finished_run(house / "run")
    with pytest.raises(InputError, match="Set5 is a test set"):
        ship(house, run, validation=("Sample", "Set5"))
    with pytest.raises(InputError, match="given twice"):
        ship(house, run, validation=("Sample", "Sample"))
    (house / "dataset/Held/x2/a_HR.png").unlink()
    with pytest.raises(InputError, match="no HR"):
        ship(house, run, validation=("Held",))
    assert not (house / "x2").exists()


def test_what_cannot_be_shipped(house):
    with pytest.raises(InputError, match="has done 3 of 6 steps"):
        ship(house, finished_run(house / "run", steps=3))
    with pytest.raises(InputError, match="folder of a training run"):
        ship(house, house)
    old = finished_run(house / "old")
    record = json.loads((old / "run.json").read_text())
    del record["taken"]
    (old / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="old: is a run of an older version"):
        ship(house, old)
    with pytest.raises(InputError, match="no such folder"):
        ship(house, finished_run(house / "run"), data="nothing")
    assert not (house / "x2").exists()


def test_what_was_interrupted_is_finished(house):
    """Weights that are in their place already, without their card, get it."""
    run = finished_run(house / "run")
    target = ship(house, run)
    target.with_suffix(".json").unlink()
    ship(house, run)
    assert target.with_suffix(".json").exists()


def test_a_log_that_cannot_be_read_changes_nothing(house):
    os.mkfifo(finished_run(house / "run") / "log.csv")
    with pytest.raises(InputError, match="log.csv: is a pipe"):
        ship(house, house / "run")
    assert not (house / "x2").exists()


def test_a_run_that_started_from_itself(house):
    run = finished_run(house / "run")
    finished_run(run, starts=[run / "lesrcnn_x2.pth"])
    with pytest.raises(InputError, match="run: started from weights of its own"):
        ship(house, run)


def test_two_at_once(house, monkeypatch):
    monkeypatch.setattr("sys.argv", ["ship_weights.py", "--run", str(finished_run(house / "run")), "--pictures", "a"])
    with locked(house / "results", "a test"), pytest.raises(InputError, match="another command of results/ is writing"):
        ship_weights.main()


def test_weights_are_those_of_the_run(house):
    run = finished_run(house / "run")
    record = json.loads((run / "run.json").read_text())
    record["settings"]["ckpt_name"] = "../run/lesrcnn_x2"
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="run.json: is damaged"):
        ship(house, run)


def test_a_device_of_any_name_in_the_readme(tmp_path, name):
    score = {"psnr": 37.5, "ssim": 0.9, "paper": None}
    training = {"steps_in_all": 5, "hours_in_all": 0.5, "hardware": {"device": f"{name} <!-- weights:end -->"}}
    card = {"weights": "a.pth", "scales": [2], "protocol": "luma", "training": training}
    card["test"] = {"Set5": {"x2": score}, "Set14": {"x2": score}}
    (tmp_path / "a.json").write_text(json.dumps(card))
    (tmp_path / "README.md").write_text("<!-- weights:begin -->\n<!-- weights:end -->\nafter\n")
    for _ in range(2):
        readme.replace(tmp_path / "README.md", "weights", readme.weights_section([tmp_path / "a.json"], tmp_path))
    _, _, line, end, after = (tmp_path / "README.md").read_text().splitlines()[1:]
    assert end == "<!-- weights:end -->" and after == "after"
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 8


def test_shipped_cards_describe_the_shipped_weights(root):
    assert len(ship_weights.cards()) >= 4
    for path in ship_weights.cards():
        card = json.loads(path.read_text())
        assert card["sha256"] == sha256_of(path.with_name(card["weights"]))
        assert path.read_text(encoding="utf-8") == ship_weights.compact(card) + "\n"


def test_readme_shows_the_cards(root):
    text = (root / "README.md").read_text(encoding="utf-8")
    section = text.partition("<!-- weights:begin -->\n")[2].partition("\n<!-- weights:end -->")[0]
    assert section == readme.weights_section(ship_weights.cards(), root)
