import contextlib
import json
import shutil

import pytest
import torch

import model
from dataset import bicubic, images
from dataset.errors import InputError
from results import readme, ship_weights
from solver.checkpoint import file_hash, save_weights


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


def finished_run(folder, spoil=0.0, steps=6):
    torch.manual_seed(0)
    net = model.build("lesrcnn", 2)
    net.init_identity()
    with torch.no_grad():
        net.irb.last.weight += spoil
    save_weights(net, folder / "lesrcnn_x2.pth")
    (folder / "run.json").write_text(
        json.dumps(
            {
                "settings": {"ckpt_name": "lesrcnn_x2", "max_steps": 6, "scale": 2},
                "steps": steps,
                "seconds": 5400,
                "data": {"file": "train.h5", "sha256": "0", "bytes": 1},
                "commands": ["x2/train.py --max_steps 6"],
                "hardware": {"device": "the CPU (2 threads)", "processor": "Abacus"},
                "versions": {"torch": "2"},
                "commit": "abc",
            }
        )
    )
    return folder


def test_weights_card_and_readme(house):
    run = finished_run(house / "run")
    target = ship(house, run)
    assert target == house / "x2/lesrcnn_x2.pth" and target.read_bytes() == (run / "lesrcnn_x2.pth").read_bytes()
    card = json.loads((house / "x2/lesrcnn_x2.json").read_text())
    assert card["trainable_parameters"] == 626_304 and card["training"]["hours"] == 1.5
    set5 = card["test"]["Set5"]["x2"]
    assert set5["LESRCNN"] == [37.65, 0.9586] and set5["SRCNN"] == [36.66, 0.9542] and 15 < set5["psnr"] < 60
    text = (house / "README.md").read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert f"{set5['psnr']:.2f} / {set5['ssim']:.4f}" in text


def test_card_names_the_runs_before(house):
    runs = [finished_run(house / name) for name in ("first", "second", "third", "last")]
    for run, start in zip(runs[1:], [runs[0], runs[1], [runs[1], runs[2]]]):
        record = json.loads((run / "run.json").read_text())
        start = [f"{r}/lesrcnn_x2.pth" for r in start] if isinstance(start, list) else f"{start}/lesrcnn_x2.pth"
        record["settings"]["init_from"] = start
        record["settings"]["teacher"] = f"{runs[0]}/lesrcnn_x2.pth" if run == runs[-1] else None
        (run / "run.json").write_text(json.dumps(record))
    ship(house, runs[-1])
    training = json.loads((house / "x2/lesrcnn_x2.json").read_text())["training"]
    start = training["started_from"]
    assert training["teacher"] == {"weights": "lesrcnn_x2.pth", "sha256": file_hash(runs[0] / "lesrcnn_x2.pth")}
    assert "teacher" not in start
    assert [run["weights"] for run in start["averaged_with"]] == ["lesrcnn_x2.pth"]
    assert "averaged_with" not in start["started_from"]
    assert start["started_from"]["started_from"]["started_from"] is None
    assert "6 steps after 18 in earlier runs" in (house / "README.md").read_text()


def test_card_tells_what_made_a_teacher_of_another_network(house):
    run, teacher = finished_run(house / "checkpoint/first"), house / "checkpoint/edsr"
    shutil.copytree(run, teacher)
    record = json.loads((run / "run.json").read_text())
    (teacher / "run.json").write_text(json.dumps(record | {"settings": {"model": "edsr"}, "steps": 7}))
    sha256 = file_hash(teacher / "lesrcnn_x2.pth")
    record["settings"]["teacher"] = ["checkpoint/edsr/lesrcnn_x2.pth"]
    record["taken"] = {"teacher": [sha256]}
    (run / "run.json").write_text(json.dumps(record))
    told = json.loads(ship(house, run).with_suffix(".json").read_text())["training"]["teacher"]
    assert told == {
        "weights": "lesrcnn_x2.pth",
        "sha256": sha256,
        "network": "edsr",
        "steps": 7,
        "hours": 1.5,
        "commands": ["x2/train.py --max_steps 6"],
        "commit": "abc",
        "started_from": None,
    }
    (teacher / "lesrcnn_x2.pth").write_bytes(b"another")
    with pytest.raises(InputError, match="edsr/lesrcnn_x2.pth: is not what the run took any more"):
        ship(house, run, force=True)


def test_a_start_from_weights_that_ship_is_told_by_their_card(house):
    target = ship(house, finished_run(house / "first", spoil=0.02))
    copy = house / "checkpoint/shipped"
    shutil.copytree(target.parent, copy)
    run = finished_run(house / "checkpoint/second")
    record = json.loads((run / "run.json").read_text())
    record["settings"]["init_from"] = ["checkpoint/shipped/lesrcnn_x2.pth"]
    (run / "run.json").write_text(json.dumps(record))
    start = json.loads(ship(house, run, force=True).with_suffix(".json").read_text())["training"]["started_from"]
    assert start == {
        "weights": "lesrcnn_x2.pth",
        "sha256": file_hash(copy / "lesrcnn_x2.pth"),
        "steps": 6,
        "hours": 1.5,
        "commands": ["x2/train.py --max_steps 6"],
        "commit": "abc",
        "started_from": None,
    }
    shutil.copy(run / "lesrcnn_x2.pth", copy)
    with pytest.raises(InputError, match="lesrcnn_x2.json: is the card of other weights"):
        ship(house, run, force=True)


def test_the_card_tells_what_the_run_took_not_what_is_there_now(house):
    start, run = finished_run(house / "checkpoint/first"), finished_run(house / "checkpoint/second")
    record = json.loads((run / "run.json").read_text())
    sha256 = file_hash(start / "lesrcnn_x2.pth")
    start_path = "checkpoint/first/lesrcnn_x2.pth"
    record["taken"] = {"start": [[start_path, sha256]], "teacher": "1234", "rest": ["checkpoint/gone/b.pth", "56"]}
    record["settings"] |= {"init_from": [start_path], "teacher": "checkpoint/gone/old.pth"}
    (run / "run.json").write_text(json.dumps(record))
    training = json.loads(ship(house, run).with_suffix(".json").read_text())["training"]
    assert training["teacher"] == {"weights": "old.pth", "sha256": "1234"}
    assert training["rest"] == {"weights": "b.pth", "sha256": "56"}
    assert training["started_from"]["sha256"] == sha256
    finished_run(start, spoil=0.02)
    with pytest.raises(InputError, match="first/lesrcnn_x2.pth: is not what the run took any more"):
        ship(house, run, force=True)
    del record["taken"]  # a run from before this was noted
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="gone/old.pth: no such file"):
        ship(house, run, force=True)


def test_only_better_weights_replace(house):
    good, bad = finished_run(house / "good"), finished_run(house / "bad", spoil=0.02)
    ship(house, bad)
    ship(house, good)
    with pytest.raises(InputError, match="not replaced"):
        ship(house, bad)
    target = house / "x2/lesrcnn_x2.pth"
    assert target.read_bytes() == (good / "lesrcnn_x2.pth").read_bytes()
    ship(house, bad, force=True)
    assert target.read_bytes() == (bad / "lesrcnn_x2.pth").read_bytes()


@pytest.mark.parametrize("gain, better", [(0.015, False), (0.025, True)])
def test_a_tie_does_not_replace(house, monkeypatch, gain, better):
    run, target = finished_run(house / "run"), house / "x2/lesrcnn_x2.pth"
    ship(house, run)
    psnr = {target: 30.0, run / "lesrcnn_x2.pth": 30.0 + gain}
    monkeypatch.setattr(
        ship_weights, "validate", lambda path, sets: {"Sample": {"x2": {"psnr": psnr[path], "pictures": 5}}}
    )
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
    with pytest.raises(InputError, match="no such folder"):
        ship(house, finished_run(house / "run"), data="nothing")
    assert not (house / "x2").exists()


def test_shipped_cards_describe_the_shipped_weights(root):
    from solver.checkpoint import file_hash

    for path in ship_weights.cards():
        card = json.loads(path.read_text())
        assert card["sha256"] == file_hash(path.with_name(card["weights"]))


def test_readme_shows_the_cards(root):
    text = (root / "README.md").read_text(encoding="utf-8")
    section = text.partition("<!-- weights:begin -->\n")[2].partition("\n<!-- weights:end -->")[0]
    assert section == readme.weights_section(ship_weights.cards())
