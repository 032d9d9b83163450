"""Memory: what a network needs of it, and that a process keeps to what it was given."""

import os
import re
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from torch import nn

import model
from dataset import images, test_set
from dataset.errors import InputError
from model.ops import NONE, Network, trim
from solver.measuring.evaluate import evaluate
from solver.sampling import memory
from solver.sampling.backends.fuse import fuse
from solver.sampling.sampler import Sampler

GLIBC = memory._GLIBC and os.path.exists("/proc/self/statm")


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
]
machine = {"error": None, "limit": 0, "sizes": []}


@torch.fx.wrap
def repeated(x, scale):
    """Enlarge by repeating pixels, if the machine has memory for so many."""
    machine["sizes"].append(x.shape[2] * x.shape[3])
    if machine["sizes"][-1] > machine["limit"]:
        raise machine["error"]
    return x.repeat_interleave(scale, 2).repeat_interleave(scale, 3)


class Limited(Network):
    def forward(self, x, scale=None, margins=NONE):
        return trim(repeated(x, scale), margins, scale)

    def reach(self, scale):
        return 1


@pytest.fixture
def limited(monkeypatch):
    """Make a sampler whose machine fails with an error for more than so many pixels."""

    def make(error, limit, **settings) -> Sampler:
        sampler = Sampler(Limited(2), 2, **settings)
        machine.update(error=None, limit=10**9)
        assert sampler.bytes_per_pixel > 0
        machine.update(error=error, limit=limit, sizes=[])
        return sampler

    return make


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["gpu", "cpu"])
def test_out_of_memory_halves_the_tiles_and_says_so_once(error, limited, picture, capsys):
    rgb = picture(50, 70)
    sampler = limited(error, 400, tile="none")
    expected = rgb.repeat(2, axis=0).repeat(2, axis=1)
    assert np.array_equal(sampler(rgb), expected)
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "out of memory for a tile of 70x50" in told
    machine["sizes"].clear()
    assert np.array_equal(sampler(rgb), expected)  # it has learnt: nothing too large is tried again
    assert max(machine["sizes"]) <= 400 and capsys.readouterr().err == ""


def test_too_little_memory_for_a_pixel_is_one_line_and_other_errors_stay(limited):
    rgb = np.zeros((9, 9, 3), np.uint8)
    with pytest.raises(InputError, match="too little memory for a picture of 9x9 pixels"):
        limited(OUT_OF_MEMORY[0], 0)(rgb)
    with pytest.raises(RuntimeError, match="another"):
        limited(RuntimeError("another"), 0)(rgb)


def test_bytes_per_pixel_counts_what_is_alive_together():
    class Two(Network):
        def __init__(self):
            super().__init__(scale=2)
            self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)

        def forward(self, x, scale=None, margins=NONE):
            return self.last(self.first(x) + 1)

    net = Two().eval().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        counted = memory.bytes_per_pixel(fuse(net, 2), torch.device("cpu"))
    assert counted == pytest.approx(4 * (3 + 8 + 8))  # the picture, a map of 8 channels, and the same plus 1


def test_tiles_fit_their_memory():
    sampler = Sampler(model.build("lesrcnn", 2).eval(), 2)
    sizes = []
    for room in (8 * 10**8, 4 * 10**8, 2 * 10**8):
        sampler.budget.limit = sampler.budget.program + room
        sizes.append(sampler.grid(1000, 1500).window_pixels)
        assert room / 5 < sizes[-1] * sampler.bytes_per_pixel <= room
    assert sizes[0] > max(sizes[1:])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_little_free_memory_costs_little_time(scale, monkeypatch):
    """What seems free is a guess: less than a least room is not believed, or most would be computed several times."""
    monkeypatch.setattr("solver.sampling.memory.available", lambda: 50_000_000)
    sampler = Sampler(model.build("lesrcnn", scale).eval(), scale)
    picture = 3 * 1080 * 1920
    for held in (picture, picture * (1 + scale**2)):  # written in bands, or all in memory
        strips = sampler.strips(1080, 1920, held)
        columns = len(strips.columns) * strips.columns[0].window_length / 1920
        assert columns * (1 + 1 / strips.rows) <= 1.3  # a row's worth is lost from strip to strip
    sampler.budget.limit = sampler.budget.program + 50_000_000  # what is asked for holds
    strips = sampler.strips(1080, 1920, picture)
    assert strips.pixels * sampler.bytes_per_pixel <= 50_000_000


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Choose what the system's files tell of memory: name -> text."""
    monkeypatch.setattr("solver.memory.Path", lambda path: tmp_path / path.lstrip("/"))

    def tell(**files):
        for name, text in files.items():
            path = tmp_path / ("proc/meminfo" if name == "meminfo" else f"sys/fs/cgroup/memory.{name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    tell(meminfo="MemTotal: 9000000 kB\nMemAvailable:   8000000 kB\n")
    return tell


def test_free_memory_is_what_the_machine_and_its_container_leave(system):
    def free() -> int:
        return memory.free(torch.device("cpu"))

    assert free() == 8_000_000 * 1024
    system(max="max\n", current="700000000\n", stat="anon 300000000\n")
    assert free() == 8_000_000 * 1024
    system(max="1000000000\n")
    assert free() == 300_000_000
    # Files that were read, but are not in use, make room.
    system(stat="anon 300000000\nactive_file 100000000\ninactive_file 250000000\n")
    assert free() == 550_000_000
    system(max="99000000000\n")
    assert free() == 8_000_000 * 1024


def test_an_older_container_counts_too(system, tmp_path):
    folder = tmp_path / "sys/fs/cgroup/memory"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text("4000000000\n")
    (folder / "memory.usage_in_bytes").write_text("3900000000\n")
    (folder / "memory.stat").write_text("inactive_file 5\ntotal_cache 3400000000\ntotal_inactive_file 3400000000\n")
    assert memory.free(torch.device("cpu")) == 3_500_000_000


@pytest.mark.parametrize("own", ["user.slice/run-1.scope", "user.slice", "seen/from/outside/../user.slice"])
@pytest.mark.parametrize("most", ["max", "high"])
def test_groups_around_the_own_one_count(own, most, system, tmp_path):
    group = tmp_path / "sys/fs/cgroup/user.slice"
    (group / "run-1.scope").mkdir(parents=True)
    (group / f"memory.{most}").write_text("4000000000\n")
    (group / "memory.current").write_text("500000000\n")
    (group / "memory.stat").write_text("inactive_file 0\n")
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/self/cgroup").write_text(f"4:memory:/other\n0::/{own}\n")
    known = "outside" not in own
    assert memory.free(torch.device("cpu")) == (3_500_000_000 if known else 8_000_000 * 1024)


@pytest.mark.skipif(not GLIBC, reason="the C library is not glibc")
def test_freed_memory_is_kept_only_meanwhile(root):
    script = """if True:
        import torch
        from solver.memory import resident
        from solver.sampling import memory
        size = 2 ** 28
        before = resident()
        with memory.freed(keep=True):
            torch.ones(size, dtype=torch.uint8)
            assert resident() > before + 0.9 * size
        assert resident() < before + 0.2 * size
        torch.ones(size, dtype=torch.uint8)
        assert resident() < before + 0.2 * size
    """
    done = subprocess.run([sys.executable, "-c", script], cwd=root, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not GLIBC, reason="resident size cannot be measured")
def test_a_process_keeps_to_its_memory(root):
    """In one piece the features would take some 160 MB; the whole process may grow by 80."""
    script = r"""if True:
        import re
        from pathlib import Path
        import numpy as np
        import model
        from solver.memory import resident
        from solver.sampling.sampler import Sampler
        for scale, side, precision in (2, 280, "fp32"), (4, 140, "fp32"), (4, 200, "bf16"):
            net = model.build("lesrcnn", scale).eval()
            # What is loaded by a first call.
            Sampler(net, scale, precision=precision)(np.zeros((8, 8, 3), np.uint8))
            Path("/proc/self/clear_refs").write_text("5")  # forget the most so far
            memory = resident() + 80 * 10 ** 6
            Sampler(net, scale, memory=memory, precision=precision)(np.zeros((side, side, 3), np.uint8))
            print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024 / memory)
    """
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=root,
        text=True,
        capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert all(0.9 < float(line) < 1.05 for line in done.stdout.splitlines()), done.stdout


def test_nothing_heavy_is_imported_to_load_and_run_a_network(root):
    """torch's compiler would take 160 MB and seconds at every start."""
    script = """if True:
        import sys
        import numpy as np
        from solver.checkpoint import load_network
        from solver.sampling.sampler import Sampler
        net, _ = load_network("x2/lesrcnn_x2.pth")
        Sampler(net, 2)(np.zeros((4, 4, 3), np.uint8))
        print([m for m in ("torch._dynamo", "sympy", "matplotlib", "skimage", "scipy") if m in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", script], cwd=root, text=True, capture_output=True)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_results_too_large_for_memory_come_in_bands(picture, tmp_path):
    rgb = picture(40, 50)
    net = model.build("lesrcnn", 2).eval()
    assert Sampler(net, 2, memory=10**5).too_large(rgb.nbytes) and not Sampler(net, 2).too_large(rgb.nbytes)
    sampler = Sampler(net, 2, tile=16)
    deep = images.Picture(rgb.astype(np.uint16) * 257, rgb[:, :, 0].astype(np.uint16) * 257)
    for whole in (
        images.Picture(rgb),
        images.Picture(rgb, rgb[:, :, 1].copy()),
        images.Picture(np.repeat(rgb[:, :, :1], 3, axis=2), None, True),
        deep,
    ):
        bands, plain = sampler.enlarge_in_bands(whole).joined(), sampler.enlarge(whole)
        assert np.array_equal(bands.rgb, plain.rgb) and bands.grey == plain.grey
        assert (bands.alpha is None) == (plain.alpha is None)
        assert plain.alpha is None or np.array_equal(bands.alpha, plain.alpha)


def test_a_picture_that_needs_more_memory_is_one_line(tmp_path, picture):
    """It is left alone before it is decoded, and told what it needs; smaller ones are done."""
    images.write_rgb(tmp_path / "small.png", picture(8, 8))
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    (tmp_path / "large.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )
    sampler = Sampler(model.build("lesrcnn", 2).eval(), 2)
    sampler.budget.limit = sampler.budget.least
    scores = evaluate(sampler, test_set.find(tmp_path, 2), skip_bad=True, on_picture=lambda *_: None)
    assert [row.name for row in scores.rows] == ["small"] and len(scores.skipped) == 1
    told = re.search(r"large.png: needs about (\d+)M of memory at once, .* give --memory (\d+)M", scores.skipped[0])
    assert int(told[1]) > 3 * 20_000**2 / 2**20 and int(told[2]) > int(told[1])


def test_other_gpus_tell_their_own_memory(monkeypatch):
    class Properties:
        total_memory = 9000

    monkeypatch.setattr(torch.xpu, "get_device_properties", lambda device: Properties)
    monkeypatch.setattr(torch.xpu, "memory_allocated", lambda device: 2000)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 5000)
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: 1000)
    assert memory.free(torch.device("xpu")) == 7000 and memory.free(torch.device("mps")) == 4000
    monkeypatch.setattr(memory, "available", lambda: 3000)
    assert memory.free(torch.device("mps")) == 3000  # it is the machine's, too


def test_a_gpu_that_is_not_cuda_s_is_given_pictures_and_makes_do_with_less_memory(monkeypatch, picture):
    """A stand-in: pictures go to the CPU whenever they are sent to ``mps``, which is out of memory once."""
    sent, emptied, failing = [], [], [True]
    to = torch.Tensor.to

    def to_cpu(tensor, *where, **how):
        if where and where[0] == torch.device("mps"):
            sent.append(tuple(tensor.shape))
            return tensor
        return to(tensor, *where, **how)

    net, rgb = model.build("lesrcnn", 2).eval(), picture(40, 40)
    expected = Sampler(net, 2, tile=16)(rgb)
    sampler = Sampler(net, 2, tile=16)
    network = sampler._backend.network

    def out_of_memory_once(margins):
        if failing:
            failing.pop()
            raise RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)")
        return network(margins)

    monkeypatch.setattr(torch.Tensor, "to", to_cpu)
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: emptied.append(1))
    monkeypatch.setattr(sampler._backend, "network", out_of_memory_once)
    sampler.device = torch.device("mps")
    assert abs(sampler(rgb).astype(int) - expected).max() <= 1
    assert len(sent) > 9 and emptied == [1]
