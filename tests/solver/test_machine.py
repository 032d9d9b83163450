"""What a machine is said to be, and the precision that is chosen for it."""

import re

import pytest
import torch

from dataset.errors import InputError
from solver import machine

CPU = torch.device("cpu")


@pytest.fixture
def processor(monkeypatch):
    """Choose what the system tells of the processor."""
    return lambda **info: monkeypatch.setattr(machine, "_cpuinfo", lambda: info)


@pytest.mark.parametrize("info", [{"flags": "fpu avx512_bf16"}, {"flags": "amx_bf16"}, {"Features": "asimd bf16"}])
def test_a_processor_with_bf16_uses_it(processor, info):
    processor(**info)
    assert machine.has_bf16(CPU)
    for wanted in ("bf16", "auto"):
        assert machine.precision_for(wanted, CPU) == ("bf16", "")


@pytest.mark.parametrize("info", [{"flags": "fpu avx512f"}, {"Features": "asimd"}, {}])
def test_a_processor_without_bf16_computes_in_fp32_and_says_so(processor, info):
    processor(**info, **{"model name": "Quick 7"})
    assert machine.precision_for("auto", CPU) == ("fp32", "")  # it did not ask for anything else
    chosen, line = machine.precision_for("bf16", CPU)
    assert chosen == "fp32" and line.startswith("Quick 7") and "no instructions for bf16" in line and "\n" not in line


def test_other_precisions_are_taken_as_they_are(processor):
    processor()
    for wanted in ("fp32", "fp16"):
        assert machine.precision_for(wanted, CPU) == (wanted, "")


@pytest.fixture
def gpus(monkeypatch):
    """Choose which kinds of GPU there are."""

    def choose(*kinds):
        for kind, gpu in {"cuda": torch.cuda, "xpu": torch.xpu, "mps": torch.backends.mps}.items():
            monkeypatch.setattr(gpu, "is_available", lambda there=kind in kinds: there)

    return choose


def test_the_device_that_is_asked_for_is_one_that_is_there(gpus):
    gpus()
    assert machine.chosen("auto") == machine.chosen("cpu") == "cpu"
    for wanted in ("cuda", "mps", "xpu"):
        with pytest.raises(InputError, match=f"--device {wanted}: there is none .* auto, cpu$"):
            machine.chosen(wanted)
    gpus("mps")
    assert machine.chosen("auto") == machine.chosen("mps") == "mps" and machine.chosen("cpu") == "cpu"
    gpus("mps", "cuda")
    assert machine.chosen("auto") == "cuda"


def test_other_gpus_are_not_taken_for_the_processor(processor, monkeypatch):
    processor(**{"model name": "Quick 7", "flags": "amx_bf16"})
    monkeypatch.setattr(torch.xpu, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.xpu, "get_device_name", lambda device: "Arc 7")
    for kind, name in (("mps", "Quick 7, mps"), ("xpu", "Arc 7")):
        device = torch.device(kind)
        assert machine.device_name(device) == name and machine.precision_for("auto", device) == ("fp32", "")


def test_exact_fp32_is_without_tf32():
    backends = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = True
        machine.exact_fp32()
        assert not any(backend.allow_tf32 for backend in backends)
    finally:
        for backend, allowed in zip(backends, before):
            backend.allow_tf32 = allowed


def test_a_cpu_has_a_name_and_threads(processor):
    processor(**{"model name": "Quick 7"})
    assert machine.device_name(CPU) == f"Quick 7, {torch.get_num_threads()} threads"
    processor()
    assert machine.processor()  # what Python knows, where the system does not tell


def test_the_commit_is_this_checkout_s_or_none(root, tmp_path, monkeypatch):
    commit = machine.commit()
    assert re.fullmatch(r"[0-9a-f]{40}\+?", commit) if (root / ".git").exists() else commit is None
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "machine.py"))
    assert machine.commit() is None
