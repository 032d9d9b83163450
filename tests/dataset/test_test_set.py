import time
import unicodedata
from pathlib import Path

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
    assert [p.split(": ")[1][:14] for p in found.problems] == ["neither HR nor", "HR without its", "LR without its"]


def test_a_benchmark_folder_has_a_pair_at_least(tmp_path):
    """HR in the names of some photographs makes the folder no benchmark."""
    make(tmp_path, "IMG_1.jpg", "IMG_2_HR.jpg", "HR.png", "other_LR.png")
    found = test_set.find(tmp_path, 2)
    assert not found.problems and len(found.items) == 4
    assert summary(found)[1:3] == [("IMG_1", "IMG_1.jpg", None), ("IMG_2_SR", "IMG_2_HR.jpg", None)]
    make(tmp_path, "other_HR.png")
    found = test_set.find(tmp_path, 2)
    assert summary(found) == [("other_SR", "other_LR.png", "other_HR.png")] and len(found.problems) == 3


def test_the_last_tag_tells(tmp_path):
    make(tmp_path, *(f"HR-camera_{i}_{kind}.png" for i in (1, 2) for kind in ("HR", "LR")))
    assert [item.name for item in test_set.find(tmp_path, 2).items] == ["SR-camera_1_SR", "SR-camera_2_SR"]


@pytest.mark.parametrize(
    "names",
    [
        ("door_LR.png", "door_SR.png"),
        ("a.png", "a.jpg", "a_png.png"),
        ("a.png", "a.jpg", "a_png.png", "a_png.jpg"),
        ("x.png", "x.jpg", "x_HR.png"),
        ("cat_LR.png", "cat_SR.png"),
        ("a.png", "a.bmp", "A.png", "a_png.png", "a_bmp.png"),
        ("caf\u00e9.png", "cafe\u0301.png"),  # on some systems one name
    ],
)
def test_every_result_has_a_name_of_its_own(names, tmp_path):
    make(tmp_path, *names)
    found = test_set.find(tmp_path, 2)
    assert len(found.items) == len(names)
    names = {unicodedata.normalize("NFC", item.name).casefold() for item in found.items}
    assert len(names) == len(found.items) > 0
    assert all(Path(item.name).name == item.name for item in found.items)


@pytest.mark.parametrize("name", ["...png", "..png", ". .png"])
def test_a_name_of_dots_leads_nowhere_else(name, tmp_path):
    make(tmp_path, name)
    found = test_set.find(tmp_path / name, 2)
    assert found.name == found.items[0].name == "png"


def test_one_pair_of_a_name(tmp_path):
    make(tmp_path, "x_HR.png", "x_LR.png", "x_HR.jpg")
    found = test_set.find(tmp_path, 2)
    assert summary(found) == [("x_SR", "x_LR.png", "x_HR.jpg")]
    assert [problem.split(": ")[1] for problem in found.problems] == ["has the name of x_HR.jpg but for the suffix"]


def test_thousands_of_pairs_are_found_at_once(tmp_path):
    make(tmp_path / "x2", *(f"{i}_{kind}.png" for i in range(2000) for kind in ("HR", "LR")))
    start = time.perf_counter()
    assert len(test_set.find(tmp_path, 2).items) == 2000
    assert time.perf_counter() - start < 1


def test_scale_8(tmp_path):
    make(tmp_path / "Set5/x8", "img_001_SRF_8_HR.png", "img_001_SRF_8_LR.png")
    make(tmp_path, "DIV2K_valid_HR/0801.png", "DIV2K_valid_LR_bicubic/X8/0801x8.png")
    assert [item.name for item in test_set.find(tmp_path / "Set5", 8).items] == ["img_001_SRF_8_SR"]
    assert summary(test_set.find(tmp_path, 8)) == [("0801", "0801x8.png", "0801.png")]


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


LAYOUTS = {
    ("HR", "LR_bicubic/X2"): ("{}.png", "{}x2.png"),
    ("HR", "LR/x2"): ("{}.png", "{}.png"),
    ("HR", "LR"): ("{}.png", "{}.jpg"),
    ("GTmod12", "LRbicx2"): ("{}.png", "{}.png"),
    ("HR", "LR_bicubic_x2"): ("{}.png", "{}.png"),
    ("hr", "lr-x2"): ("{}.png", "{}.png"),
    ("gt", "LQ"): ("{}.png", "{}.png"),
    ("HR/x2", "LR/x2"): ("{}_HR_x2.png", "{}_LRBI_x2.png"),
    ("HR_x2", "LRBI_x2"): ("{}_HR_x2.png", "{}_LRBI_x2.png"),
    ("x2", "x2"): ("{}_hr.png", "{}_lr.png"),
    ("image_SRF_2", "image_SRF_2"): ("{}_SRF_2_HR.png", "{}_SRF_2_LR.png"),
}


@pytest.mark.parametrize("folders, names", LAYOUTS.items(), ids=map(" ".join, LAYOUTS))
def test_sets_as_they_are_downloaded(folders, names, tmp_path):
    make(tmp_path / "Set5", *(f"{f}/{n.format(one)}" for f, n in zip(folders, names) for one in ("baby", "bird")))
    for given in (".", *folders):
        found = test_set.find(tmp_path / "Set5" / given, 2)
        assert (found.name, found.problems, len(found.items)) == ("Set5", [], 2)
        for item, one in zip(found.items, ("baby", "bird")):
            assert item.lr == tmp_path / "Set5" / folders[1] / names[1].format(one)
            assert item.hr == tmp_path / "Set5" / folders[0] / names[0].format(one)
    made = test_set.find(tmp_path / "Set5", 2, make_lr=True).items
    assert [item.lr for item in made] == [item.hr for item in found.items] and all(item.made for item in made)


@pytest.mark.parametrize("given", ["HR/Set5", "HR/Set5/x2", "LR/LRBI/Set5", "LR/LRBI/Set5/x2"])
def test_of_several_sets_one_is_found(given, tmp_path):
    for name in ("Set5", "Set14"):
        make(tmp_path, f"HR/{name}/x2/a_HR_x2.png", f"LR/LRBI/{name}/x2/a_LRBI_x2.png")
    found = test_set.find(tmp_path / given, 2)
    assert (found.name, summary(found)) == ("Set5", [("a_SR_x2", "a_LRBI_x2.png", "a_HR_x2.png")])


def test_thousands_of_pairs_in_two_folders_take_as_many_comparisons(tmp_path, monkeypatch):
    """As many times more as there are more pictures, not as many squared."""

    def compared(count: int) -> int:
        make(tmp_path / str(count), *(f"HR/{i}.png" for i in range(count)))
        make(tmp_path / str(count), *(f"LR_bicubic/X2/{i}x2.png" for i in range(count)))
        calls.clear()
        assert len(test_set.find(tmp_path / str(count), 2).items) == count
        return len(calls)

    calls, own = [], Path.__hash__
    monkeypatch.setattr(Path, "__hash__", lambda path: calls.append(1) or own(path))
    monkeypatch.setattr(type(tmp_path), "__hash__", Path.__hash__)
    few = compared(50)
    assert 0 < few and compared(500) < 15 * few


def test_a_folder_called_after_a_scale_is_a_benchmark_only_with_pairs(tmp_path):
    make(tmp_path, "a.png", "x2/b.png", "x1/c.png")
    found = test_set.find(tmp_path, 2)
    assert summary(found) == [("a", "a.png", None)] and "2 left out, no pictures: x1/, x2/" in found.notes[0]
    assert summary(test_set.find(tmp_path / "x1", 2)) == [("c", "c.png", None)]
    assert [item.name for item in test_set.find(tmp_path, 2, recursive=True).items] == ["a", "x1/c", "x2/b"]
    (tmp_path / "a.png").unlink()
    assert [item.name for item in test_set.find(tmp_path, 2, recursive=True).items] == ["x1/c", "x2/b"]
    made = test_set.find(tmp_path, 2, recursive=True, make_lr=True)
    assert [item.hr for item in made.items] == [tmp_path / "x2/b.png"]


def test_the_result_of_a_video_has_sr_in_its_name_once(tmp_path):
    for name in ("clip.mp4", "film_LR.mp4", "a_LR.mp4", "a_LR.mkv"):
        (tmp_path / name).touch()
    names = {item.lr.name: item.name for item in test_set.find(tmp_path, 2).videos}
    assert names["clip.mp4"] == "clip_SR" and names["film_LR.mp4"] == "film_SR"
    assert {names["a_LR.mp4"], names["a_LR.mkv"]} == {"a_LR_mp4_SR", "a_LR_mkv_SR"}
