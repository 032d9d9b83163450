import json
import shlex
import types

import pytest

from dataset.errors import InputError
from dataset.files import locked
from results import experiments, tables
from solver.training.settings import plain

SMALL = shlex.split("--patch_size 8 --batch_size 1 --max_steps 2 --print_interval 1 --precision fp32 --num_gpu 0")


@pytest.fixture
def launched(monkeypatch):
    """Instead of training, write what a finished run leaves: the list grows with each."""
    from solver.training import trainer

    done = []

    def launch(args):
        done.append(args.ckpt_name)
        args.ckpt_dir.mkdir(parents=True, exist_ok=True)
        (args.ckpt_dir / f"{args.ckpt_name}.pth").write_bytes(b"weights")
        (file,) = args.train_data_path
        data = {"file": file.name, "bytes": file.stat().st_size, "sha256": experiments.hash_of((file,))}
        record = {"settings": plain(args), "steps": args.max_steps, "data": data}
        (args.ckpt_dir / "run.json").write_text(json.dumps(record))
        return 0

    monkeypatch.setattr(trainer, "launch", launch)
    experiments.hash_of.cache_clear()
    return done


def run(tmp_path, *flags):
    flags = shlex.split(" ".join(["--max_steps 2 --num_gpu 0 --train_data_path", str(tmp_path / "train.h5"), *flags]))
    return experiments.trained(experiments.settings_of(tmp_path / "run", "net", 2, flags))


def test_what_is_trained_is_not_trained_again(launched, tmp_path):
    (tmp_path / "train.h5").write_bytes(b"pictures")
    assert run(tmp_path) == run(tmp_path, "--print_interval 7") == 0
    assert launched == ["net"]
    (tmp_path / "run/net.pth").unlink()
    run(tmp_path)
    assert launched == ["net", "net"]


@pytest.mark.parametrize("flags", ["--clip 1", "--lr 2e-4", "--cooldown 0.5", "--teacher_share 0.8"])
def test_a_run_with_other_settings_is_not_taken_for_this_one(launched, tmp_path, flags):
    (tmp_path / "train.h5").write_bytes(b"pictures")
    run(tmp_path)
    with pytest.raises(InputError, match=f"holds another run: .*{flags.split()[0].strip('-')}"):
        run(tmp_path, flags)
    assert launched == ["net"]


@pytest.mark.parametrize("content", [b"picturez", b"more pictures"])
def test_a_run_of_another_file_is_not_taken_for_this_one(launched, tmp_path, content):
    (tmp_path / "train.h5").write_bytes(b"pictures")
    run(tmp_path)
    (tmp_path / "train.h5").write_bytes(content)
    experiments.hash_of.cache_clear()
    with pytest.raises(InputError, match="training file was another"):
        run(tmp_path)


def test_a_damaged_record_is_one_line(launched, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").write_text("{")
    with pytest.raises(InputError, match="run.json: is damaged"):
        run(tmp_path)


def test_rows_of_another_file_are_not_compared(tmp_path, monkeypatch):
    old = {"flags": "", "psnr": {"1": 30.0}, "data": {"sha256": "old"}}
    (tmp_path / "comparisons.json").write_text(json.dumps({"modern": old, "MSE": old}))
    monkeypatch.setattr(experiments, "trained", lambda settings: 0)
    monkeypatch.setattr(experiments, "summary", lambda name, settings: old | {"data": {"sha256": "new"}})
    args = types.SimpleNamespace(out=tmp_path, ckpt_dir=tmp_path, only=["modern"])
    with pytest.raises(InputError, match="MSE had another file"):
        experiments.compare_settings(args, [])
    monkeypatch.setattr(experiments, "summary", lambda name, settings: old)
    with pytest.raises(InputError, match="MSE had .* other steps or flags"):
        experiments.compare_settings(args, ["--clip", "1"])
    monkeypatch.setattr(experiments, "summary", lambda name, settings: old | {"data": {"sha256": "new"}})
    args.only = ["modern", "MSE"]
    assert experiments.compare_settings(args, []) == 0
    rows = json.loads((tmp_path / "comparisons.json").read_text())
    assert {row["data"]["sha256"] for row in rows.values()} == {"new"} and len(rows) == 2


def test_pictures_too_small_to_measure(monkeypatch, tmp_path, root):
    figures = {"psnr": 30.0, "ssim": None}
    monkeypatch.setattr(experiments, "trained", lambda settings: 0)
    monkeypatch.setattr(experiments, "record_of", lambda settings: {})
    monkeypatch.setattr(experiments.measure, "scores", lambda *given: types.SimpleNamespace(mean=figures.get))
    folder = root / "dataset/Sample"
    args = types.SimpleNamespace(out=tmp_path, ckpt_dir=tmp_path, test_data_dir=folder, scale=4, protocol="published")
    with pytest.raises(InputError, match="Sample: its pictures are too small"):
        experiments.compare_networks(args, ["--num_gpu", "0"])


def test_two_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["experiments.py", "settings", "--out", str(tmp_path)])
    with locked(tmp_path, "a test"), pytest.raises(InputError, match="another command of results/ is writing there"):
        experiments.main()


def test_ablation_end_to_end(command, training_file, data, tmp_path):
    out = tmp_path / "out"
    arguments = (
        *("results/experiments.py", "ablation", "--test_data_dir", data / "Set5", "--ckpt_dir", tmp_path / "runs"),
        *("--out", out, "--train_data_path", training_file, "--val_data_dir", data / "Sample", "--recipe", "modern"),
        *SMALL,
    )
    done = command(*arguments, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    content = json.loads((out / "ablation.json").read_text())
    assert [row["network"] for row in content["networks"]] == ["SN", "HN", "IEEB", "IEEB+RB", "LESRCNN"]
    assert {row["steps"] for row in content["networks"]} == {2} and content["budget"]["max_steps"] == 2
    assert len({row["sha256"] for row in content["networks"]}) == 5
    logs = sorted((out / "curves").glob("*.csv"))
    assert len(logs) == 5 and all(len(log.read_text().splitlines()) == 3 for log in logs)
    table = tables.ablation(out / "ablation.json")
    assert all(None not in row.cells for row in table.rows) and "2 steps" in table.notes[0]

    # Run again, it trains nothing.
    (out / "ablation.json").unlink()
    done = command(*arguments, OMP_NUM_THREADS="1")
    assert done.returncode == 0 and "step" not in done.stdout
    assert json.loads((out / "ablation.json").read_text())["networks"] == content["networks"]


def test_settings_are_compared_and_go_on(command, training_file, data, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "training.md").write_text("before\n<!-- comparisons:begin -->\n<!-- comparisons:end -->\nafter\n")
    arguments = (
        *("results/experiments.py", "settings", "--train_data_path", training_file, "--ckpt_dir", tmp_path / "runs"),
        *("--out", out, "--val_data_dir", data / "Sample", *SMALL, "--only"),
    )
    done = command(*arguments, "modern", "Adam, 8e-4", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    runs = json.loads((out / "comparisons.json").read_text())
    assert list(runs) == ["modern", "Adam, 8e-4"] and all(list(run["psnr"]) == ["1", "2"] for run in runs.values())
    assert runs["modern"]["psnr"] != runs["Adam, 8e-4"]["psnr"]
    modern, adam = (runs[name]["psnr"]["2"] for name in runs)
    page = (out / "training.md").read_text()
    assert page.startswith("before\n") and page.endswith("after\n")
    assert (
        f"| Adam, 8e-4 | `--optimizer Adam --lr 8e-4` | {runs['Adam, 8e-4']['psnr']['1']:.2f} | {adam:.2f} "
        f"| {adam - modern:+.2f} |" in page
    )

    # What has been run is not run again, and what is new comes beside it.
    done = command(*arguments, "modern", "MSE", OMP_NUM_THREADS="1")
    assert done.returncode == 0 and done.stdout.count("done: 2 steps") == 1
    assert list(json.loads((out / "comparisons.json").read_text())) == ["modern", "Adam, 8e-4", "MSE"]


@pytest.mark.parametrize(
    "line, message",
    [
        ("ablation --model lesrcnn", "--model: is set by this command"),
        ("ablation --scale 4 --test_data_dir nothing", "nothing"),
        ("ablation --test_data_dir dataset/Sample --num_gpu 2", "trains on one GPU"),
        ("settings --ckpt_name=a", "--ckpt_name: is set by this command"),
        ("settings --only MSE --out {}", "--only modern first"),
        ("settings --only modern --out {}/damaged", "comparisons.json: is damaged"),
    ],
)
def test_wrong_input_is_one_line(monkeypatch, root, tmp_path, line, message):
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/comparisons.json").write_text("no")
    monkeypatch.chdir(root)
    monkeypatch.setattr("sys.argv", ["experiments.py", *shlex.split(line.format(*[tmp_path] * 2))])
    with pytest.raises(InputError, match=message):
        experiments.main()
