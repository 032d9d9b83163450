"""The files of 8 bits that ship, and their cards."""

import json

import pytest
import torch

import model
from dataset import bicubic, images
from dataset.errors import InputError
from dataset.files import sha256_of
from results import readme, ship_int8
from solver.checkpoint import save_weights

pytest.importorskip("openvino")
pytest.importorskip("onnx")


@pytest.fixture
def house(tmp_path, monkeypatch, picture):
    """A root with weights of ESPCN x2, three sets of a small picture each, and a README."""
    monkeypatch.setattr(ship_int8, "ROOT", tmp_path)
    monkeypatch.setattr(ship_int8, "SCALES", (2,))
    torch.manual_seed(0)
    save_weights(model.build("espcn", 2), tmp_path / "checkpoint/x2/espcn_x2.pth")
    for seed, name in enumerate(("Sample", "Set5", "Set14")):
        hr = picture(48, 48, seed)
        images.write_rgb(tmp_path / f"dataset/{name}/x2/a_HR.png", hr)
        images.write_rgb(tmp_path / f"dataset/{name}/x2/a_LR.png", bicubic.imresize(hr, 1 / 2))
    images.write_rgb(tmp_path / "train/a.png", picture(80, 90))
    (tmp_path / "results").mkdir()
    (tmp_path / "README.md").write_text("before\n<!-- int8:begin -->\nold\n<!-- int8:end -->\nafter\n")

    def run(validation="Sample"):
        flags = ["--networks", "espcn", "--pictures", "one", "--calibrate", tmp_path / "train"]
        flags += ["--data", tmp_path / "dataset", "--validation", tmp_path / "dataset" / validation]
        monkeypatch.setattr("sys.argv", ["ship_int8.py", *map(str, flags)])
        ship_int8.main()
        return tmp_path / "checkpoint/x2/espcn_x2_int8.onnx"

    run.root = tmp_path
    return run


def test_a_file_its_card_and_the_readme(house):
    made = house()
    card = json.loads(made.with_suffix(".json").read_text())
    assert card["sha256"] == sha256_of(made) and card["weights"]["sha256"] == sha256_of(made.with_name("espcn_x2.pth"))
    assert set(card["figures"]) == {"Sample", "Set5", "Set14"}
    assert card["loss"] == max(entry["lost"]["psnr"] for entry in card["figures"].values())
    text = (house.root / "README.md").read_text()
    assert "| [`checkpoint/x2/espcn_x2_int8.onnx`](checkpoint/x2/espcn_x2_int8.json) | " in text and "old" not in text


def test_what_is_lost_is_to_float32(house, monkeypatch):
    from results import measure

    figures = {".pth": {"psnr": 30.0, "ssim": 0.9}, ".onnx": {"psnr": 29.5, "ssim": 0.875}}
    monkeypatch.setattr(measure, "scores", lambda path, *_: path.suffix)
    monkeypatch.setattr(measure, "rounded", figures.get)
    card = json.loads(house().with_suffix(".json").read_text())
    assert card["loss"] == 0.5 and card["figures"]["Set5"]["lost"] == {"psnr": 0.5, "ssim": 0.025}


def test_a_test_set_validates_nothing(house):
    with pytest.raises(InputError, match="Set14 is a test set"):
        house("Set14")


def test_a_damaged_card_is_one_line(house):
    made = house()
    made.with_suffix(".json").write_text("{}")
    with pytest.raises(InputError, match="espcn_x2_int8.json: is damaged; make it again with results/ship_int8.py"):
        readme.int8_section(ship_int8.cards(), house.root)
