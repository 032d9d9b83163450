"""Videos: their times, colours and turns, what is beside the pictures, and bad files."""

import ctypes
import os
import struct
from itertools import accumulate
from pathlib import Path

import clips
import numpy as np
import pytest

from dataset import encoding, remux, segments, video, yuv
from dataset.errors import InputError
from dataset.segments import Segments
from dataset.yuv import Colours, Layout

av = pytest.importorskip("av")
UNEVEN = list(accumulate([0, *[3000, 3600, 1500, 4500, 9001] * 4]))  # ticks of 1/90,000 s


def doubled(path, folder, codec="h264", crf=1, pix_fmt=None):
    """Each pixel of a video twice across and down, written as a run writes it; returns the result."""
    of = video.look(path)
    coding = encoding.coding(of, (2 * of.height, 2 * of.width), codec, crf, pix_fmt)
    parts = Segments(folder, of, coding)
    large = ((frame.time, frame.rgb.repeat(2, 0).repeat(2, 1)) for frame in video.frames(of, parts.frames))
    parts.write((time, coding.samples(rgb)) for time, rgb in large)
    result = folder / f"result{coding.suffix}"
    return result, remux.join(result, parts.files, of, coding)


@pytest.mark.parametrize(
    "suffix, codec", [("mp4", "h264"), ("mov", "h264"), ("mkv", "h264"), ("mp4", "vp9"), ("mp4", "av1")]
)
def test_times_and_all_other_streams_are_the_originals(suffix, codec, tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "LENGTH", 8)
    path = clips.write(tmp_path / f"clip.{suffix}", UNEVEN, turned=90, beside=True)
    result, notes = doubled(path, tmp_path / "work", codec)
    assert not notes and len(list((tmp_path / "work").glob("*.nut"))) == 3
    times = clips.seconds(path)
    assert len(set(np.diff(times))) > 3 and clips.seconds(result) == times
    beside = clips.packets(path)
    assert set(beside) == {"audio", "subtitle"} and clips.packets(result) == beside
    with av.open(str(path)) as one, av.open(str(result)) as other:
        assert other.chapters() == one.chapters() != []
        assert other.metadata["title"] == "A title"
        assert [s.language for s in other.streams.subtitles] == ["deu"] or suffix == "mov"
        assert [s.type for s in other.streams][:3] == ["video", "audio", "subtitle"]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_pictures_may_stay_for_long_and_the_last_one_too(suffix, tmp_path):
    slides = [40 * second * 90_000 for second in range(5)]
    short, path = clips.write(tmp_path / f"short.{suffix}", slides), tmp_path / f"clip.{suffix}"
    with av.open(str(short)) as before, av.open(str(path), "w") as after:
        stream = after.add_stream_from_template(before.streams.video[0])
        packets = [packet for packet in before.demux() if packet.pts is not None]
        for packet in packets:
            if packet.pts == max(other.pts for other in packets):
                packet.duration = round(7 / packet.time_base)
            packet.stream = stream
            after.mux_one(packet)
    result, _ = doubled(path, tmp_path / "work")
    assert clips.seconds(result) == clips.seconds(path)
    with av.open(str(path)) as one, av.open(str(result)) as other:
        assert one.duration == other.duration == 167_000_000
        assert one.streams[0].duration == other.streams[0].duration


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_frames_are_upright(turned, tmp_path):
    path = clips.write(tmp_path / "clip.mp4", [0, 3600], turned=turned)
    found = video.look(path)
    frame = next(video.frames(found))
    expected = np.rot90(clips.moving(32, 48)(0), turned // 90)
    assert frame.rgb.shape == (found.height, found.width, 3) == expected.shape
    assert abs(frame.rgb - expected)[8:-8, 8:-8].max() < 0.06 < abs(frame.rgb - expected[::-1, ::-1]).max()
    result, _ = doubled(path, tmp_path / "work")
    assert video.look(result).turns == 0
    again = next(video.frames(video.look(result))).rgb[::2, ::2]
    assert abs(again - expected)[8:-8, 8:-8].max() < 0.06


@pytest.mark.parametrize(
    "matrix, expected",
    [
        ((-1, 0, 0, 1), lambda stored: stored[:, ::-1]),
        ((1, 0, 0, -1), lambda stored: stored[::-1]),
        ((0, 1, 1, 0), lambda stored: stored.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda stored: stored[::-1, ::-1].transpose(1, 0, 2)),
        ((0, 0, 0, 0), lambda stored: stored),
    ],
)
def test_mirrored_frames_are_as_players_show_them(matrix, expected, tmp_path):
    path = clips.write(tmp_path / "clip.mp4", [0])
    (stored,) = video.frames(video.look(path))
    data = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    of = video.look(path)
    (shown,) = video.frames(of)
    assert shown.rgb.shape == (of.height, of.width, 3) and np.array_equal(shown.rgb, expected(stored.rgb))


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize(
    "colours", [clips.BT709, Colours(9, 9, 16, False), Colours(6, 6, 6, True), Colours(5, 5, 6, False)]
)
def test_lossless_colours_come_back_within_a_level(bits, colours, tmp_path):
    layout = Layout(bits)
    path = clips.write(
        tmp_path / "clip.mkv", [0, 40, 80], codec="ffv1", layout=layout, colours=colours, tick=clips.MILLISECOND
    )
    result, _ = doubled(path, tmp_path / "work", "ffv1")
    found = video.look(result)
    assert (found.colours, found.layout) == (colours, layout)
    with av.open(str(path)) as one, av.open(str(result)) as other:
        for before, after in zip(one.decode(video=0), other.decode(video=0), strict=True):
            for small, large in zip(video.planes(before, layout), video.planes(after, layout)):
                assert abs(large[::2, ::2].astype(int) - small).max() <= 1 and np.ptp(small) > 20


@pytest.mark.parametrize(
    "layout", [Layout(8), Layout(10, 2, 2), Layout(12, 2, 1), Layout(8, 4, 1), Layout(10, rgb=True)]
)
def test_rgb_there_and_back(layout):
    colours = Colours(0 if layout.rgb else 1, 1, 1, layout.rgb)
    rgb = clips.moving(64, 96)(0)
    planes = yuv.from_rgb(rgb, layout, colours)
    error = abs(yuv.to_rgb(planes, layout, colours) - rgb)[8:-8, 8:-8].max() * 255
    assert error < (1.7 if layout.across == layout.down == 1 else 4)


def test_colours_of_the_standard():
    """White, black, and pure blue and red of BT.709 (part 4) in 8 bits."""
    rgb = np.array([[[1, 1, 1], [0, 0, 0], [0, 0, 1], [1, 0, 0]]], np.float32)
    planes = yuv.from_rgb(rgb, Layout(8), clips.BT709)
    assert np.stack(planes, axis=2).tolist() == [[[235, 128, 128], [16, 128, 128], [32, 240, 118], [63, 102, 240]]]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the scheduling of threads is told by Linux alone")
@pytest.mark.parametrize("codec", encoding.CODECS)
def test_no_thread_gets_real_time_scheduling(codec, tmp_path):
    """Without more ado, those of SVT-AV1 have it for root, and so has the one that called it, ever after."""

    def found():
        return {os.sched_getscheduler(int(task.name)) for task in Path("/proc/self/task").iterdir()}

    of = video.look(clips.write(tmp_path / "clip.mkv", [0, 40, 80], (64, 64), tick=clips.MILLISECOND))
    coding = encoding.coding(of, (64, 64), codec)
    before, meanwhile = found(), []

    def frames():
        for frame in video.frames(of, 0):
            meanwhile.append(found())
            yield frame.time, coding.samples(frame.rgb)

    Segments(tmp_path / "work", of, coding).write(frames())
    assert meanwhile == [before] * 3 and found() == before


@pytest.mark.parametrize("codec", ["h264", "av1", "ffv1"])
def test_ten_bits_stay_ten_bits(codec, tmp_path):
    hdr = Colours(9, 9, 16, False)
    path = clips.write(
        tmp_path / "clip.mkv", [0, 40], (64, 64), layout=Layout(10, 2, 2), colours=hdr, tick=clips.MILLISECOND
    )
    result, _ = doubled(path, tmp_path / "work", codec)
    found = video.look(result)
    assert found.layout.bits == 10 and found.colours == hdr


def test_what_a_format_cannot_hold_is_told(tmp_path):
    path = clips.write(tmp_path / "clip.mp4", [0, 3600], layout=Layout(10, 2, 2), beside=True)
    result, notes = doubled(path, tmp_path / "work", "ffv1")
    assert result.suffix == ".mkv" and notes == ["subtitle (mov_text) is left out, which matroska cannot hold"]
    assert encoding.coding(video.look(path), (64, 96), "vp9").notes == ("10 bits become 8",)


def test_what_is_told_of_the_packets_of_before_is_not_told_of_the_result(tmp_path):
    with av.open(str(tmp_path / "clip.mkv"), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.metadata.update({"BPS": "123", "NUMBER_OF_BYTES-eng": "456", "title": "A title"})
        file.mux([*stream.encode(av.VideoFrame(48, 32, "yuv420p")), *stream.encode()])
    result, _ = doubled(tmp_path / "clip.mkv", tmp_path / "work")
    with av.open(str(result)) as file:
        assert {*file.streams.video[0].metadata} == {"title", "DURATION"}


def written_beside(path, codec=None, **metadata):
    """A video with things beside it: a second one, in a codec, or metadata of the first."""
    frames = [av.VideoFrame(64, 64, "yuv420p") for _ in range(3)]
    with av.open(str(path), "w") as file:
        form = {"rate": 25, "width": 64, "height": 64, "pix_fmt": "yuv420p"}
        streams = [file.add_stream(name, **form) for name in ("libx264", codec) if name]
        streams[0].metadata.update(metadata)
        if "cover" in path.name:
            file.add_attachment("cover.png", "image/png", b"\x89PNG\r\n\x1a\n of a disc")
        with segments.scheduling_kept():
            file.start_encoding()
        for stream in streams:
            for number, frame in enumerate(frames):
                frame.pts, frame.time_base = number, clips.MILLISECOND * 40
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    "code, told", [("01:00:00:10", []), ("01:00:00;10", ["the time code 01:00:00;10 is left out"])]
)
def test_a_time_code_is_kept_or_told(code, told, tmp_path):
    path = written_beside(tmp_path / "clip.mkv", timecode=code).rename(
        tmp_path / "clip.mov"
    )  # 25 frames leave out none
    result, notes = doubled(path, tmp_path / "work")
    assert [note.partition(", ")[0] for note in notes] == told
    with av.open(str(result)) as file:
        assert file.streams.video[0].metadata.get("timecode") == (None if told else code)


def test_a_second_video_and_a_cover_stay_as_they_are(tmp_path):
    path = written_beside(tmp_path / "cover.mkv", "libsvtav1")
    result, notes = doubled(path, tmp_path / "work")
    with av.open(str(path)) as one, av.open(str(result)) as other:
        kept = [[bytes(packet) for packet in file.demux(file.streams.video[1:])] for file in (one, other)]
        assert notes == [] and kept[0] == kept[1] and len(kept[0]) > 4
        assert [video.is_cover(stream) for stream in other.streams] == [False, False, True]


def test_what_stands_beside_the_pictures_does_not_lose_them(tmp_path):
    path = written_beside(tmp_path / "clip.avi", "rawvideo")
    result, notes = doubled(path, tmp_path / "work")
    assert notes == ["all beside the pictures is left out, as it cannot be written: invalid argument"]
    assert len(clips.seconds(result)) == 3


@pytest.mark.parametrize("codec, suffix", [("ffv1", "mkv"), ("libvpx-vp9", "webm")])
def test_transparency_that_is_left_out_is_told(codec, suffix, tmp_path):
    with av.open(str(tmp_path / f"clip.{suffix}"), "w") as file:
        stream = file.add_stream(codec, rate=25, width=32, height=32, pix_fmt="yuva420p")
        frame = av.VideoFrame(32, 32, "yuva420p")
        frame.pts, frame.time_base = 0, clips.MILLISECOND
        file.mux([*stream.encode(frame), *stream.encode()])
    assert video.look(tmp_path / f"clip.{suffix}").notes == ("its transparency is left out",)


def test_what_a_codec_cannot_hold_is_told_before(tmp_path):
    found = video.look(clips.write(tmp_path / "clip.mp4", [0, 3600]))
    for size, more, words in (
        ((99, 144), {}, "even sides only; give --pix_fmt yuv444p"),
        ((6000, 8000), {}, "which h264 cannot hold; give --codec one of av1, vp9, ffv1"),
        ((64, 17000), {}, "17000x64 pixels, which h264 cannot hold; give --codec one of vp9, ffv1"),
        ((32, 48), {"codec": "hevc"}, "which hevc cannot hold; give --codec one of h264, "),
        ((64, 96), {"pix_fmt": "bgr24"}, "h264 knows yuv420p, "),
    ):
        with pytest.raises(InputError, match=words):
            encoding.coding(found, size, **more)


def test_odd_sides_have_a_pixel_less_where_the_layout_wants_it(tmp_path):
    found = video.look(clips.write(tmp_path / "clip.mp4", [0, 3600]))
    for pix_fmt, size, notes in (("yuv420p", (98, 144), 1), ("yuv422p", (99, 144), 1), ("yuv444p", (99, 145), 0)):
        made = encoding.coding(found, (99, 145), pix_fmt=pix_fmt, to_the_pixel=False)
        assert (made.height, made.width) == size and len(made.notes) == notes


def damaged(folder):
    """Bad files by name, each with words of the message it deserves."""
    whole = clips.write(folder / "whole.mp4", UNEVEN, beside=True)
    matroska = clips.write(folder / "whole.mkv", UNEVEN).read_bytes()
    data = whole.read_bytes()
    (folder / "half.mp4").write_bytes(data[: len(data) // 2])
    (folder / "tail.mp4").write_bytes(data[:-9])
    (folder / "half.mkv").write_bytes(matroska[: len(matroska) // 2])
    (folder / "empty.mp4").touch()
    (folder / "text.avi").write_text("no video at all")
    start = data.index(b"mdat") + 4
    (folder / "noise.mp4").write_bytes(data[:start] + b"\xff" * 9999 + data[start + 9999 :])
    with av.open(str(folder / "sound.mp4"), "w") as file:
        clips._write_sound(file, file.add_stream("aac", rate=48_000, layout="stereo"), 0.1)
    secret = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": 32 * "1", "encryption_kid": 32 * "2"}
    with av.open(str(whole)) as source, av.open(str(folder / "secret.mp4"), "w", options=secret) as file:
        stream = file.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                file.mux(packet)
    cut_off = "it is cut off: "
    words = {
        "half.mp4": cut_off,
        "tail.mp4": cut_off,
        "half.mkv": cut_off,
        "empty.mp4": "empty",
        "text.avi": "none of mp4",
    }
    return words | {"noise.mp4": "invalid data", "sound.mp4": "no pictures, only audio", "secret.mp4": "encrypted"}


def test_bad_files_are_one_clear_line(tmp_path):
    for name, words in damaged(tmp_path).items():
        with pytest.raises(InputError, match=words) as caught:
            list(video.frames(video.look(tmp_path / name)))
        assert str(caught.value).startswith(f"{tmp_path / name}: ")


def test_a_frame_that_the_decoder_fills_by_others_is_damage(tmp_path):
    path = clips.write(tmp_path / "clip.mp4", [0, 3600, 7200], (96, 96))
    with av.open(str(path)) as file:
        second = [packet for packet in file.demux() if packet.pts is not None][1]
        place = second.pos + second.size // 2
    data = bytearray(path.read_bytes())
    data[place : place + 8] = bytes(8)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"clip.mp4: is damaged at frame [23]; copy it again, or cut it there"):
        list(video.frames(video.look(path)))


@pytest.mark.parametrize("codec", encoding.CODECS)
def test_the_same_frames_are_the_same_bytes_whatever_memory_held_before(codec, tmp_path):
    """glibc fills memory that is handed out with what it is told (mallopt, M_PERTURB); elsewhere it is as it is."""
    path = clips.write(tmp_path / "clip.mkv", range(0, 1200, 40), (64, 96), tick=clips.MILLISECOND)
    made = set()
    for filling in (0x55, 0xAA, 0):
        getattr(ctypes.CDLL(None), "mallopt", lambda *_: 0)(-6, filling)
        result, _ = doubled(path, tmp_path / f"work_{filling}", codec)
        made.add(result.read_bytes())
    assert len(made) == 1
