"""Trainings on every kind of source: they run, and resumed they are the run that never stopped."""

import json
import signal

import h5py
import numpy as np
import pytest
import torch

from dataset import images, sources
from dataset.errors import InputError
from dataset.images import Picture
from solver.processes import Group
from solver.training.trainer import Trainer

ALONE = Group(0, 1, torch.device("cpu"))


@pytest.fixture
def material(tmp_path, training_file):
    """Make a source of a kind from the pictures of the training file; returns its paths."""
    with h5py.File(training_file) as file:
        pictures = {group: [file[f"{group}/{number}"][:] for number in range(6)] for group in ("HR", "X2")}

    def pairs(lr, hr, dtype="u1", channels=3):
        path = tmp_path / f"{dtype}_{channels}.h5"
        with h5py.File(path, "w") as file:
            for key, patches in (("lr", lr), ("hr", hr)):
                data = np.stack(patches)[..., :channels].transpose(0, 3, 1, 2)
                file[key] = data if dtype == "u1" else (data / 255).astype(dtype)
        return [path]

    def folder(name, group, grey=False):
        for number, picture in enumerate(pictures[group]):
            picture = np.repeat(picture[:, :, :1], 3, 2) if grey else picture
            images.write(tmp_path / name / f"{number}.png", Picture(picture, grey=grey))
        return tmp_path / name

    def lmdb(group, name):
        environment = pytest.importorskip("lmdb").open(str(tmp_path / name), map_size=2**24)
        lines = []
        with environment.begin(write=True) as transaction:
            for number, picture in enumerate(pictures[group]):
                transaction.put(str(number).encode(), images.encode(Picture(picture), ".png"))
                lines.append("{}.png ({},{},{}) 1\n".format(number, *picture.shape))
        environment.close()
        (tmp_path / name / "meta_info.txt").write_text("".join(lines))
        return tmp_path / name

    small, large = ([p[:side, :side] for p in pictures[group]] for group, side in (("X2", 12), ("HR", 24)))
    centre = [patch[6:18, 6:18] for patch in large]
    kinds = {
        "pairs": lambda: pairs(small, large),
        "float pairs": lambda: pairs(small, large, "f4"),
        "luma pairs": lambda: pairs(small, large, "f8", channels=1),
        "enlarged pairs": lambda: pairs(large, large, channels=1),
        "enlarged RGB pairs": lambda: pairs(large, large),
        "centres": lambda: pairs(large, centre, "f4", channels=1),
        "folder": lambda: [folder("both/hr", "HR").parent, folder("both/lr", "X2")][:1],
        "two folders": lambda: [folder("hr", "HR"), folder("lr", "X2")],
        "luma folder": lambda: [folder("hr", "HR", grey=True)],
        "lmdb": lambda: [lmdb("HR", "hr.lmdb"), lmdb("X2", "lr.lmdb")],
        "lmdb of hr": lambda: [lmdb("HR", "hr.lmdb")],
    }
    return lambda kind: kinds[kind]()


def flags_of(paths, *flags):
    return "--train_data_path", *paths, "--max_steps", 4, "--print_interval", 4, *flags


@pytest.mark.parametrize(
    "kind, flags",
    [
        ("pairs", ()),
        ("float pairs", ("--recipe", "modern", "--revive", 1)),
        ("luma pairs", ("--model", "espcn")),
        ("enlarged pairs", ("--model", "vdsr", "--scale", 0, "--lr", 1e-4)),
        ("enlarged RGB pairs", ("--model", "srcnn", "--optimizer", "WhitenedMuon")),
        ("centres", ("--model", "srcnn", "--num_workers", 1)),
        ("folder", ()),
        ("two folders", ("--scales", 1.0, 0.8, "--rotations", 0, 90, "--flips", 0, 1)),
        ("luma folder", ("--model", "fsrcnn", "--cache", "ram")),
        ("lmdb", ("--num_workers", 2)),
        ("lmdb of hr", ("--scale", 0, "--scales", 0.7)),
    ],
)
def test_a_resumed_run_is_the_run_that_never_stopped(settings, material, tmp_path, kind, flags):
    paths = material(kind)
    whole = Trainer(settings(*flags_of(paths, "--ckpt_dir", tmp_path / "whole", *flags)), ALONE)
    before = [p.clone() for p in whole.net.parameters()]
    assert whole.run() == 0 and not all(map(torch.equal, before, whole.net.parameters()))
    part = Trainer(settings(*flags_of(paths, *flags)), ALONE)
    part.stop.signal = signal.SIGTERM  # is seen in the first step
    assert part.run() == 128 + signal.SIGTERM and part.step == 1
    rest = Trainer(settings(*flags_of(paths, *flags, "--resume")), ALONE)
    assert rest.step == 1 and rest.run() == 0
    assert all(map(torch.equal, whole.net.parameters(), rest.net.parameters()))
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    told = {"file": sources.name_of(paths), "bytes": sources.size_of(paths), "sha256": sources.hash_of(paths)}
    assert record["data"] == told


@pytest.mark.parametrize(
    "kind, flags, message",
    [
        ("luma pairs", (), "has luma alone; lesrcnn is trained on RGB"),
        ("luma folder", ("--model", "edsr"), "has luma alone; edsr is trained on RGB"),
        ("enlarged RGB pairs", (), "has LR as large as HR, or larger; lesrcnn takes LR that is not enlarged"),
        (
            "enlarged pairs",
            ("--model", "espcn"),
            "has LR as large as HR, or larger; espcn takes LR that is not enlarged",
        ),
        ("pairs", ("--scale", 3), "its patches are for x2, not for x3"),
        ("folder", ("--scale", 3), "its pictures are of x2, not of x3"),
    ],
)
def test_what_a_network_does_not_take_is_one_clear_line(settings, material, tmp_path, kind, flags, message):
    with pytest.raises(InputError, match=message) as error:
        Trainer(settings(*flags_of(material(kind), *flags)), ALONE)
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


def test_a_teacher_is_shown_rgb_alone(settings, material, tmp_path):
    rgb = material("pairs")
    assert Trainer(settings(*flags_of(rgb, "--max_steps", 1)), ALONE).run() == 0
    teacher = tmp_path / "run" / "lesrcnn_x2.pth"
    flags = "--model", "espcn", "--teacher", teacher, "--ckpt_dir", tmp_path / "taught"
    with pytest.raises(InputError, match="--teacher: is shown RGB as LR has it"):
        Trainer(settings(*flags_of(material("luma pairs"), *flags)), ALONE)
    assert Trainer(settings(*flags_of(rgb, *flags, "--max_steps", 1)), ALONE).run() == 0
