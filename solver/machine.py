"""What this machine is and can, and which code runs: for the record of a run, and for people."""

import platform
import subprocess
from pathlib import Path

import torch

from dataset.errors import InputError

_INT8 = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}
_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}  # processor flags: of Intel and AMD, and of Arm


def devices() -> list[str]:
    """The kinds of device that torch can compute on here, the fastest first."""
    gpus = {"cuda": torch.cuda, "xpu": torch.xpu, "mps": torch.backends.mps}
    return [*(kind for kind, gpu in gpus.items() if gpu.is_available()), "cpu"]


def chosen(wanted: str) -> str:
    """The kind of device that ``--device`` asks for, one of :data:`solver.arguments.DEVICES`.

    Raises:
        InputError: if there is none.
    """
    there = devices()
    if wanted not in ("auto", *there):
        raise InputError(f"--device {wanted}: there is none that torch can use; give one of auto, {', '.join(there)}")
    return there[0] if wanted == "auto" else wanted


def device_name(device: torch.device) -> str:
    """A device as a person would name it: a GPU's name, or the processor's and how many threads compute."""
    if device.type in ("cuda", "xpu"):
        return getattr(torch, device.type).get_device_name(device)
    if device.type != "cpu":
        return f"{processor()}, {device.type}"
    return f"{processor()}, {torch.get_num_threads()} threads"


def processor() -> str:
    """The CPU's name."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def commit() -> str | None:
    """The git commit of this code, with ``+`` if files differ from it; None outside a checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def has_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bf16. Without them it is slower than float32, on a CPU five times.

    Apple's GPUs are said to have none: the older ones do not, and torch does not tell.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return device.type == "xpu" and torch.xpu.is_bf16_supported()
    info = _cpuinfo()
    return bool(_BF16 & {*info.get("flags", "").split(), *info.get("Features", "").split()})


def has_int8() -> bool:
    """Whether the CPU has instructions that multiply and add bytes: VNNI, AMX, or Arm's."""
    info = _cpuinfo()
    return bool(_INT8 & {*info.get("flags", "").split(), *info.get("Features", "").split()})


def precision_for(wanted: str, device: torch.device) -> tuple[str, str]:
    """The precision to compute in, and a line about it where it is not the one that was asked for.

    Args:
        wanted: ``fp32``, ``bf16``, ``fp16`` or ``auto``: the fastest of those within 0.03 dB of fp32.
        device: where.
    """
    if wanted == "auto":
        return ("bf16" if has_bf16(device) else "fp32"), ""
    if wanted == "bf16" and not has_bf16(device):
        return "fp32", f"{device_name(device)} has no instructions for bf16: computing in fp32, which is faster there"
    return wanted, ""


def exact_fp32() -> None:
    """Let GPUs compute float32 as such, and not with the 10 bits of TF32."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def _cpuinfo() -> dict[str, str]:
    """What Linux tells of the first processor; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
