import pytest

from dataset import test_set
from dataset.errors import InputError


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def summary(found):
    return [(i.name, i.lr.name, i.hr and i.hr.name) for i in found.items]


def test_benchmark_folder(tmp_path):
    make(tmp_path / "Set5/x2", *(f"img_{i:03}_SRF_2_{k}.png" for i in (10, 2) for k in ("HR", "LR")))
    for given in ("Set5", "Set5/x2"):
        found = test_set.find(tmp_path / given, 2)
        assert (found.name, found.problems) == ("Set5", [])
        assert summary(found) == [
            (f"img_{i}_SRF_2_SR", f"img_{i}_SRF_2_LR.png", f"img_{i}_SRF_2_HR.png") for i in ("002", "010")
        ]
    with pytest.raises(InputError, match="has x2 but no x3"):
        test_set.find(tmp_path / "Set5", 3)
    with pytest.raises(InputError, match="for x2, but --scale 3"):
        test_set.find(tmp_path / "Set5/x2", 3)


def test_unpaired_pictures_are_problems(tmp_path):
    make(tmp_path / "S/x2", "a_HR.png", "a_LR.png", "b_HR.png", "c_LR.png", "other.png")
    found = test_set.find(tmp_path / "S", 2)
    assert summary(found) == [("a_SR", "a_LR.png", "a_HR.png")]
    assert [p.split(": ")[1][:14] for p in found.problems] == ["HR without its", "LR without its", "neither HR nor"]


def test_low_resolution_pictures_alone(tmp_path):
    make(tmp_path, "b.jpg", "a.png", "a.webp", "c_LR.png", "notes.txt")
    found = test_set.find(tmp_path, 3)
    assert summary(found) == [
        ("a_png", "a.png", None),
        ("a_webp", "a.webp", None),
        ("b", "b.jpg", None),
        ("c_SR", "c_LR.png", None),
    ]
    assert test_set.find(tmp_path / "b.jpg", 3).items == found.items[2:3]


@pytest.mark.parametrize("given", ["DIV2K/DIV2K_valid", "DIV2K/DIV2K_valid_HR", "DIV2K"])
def test_div2k_by_its_naming(given, tmp_path):
    make(
        tmp_path / "DIV2K",
        "DIV2K_valid_HR/0801.png",
        "DIV2K_valid_HR/0802.png",
        "DIV2K_valid_LR_bicubic/X2/0801x2.png",
        "DIV2K_valid_LR_bicubic/X2/0803x2.png",
    )
    found = test_set.find(tmp_path / given, 2)
    assert found.name == "DIV2K_valid" and summary(found) == [("0801", "0801x2.png", "0801.png")]
    assert len(found.problems) == 2


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        test_set.find(tmp_path / "none", 2)
    with pytest.raises(InputError, match="no pictures in it"):
        test_set.find(tmp_path, 2)
