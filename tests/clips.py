"""Small videos for tests, made on the spot."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from dataset import video, yuv
from dataset.yuv import Colours, Layout

MILLISECOND = Fraction(1, 1000)  # the tick of MKV
BT709 = Colours(1, 1, 1, full=False)


def moving(height: int, width: int) -> Callable[[int], np.ndarray]:
    """The frames of a smooth pattern that moves: of each number (H, W, 3) float32 RGB, 0.1 to 0.9."""
    y, x = np.mgrid[0:height, 0:width]

    def frame(number: int) -> np.ndarray:
        waves = [np.sin(x / 9 + number / 5 + channel) * np.cos(y / 7 + channel) for channel in range(3)]
        return (0.5 + 0.4 * np.stack(waves, axis=2)).astype(np.float32)

    return frame


def write(
    path: Path,
    times: Sequence[int],
    size: tuple[int, int] = (32, 48),
    codec: str = "libx264",
    layout: Layout = Layout(8, 2, 2),
    colours: Colours = BT709,
    tick: Fraction = Fraction(1, 90_000),
    turned: int = 0,
    beside: bool = False,
) -> Path:
    """Write a video.

    Args:
        path: of the file, whose suffix says the format.
        times: when each frame is seen, in ticks.
        size: (height, width) of the stored frames.
        turned: degrees by which a player is to turn them, anticlockwise.
        beside: whether it has stereo sound, subtitles, chapters and a title too.
    """
    import av

    frame_of = moving(*size)
    path.parent.mkdir(exist_ok=True)
    quality = {"crf": "5"} if codec == "libx264" else {}
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25, options=quality)
        context, stream.time_base = stream.codec_context, tick
        context.height, context.width, context.pix_fmt, context.time_base = *size, layout.name, tick
        context.colorspace, context.color_range = colours.matrix, 2 if colours.full else 1
        context.color_primaries, context.color_trc = colours.primaries, colours.transfer
        if turned:
            stream.set_display_rotation(turned)
        if beside:
            sound = file.add_stream("aac", rate=48_000, layout="stereo")
            subtitles = file.add_mux_stream("subrip" if path.suffix == ".mkv" else "mov_text")
            subtitles.time_base, subtitles.metadata["language"] = MILLISECOND, "deu"
            file.metadata["title"] = "A title"
            chapter = {"id": 1, "start": 0, "end": 200, "time_base": MILLISECOND, "metadata": {"title": "One"}}
            file.set_chapters([chapter])
        for number, time in enumerate(times):
            frame = av.VideoFrame(size[1], size[0], layout.name)
            for plane, samples in zip(video.planes(frame, layout), yuv.from_rgb(frame_of(number), layout, colours)):
                plane[:] = samples
            frame.pts, frame.time_base = time, tick
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
        if beside:
            _write_sound(file, sound, float(times[-1] * tick))
            _write_subtitles(file, subtitles, prefixed=path.suffix != ".mkv")
    return path


def _write_sound(file, stream, seconds: float) -> None:
    import av

    for start in range(0, int(48_000 * seconds), 1024):
        wave = 0.3 * np.sin(np.arange(start, start + 1024) / 20, dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([wave, -wave]), "fltp", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, start, Fraction(1, 48_000)
        file.mux(stream.encode(frame))
    file.mux(stream.encode())


def _write_subtitles(file, stream, prefixed: bool) -> None:
    """Three lines of text; in MP4 their lengths are before them."""
    import av

    for number in range(3):
        text = f"Line {number}".encode()
        packet = av.Packet(len(text).to_bytes(2) * prefixed + text)
        packet.pts = packet.dts = 200 * number
        packet.duration, packet.time_base, packet.stream = 150, MILLISECOND, stream
        file.mux_one(packet)


def packets(path: Path) -> dict[str, list[tuple[Fraction, bytes]]]:
    """When each packet of sound and of subtitles is due, in seconds, and its bytes, by the kind of stream."""
    found = {}
    with video.opened_video(path) as file:
        for packet in file.demux():
            if packet.stream.type != "video" and packet.size > 2:  # two zeros are a pause between subtitles
                found.setdefault(packet.stream.type, []).append((packet.pts * packet.time_base, bytes(packet)))
    return found


def seconds(path: Path) -> list[Fraction]:
    """When each frame of a video is seen."""
    found = video.look(path)
    return [frame.time * found.tick for frame in video.frames(found)]
