"""Folders as people have them: folders in folders, several pictures in a file, runs that go on, textures."""

import csv
import json
import os

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import model
from dataset import images
from dataset.bicubic import imresize
from dataset.errors import InputError
from solver.checkpoint import save_weights
from solver.sampling.sampler import Sampler
from solver.sampling.wrapping import Wrapping


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.pth"
    save_weights(net(), path)
    return path


def net():
    torch.manual_seed(0)
    return model.build("espcn", 2).eval()


def rows(tmp_path):
    with open(next((tmp_path / "out").rglob("results.csv"))) as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_folders_in_folders_are_mirrored_or_told_of(enlarge, picture, tmp_path):
    for name in ("a.png", "trip/a.png", "trip/far/b.jfif"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(9, 9)).save(tmp_path / "in" / name, "JPEG" if name.endswith("jfif") else "PNG")
    (tmp_path / "in" / "notes.txt").touch()
    status, told, files = enlarge()
    assert (status, [*files]) == (0, ["a.png"])
    assert "2 left out, no pictures: notes.txt, trip/ (--recursive" in told
    status, told, files = enlarge("--recursive")
    assert (status, [*files]) == (0, ["a.png", "trip/a.png", "trip/far/b.png"])
    assert "1 left out, no pictures: notes.txt" in told
    (tmp_path / "out").rename(tmp_path / "in" / "out")  # results are no pictures to be enlarged again
    assert [*enlarge("--recursive")[2]] == [*files]
    for folder in ("out", next((tmp_path / "in" / "out").rglob("progress.jsonl")).parents[1]):
        with pytest.raises(InputError, match="give their folder SR"):
            enlarge("--recursive", data=tmp_path / "in" / folder)


def test_a_picture_of_a_kind_that_is_not_read_is_told_of(enlarge, picture, tmp_path):
    images.write_rgb(tmp_path / "in" / "a.png", picture(9, 9))
    (tmp_path / "in" / "b.HEIC").touch()
    (tmp_path / "in" / "c.wmv").touch()
    (tmp_path / "in" / "d.ts").write_bytes(2 * (b"G" + bytes(187)))
    (tmp_path / "in" / "e.ts").write_text("Great TypeScript")
    status, told, files = enlarge()
    assert (status, [*files]) == (2, ["a.png"]) and "in/b.HEIC: HEIC is not read here" in told
    assert "in/c.wmv: WMV is not read here" in told and "in/d.ts: TS is not read here" in told
    assert "1 left out, no pictures: e.ts" in told
    with pytest.raises(InputError, match="c.wmv: WMV is not read here; make an MKV of it"):
        enlarge(data=tmp_path / "in" / "c.wmv")


def test_frames_become_an_animation_and_pages_pages(enlarge, picture, tmp_path):
    (tmp_path / "in").mkdir()
    frames = [Image.fromarray(picture(12, 16, seed=n)) for n in range(3)]
    several = {"save_all": True, "append_images": frames[1:]}
    frames[0].save(tmp_path / "in" / "film.apng", "PNG", duration=[40, 80, 120], loop=2, **several)
    tifffile.imwrite(
        tmp_path / "in" / "scan.tif", np.stack([picture(9, 9, seed=n) for n in range(2)]), photometric="rgb"
    )
    status, told, files = enlarge()
    assert (status, [*files]) == (0, ["film.png", "scan.png"])
    assert "film.apng: it holds 3 pictures, of which this is the first; tcw_sample.py --pages all" in told
    assert "scan.tif: it holds 2 pictures" in told
    status, told, files = enlarge("--pages", "all")
    assert (status, [*files]) == (0, ["film.png", "scan.png", "scan_1.png", "scan_2.png"])
    assert images.film(files["film.png"]) == ([40, 80, 120], 2) and "it holds" not in told
    before = files["film.png"].stat().st_mtime_ns
    assert enlarge("--pages", "all", "--resume")[2]["film.png"].stat().st_mtime_ns == before
    notes = next((tmp_path / "out").rglob("progress.jsonl"))
    lines = notes.read_text().splitlines(keepends=True)
    notes.write_text("".join(line for line in lines if '"film_2"' not in line))  # of one frame nothing is known
    files = enlarge("--pages", "all", "--resume")[2]
    assert [*files][0] == "film.png" and len(files) == 4 and files["film.png"].stat().st_mtime_ns != before
    files = enlarge("--pages", "all", "--format", "tif")[2]
    assert images.pages(files["scan.tif"]) == 2 and images.pages(files["film.tif"]) == 3


@pytest.mark.parametrize("suffix, pictures", [("png", 3), ("webp", 2)])
def test_a_picture_beside_the_frames_does_not_become_one(suffix, pictures, enlarge, picture, tmp_path):
    (tmp_path / "in").mkdir()
    first, *frames = (Image.fromarray(picture(12, 16, seed=n)) for n in range(3))
    text = PngInfo()
    text.add_text("Title", "A title")
    several = {"save_all": True, "append_images": frames, "default_image": True}
    first.save(tmp_path / "in" / "film.png", duration=[40, 80], pnginfo=text, **several)
    result = enlarge("--pages", "all", "--format", suffix)[2][f"film.{suffix}"]
    assert (images.pages(result), images.film(result)) == (pictures, ([40, 80], 0))
    assert suffix == "webp" or dict(images.read(result).metadata.text)["Title"] == "A title"


def test_a_run_goes_on_by_content_and_not_by_name(enlarge, picture, tmp_path):
    for n in range(4):
        images.write_rgb(tmp_path / "in" / f"{n}.png", picture(9, 9, seed=n))
    _, _, files = enlarge()
    os.replace(tmp_path / "in" / "3.png", tmp_path / "in" / "2.png")  # another picture, by its name
    files["0.png"].unlink()
    old = {name: file.stat().st_mtime_ns for name, file in files.items() if name != "0.png"}
    notes = next((tmp_path / "out").rglob("progress.jsonl"))
    notes.write_bytes(notes.read_bytes()[:-9])  # the power went
    status, _, files = enlarge("--resume")
    made = {name for name, file in files.items() if old.get(name) != file.stat().st_mtime_ns}
    assert status == 0 and made == {"0.png", "2.png"}
    assert {"0", "1", "2", "mean"} == rows(tmp_path).keys()
    assert np.array_equal(images.read_rgb(files["2.png"]), Sampler(net(), 2)(picture(9, 9, seed=3)))
    _, _, files = enlarge("--resume", "--metadata", "strip")  # another setting
    assert all(file.stat().st_mtime_ns > old["1.png"] for name, file in files.items() if name != "3.png")


def test_results_of_an_interrupted_run_are_told_of(enlarge, picture, tmp_path):
    images.write_rgb(tmp_path / "in" / "a.png", picture(9, 9))
    enlarge()
    next((tmp_path / "out").rglob("results.json")).unlink()
    images.write_rgb(tmp_path / "other" / "in" / "a.png", picture(9, 9))
    assert f"of {tmp_path / 'in'}, are replaced" in enlarge(data=tmp_path / "other" / "in")[1]


def test_lr_is_made_on_the_fly(enlarge, picture, tmp_path):
    for n in range(2):
        hr = picture(31, 41, seed=n)
        images.write_rgb(tmp_path / "in" / f"{n}.png", hr)
        images.write_rgb(tmp_path / "Set" / "HR" / f"{n}.png", hr)
        images.write_rgb(tmp_path / "Set" / "LR_bicubic" / "X2" / f"{n}x2.png", imresize(hr[:30, :40], 1 / 2))
    assert enlarge("--make_lr")[0] == 0
    made = rows(tmp_path)
    (tmp_path / "out").rename(tmp_path / "first")
    status, told, _ = enlarge(data=tmp_path / "Set")
    given = rows(tmp_path)
    assert status == 0 and "0.png is 41x31, cut to 40x30, which its LR shows" in told
    assert [(row["psnr"], row["bicubic_psnr"]) for row in made.values()] == [
        (row["psnr"], row["bicubic_psnr"]) for row in given.values()
    ]


def test_metadata_is_kept_or_left_out(enlarge, picture, tmp_path):
    (tmp_path / "in").mkdir()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "A maker"
    exif.get_ifd(0x8769)[0xA002] = 20
    Image.fromarray(picture(10, 20)).save(tmp_path / "in" / "a.jpg", exif=exif, dpi=(300, 300))
    for flags, tags in (((), ("A maker", 20, 600)), (("--metadata", "strip"), (None, None, 1))):
        with Image.open(enlarge("--format", "tif", *flags)[2]["a.tif"]) as image:
            found, dpi = image.getexif(), image.info.get("dpi", (1, 1))
            assert image.size == (20, 40) and found.get(0x0112, 1) == 1
            assert (found.get(0x010F), found.get_ifd(0x8769).get(0xA002), dpi[0]) == tags


def test_what_a_format_cannot_keep_is_told_once(enlarge, picture, tmp_path):
    for n in range(3):
        images.write(tmp_path / "in" / f"{n}.png", images.Picture(picture(9, 9), np.full((9, 9), 128, np.uint8)))
    status, told, _ = enlarge("--format", "jpg")
    assert status == 0 and told.count("white") == 1 and "laid on white in .jpg: 0.png and 2 more" in told


@pytest.mark.parametrize("size", [(40, 31), (3, 5)])
@pytest.mark.parametrize("alpha", [False, True])
def test_wrapped_is_the_middle_of_three_by_three(size, alpha, picture):
    sampler = Sampler(net(), 2)
    tile = images.Picture(picture(*size), picture(*size, seed=1)[..., 0] if alpha else None)
    mosaic = images.Picture(np.tile(tile.rgb, (3, 3, 1)), np.tile(tile.alpha, (3, 3)) if alpha else None)
    if size == (3, 5):  # the network sees farther than this mosaic reaches
        mosaic = images.Picture(np.tile(tile.rgb, (15, 15, 1)), np.tile(tile.alpha, (15, 15)) if alpha else None)
    top, left = ((len(mosaic.rgb) - size[0]), (mosaic.rgb.shape[1] - size[1]))
    middle = slice(top, top + 2 * size[0]), slice(left, left + 2 * size[1])
    whole = sampler.enlarge(mosaic)
    wrapped = Wrapping(sampler).enlarge(tile)
    banded = Wrapping(sampler).enlarge_in_bands(tile).joined()
    for result in (wrapped, banded):
        assert abs(result.rgb.astype(int) - whole.rgb[middle]).max() <= 1
        assert not alpha or abs(result.alpha.astype(int) - whole.alpha[middle]).max() <= 1


def test_report_is_json_with_skipped_pictures(enlarge, picture, tmp_path):
    images.write_rgb(tmp_path / "in" / "a.png", picture(9, 9))
    (tmp_path / "in" / "b.gif").write_bytes(b"GIF89a")
    status, told, _ = enlarge()
    report = json.loads(next((tmp_path / "out").rglob("results.json")).read_text())
    assert status == 2 and len(report["skipped"]) == 1 and "b.gif: not a readable picture" in told
