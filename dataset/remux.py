"""Segments of an enlarged video become one file, with the sound, subtitles and all else of the video beside them.

Nothing is encoded anew: packets are copied as they are.
"""

import heapq
from collections.abc import Iterator
from pathlib import Path

from . import video
from .encoding import Coding
from .files import opened, written_whole
from .segments import lead, refusing, tell_colours
from .video import Video

_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".webm": "webm", ".mkv": "matroska"}
_OF_THE_FILE = (
    "encoder",
    "major_brand",
    "minor_version",
    "compatible_brands",
    "rotate",
    "alpha_mode",
)  # not of what is in it
_OF_THE_PACKETS = ("bps", "number_of_bytes")  # with which names begin that mkvmerge tells of a stream
# What Matroska cannot hold, although its writer takes it for subtitles or data like others.
_NOT_HELD = {"matroska": {"mov_text"}}


def join(path: Path, segments: list[Path], of: Video, coding: Coding, strip: bool = False) -> list[str]:
    """Write the result of a video, whole or not at all.

    Frames have the times of the video's to the tick, where the format has such ticks: those of MKV are milliseconds.

    Args:
        path: of the result.
        segments: files that :class:`dataset.segments.Segments` has written.
        of: the video that was enlarged.
        coding: how the segments are written; its suffix says the format.
        strip: whether titles, places and the like are left out; languages stay.

    Returns:
        A line for each thing of the video that the format cannot hold.

    Raises:
        InputError: if it cannot be written.
    """
    with written_whole(path) as temporary, open(temporary, "w+b") as file, refusing(of.path):
        with video.opened_video(of.path) as source:
            exact = {"fflags": "+bitexact"}  # Matroska would have random numbers
            with video.library().open(file, "w", format=_FORMATS[coding.suffix], container_options=exact) as container:
                return _write(container, segments, source, of, coding, strip)


def _write(container, segments: list[Path], source, of: Video, coding: Coding, strip: bool) -> list[str]:
    pictures = video.pictures(source)
    streams, notes = {}, []
    container.metadata.update(_told(source.metadata, strip))
    for stream in source.streams:
        if stream is pictures:
            out = _stream_of(segments[0], container)
            out.time_base = of.tick
            tell_colours(out.codec_context, coding.colours)
            out.codec_context.sample_aspect_ratio = of.aspect
            out.codec_context.framerate = of.rate  # or Matroska would tell its ticks instead: 1000 a second
            if coding.codec == "hevc" and coding.suffix != ".mkv":
                out.codec_context.codec_tag = "hvc1"  # without which Apple's players do not play it
        elif stream.type == "attachment":
            container.add_attachment(stream.metadata.get("filename", "attachment"), stream.mimetype or "", stream.data)
            continue
        elif stream.codec_context is None:  # as the list of chapters, which is written anew
            continue
        elif not _holds(container, stream):
            notes.append(
                f"{stream.type} ({stream.codec_context.name}) is left out, which {container.format.name} cannot hold"
            )
            continue
        else:
            out = container.add_stream_from_template(stream)
            out.time_base = stream.time_base
        out.disposition = stream.disposition
        told = _told(stream.metadata, strip)
        old = [name for name in told if stream is pictures and name.lower().startswith(_OF_THE_PACKETS)]
        out.metadata.update({name: text for name, text in told.items() if name not in old})
        streams[stream.index] = out
    container.set_chapters(source.chapters())
    others = [stream for stream in source.streams if stream.index in streams and stream is not pictures]
    video_out = streams[pictures.index]
    for packet in heapq.merge(_frames(segments, video_out, of), _others(source, others, streams), key=_when):
        container.mux_one(packet)
    return notes


def _stream_of(segment: Path, container):
    """A stream as a segment has it, without its packets."""
    with opened(segment) as file, video.library().open(file, "r", format="nut") as source:
        return container.add_stream_from_template(source.streams.video[0], opaque=True)


def _told(metadata: dict[str, str], strip: bool) -> dict[str, str]:
    """What metadata tell of what is in a file, or its language alone."""
    told = {name: text for name, text in metadata.items() if name.lower() not in _OF_THE_FILE}
    return {name: text for name, text in told.items() if name == "language"} if strip else told


def _holds(container, stream) -> bool:
    """Whether a format can hold a stream."""
    return stream.codec_context.name in container.supported_codecs - _NOT_HELD.get(container.format.name, set())


def _when(packet) -> float:
    """The second in which a packet is to be decoded."""
    return (packet.dts if packet.dts is not None else packet.pts or 0) * packet.time_base


def _others(source, streams: list, out: dict) -> Iterator:
    """The packets of other streams, as they are in the video."""
    for packet in source.demux(streams) if streams else ():
        told = packet.pts is not None or packet.size  # or it is only the end
        if told and not (packet.size == 2 and packet.stream.codec_context.name == "mov_text"):  # a pause, made anew
            packet.stream = out[packet.stream.index]
            yield packet


def _frames(segments: list[Path], stream, of: Video) -> Iterator:
    """The packets of all segments, and when each is to be decoded.

    A packet is to be decoded no later than its frame is seen, and each later than the one before. So the times of
    decoding are those of the frames in order, ``depth`` packets later: the most that a frame overtakes.
    """
    depth, count, latest = _order(segments)
    step, last = max(1, round(1 / of.rate / of.tick)), video.last_duration(of)
    waiting, number = [], 0  # times of frames that are not yet those of decoding
    for packet in _packets(segments):
        ends = packet.pts == latest or number == count - 1  # formats take the end of all from either
        time = round(packet.pts * packet.time_base / of.tick) - lead(of)
        heapq.heappush(waiting, time)
        packet.pts, packet.time_base = time, of.tick
        packet.dts = waiting[0] - (depth - number) * step if number < depth else heapq.heappop(waiting)
        packet.stream, packet.duration = stream, last if ends else step
        number += 1
        yield packet


def _order(segments: list[Path]) -> tuple[int, int, int]:
    """How many packets of later frames are before one of an earlier frame, at most; how many there are; the last time.

    The time is in a segment's ticks.
    """
    depth, count, latest = 0, 0, 0
    for segment in segments:
        times = [packet.pts for packet in _packets([segment])]
        place = {time: number for number, time in enumerate(sorted(times))}
        depth = max([depth, *(number - place[time] for number, time in enumerate(times))])
        count, latest = count + len(times), max([latest, *times])
    return depth, count, latest


def _packets(segments: list[Path]) -> Iterator:
    for segment in segments:
        with opened(segment) as file, video.library().open(file, "r", format="nut") as source:
            yield from (packet for packet in source.demux() if packet.pts is not None)
