"""The rules of the house: which way imports go, how long files are, one style, and commands that answer at once."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Which folders a folder's files may import, beside their own.
FOLDERS = {"dataset": (), "model": (), "solver": ("model", "dataset"), "results": ("solver", "model", "dataset")}
SCRIPTS = ("x2", "x3", "x4", "lesrcnn_b", "train", "tcw_sample")  # folders, and files in the root
FOLDERS |= dict.fromkeys(SCRIPTS, ("solver",))
# What other programs import from the root. It imports model/ by a name that is in nobody's way, and nothing else.
FOR_OTHERS = ("hubconf", "spandrel_lesrcnn")
FOLDERS |= dict.fromkeys(FOR_OTHERS, ())
# Which wings of solver/ a wing may import; "" is the ground floor, which all of them may.
WINGS = {"": (), "measuring": ("",), "sampling": ("", "measuring"), "training": ("", "measuring", "sampling")}
WINGS["exporting"] = ("", "measuring", "sampling")
GROUND_FLOOR = {
    "__init__",
    "archive",
    "arguments",
    "background",
    "checkpoint",
    "graph",
    "machine",
    "memory",
    "processes",
}
DOORS = {"export": "exporting"}  # commands beside the ground floor, and the wing that each leads to

FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for name in FOLDERS
    for path in ((ROOT / name).rglob("*.py") if (ROOT / name).is_dir() else [ROOT / f"{name}.py"])
}


def lines(module: str) -> int:
    return len(FILES[module].read_text(encoding="utf-8").splitlines())


def imports(module: str) -> set[str]:
    """The files of the house that a file imports, inside functions too, and for its types."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(known(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # "from .a import b" in solver.training.c is of solver.training.a, or of the file b in it.
            up = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*up, *filter(None, [node.module])])
            found.update(known(f"{base}.{alias.name}") or known(base) for alias in node.names)
    return found - {None, module}


def known(name: str) -> str | None:
    """The file of the house that a dotted name is imported from; a folder's is its ``__init__``."""
    return next((file for file in (name, f"{name}.__init__") if file in FILES), None)


def folder(module: str) -> str:
    return module.partition(".")[0]


def wing(module: str) -> str:
    """Of a file of solver/, its wing; "" on the ground floor."""
    parts = module.split(".")
    return parts[1] if len(parts) > 2 else DOORS.get(parts[-1], "")


def test_imports_are_seen():
    """Or the other tests could not fail."""
    assert "solver.training.trainer" in imports("solver.training.command")  # in a function
    assert "model.ops" in imports("model.__init__")  # for types
    assert "solver.sampling.backends.fuse" in imports("solver.sampling.backends.torch")  # relative
    assert "solver.processes" in imports("solver.sampling.sample")  # from ..
    assert "solver.training.command" in imports("x2.train")


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_imports_only_those_before_it(name):
    for module in FILES:
        if folder(module) == name:
            strangers = {other for other in imports(module) if folder(other) not in (name, *FOLDERS[name])}
            assert not strangers, f"{module} imports {strangers}"


@pytest.mark.parametrize("name", WINGS)
def test_a_wing_of_the_solver_imports_only_what_it_stands_on(name):
    for module in FILES:
        if folder(module) == "solver" and wing(module) == name:
            own = [other for other in imports(module) if folder(other) == "solver"]
            strangers = {other for other in own if wing(other) not in (name, *WINGS[name])}
            assert not strangers, f"{module} imports {strangers}"


def test_the_solver_has_four_wings_over_one_ground_floor():
    assert {wing(module) for module in FILES if folder(module) == "solver"} == set(WINGS)
    assert {m.split(".")[1] for m in FILES if folder(m) == "solver" and not wing(m)} <= GROUND_FLOOR


def test_no_imports_go_in_a_circle():
    done = set()

    def visit(module, way):
        assert module not in way, " -> ".join([*way[way.index(module) :], module])
        if module not in done:
            for other in sorted(imports(module)):
                visit(other, [*way, module])
            done.add(module)

    for module in FILES:
        visit(module, [])


def test_files_are_short_enough_to_read():
    limits = {"solver": 420, "results": 420}
    long = {m: lines(m) for m in FILES if lines(m) > limits.get(folder(m), 1000)}
    assert not long and lines("solver.training.trainer") < 400


def test_scripts_hold_no_logic():
    assert {path.stem for path in ROOT.glob("*.py")} <= {*SCRIPTS, *FOR_OTHERS}
    for module in FILES:
        if folder(module) in SCRIPTS:
            kinds = {type(node) for node in ast.parse(FILES[module].read_text(encoding="utf-8")).body}
            assert lines(module) < 20 and not kinds & {ast.FunctionDef, ast.ClassDef, ast.For}, module


def test_all_files_are_in_one_style():
    ruff = shutil.which("ruff") or shutil.which("ruff", path=str(Path(sys.executable).parent))
    if ruff is None:
        pytest.skip("ruff is not installed")
    for check in (("format", "--check"), ("check", "--select", "I,F")):
        done = subprocess.run([ruff, *check, "--no-cache", "."], cwd=ROOT, text=True, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_help_answers_at_once(root):
    """No command imports torch, SciPy or Matplotlib to tell its flags. One process asks them all."""
    script = """if True:
        import contextlib, io, runpy, sys
        sys.path.insert(0, "")
        heavy = {"torch", "scipy", "matplotlib"}
        for script in sys.argv[1:]:
            sys.argv = [script, "--help"]
            told = io.StringIO()
            try:
                with contextlib.redirect_stdout(told):
                    runpy.run_path(script, run_name="__main__")
            except SystemExit as end:
                assert not end.code, (script, end.code)
            assert "usage:" in told.getvalue(), script
            assert not heavy & sys.modules.keys(), (script, heavy & sys.modules.keys())
    """
    done = subprocess.run([sys.executable, "-c", script, *commands()], cwd=root, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def commands() -> list[str]:
    """The files that are commands, from the root."""
    found = [
        str(path.relative_to(ROOT))
        for path in FILES.values()
        if '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8")
    ]
    assert len(found) > 10
    return found
