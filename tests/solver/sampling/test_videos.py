"""Videos through the sampling command: among pictures, killed and gone on with, in little memory, on a full disk."""

import csv
import os
import resource
import signal
import subprocess
import sys
import time
import weakref

import clips
import numpy as np
import pytest
import torch

import model
from dataset import bicubic, images, remux, segments, video
from dataset.errors import InputError
from dataset.yuv import Layout
from solver.checkpoint import save_weights
from solver.measuring.metrics import psnr_ssim
from solver.sampling.progress import Progress
from solver.sampling.sampler import Sampler

av = pytest.importorskip("av")
# Segments of 20 frames, as a video of a test is short, and no progress that nobody reads.
SHORT = """if True:
    import runpy, sys
    from dataset import segments
    segments.LENGTH = 20
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


def net():
    torch.manual_seed(0)
    return model.build("espcn", 2).eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.pth"
    save_weights(net(), path)
    return path


def steady(count):
    """The times of so many frames, 25 a second, in ticks."""
    return [3600 * number for number in range(count)]


def test_a_video_among_pictures_and_bad_ones(enlarge, picture, tmp_path):
    folder = tmp_path / "in"
    images.write_rgb(folder / "a.png", picture(9, 9))
    images.write_rgb(folder / "clip.png", picture(9, 9))
    clips.write(folder / "clip.mp4", [0, 3000, 9000, 9001], beside=True, turned=90)
    (folder / "empty.mkv").touch()
    status, told, files = enlarge()
    assert status == 2 and "3 pictures and 2 videos" not in told and "2 pictures and 2 videos" in told
    assert [*files] == ["a.png", "clip.png", "clip_SR.mp4"]
    assert told.count("skipped: ") == 1 and "empty.mkv: not a readable video: it is empty" in told
    assert clips.seconds(files["clip_SR.mp4"]) == clips.seconds(folder / "clip.mp4")
    assert clips.packets(files["clip_SR.mp4"]) == clips.packets(folder / "clip.mp4") != {}
    with open(next((tmp_path / "out").rglob("results.csv"))) as file:
        assert [(r["name"], r["width"], r["height"]) for r in csv.DictReader(file)][2] == ("clip_SR", "64", "96")


def test_frames_are_those_of_the_network(enlarge, tmp_path):
    path = clips.write(tmp_path / "in" / "clip.mkv", [0, 40], layout=Layout(10, 2, 2), tick=clips.MILLISECOND)
    status, told, files = enlarge("--codec", "ffv1", data=path)
    assert status == 0
    made = video.frames(video.look(files["clip_SR.mkv"]))
    for before, after in zip(video.frames(video.look(path)), made, strict=True):
        expected = Sampler(net(), 2)(before.rgb).clip(0, 1)
        assert abs(after.rgb - expected).max() < 2.2 / 1023 and np.ptp(expected) > 0.3


def test_frames_of_a_wanted_size_have_even_sides(enlarge, tmp_path):
    """Those of 32 x 48 pixels would be 49 x 74 in the video's shape; so they are 48 x 74."""
    path = clips.write(tmp_path / "in" / "clip.mkv", [0, 40], tick=clips.MILLISECOND)
    status, told, _ = enlarge("--width", "74", "--crf", "1", data=path)
    (found,) = (video.look(file) for file in (tmp_path / "out").rglob("clip_SR.mkv"))
    assert status == 0 and (found.height, found.width) == (48, 74) and "74x49 pixels become 74x48" in told
    small, made = (next(video.frames(of)).rgb for of in (video.look(path), found))
    expected = bicubic.imresize(Sampler(net(), 2)(small), size=(48, 74), boundary="symmetric").clip(0, 1)
    assert abs(made - expected).mean() < 0.01 < abs(made - expected[::-1]).mean()
    status, told, _ = enlarge("--width", "97", data=path)
    assert status == 2 and "clip.mkv: is 48x32, and would be 97x65, but these weights enlarge by 2 at most" in told
    assert "take others, as x3/tcw_sample.py does, or" in told


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_titles_are_left_out_where_that_is_asked_for_and_languages_stay(suffix, enlarge, tmp_path):
    path = clips.write(tmp_path / "in" / f"clip.{suffix}", steady(10), beside=True)
    for flags, titles in ((), 1), (("--metadata", "strip"), 0):
        made = enlarge(*flags, data=path)[2][f"clip_SR.{suffix}"]
        with av.open(str(made)) as file:
            assert file.metadata.get("title", "") == "A title" * titles
            assert [stream.language for stream in file.streams.subtitles] == ["deu"]
        assert (b"A title" in made.read_bytes()) == titles


def test_a_layout_that_the_codec_does_not_know_is_refused_before_pictures_are_enlarged(enlarge, picture, tmp_path):
    images.write_rgb(tmp_path / "in" / "a.png", picture(9, 9))
    clips.write(tmp_path / "in" / "clip.mp4", steady(3))
    with pytest.raises(InputError, match="--pix_fmt yuv: h264 knows yuv420p, "):
        enlarge("--pix_fmt", "yuv")
    assert not list((tmp_path / "out").rglob("*.png"))


def test_what_is_done_stays_and_another_setting_is_made(enlarge, tmp_path):
    clips.write(tmp_path / "in" / "clip.mp4", steady(3))
    first = enlarge()[2]["clip_SR.mp4"].stat()
    assert enlarge("--resume")[2]["clip_SR.mp4"].stat().st_mtime_ns == first.st_mtime_ns
    coarse = enlarge("--resume", "--crf", "40")[2]["clip_SR.mp4"].stat()
    assert coarse.st_mtime_ns > first.st_mtime_ns and coarse.st_size < first.st_size


def test_killed_twice_and_resumed_it_is_the_same_file(enlarge, root, weights, tmp_path, monkeypatch):
    """SIGKILL in the middle of a segment; the result has its name only when it is whole."""
    path = clips.write(tmp_path / "clip.mp4", steady(300), (48, 64), beside=True)
    monkeypatch.setattr(segments, "LENGTH", 20)
    whole = enlarge(data=path)[2]["clip_SR.mp4"].read_bytes()
    out = tmp_path / "again" / weights.stem / "clip" / "x2" / "SR"
    flags = ["--model", "espcn", "--test_data_dir", path, "--ckpt_path", weights, "--sample_dir", tmp_path / "again"]
    arguments = [sys.executable, "-c", SHORT, "x2/tcw_sample.py", *flags, "--resume"]
    for enough in (2, 6):
        process = subprocess.Popen(arguments, cwd=root, env=os.environ | {"OMP_NUM_THREADS": "1"})
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline and len([*out.glob(".*/*.nut")]) < enough:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL and len([*out.glob(".*/*.nut")]) >= enough
        assert not [*out.glob("*.mp4")]
    done = [file.stat().st_mtime_ns for file in sorted(out.glob(".*/*.nut"))]
    copies = []
    monkeypatch.setattr(segments.Segments, "_encode", _watched(segments.Segments._encode, copies))
    result = enlarge("--resume", "--sample_dir", str(tmp_path / "again"), data=path)
    assert (out / "clip_SR.mp4").read_bytes() == whole and result[0] == 0
    assert len(copies) == 15 - len(done) and os.listdir(out) == ["clip_SR.mp4"]


def test_segments_that_a_power_failure_cut_off_are_made_again(enlarge, tmp_path, monkeypatch):
    path = clips.write(tmp_path / "in" / "clip.mp4", steady(30))
    monkeypatch.setattr(segments, "LENGTH", 10)
    whole = enlarge()[2]["clip_SR.mp4"].read_bytes()
    with monkeypatch.context() as change:
        change.setattr(remux, "join", lambda *_: (_ for _ in ()).throw(InputError("not joined")))
        assert "skipped: not joined" in enlarge()[1]
    for number, size in enumerate((None, -1, 0)):
        (file,) = (tmp_path / "out").rglob(f"00000{number}.nut")
        os.truncate(file, file.stat().st_size if size is None else size % file.stat().st_size)
    made = []
    monkeypatch.setattr(segments.Segments, "_encode", _watched(segments.Segments._encode, made))
    status, _, files = enlarge("--resume", data=path.parent)
    assert (status, len(made), files["clip_SR.mp4"].read_bytes()) == (0, 2, whole)


def test_a_film_that_is_made_but_not_noted_is_not_made_again(enlarge, tmp_path, monkeypatch):
    """As after SIGKILL between the two."""
    clips.write(tmp_path / "in" / "clip.mp4", steady(3))

    def fail(*_):
        raise InputError("not noted")

    with monkeypatch.context() as change:
        change.setattr(Progress, "add", fail)
        assert "skipped: not noted" in enlarge()[1]
    made = []
    monkeypatch.setattr(segments.Segments, "_encode", _watched(segments.Segments._encode, made))
    status, _, files = enlarge("--resume")
    assert (status, [*files], made) == (0, ["clip_SR.mp4"], [])


def _watched(function, calls):
    def call(*arguments):
        calls.append(arguments)
        return function(*arguments)

    return call


def test_a_film_of_any_length_takes_the_memory_of_a_few_frames(enlarge, tmp_path, monkeypatch):
    clips.write(tmp_path / "in" / "clip.mp4", steady(300))
    alive, most, frames, sample = weakref.WeakValueDictionary(), [0], video.frames, Sampler.__call__

    def noted(array):
        alive[len(most)] = array
        most.append(len(alive))
        return array

    def decoded(*arguments, **more):
        for frame in frames(*arguments, **more):
            noted(frame.rgb)
            yield frame

    monkeypatch.setattr(video, "frames", decoded)
    monkeypatch.setattr(Sampler, "__call__", lambda *arguments: noted(sample(*arguments)))
    assert enlarge()[0] == 0
    assert len(most) == 601 and max(most) <= 12


def test_a_full_disk_is_one_line_and_the_rest_is_done(enlarge, picture, tmp_path):
    """A limit on the size of files stands for the full disk."""
    images.write_rgb(tmp_path / "in" / "a.png", picture(9, 9))
    clips.write(tmp_path / "in" / "clip.mp4", steady(20), (96, 128))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        status, told, files = enlarge("--crf", "1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert status == 2 and [name for name in files if "segments" not in name] == ["a.png"]
    assert "000000.nut: cannot be written: file too large" in told and told.count("skipped: ") == 1


@pytest.mark.parametrize("protocol", ["published", "modern"])
def test_a_pair_is_measured_frame_by_frame(enlarge, tmp_path, protocol):
    lr, hr = (tmp_path / "in" / f"clip_{kind}.mkv" for kind in ("LR", "HR"))
    lossless = {"codec": "ffv1", "layout": Layout(8), "tick": clips.MILLISECOND}
    clips.write(lr, [0, 40, 80], (96, 128), **lossless)
    clips.write(hr, [0, 40, 80], (192, 256), **lossless)
    status, told, files = enlarge("--protocol", protocol, "--ifc")
    assert status == 0 and [*files] == ["clip_SR.mkv"]
    expected = []
    for small, large in zip(video.frames(video.look(lr)), video.frames(video.look(hr)), strict=True):
        made, original = 255 * Sampler(net(), 2)(small.rgb), images.from_float(large.rgb)
        made = (made if protocol == "published" else made + 0.5).clip(0, 255).astype(np.uint8)
        expected.append(psnr_ssim(made, original, 2, protocol, "luma"))
    with open(next((tmp_path / "out").rglob("results.csv"))) as file:
        row = next(csv.DictReader(file))
    assert np.allclose([float(row["psnr"]), float(row["ssim"])], np.mean(expected, axis=0), atol=1e-6)
    assert float(row["ifc"]) > 0 and float(row["bicubic_psnr"]) > 10
    with open(next((tmp_path / "out").rglob("frames/clip_SR.csv"))) as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == ["1", "2", "3"] and float(rows[0]["bicubic_ifc"]) > 0
    assert np.allclose([(float(row["psnr"]), float(row["ssim"])) for row in rows], expected, atol=1e-6)
    clips.write(hr, [0, 40], (192, 256), **lossless)
    status, told, _ = enlarge("--protocol", protocol)
    assert status == 2 and "clip_HR.mkv: has 2 frames, fewer than" in told


def test_without_pyav_a_video_is_one_line(enlarge, picture, tmp_path, monkeypatch):
    images.write_rgb(tmp_path / "in" / "a.png", picture(9, 9))
    clips.write(tmp_path / "in" / "clip.mp4", [0, 3600])
    monkeypatch.setitem(sys.modules, "av", None)
    status, told, files = enlarge()
    assert status == 2 and [*files] == ["a.png"]
    assert "skipped: videos need PyAV: pip install -r requirements-video.txt" in told
