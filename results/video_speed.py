"""Frames per second of enlarging a film: ``python results/benchmark.py video``.

Each turn is the whole command, from its start to the file with its name. Beside it FFmpeg's own bicubic scaler makes
the same of the film, by the same codec of the same quality.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch

from dataset import images, video
from dataset.errors import InputError, shown
from dataset.files import write_json
from results.turns import machine, ratio, take_turns

ROOT = Path(__file__).resolve().parents[1]
FILMS = {"espcn": (3, 640, 360), "lesrcnn": (2, 320, 180)}  # network: the scale, and the film's width and height
SCALER = "FFmpeg, bicubic x3"
_PICTURE = ROOT / "dataset/Sample/x2/img_001_SRF_2_HR.png"
_QUALITY = {"crf": "17"}  # the command's own


def main(args: argparse.Namespace) -> None:
    eight_bits = ["int8"] * (args.device.type == "cpu" and not args.precision)
    precisions = {"espcn": ["fp32", *eight_bits], "lesrcnn": (args.precision or ["fp32", "bf16"]) + eight_bits}
    with tempfile.TemporaryDirectory() as folder:
        films = {network: Path(folder) / f"{network}.mp4" for network in FILMS}
        for network, film in films.items():
            write_film(film, *FILMS[network][1:], args.frames)
        turns = {SCALER: partial(scaled, films["espcn"], FILMS["espcn"][0], Path(folder) / "scaled.mp4")}
        for network, film in films.items():
            for precision in precisions[network]:
                name = f"{network} x{FILMS[network][0]}, {precision}"
                turns[name] = partial(enlarged, film, network, precision, args.device, Path(folder) / precision)
        seconds = take_turns(turns, args.rounds, args.device)
    rows = {
        name: {
            "frames_per_second": round(args.frames / statistics.median(own), 3),
            "times_scaler": round(ratio(seconds[SCALER], own), 4),
        }
        for name, own in seconds.items()
    }
    about = {"device": machine(args.device), "torch": torch.__version__, "turns": args.rounds, "frames": args.frames}
    print(shown("{frames} frames, {device}; espcn from 640x360, lesrcnn from 320x180".format(**about)))
    for name, row in rows.items():
        print(f"{name:24} {row['frames_per_second']:9.3f} frames/s  {row['times_scaler']:6.3f} x FFmpeg's scaler")
    write_json(args.output.with_suffix(".json"), about | {"contenders": rows})


def write_film(path: Path, width: int, height: int, frames: int) -> None:
    """A film that moves over a picture, mirrored at its edges, down to the right, a pixel a frame."""
    picture = images.read_rgb(_PICTURE)
    beyond = [(0, max(0, side + frames - there)) for side, there in zip((height, width), picture.shape)]
    picture = np.pad(picture, (*beyond, (0, 0)), "symmetric")
    av = video.library()
    with av.open(str(path), "w") as file:
        stream = _stream(file, width, height)
        for number in range(frames):
            part = np.ascontiguousarray(picture[number : number + height, number : number + width])
            file.mux(stream.encode(av.VideoFrame.from_ndarray(part, "rgb24")))
        file.mux(stream.encode())


def scaled(film: Path, scale: int, path: Path) -> None:
    """A film enlarged by FFmpeg's bicubic scaler."""
    av = video.library()
    with av.open(str(film)) as source, av.open(str(path), "w") as file:
        pictures = source.streams.video[0]
        pictures.thread_type = "AUTO"
        stream = _stream(file, scale * pictures.width, scale * pictures.height)
        for frame in source.decode(pictures):
            file.mux(stream.encode(frame.reformat(stream.width, stream.height, interpolation="BICUBIC")))
        file.mux(stream.encode())


def _stream(file, width: int, height: int):
    stream = file.add_stream("libx264", rate=25, options=_QUALITY)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    return stream


def enlarged(film: Path, network: str, precision: str, device: torch.device, folder: Path) -> None:
    """A film enlarged by the command. Raises InputError with the command's own last line if that fails."""
    script = ROOT / f"x{FILMS[network][0]}" / "tcw_sample.py"
    flags = {"model": network, "precision": precision, "device": device.type}
    flags |= {"test_data_dir": film, "sample_dir": folder}
    command = [sys.executable, script, *(f"--{name}={value}" for name, value in flags.items())]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InputError((done.stderr or done.stdout).strip().splitlines()[-1])
