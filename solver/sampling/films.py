"""Videos enlarged: frames flow through the sampler as pictures do, decoded before it and encoded behind it."""

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dataset import encoding, files, remux, segments, video
from dataset.encoding import Coding
from dataset.errors import InputError, describe
from dataset.picture import Picture
from dataset.segments import Segments
from dataset.test_set import Item
from dataset.video import Video

from .. import background
from ..measuring.evaluate import Row, Scores
from ..measuring.more import Measure
from ..measuring.moving import Figures
from .progress import Progress
from .sampler import Sampler
from .sizing import Sized

_WAITING = 2  # frames that each step is ahead of the next
_KEPT = 60  # frames that an encoder looks at before it writes the first


@dataclass(frozen=True)
class Films:
    """How the videos of a folder are enlarged, and where their results are.

    Attributes:
        sampler: what enlarges.
        folder: of the results: they are in ``SR``, segments of those that are not done in hidden folders there, and the
            figures of the frames in ``frames``.
        codec, crf, pix_fmt: see :func:`dataset.encoding.coding`.
        strip: see :func:`dataset.remux.join`.
        protocol, channel, more: what is measured of those whose original is there, see
            :class:`solver.measuring.moving.Figures`.
        bar: whether a line tells frames per second, and the time that is left.
    """

    sampler: Sampler
    folder: Path
    codec: str = "h264"
    crf: int = 17
    pix_fmt: str | None = None
    strip: bool = False
    protocol: str = "published"
    channel: str = "luma"
    more: dict[str, Measure] = field(default_factory=dict)
    bar: bool = False

    @property
    def settings(self) -> dict:
        """What a result depends on beside the video and the network, as JSON can hold it."""
        told = {
            "codec": self.codec,
            "crf": self.crf,
            "pix_fmt": self.pix_fmt,
            "segment": [segments.LENGTH, segments.LEAD],
        }
        with suppress(PackageNotFoundError):  # which is told when a video is opened
            told["av"] = version("av")
        return told

    def path(self, item: Item) -> Path:
        """The result of a video."""
        return files.fitting_path(self.folder / "SR", item.name, encoding.suffix_of(item.lr, self.codec))

    def enlarge(self, item: Item, key: str) -> tuple[Row, list[str]]:
        """Enlarge a video, going on with the segments that are there of an earlier run; they stay until all is noted.

        Args:
            item: the video.
            key: of all that the result depends on; segments of another are not used.

        Returns:
            Its row, and a line for each thing that the result lacks.

        Raises:
            InputError: if it cannot be read or written, or needs more than the memory.
        """
        start = time.perf_counter()
        of = video.look(item.lr)
        coding, sampler = self._written(of)
        self._check_memory(of, coding)
        path = self.path(item)
        figures = None
        if item.hr is not None:
            self.forget(item)  # of frames that are done, no figures are known
            figures = Figures(of, video.look(item.hr), self.sampler.scale, self.protocol, self.channel, self.more)
        parts = Segments(_work_folder(path, key), of, coding)
        made = parts.write(self._enlarged(of, sampler, coding, parts.frames, figures))
        lost = remux.join(path, parts.files, of, coding, self.strip)
        measured = {}
        if figures:
            measured = figures.means()
            table = files.fitting_path(self.folder / "frames", item.name, ".csv")
            rows = [{"frame": number} | row for number, row in enumerate(figures.rows, 1)]
            files.write_csv(table, rows)
        row = Row(item.name, coding.height, coding.width, time.perf_counter() - start, frames=made, **measured)
        return row, [f"{item.lr}: {note}" for note in (*of.notes, *coding.notes, *lost)]

    def forget(self, item: Item) -> None:
        """Remove the segments of a video."""
        shutil.rmtree(segments.folder_of(self.path(item)), ignore_errors=True)

    def _written(self, of: Video) -> tuple[Coding, Sampler]:
        """How the result of a video is written, and what enlarges frames to the size that it has then."""
        try:
            size = self.sampler.result_size(of.height, of.width)
        except InputError as error:
            raise InputError(f"{of.path}: {error}") from None
        wanted = isinstance(self.sampler, Sized)
        coding = encoding.coding(of, size, self.codec, self.crf, self.pix_fmt, to_the_pixel=not wanted)
        return coding, self.sampler.to(coding.height, coding.width) if wanted else self.sampler

    def _enlarged(
        self, of: Video, sampler: Sampler, coding: Coding, done: int, figures: Figures | None
    ) -> Iterator[tuple[int, list[np.ndarray]]]:
        """The enlarged frames behind those that are done, as they are written; each step has a thread of its own."""

        def network() -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
            for frame in background.beside(video.frames(of, skip=done), _WAITING):
                yield frame.time, sampler.enlarge(Picture(frame.rgb)).rgb, frame.rgb

        frames = background.beside(network(), _WAITING)
        if figures is not None:
            frames = background.beside(figures.passing(frames), _WAITING)
        samples = background.beside(((time_, coding.samples(rgb)) for time_, rgb, _ in frames), _WAITING)
        told = {"desc": of.path.name, "unit": "frame", "total": of.frames or None, "initial": min(done, of.frames)}
        with tqdm(**told, disable=None if self.bar else True) as bar:
            for frame in samples:
                yield frame
                bar.update()

    def _check_memory(self, of: Video, coding: Coding) -> None:
        """InputError if the frames that are held at once do not fit the memory."""
        small, large = of.height * of.width, coding.height * coding.width
        pixel = 3 * np.dtype(np.float32).itemsize
        layout = coding.layout
        written = layout.dtype.itemsize * (1 + 2 / (layout.across * layout.down))
        encoder = _KEPT if self.codec != "ffv1" else 0
        held = (_WAITING + 2) * (pixel * (small + large) + written * large) + encoder * written * large
        self.sampler.budget.check_picture(of.path, 3 * pixel * small, int(held))


def enlarge_all(films: Films, videos: list[Item], progress: Progress, resume: bool, scores: Scores) -> None:
    """Enlarge videos one by one, and add to the scores their rows, notes, and a line for each that is skipped.

    Args:
        films: how.
        videos: the videos.
        progress: what an earlier run has done; what is done is noted there.
        resume: whether that stays. Otherwise all is made anew.
        scores: of the pictures beside them.
    """
    done = progress.done(videos) if resume else {}
    scores.rows += done.values()
    for item in videos:
        try:
            if item in done or not resume:
                films.forget(item)
            if item in done:
                continue
            row, notes = films.enlarge(item, progress.key(item))
            progress.add(item, row)
            films.forget(item)
            scores.rows.append(row)
            scores.notes += notes
        except InputError as error:
            scores.skipped.append(str(error))


def _work_folder(path: Path, key: str) -> Path:
    """The folder of the segments of a result, empty if they depend on anything else."""
    folder = segments.folder_of(path)
    note = folder / "made_from.json"
    with suppress(InputError):
        if note.exists() and files.read_json(note, "it is made again") == key:
            return folder
    try:
        if folder.exists():
            shutil.rmtree(folder)
        files.write_json(note, key)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {describe(error)}") from None
    return folder
