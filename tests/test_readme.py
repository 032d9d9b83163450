"""What the README promises is so."""

import re
import shlex

import pytest


@pytest.fixture
def readme(root):
    return (root / "README.md").read_text(encoding="utf-8")


def commands(readme):
    blocks = re.findall(r"```bash\n(.*?)```", readme, re.S)
    return [line.split("#")[0] for block in blocks for line in block.splitlines()]


def test_python_lines_enlarge_a_picture(readme, root, picture, monkeypatch):
    code = re.search(r"<!-- python -->\n```python\n(.*?)```", readme, re.S).group(1)
    assert len(code.splitlines()) == 4
    monkeypatch.chdir(root)
    names = {"picture": picture(11, 9)}
    exec(code, names)
    assert names["enlarged"].shape == (22, 18, 3)
    from dataset.bicubic import enlarge

    difference = names["enlarged"].astype(int) - enlarge(names["picture"], 2)
    assert abs(difference).mean() < 12  # it is the picture, enlarged


def test_lines_of_the_hub_load_networks(readme, root, monkeypatch):
    code = re.search(r"<!-- hub -->\n```python\n(.*?)```", readme, re.S).group(1)
    monkeypatch.chdir(root)
    exec(code, names := {})
    assert names["net"].scales == (2,) and names["x4"].shape == (1, 3, 120, 160)


def test_lines_for_spandrel_register_the_networks(readme, root, monkeypatch):
    spandrel = pytest.importorskip("spandrel")
    code = re.search(r"<!-- spandrel -->\n```python\n(.*?)```", readme, re.S).group(1)
    monkeypatch.setattr("spandrel_lesrcnn.register.__defaults__", (registry := spandrel.ArchRegistry(), None))
    exec(code.replace('"LESRCNN"', repr(str(root))), {})
    assert "lesrcnn.cfsrcnn" in registry


def test_the_network_that_is_added_in_ten_lines_works(readme, picture):
    import torch
    from torch import nn

    from model import ops
    from solver.sampling.sampler import Sampler

    code = re.search(r"```python\n(class Net\(Network\):.*?)```", readme, re.S).group(1)
    assert len(code.splitlines()) <= 11
    names = vars(ops) | {"nn": nn}
    exec(code, names)
    torch.manual_seed(0)
    net, rgb = names["Net"](scale=3).eval(), picture(30, 41)
    whole, tiled = (Sampler(net, 3, tile=tile)(rgb) for tile in ("none", 16))
    assert whole.shape == (90, 123, 3) and abs(whole.astype(int) - tiled).max() <= 1


def test_every_command_s_script_and_flags_exist(readme, root, command):
    scripts = {}
    for line in commands(readme):
        words = shlex.split(line.split("&&")[-1])
        if words[:1] == ["python"] and words[1].endswith(".py"):
            script = words[1] if (root / words[1]).exists() else f"dataset/{words[1]}"
            scripts.setdefault(script, set()).update(w for w in words if w.startswith("--"))
    assert len(scripts) >= 9
    for script, flags in scripts.items():
        done = command(script, "--help")
        assert done.returncode == 0, f"{script}: {done.stderr}"
        assert all(flag in done.stdout for flag in flags), script


def test_files_and_folders_it_names_exist(readme, root):
    table = readme[readme.index("## Layout") : readme.index("## Citation")]
    for folder in re.findall(r"`([\w]+)/`", table):
        assert (root / folder).is_dir()
    for link in re.findall(r"\]\(([^)#:]+)\)|<img[^>]*src=\"([^\"]+)\"", readme):
        assert (root / (link[0] or link[1])).exists(), link
