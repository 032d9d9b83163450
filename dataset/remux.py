"""Segments of an enlarged video become one file, with the sound, subtitles and all else of the video beside them.

Nothing is encoded anew: packets are copied as they are.
"""

import heapq
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from . import video
from .encoding import Coding
from .errors import InputError
from .files import opened, written_whole
from .segments import lead, refusing, tell_colours
from .video import Video

_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".webm": "webm", ".mkv": "matroska"}
# Of the file, and not of what is in it.
_OF_THE_FILE = ("encoder", "major_brand", "minor_version", "compatible_brands", "rotate", "alpha_mode")
_OF_THE_PACKETS = ("bps", "number_of_bytes")  # with which names begin that mkvmerge tells of a stream
_COUNTING = ("mp4", "mov")  # formats that write a stream of time codes by themselves
_LONGEST = 2**31 - 1  # ticks that MP4 can tell of a packet
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
    with written_whole(path) as temporary:
        try:
            return _written(temporary, segments, of, coding, strip, beside=True)
        except InputError as error:  # of what FFmpeg refuses, and the pictures took hours
            notes = _written(temporary, segments, of, coding, strip, beside=False)
            why = str(error).removeprefix(f"{of.path}: ").partition(";")[0]
            return [*notes, f"all beside the pictures is left out, as it {why}"]


def _written(temporary: Path, segments: list[Path], of: Video, coding: Coding, strip: bool, beside: bool) -> list[str]:
    exact = {"fflags": "+bitexact"}  # Matroska would have random numbers
    with open(temporary, "w+b") as file, refusing(of.path), video.opened_video(of.path) as source:
        with video.library().open(file, "w", format=_FORMATS[coding.suffix], container_options=exact) as container:
            return _write(container, segments, source, of, coding, strip, beside)


def _write(container, segments: list[Path], source, of: Video, coding: Coding, strip: bool, beside: bool) -> list[str]:
    pictures = video.pictures(source)
    streams, notes, unknown = {}, [], 0
    container.metadata.update(_told(source.metadata, container, strip))
    matroska = container.format.name == "matroska"
    for stream in source.streams if beside else [pictures]:
        if stream is pictures:
            out = _stream_of(segments[0], container)
            out.time_base = of.tick
            tell_colours(out.codec_context, coding.colours)
            out.codec_context.sample_aspect_ratio = of.aspect
            out.codec_context.framerate = of.rate  # or Matroska would tell its ticks instead: 1000 a second
            notes += _tell_time_code(out, container, source, of.rate)
            if coding.codec == "hevc" and coding.suffix != ".mkv":
                out.codec_context.codec_tag = "hvc1"  # without which Apple's players do not play it
        elif matroska and stream.type == "attachment":
            container.add_attachment(stream.metadata.get("filename", "attachment"), stream.mimetype or "", stream.data)
            continue
        elif matroska and video.is_cover(stream):
            container.add_attachment(*_cover(of, stream))
            continue
        elif (
            stream.codec_context is None and stream.type == "data"
        ):  # as the chapters and the time code, which are written anew
            unknown += "timecode" not in stream.metadata
            continue
        elif not _holds(container, stream):
            name = f" ({stream.codec_context.name})" if stream.codec_context else ""
            notes.append(f"{stream.type}{name} is left out, which {container.format.name} cannot hold")
            continue
        else:
            out = container.add_stream_from_template(stream, opaque=True)  # or it would ask for an encoder
            out.time_base = stream.time_base
        out.disposition = stream.disposition
        told = _told(stream.metadata, container, strip)
        old = [name for name in told if stream is pictures and name.lower().startswith(_OF_THE_PACKETS)]
        out.metadata.update({name: text for name, text in told.items() if name not in old})
        streams[stream.index] = out
    chapters = source.chapters()
    container.set_chapters(chapters)
    notes += ["data of a kind that is not known are left out"] * (unknown > bool(chapters))
    others = [stream for stream in source.streams if stream.index in streams and stream is not pictures]
    frames = _frames(segments, streams[pictures.index], of, _end(source, pictures))
    for packet in heapq.merge(frames, _others(source, others, streams), key=_when):
        container.mux_one(packet)
    return notes


def _stream_of(segment: Path, container):
    """A stream as a segment has it, without its packets."""
    with opened(segment) as file, video.library().open(file, "r", format="nut") as source:
        return container.add_stream_from_template(source.streams.video[0], opaque=True)


def _cover(of: Video, stream) -> tuple[str, str, bytes]:
    """Name, kind and content of a picture that stands for the whole, as an attachment."""
    kind = stream.codec_context.name.replace("mjpeg", "jpeg")
    with video.opened_video(of.path) as source:
        content = next(bytes(packet) for packet in source.demux(source.streams[stream.index]) if packet.size)
    return stream.metadata.get("filename", f"cover.{kind}"), stream.metadata.get("mimetype", f"image/{kind}"), content


def _told(metadata: dict[str, str], container, strip: bool) -> dict[str, str]:
    """What metadata tell of what is in a file, or its language alone."""
    left_out = (*_OF_THE_FILE, *["timecode"] * (container.format.name in _COUNTING))
    told = {name: text for name, text in metadata.items() if name.lower() not in left_out}
    return {name: text for name, text in told.items() if name == "language"} if strip else told


def _tell_time_code(out, container, source, rate: Fraction) -> list[str]:
    """Tell the number of the first frame, if a format counts them by itself, or a note that it cannot."""
    told = (item for metadata in (source, *source.streams.video) for item in metadata.metadata.items())
    code = next((text for name, text in told if name.lower() == "timecode"), None)
    if code is None or container.format.name not in _COUNTING:
        return []
    found = re.fullmatch(r"\d\d:\d\d:\d\d([:;.])\d\d", code)
    # What leaves out numbers (;) is of 30 or 60 frames a second.
    if not found or not 0 < round(rate) < 256 or found[1] != ":" and round(rate) % 30:
        return [f"the time code {code} is left out, which {container.format.name} cannot hold"]
    out.metadata["timecode"], out.codec_context.framerate = code, rate
    return []


def _holds(container, stream) -> bool:
    """Whether a format can hold a stream."""
    return stream.codec_context and stream.codec_context.name in container.supported_codecs - _NOT_HELD.get(
        container.format.name, set()
    )


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


def _end(source, stream) -> int:
    """When the last frame of a video is seen no more, in its ticks; 0 if it is not known."""
    if stream.duration:
        return (stream.start_time or 0) + stream.duration
    return int(((source.start_time or 0) + (source.duration or 0)) / stream.time_base / 10**6)  # with all else, as MKV


def _frames(segments: list[Path], stream, of: Video, end: int) -> Iterator:
    """The packets of all segments, and when each is to be decoded.

    A packet is to be decoded no later than its frame is seen, and each later than the one before. So the times of
    decoding are those of the frames in order, ``depth`` packets later: the most that a frame overtakes.

    How long each is seen follows from the next one's time; of the last one it is told, to ``end``.
    """
    depth, count, last = _order(segments)
    step, last = max(1, round(1 / of.rate / of.tick)), round(last / of.tick) - lead(of)
    end = min(end, last + _LONGEST) if end > last else last + step
    waiting = []  # times of frames that are not yet those of decoding
    for number, packet in enumerate(_packets(segments)):
        time = round(packet.pts * packet.time_base / of.tick) - lead(of)
        heapq.heappush(waiting, time)
        packet.pts, packet.time_base = time, of.tick
        packet.dts = waiting[0] - (depth - number) * step if number < depth else heapq.heappop(waiting)
        packet.stream, packet.duration = stream, end - last if time == last else step
        if number == count - 1 and time < last:  # MP4 tells times by how long each packet before took
            packet.duration = max(1, end - packet.dts - depth * step)
        yield packet


def _order(segments: list[Path]) -> tuple[int, int, Fraction]:
    """How many packets of later frames are before one of an earlier frame, at most; how many packets there are; and
    the time of the last frame in seconds, as segments have it."""
    depth = count = last = 0
    for segment in segments:
        times = [packet.pts * packet.time_base for packet in _packets([segment])]
        place = {time: number for number, time in enumerate(sorted(times))}
        depth = max([depth, *(number - place[time] for number, time in enumerate(times))])
        count, last = count + len(times), max([last, *times])
    return depth, count, last


def _packets(segments: list[Path]) -> Iterator:
    for segment in segments:
        with opened(segment) as file, video.library().open(file, "r", format="nut") as source:
            yield from (packet for packet in source.demux() if packet.pts is not None)
